//! `linux.resources.unified` as unit properties: systemd writes its own idea of a file again at every reload, so what it
//! has a property for must be known to it. The rest is only written to the files.

use std::collections::HashMap;

use crate::step::cgroup::{UnitProperty, UnitValue};
use crate::systemd::{INFINITY, bit_mask, property, quota_per_second};

/// Files with one number, and their properties.
const NUMBERS: [(&str, &str); 8] = [
    ("cpu.weight", "CPUWeight"),
    ("io.weight", "IOWeight"),
    ("memory.high", "MemoryHigh"),
    ("memory.low", "MemoryLow"),
    ("memory.max", "MemoryMax"),
    ("memory.min", "MemoryMin"),
    ("memory.swap.max", "MemorySwapMax"),
    ("pids.max", "TasksMax"),
];

/// Adds the properties; they replace those of the other fields, as the files are written last.
pub(crate) fn add(files: &HashMap<String, String>, list: &mut Vec<UnitProperty>) {
    let numbers = NUMBERS.iter().filter_map(|(file, name)| {
        let value = files.get(*file).and_then(|text| number(text))?;
        Some(property(name, UnitValue::U64(value)))
    });
    let sets = [("cpuset.cpus", "AllowedCPUs"), ("cpuset.mems", "AllowedMemoryNodes")];
    let sets = sets.iter().filter_map(|(file, name)| {
        let mask = files.get(*file).and_then(|text| bit_mask(text.trim()))?;
        Some(property(name, UnitValue::Bytes(mask)))
    });
    let quota = files.get("cpu.max").map(|text| cpu_max(text)).unwrap_or_default();
    for new in numbers.chain(sets).chain(quota) {
        list.retain(|old| old.name != new.name);
        list.push(new);
    }
}

/// A plain number, or `max`. What has a suffix or a key is left to the file.
fn number(text: &str) -> Option<u64> {
    match text.trim() {
        "max" => Some(INFINITY),
        digits => digits.parse().ok(),
    }
}

/// `max 100000`, `50000 100000`, `50000`.
fn cpu_max(text: &str) -> Vec<UnitProperty> {
    let mut words = text.split_whitespace();
    let quota = words.next().and_then(|word| if word == "max" { Some(-1) } else { word.parse().ok() });
    let period = words.next().and_then(|word| word.parse().ok());
    let per_second = quota.and_then(|quota| quota_per_second(quota, period));
    let number = |name: &str, value: Option<u64>| value.map(|value| property(name, UnitValue::U64(value)));
    let both = [number("CPUQuotaPeriodUSec", period), number("CPUQuotaPerSecUSec", per_second)];
    both.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_become_properties_and_replace_those_there() {
        let files =
            [("memory.high", "1024"), ("pids.max", "max"), ("cpu.max", "50000 100000"), ("io.max", "8:0")];
        let files = files.map(|(file, value)| (file.to_owned(), value.to_owned())).into();
        let mut list = vec![property("TasksMax", UnitValue::U64(5))];
        add(&files, &mut list);
        let mut names: Vec<_> = list.iter().map(|one| (one.name.as_str(), one.value.clone())).collect();
        names.sort_by_key(|(name, _)| *name);
        let wanted = [
            ("CPUQuotaPerSecUSec", UnitValue::U64(500_000)),
            ("CPUQuotaPeriodUSec", UnitValue::U64(100_000)),
            ("MemoryHigh", UnitValue::U64(1024)),
            ("TasksMax", UnitValue::U64(INFINITY)),
        ];
        assert_eq!(names, wanted);
    }
}

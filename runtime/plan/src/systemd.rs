//! The systemd cgroup driver: slice, unit and unit properties.
//!
//! `linux.cgroupsPath` has the form `slice:prefix:name` here, and becomes the scope `prefix-name.scope` in `slice`.

use oci_spec::runtime::LinuxResources;

use crate::context::{Context, sorted};
use crate::facts::{CgroupFacts, HostFacts};
use crate::gvariant;
use crate::ids::{CgroupPath, Pointer};
use crate::problem::Problems;
use crate::resources_v2;
use crate::rootfs::annotation_pointer;
use crate::step::cgroup::{CgroupDriver, DeviceKind, DeviceRule, UnitProperty, UnitValue};
use crate::systemd_unified;

const PROPERTY: &str = "org.systemd.property.";
/// systemd's "infinity".
pub(crate) const INFINITY: u64 = u64::MAX;

/// The driver, and where systemd will put the unit.
pub(crate) fn place(
    context: &Context<'_>,
    resources: Option<&LinuxResources>,
    devices: &[DeviceRule],
    problems: &mut Problems,
) -> (CgroupDriver, CgroupPath) {
    if !context.facts.systemd {
        let message = "the systemd cgroup driver was asked for, and systemd does not run this host";
        problems.error_hint(&Pointer::new("/linux/cgroupsPath"), message, "use --cgroup-manager cgroupfs");
    }
    let user = context.options.systemd_user || context.facts.is_rootless();
    let (slice, unit) = names(context, user, problems);
    let mut properties = vec![
        property("Description", UnitValue::String(format!("caisson container {}", context.options.id))),
        property("DefaultDependencies", UnitValue::Bool(false)),
    ];
    let accounting = ["CPUAccounting", "MemoryAccounting", "TasksAccounting", "IOAccounting"];
    properties.extend(accounting.map(|name| property(name, UnitValue::Bool(true))));
    if !unit.ends_with(".slice") {
        // A slice cannot be delegated; in a scope systemd must keep off what lies below.
        properties.push(property("Delegate", UnitValue::Bool(true)));
    }
    if let Some(resources) = resources {
        properties.extend(of_resources(resources, context.facts));
    }
    properties.extend(of_devices(devices));
    of_annotations(context, &mut properties, problems);
    let path = user_root(context.facts, user).join(expand_slice(&slice).join(&unit).relative());
    (CgroupDriver::Systemd { unit, slice, user, properties }, path)
}

fn names(context: &Context<'_>, user: bool, problems: &mut Problems) -> (String, String) {
    let at = Pointer::new("/linux/cgroupsPath");
    let default_slice = if user { "user.slice" } else { "system.slice" };
    let given = context.linux().and_then(|linux| linux.cgroups_path().as_ref());
    let text = given.map(|path| path.display().to_string()).unwrap_or_default();
    let parts: Vec<&str> = if text.is_empty() { Vec::new() } else { text.split(':').collect() };
    let (slice, prefix, name) = match parts.as_slice() {
        [] => (default_slice, "caisson", context.options.id.as_str()),
        [slice, prefix, name] => (if slice.is_empty() { default_slice } else { slice }, *prefix, *name),
        _ => {
            let hint = "with systemd the form is slice:prefix:name";
            problems.error_hint(&at, format!("{text:?} has not three parts"), hint);
            (default_slice, "caisson", context.options.id.as_str())
        }
    };
    if !valid_slice(slice) {
        problems.error(&at, format!("{slice:?} is not the name of a slice"));
    }
    let unit = if name.ends_with(".slice") {
        name.to_owned()
    } else if prefix.is_empty() {
        format!("{name}.scope")
    } else {
        format!("{prefix}-{name}.scope")
    };
    let legal = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@+".contains(c);
    if name.is_empty() || unit.len() > 255 || !unit.chars().all(|c| legal(c) || c == '+') {
        problems.error(&at, format!("{unit:?} is not the name of a unit"));
    }
    (slice.to_owned(), unit)
}

/// systemd.slice(5): dashes nest, so none at either end and no two in a row.
fn valid_slice(slice: &str) -> bool {
    if slice == "-.slice" {
        return true;
    }
    let Some(stem) = slice.strip_suffix(".slice") else { return false };
    !stem.is_empty() && !stem.contains('/') && stem.split('-').all(|part| !part.is_empty())
}

/// `a-b.slice` lies in `/a.slice/a-b.slice`.
fn expand_slice(slice: &str) -> CgroupPath {
    let root = CgroupPath::new("/");
    let Some(stem) = slice.strip_suffix(".slice").filter(|stem| *stem != "-") else {
        return root;
    };
    let ends = stem.match_indices('-').map(|(at, _)| at).chain([stem.len()]);
    ends.fold(root, |path, end| path.join(format!("{}.slice", &stem[..end])))
}

/// A user's manager works below its own service.
fn user_root(facts: &HostFacts, user: bool) -> CgroupPath {
    if !user {
        return CgroupPath::new("/");
    }
    let uid = facts.euid;
    CgroupPath::new(format!("/user.slice/user-{uid}.slice/user@{uid}.service"))
}

pub(crate) fn property(name: &str, value: UnitValue) -> UnitProperty {
    UnitProperty { name: name.to_owned(), value }
}

/// `linux.resources` as far as systemd has properties for it. The rest is written to the files afterwards.
pub(crate) fn of_resources(resources: &LinuxResources, facts: &HostFacts) -> Vec<UnitProperty> {
    let v2 = matches!(facts.cgroups, CgroupFacts::V2(_));
    let mut list = Vec::new();
    let mut push = |name: &str, value: Option<u64>| {
        list.extend(value.map(|value| property(name, UnitValue::U64(value))));
    };
    if let Some(memory) = resources.memory() {
        let limit = memory.limit().filter(|limit| *limit != 0);
        push(if v2 { "MemoryMax" } else { "MemoryLimit" }, limit.map(or_infinity));
        if v2 {
            push("MemoryLow", memory.reservation().filter(|low| *low != 0).map(or_infinity));
            push("MemorySwapMax", swap_max(limit, memory.swap().filter(|swap| *swap != 0)));
        }
    }
    if let Some(cpu) = resources.cpu() {
        let shares = cpu.shares().filter(|shares| *shares != 0);
        if v2 {
            push("CPUWeight", shares.filter(|_| cpu.idle().unwrap_or(0) == 0).and_then(resources_v2::weight));
        } else {
            push("CPUShares", shares);
        }
        let period = cpu.period().filter(|period| *period != 0);
        push("CPUQuotaPeriodUSec", period);
        push("CPUQuotaPerSecUSec", cpu.quota().and_then(|quota| quota_per_second(quota, period)));
        for (name, given) in [("AllowedCPUs", cpu.cpus()), ("AllowedMemoryNodes", cpu.mems())] {
            // On v1 systemd has no cpuset support.
            if let Some(mask) = given.as_deref().filter(|_| v2).and_then(bit_mask) {
                list.push(property(name, UnitValue::Bytes(mask)));
            }
        }
    }
    let mut push = |name: &str, value: u64| list.push(property(name, UnitValue::U64(value)));
    if let Some(pids) = resources.pids().filter(|pids| pids.limit() != 0) {
        push("TasksMax", or_infinity(pids.limit()));
    }
    if let Some(weight) =
        resources.block_io().as_ref().and_then(|io| io.weight()).filter(|weight| *weight >= 10)
    {
        if v2 {
            push("IOWeight", 1 + (u64::from(weight) - 10) * 9999 / 990);
        } else {
            push("BlockIOWeight", u64::from(weight));
        }
    }
    if let Some(files) = resources.unified().as_ref().filter(|_| v2) {
        systemd_unified::add(files, &mut list);
    }
    list
}

fn or_infinity(limit: i64) -> u64 {
    u64::try_from(limit).unwrap_or(INFINITY)
}

fn swap_max(limit: Option<i64>, swap: Option<i64>) -> Option<u64> {
    match (limit, swap) {
        (_, Some(-1)) | (Some(-1), None) => Some(INFINITY),
        (Some(limit), Some(swap)) if limit > 0 => u64::try_from(swap - limit).ok(),
        _ => None,
    }
}

/// systemd counts in whole percents of a CPU and cuts off the rest: rounded up, so that no one gets less.
pub(crate) fn quota_per_second(quota: i64, period: Option<u64>) -> Option<u64> {
    const PERCENT: u64 = 10_000;
    if quota == 0 {
        return None;
    }
    let Ok(quota) = u64::try_from(quota) else { return Some(INFINITY) };
    let per_second = quota.saturating_mul(1_000_000) / period.unwrap_or(100_000).max(1);
    Some(per_second.div_ceil(PERCENT).saturating_mul(PERCENT))
}

/// A CPU or node list as systemd's byte array, lowest first.
pub(crate) fn bit_mask(list: &str) -> Option<Vec<u8>> {
    let numbers = crate::scheduling::number_list(list, &Pointer::default(), &mut Problems::default())?;
    let highest = usize::try_from(*numbers.last()?).ok()?;
    let mut mask = vec![0; highest / 8 + 1];
    for number in numbers {
        let number = usize::try_from(number).ok()?;
        mask[number / 8] |= 1u8 << (number % 8);
    }
    Some(mask)
}

/// DeviceAllow= can only add to a strict policy and names a group of devices by its driver, not by its number. What it
/// cannot say leaves the policy open: the runtime's own rules decide in either case.
pub(crate) fn of_devices(rules: &[DeviceRule]) -> Vec<UnitProperty> {
    if rules.is_empty() {
        return Vec::new();
    }
    let allowed: Option<Vec<(String, String)>> =
        rules.iter().filter(|rule| rule.allow).map(device_allow).collect();
    match allowed {
        Some(pairs) => vec![
            property("DevicePolicy", UnitValue::String("strict".to_owned())),
            property("DeviceAllow", UnitValue::Pairs(pairs)),
        ],
        None => vec![property("DevicePolicy", UnitValue::String("auto".to_owned()))],
    }
}

fn device_allow(rule: &DeviceRule) -> Option<(String, String)> {
    let kind = match rule.kind {
        DeviceKind::Char => "char",
        DeviceKind::Block => "block",
        DeviceKind::All => return None,
    };
    let node = match (rule.major, rule.minor) {
        (Some(major), Some(minor)) => format!("/dev/{kind}/{major}:{minor}"),
        (None, None) => format!("{kind}-*"),
        (Some(136), None) if rule.kind == DeviceKind::Char => "char-pts".to_owned(),
        _ => return None,
    };
    let access = [(rule.read, 'r'), (rule.write, 'w'), (rule.mknod, 'm')];
    Some((node, access.into_iter().filter(|(has, _)| *has).map(|(_, letter)| letter).collect()))
}

/// `org.systemd.property.NAME`: the value in GVariant text form. A name in `Sec` is the config file's word for the
/// bus's `USec`.
fn of_annotations(context: &Context<'_>, list: &mut Vec<UnitProperty>, problems: &mut Problems) {
    let given = context.spec.annotations().iter().flat_map(sorted);
    for (key, text) in given.filter(|(key, _)| key.starts_with(PROPERTY)) {
        let at = annotation_pointer(key);
        let name = key.trim_start_matches(PROPERTY);
        if name.len() < 3 || !name.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            problems.error(&at, format!("{name:?} is not the name of a unit property"));
            continue;
        }
        let parsed = match name.strip_suffix("Sec").filter(|stem| !stem.ends_with('U')) {
            Some(stem) => gvariant::microseconds(text).map(|value| property(&format!("{stem}USec"), value)),
            None => gvariant::parse(text).map(|value| property(name, value)),
        };
        match parsed {
            Some(parsed) => {
                list.retain(|other| other.name != parsed.name);
                list.push(parsed);
            }
            None => problems.error_hint(
                &at,
                format!("{text:?} is not a value that can be passed on"),
                "expected GVariant text: true, 5, uint64 5, 'text', ['a', 'b']",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_nest_at_dashes() {
        assert_eq!(expand_slice("a-b-c.slice").to_string(), "/a.slice/a-b.slice/a-b-c.slice");
        assert_eq!(expand_slice("-.slice").to_string(), "/");
        let bad = ["a", "-a.slice", "a-.slice", "a--b.slice", "a/b.slice", ".slice"];
        assert!(bad.iter().all(|slice| !valid_slice(slice)));
    }

    #[test]
    fn quota_is_rounded_up_to_a_percent() {
        assert_eq!(quota_per_second(50_000, None), Some(500_000));
        assert_eq!(quota_per_second(33_333, Some(100_000)), Some(340_000));
        assert_eq!(quota_per_second(-1, None), Some(INFINITY));
    }

    #[test]
    fn cpu_list_becomes_little_endian_bits() {
        assert_eq!(bit_mask("0-1,9"), Some(vec![0b11, 0b10]));
    }
}

//! CPU limits on cgroup v2 (kernel documentation, cgroup-v2).

use oci_spec::runtime::LinuxCpu;

use crate::ids::Pointer;
use crate::resources::Writer;

/// `cpu.weight`, `cpu.idle`, `cpu.max`, `cpu.max.burst`.
pub(crate) fn cpu(cpu: &LinuxCpu, at: &Pointer, writer: &mut Writer<'_>) {
    let idle = cpu.idle().unwrap_or(0);
    writer.set_default_zero("cpu", "cpu.idle", cpu.idle().map(i128::from), &at.child("idle"));
    // An idle cgroup has no weight: the kernel refuses one.
    if let Some(weight) = cpu.shares().filter(|_| idle == 0).and_then(weight) {
        writer.set("cpu", "cpu.weight", weight.to_string(), &at.child("shares"));
    }
    let quota = cpu.quota().filter(|quota| *quota != 0);
    let period = cpu.period().filter(|period| *period != 0);
    let max = quota.map_or_else(|| "max".to_owned(), crate::resources::or_max);
    match (quota, period) {
        (_, Some(period)) => writer.set("cpu", "cpu.max", format!("{max} {period}"), &at.child("quota")),
        // One number leaves the period as it is.
        (Some(_), None) => writer.set("cpu", "cpu.max", max, &at.child("quota")),
        (None, None) => {}
    }
    writer.set_default_zero("cpu", "cpu.max.burst", cpu.burst().map(i128::from), &at.child("burst"));
    let realtime = [
        (cpu.realtime_period().is_some_and(|period| period != 0), "realtimePeriod"),
        (cpu.realtime_runtime().is_some_and(|runtime| runtime != 0), "realtimeRuntime"),
    ];
    for (_, key) in realtime.into_iter().filter(|(asked, _)| *asked) {
        writer.problems.error(&at.child(key), "cgroup v2 has no limits for realtime processes");
    }
}

/// Shares (2 to 262144) to weight (1 to 10000), linearly. 1024 shares, the default on v1, become 39 and not the default
/// 100 of v2: a container with the default shares gets less than one without any. Newer runtimes bend the line so that
/// it passes through both defaults; this is the formula that the engines have known since cgroup v2 came.
pub(crate) fn weight(shares: u64) -> Option<u64> {
    (shares != 0).then(|| 1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weight_covers_the_range() {
        assert_eq!(weight(0), None);
        assert_eq!([2, 1024, 262_144, u64::MAX].map(weight), [Some(1), Some(39), Some(10_000), Some(10_000)]);
    }
}

//! CPU limits on cgroup v1 (kernel documentation, cgroup-v1 and sched-bwc).

use oci_spec::runtime::LinuxCpu;

use crate::ids::Pointer;
use crate::resources::Writer;

/// `cpu.shares`, `cpu.cfs_*`, `cpu.rt_*`, `cpu.idle`. A value of 0 means "not set", as engines write it.
pub(crate) fn cpu(cpu: &LinuxCpu, at: &Pointer, writer: &mut Writer<'_>) {
    let mut set = |file: &str, key: &str, value: Option<String>| {
        if let Some(value) = value {
            writer.set("cpu", file, value, &at.child(key));
        }
    };
    let number = |value: Option<u64>| value.filter(|value| *value != 0).map(|value| value.to_string());
    let signed = |value: Option<i64>| value.filter(|value| *value != 0).map(|value| value.to_string());
    set("cpu.shares", "shares", number(cpu.shares()));
    // Period, then quota, then burst: the kernel refuses a burst above the quota.
    set("cpu.cfs_period_us", "period", number(cpu.period()));
    set("cpu.cfs_quota_us", "quota", signed(cpu.quota()));
    set("cpu.cfs_burst_us", "burst", cpu.burst().map(|burst| burst.to_string()));
    set("cpu.rt_period_us", "realtimePeriod", number(cpu.realtime_period()));
    set("cpu.rt_runtime_us", "realtimeRuntime", signed(cpu.realtime_runtime()));
    set("cpu.idle", "idle", cpu.idle().map(|idle| idle.to_string()));
}

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
    set("cpu.rt_period_us", "realtimePeriod", number(cpu.realtime_period()));
    set("cpu.rt_runtime_us", "realtimeRuntime", signed(cpu.realtime_runtime()));
    // Kernels before 5.14 have neither file; 0 is what they do anyway.
    writer.set_default_zero("cpu", "cpu.cfs_burst_us", cpu.burst().map(i128::from), &at.child("burst"));
    writer.set_default_zero("cpu", "cpu.idle", cpu.idle().map(i128::from), &at.child("idle"));
}

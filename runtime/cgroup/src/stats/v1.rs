//! Counters of cgroup v1: one controller at a time, read through cgroups-rs where its parsers cannot panic.

use std::path::Path;

use cgroups_rs::fs::cpuacct::CpuAcctController;
use cgroups_rs::fs::hugetlb::HugeTlbController;
use cgroups_rs::fs::memory::MemController;
use cgroups_rs::fs::pid::PidController;
use cgroups_rs::fs::rdma::RdmaController;

use super::{Cpuset, Hugetlb, MemoryEntry, Pids, Stats, parse};
use crate::error::Result;

pub(super) fn read(controller: &str, dir: &Path, stats: &mut Stats) -> Result<()> {
    match controller {
        "cpu" => cpu(dir, stats)?,
        "cpuacct" => cpuacct(dir, stats),
        "cpuset" => stats.cpuset = cpuset(dir)?,
        "memory" => memory(dir, stats)?,
        "pids" => stats.pids = pids(dir, false),
        "blkio" => blkio(dir, stats)?,
        "hugetlb" => hugetlb(dir, false, stats),
        "rdma" => {
            let rdma = RdmaController::new(dir.to_owned(), dir.to_owned());
            stats.rdma = parse::rdma(&rdma.current().unwrap_or_default());
        }
        _ => {}
    }
    Ok(())
}

fn cpu(dir: &Path, stats: &mut Stats) -> Result<()> {
    let table = parse::table(&parse::text(dir, "cpu.stat")?);
    let get = |name: &str| table.get(name).copied().unwrap_or(0);
    let throttling = &mut stats.cpu.throttling;
    throttling.periods = get("nr_periods");
    throttling.throttled_periods = get("nr_throttled");
    throttling.throttled_time = get("throttled_time");
    Ok(())
}

fn cpuacct(dir: &Path, stats: &mut Stats) {
    let counted = CpuAcctController::new(dir.to_owned(), dir.to_owned()).cpuacct();
    let numbers = |text: &str| text.split_whitespace().filter_map(|n| n.parse().ok()).collect();
    let usage = &mut stats.cpu.usage;
    usage.total = counted.usage;
    usage.user = counted.usage_user;
    usage.kernel = counted.usage_sys;
    usage.percpu = numbers(&counted.usage_percpu);
    usage.percpu_user = numbers(&counted.usage_percpu_user);
    usage.percpu_kernel = numbers(&counted.usage_percpu_sys);
}

fn cpuset(dir: &Path) -> Result<Cpuset> {
    let number = |file: &str| parse::number(dir, &format!("cpuset.{file}"));
    Ok(Cpuset {
        cpus: parse::list(&parse::text(dir, "cpuset.cpus")?),
        mems: parse::list(&parse::text(dir, "cpuset.mems")?),
        cpu_exclusive: number("cpu_exclusive")?,
        mem_hardwall: number("mem_hardwall")?,
        mem_exclusive: number("mem_exclusive")?,
        memory_migrate: number("memory_migrate")?,
        memory_spread_page: number("memory_spread_page")?,
        memory_spread_slab: number("memory_spread_slab")?,
        memory_pressure: number("memory_pressure")?,
        sched_load_balance: number("sched_load_balance")?,
        sched_relax_domain_level: {
            let text = parse::text(dir, "cpuset.sched_relax_domain_level")?;
            text.trim().parse().unwrap_or_default()
        },
    })
}

fn memory(dir: &Path, stats: &mut Stats) -> Result<()> {
    let controller = MemController::new(dir.to_owned(), dir.to_owned(), false);
    let (swap, kernel, tcp) = (controller.memswap(), controller.kmem_stat(), controller.kmem_tcp_stat());
    let memory = &mut stats.memory;
    memory.raw = parse::table(&parse::text(dir, "memory.stat")?);
    memory.cache = memory.raw.get("cache").copied().unwrap_or(0);
    let number = |file: &str| parse::number(dir, &format!("memory.{file}"));
    memory.usage = MemoryEntry {
        limit: number("limit_in_bytes")?,
        usage: number("usage_in_bytes")?,
        max: number("max_usage_in_bytes")?,
        failcnt: number("failcnt")?,
    };
    memory.peak = Some(memory.usage.max);
    memory.swap = MemoryEntry {
        limit: swap.limit_in_bytes.cast_unsigned(),
        usage: swap.usage_in_bytes,
        max: swap.max_usage_in_bytes,
        failcnt: swap.fail_cnt,
    };
    memory.kernel = MemoryEntry {
        limit: kernel.limit_in_bytes.cast_unsigned(),
        usage: kernel.usage_in_bytes,
        max: kernel.max_usage_in_bytes,
        failcnt: kernel.fail_cnt,
    };
    memory.kernel_tcp = MemoryEntry {
        limit: tcp.limit_in_bytes.cast_unsigned(),
        usage: tcp.usage_in_bytes,
        max: tcp.max_usage_in_bytes,
        failcnt: tcp.fail_cnt,
    };
    Ok(())
}

/// Both versions have the same files.
pub(super) fn pids(dir: &Path, v2: bool) -> Pids {
    let controller = PidController::new(dir.to_owned(), dir.to_owned(), v2);
    let limit = match controller.get_pid_max() {
        Ok(cgroups_rs::fs::MaxValue::Value(limit)) => u64::try_from(limit).unwrap_or(0),
        // No limit, or no controller: both are 0 in runc's output.
        Ok(cgroups_rs::fs::MaxValue::Max) | Err(_) => 0,
    };
    Pids { current: controller.get_pid_current().unwrap_or(0), limit }
}

/// The weights of proportional schedulers count in their own files, throttling in others: the first that counts.
fn blkio(dir: &Path, stats: &mut Stats) -> Result<()> {
    let first = |name: &str| -> Result<Vec<_>> {
        for policy in ["bfq.", "", "throttle."] {
            let found = parse::blkio(&parse::text(dir, &format!("blkio.{policy}{name}"))?);
            if !found.is_empty() {
                return Ok(found);
            }
        }
        Ok(Vec::new())
    };
    stats.blkio.io_service_bytes_recursive = first("io_service_bytes_recursive")?;
    stats.blkio.io_serviced_recursive = first("io_serviced_recursive")?;
    Ok(())
}

/// Huge pages of every size the host has; a size without files (a kernel that does not account it) is left out.
pub(super) fn hugetlb(dir: &Path, v2: bool, stats: &mut Stats) {
    let controller = HugeTlbController::new(dir.to_owned(), dir.to_owned(), v2);
    for size in controller.get_sizes() {
        let Ok(usage) = controller.usage_in_bytes(&size) else { continue };
        let max = if v2 { 0 } else { controller.max_usage_in_bytes(&size).unwrap_or(0) };
        let failcnt = controller.failcnt(&size).unwrap_or(0);
        stats.hugetlb.insert(size, Hugetlb { usage, max, failcnt });
    }
}

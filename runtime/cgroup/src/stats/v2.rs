//! Counters of cgroup v2.

use std::path::Path;

use super::{MemoryEntry, Stats, parse, v1};
use crate::error::Result;

pub(super) fn read(dir: &Path, stats: &mut Stats) -> Result<()> {
    cpu(dir, stats)?;
    memory(dir, stats)?;
    stats.pids = v1::pids(dir, true);
    let (bytes, operations) = parse::io(&parse::text(dir, "io.stat")?);
    stats.blkio.io_service_bytes_recursive = bytes;
    stats.blkio.io_serviced_recursive = operations;
    stats.blkio.psi = parse::pressure(&parse::text(dir, "io.pressure")?);
    read_hugetlb(dir, stats);
    stats.rdma = parse::rdma(&parse::text(dir, "rdma.current")?);
    Ok(())
}

pub(super) fn read_hugetlb(dir: &Path, stats: &mut Stats) {
    v1::hugetlb(dir, true, stats);
}

fn cpu(dir: &Path, stats: &mut Stats) -> Result<()> {
    let table = parse::table(&parse::text(dir, "cpu.stat")?);
    // Microseconds in the file, nanoseconds in the output.
    let time = |name: &str| table.get(name).copied().unwrap_or(0).saturating_mul(1000);
    let count = |name: &str| table.get(name).copied().unwrap_or(0);
    stats.cpu.usage.total = time("usage_usec");
    stats.cpu.usage.user = time("user_usec");
    stats.cpu.usage.kernel = time("system_usec");
    stats.cpu.throttling.periods = count("nr_periods");
    stats.cpu.throttling.throttled_periods = count("nr_throttled");
    stats.cpu.throttling.throttled_time = time("throttled_usec");
    stats.cpu.psi = parse::pressure(&parse::text(dir, "cpu.pressure")?);
    Ok(())
}

fn memory(dir: &Path, stats: &mut Stats) -> Result<()> {
    let number = |file: &str| parse::number(dir, &format!("memory.{file}"));
    let events = parse::table(&parse::text(dir, "memory.events")?);
    let swap_events = parse::table(&parse::text(dir, "memory.swap.events")?);
    let memory = &mut stats.memory;
    memory.raw = parse::table(&parse::text(dir, "memory.stat")?);
    memory.cache = memory.raw.get("file").copied().unwrap_or(0);
    let peak = parse::text(dir, "memory.peak")?;
    memory.peak = peak.trim().parse().ok();
    memory.usage = MemoryEntry {
        limit: number("max")?,
        usage: number("current")?,
        max: memory.peak.unwrap_or(0),
        failcnt: events.get("max").copied().unwrap_or(0),
    };
    // v1 counts memory and swap together, and so does everybody who reads this.
    memory.swap = MemoryEntry {
        limit: number("swap.max")?.saturating_add(memory.usage.limit),
        usage: number("swap.current")?.saturating_add(memory.usage.usage),
        max: 0,
        failcnt: swap_events.get("fail").copied().unwrap_or(0),
    };
    memory.psi = parse::pressure(&parse::text(dir, "memory.pressure")?);
    Ok(())
}

//! `linux.resources.memory` on either cgroup version.

use oci_spec::runtime::LinuxMemory;

use crate::ids::Pointer;
use crate::resources::{Place, Writer, or_max};
use crate::step::cgroup::SettingMode;

/// Converts the memory limits. A limit of 0 means "not set", as engines write it.
pub(crate) fn plan(memory: &LinuxMemory, at: &Pointer, writer: &mut Writer<'_>) {
    warn_kernel_memory(memory, at, writer);
    if !asks(memory) {
        return;
    }
    check(memory, at, writer);
    match writer.place("memory", at) {
        Some(Place::V1) => v1(memory, at, writer),
        Some(Place::V2) => v2(memory, at, writer),
        None => {}
    }
}

fn asks(memory: &LinuxMemory) -> bool {
    let limits = [memory.limit(), memory.reservation(), memory.swap(), memory.kernel_tcp()];
    limits.into_iter().any(|limit| limit.is_some_and(|limit| limit != 0))
        || memory.swappiness().is_some()
        || memory.disable_oom_killer() == Some(true)
        || memory.use_hierarchy().is_some()
}

fn given(limit: Option<i64>) -> Option<i64> {
    limit.filter(|limit| *limit != 0)
}

fn warn_kernel_memory(memory: &LinuxMemory, at: &Pointer, writer: &mut Writer<'_>) {
    #[allow(deprecated, reason = "still a field of config.json")]
    let kernel = memory.kernel();
    if given(kernel).is_some() {
        let message = "kernels since 5.16 have no limit for kernel memory alone: ignored";
        writer.problems.warn(&at.child("kernel"), message);
    }
}

fn check(memory: &LinuxMemory, at: &Pointer, writer: &mut Writer<'_>) {
    for (limit, key) in
        [(memory.limit(), "limit"), (memory.reservation(), "reservation"), (memory.swap(), "swap")]
    {
        if limit.is_some_and(|limit| limit < -1) {
            writer.problems.error(&at.child(key), "expected a number of bytes, or -1 for no limit");
        }
    }
    let limit = given(memory.limit());
    if let Some(swap) = given(memory.swap()).filter(|swap| *swap > 0) {
        match limit {
            Some(limit) if limit > swap => {
                writer.problems.error(
                    &at.child("swap"),
                    format!("{swap} is memory and swap together: it must not be below the limit {limit}"),
                );
            }
            Some(limit) if limit > 0 => {}
            _ => writer.problems.error(&at.child("swap"), "a swap limit needs a memory limit"),
        }
    }
    if memory.swappiness().is_some_and(|swappiness| swappiness > 100) {
        writer.problems.error(&at.child("swappiness"), "expected a value from 0 to 100");
    }
}

fn v1(memory: &LinuxMemory, at: &Pointer, writer: &mut Writer<'_>) {
    let limit = given(memory.limit());
    let swap = given(memory.swap());
    let at_swap = at.child("swap");
    // The kernel keeps limit <= memsw at every moment: lifting memsw comes first, lowering it last.
    match (limit, swap) {
        (_, Some(-1)) => writer.set("memory", "memory.memsw.limit_in_bytes", "-1", &at_swap),
        (Some(-1), None) => {
            writer.set_if_present("memory", "memory.memsw.limit_in_bytes", "-1", &at.child("limit"));
        }
        _ => {}
    }
    if let Some(limit) = limit {
        writer.set("memory", "memory.limit_in_bytes", limit.to_string(), &at.child("limit"));
    }
    if let Some(swap) = swap.filter(|swap| *swap > 0) {
        writer.set("memory", "memory.memsw.limit_in_bytes", swap.to_string(), &at_swap);
    }
    if let Some(reservation) = given(memory.reservation()) {
        writer.set("memory", "memory.soft_limit_in_bytes", reservation.to_string(), &at.child("reservation"));
    }
    if let Some(limit) = given(memory.kernel_tcp()) {
        let at = at.child("kernelTCP");
        writer.problems.warn(&at, "set only where the kernel still has it");
        writer.set_if_present("memory", "memory.kmem.tcp.limit_in_bytes", limit.to_string(), &at);
    }
    if let Some(swappiness) = memory.swappiness() {
        writer.set("memory", "memory.swappiness", swappiness.to_string(), &at.child("swappiness"));
    }
    if memory.disable_oom_killer() == Some(true) {
        writer.set("memory", "memory.oom_control", "1", &at.child("disableOOMKiller"));
    }
    match memory.use_hierarchy() {
        Some(true) => writer.set_if_present("memory", "memory.use_hierarchy", "1", &at.child("useHierarchy")),
        Some(false) => warn_hierarchy(at, writer),
        None => {}
    }
}

fn v2(memory: &LinuxMemory, at: &Pointer, writer: &mut Writer<'_>) {
    let limit = given(memory.limit());
    if let Some(limit) = limit {
        // On v1 the kernel itself refuses a limit below the usage; on v2 it would kill.
        let careful = memory.check_before_update() == Some(true);
        let mode = if careful { SettingMode::NotBelowUsage } else { SettingMode::Required };
        writer.set_with("memory", "memory.max", or_max(limit), &at.child("limit"), mode);
    }
    let at_swap = at.child("swap");
    match (limit, given(memory.swap())) {
        // Without swap accounting there is no such file, and nothing to limit.
        (_, Some(-1)) | (Some(-1), None) => {
            writer.set_if_present("memory", "memory.swap.max", "max", &at_swap);
        }
        (Some(limit), Some(swap)) if swap == limit => {
            writer.set_if_present("memory", "memory.swap.max", "0", &at_swap);
        }
        (Some(limit), Some(swap)) if swap > limit && limit > 0 => {
            writer.set("memory", "memory.swap.max", (swap - limit).to_string(), &at_swap);
        }
        _ => {}
    }
    if let Some(reservation) = given(memory.reservation()) {
        writer.set("memory", "memory.low", or_max(reservation), &at.child("reservation"));
    }
    if given(memory.kernel_tcp()).is_some() {
        writer.problems.warn(&at.child("kernelTCP"), "cgroup v2 counts it with all other memory: ignored");
    }
    let without_equivalent = [
        (memory.swappiness().is_some(), "swappiness"),
        (memory.disable_oom_killer() == Some(true), "disableOOMKiller"),
    ];
    for (_, key) in without_equivalent.into_iter().filter(|(asked, _)| *asked) {
        // config-linux.md, "Unified": "If the conversion is not possible the runtime MUST generate an error."
        writer.problems.error(&at.child(key), "cgroup v2 has nothing like it");
    }
    if memory.use_hierarchy() == Some(false) {
        warn_hierarchy(at, writer);
    }
}

fn warn_hierarchy(at: &Pointer, writer: &mut Writer<'_>) {
    let message = "kernels since 5.11 always account for the whole hierarchy: ignored";
    writer.problems.warn(&at.child("useHierarchy"), message);
}

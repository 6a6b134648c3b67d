//! Scheduling: policy, CPU affinity, I/O priority, memory policy, execution domain.

use nix::unistd::Pid;

use crate::{Errno, Result};

/// What [`sched_setattr`] sets (`struct sched_attr`); times in nanoseconds, zero where the policy has no use
/// for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SchedAttr {
    /// `libc::SCHED_OTHER` and the like.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// For `SCHED_OTHER` and `SCHED_BATCH`.
    pub nice: i32,
    /// For `SCHED_FIFO` and `SCHED_RR`.
    pub priority: u32,
    /// For `SCHED_DEADLINE`.
    pub runtime: u64,
    /// For `SCHED_DEADLINE`.
    pub deadline: u64,
    /// For `SCHED_DEADLINE`.
    pub period: u64,
}

/// Version 0 of the kernel's structure, which all kernels with the call accept.
#[repr(C)]
struct RawAttr {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// `sched_setattr(pid, attr, 0)`; pid 0 is the calling thread.
///
/// # References
/// - [sched_setattr(2)](https://man7.org/linux/man-pages/man2/sched_setattr.2.html)
pub fn sched_setattr(pid: Pid, attr: &SchedAttr) -> Result<()> {
    let raw = RawAttr {
        size: size_of::<RawAttr>() as u32,
        policy: attr.policy,
        flags: attr.flags,
        nice: attr.nice,
        priority: attr.priority,
        runtime: attr.runtime,
        deadline: attr.deadline,
        period: attr.period,
    };
    // SAFETY: the structure lives through the call and says its own size.
    unsafe { sys!(SYS_sched_setattr, pid.as_raw(), &raw const raw, 0) }.map(drop)
}

/// More CPUs than any kernel is built for.
const MAX_CPUS: usize = 1 << 16;

/// `sched_setaffinity(pid, …)`; pid 0 is the calling thread.
///
/// # Errors
/// `EINVAL` when none of the CPUs exists and may be used, or a number is absurd.
///
/// # References
/// - [sched_setaffinity(2)](https://man7.org/linux/man-pages/man2/sched_setaffinity.2.html)
pub fn set_affinity(pid: Pid, cpus: &[usize]) -> Result<()> {
    let highest = cpus.iter().copied().max().filter(|cpu| *cpu < MAX_CPUS).ok_or(Errno::EINVAL)?;
    let mut mask = vec![0_u64; highest / 64 + 1];
    for cpu in cpus {
        mask[cpu / 64] |= 1 << (cpu % 64);
    }
    // SAFETY: the mask is valid for its length in bytes.
    unsafe { sys!(SYS_sched_setaffinity, pid.as_raw(), mask.len() * 8, mask.as_ptr()) }.map(drop)
}

/// Class of I/O scheduling (`IOPRIO_CLASS_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IoClass {
    /// First of all.
    RealTime = 1,
    /// In turn, by level.
    BestEffort = 2,
    /// When nobody else wants the disk.
    Idle = 3,
}

/// `ioprio_set(IOPRIO_WHO_PROCESS, 0, class, level)` for the calling thread.
///
/// # Errors
/// `EINVAL` when `level` is above 7.
///
/// # References
/// - [ioprio_set(2)](https://man7.org/linux/man-pages/man2/ioprio_set.2.html)
pub fn ioprio_set(class: IoClass, level: u8) -> Result<()> {
    const WHO_PROCESS: usize = 1;
    const CLASS_SHIFT: usize = 13;
    if level > 7 {
        return Err(Errno::EINVAL);
    }
    let value = (class as usize) << CLASS_SHIFT | usize::from(level);
    // SAFETY: no pointers.
    unsafe { sys!(SYS_ioprio_set, WHO_PROCESS, 0, value) }.map(drop)
}

/// `personality(persona)`; gives the one from before. `0xffff_ffff` only asks.
///
/// # References
/// - [personality(2)](https://man7.org/linux/man-pages/man2/personality.2.html)
pub fn personality(persona: u64) -> Result<u64> {
    // SAFETY: no pointers; flags such as READ_IMPLIES_EXEC act on later mappings, ADDR_* on exec.
    unsafe { sys!(SYS_personality, persona) }.map(|old| old as u64)
}

/// `set_mempolicy(mode | flags, nodes)`: from which NUMA nodes the memory of this thread comes; bit N of
/// `nodemask` is node N.
///
/// # References
/// - [set_mempolicy(2)](https://man7.org/linux/man-pages/man2/set_mempolicy.2.html)
pub fn set_mempolicy(mode: u32, flags: u32, nodemask: &[u64]) -> Result<()> {
    // The kernel takes one bit less than it is told.
    let bits = if nodemask.is_empty() { 0 } else { nodemask.len() * 64 + 1 };
    let pointer = if nodemask.is_empty() { std::ptr::null() } else { nodemask.as_ptr() };
    // SAFETY: the mask is valid for `bits - 1` bits, of which the kernel reads no more.
    unsafe { sys!(SYS_set_mempolicy, mode | flags, pointer, bits) }.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policy_affinity_and_priority_are_taken_by_the_kernel() {
        crate::testing::in_child(|| {
            let this = Pid::from_raw(0);
            let attr = SchedAttr { policy: libc::SCHED_BATCH as u32, nice: 5, ..SchedAttr::default() };
            sched_setattr(this, &attr).unwrap();
            // SAFETY: no pointers.
            assert_eq!(unsafe { libc::sched_getscheduler(0) }, libc::SCHED_BATCH);
            set_affinity(this, &[0]).unwrap();
            assert_eq!(crate::testing::status_field("Cpus_allowed_list"), "0");
            assert_eq!(set_affinity(this, &[]), Err(Errno::EINVAL));
            assert_eq!(set_affinity(this, &[usize::MAX]), Err(Errno::EINVAL));
            ioprio_set(IoClass::BestEffort, 6).unwrap();
            // SAFETY: no pointers.
            assert_eq!(unsafe { sys!(SYS_ioprio_get, 1, 0) }.unwrap(), 2 << 13 | 6);
            assert_eq!(ioprio_set(IoClass::Idle, 8), Err(Errno::EINVAL));
            personality(8).unwrap();
            assert_eq!(personality(0xffff_ffff).unwrap(), 8);
        });
    }
}

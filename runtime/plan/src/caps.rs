//! Capability sets: the one way from names to masks, for `create`, `run` and `exec` (CVE-2025-27612 came of two).

use oci_spec::runtime::{Capabilities, Capability, LinuxCapabilities};

use crate::ids::Pointer;
use crate::problem::Problems;
use crate::step::process::CapsPlan;

/// Numbers of capability.h, in order.
const NUMBERS: [Capability; 41] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::DacReadSearch,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Kill,
    Capability::Setgid,
    Capability::Setuid,
    Capability::Setpcap,
    Capability::LinuxImmutable,
    Capability::NetBindService,
    Capability::NetBroadcast,
    Capability::NetAdmin,
    Capability::NetRaw,
    Capability::IpcLock,
    Capability::IpcOwner,
    Capability::SysModule,
    Capability::SysRawio,
    Capability::SysChroot,
    Capability::SysPtrace,
    Capability::SysPacct,
    Capability::SysAdmin,
    Capability::SysBoot,
    Capability::SysNice,
    Capability::SysResource,
    Capability::SysTime,
    Capability::SysTtyConfig,
    Capability::Mknod,
    Capability::Lease,
    Capability::AuditWrite,
    Capability::AuditControl,
    Capability::Setfcap,
    Capability::MacOverride,
    Capability::MacAdmin,
    Capability::Syslog,
    Capability::WakeAlarm,
    Capability::BlockSuspend,
    Capability::AuditRead,
    Capability::Perfmon,
    Capability::Bpf,
    Capability::CheckpointRestore,
];

/// What can be given at all.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Highest number the kernel knows.
    pub last_cap: u8,
    /// What the runtime can pass on: what it holds itself, or everything in a user namespace of the container's own.
    pub grantable: u64,
}

/// The sets as masks.
///
/// A capability that the kernel does not know is dropped with a warning (config.md: "MUST log a warning"). Nothing
/// is added: the inheritable set holds what the config says and no more (CVE-2022-29162).
pub(crate) fn plan(
    sets: &LinuxCapabilities,
    limits: Limits,
    at: &Pointer,
    problems: &mut Problems,
) -> CapsPlan {
    let mut read =
        |set: &Option<Capabilities>, name: &str| mask(set.as_ref(), limits, &at.child(name), problems);
    let mut plan = CapsPlan {
        bounding: read(sets.bounding(), "bounding"),
        effective: read(sets.effective(), "effective"),
        inheritable: read(sets.inheritable(), "inheritable"),
        permitted: read(sets.permitted(), "permitted"),
        ambient: read(sets.ambient(), "ambient"),
    };
    // capabilities(7): ambient ⊆ permitted ∩ inheritable, effective ⊆ permitted; the kernel refuses the rest (EPERM).
    let unreachable = plan.ambient & !(plan.permitted & plan.inheritable);
    if unreachable != 0 {
        let message = format!("{} dropped: not both permitted and inheritable", names(unreachable));
        problems.warn(&at.child("ambient"), message);
        plan.ambient &= !unreachable;
    }
    let unreachable = plan.effective & !plan.permitted;
    if unreachable != 0 {
        problems.warn(&at.child("effective"), format!("{} dropped: not permitted", names(unreachable)));
        plan.effective &= !unreachable;
    }
    plan
}

fn mask(set: Option<&Capabilities>, limits: Limits, at: &Pointer, problems: &mut Problems) -> u64 {
    let wanted = set.into_iter().flatten().filter_map(number).fold(0, |mask, bit| mask | 1u64 << bit);
    let known = known_mask(limits.last_cap);
    let withheld = wanted & known & !limits.grantable;
    if withheld != 0 {
        // config.md: "Runtimes SHOULD NOT fail if the container configuration requests capabilities that cannot be
        // granted", but warn.
        let message = format!("{} dropped: the runtime does not hold it itself", names(withheld));
        problems.warn(at, message);
    }
    let wanted = wanted & !withheld;
    if wanted & !known != 0 {
        problems.warn(at, format!("{} ignored: this kernel does not know it", names(wanted & !known)));
    }
    wanted & known
}

fn known_mask(last_cap: u8) -> u64 {
    u64::MAX >> (63 - u32::from(last_cap.min(63)))
}

fn number(capability: &Capability) -> Option<usize> {
    NUMBERS.iter().position(|known| known == capability)
}

/// The names in a mask, for messages and `explain`.
pub(crate) fn names(mask: u64) -> String {
    let named = NUMBERS.iter().enumerate().filter(|(bit, _)| mask & (1 << bit) != 0);
    named.map(|(_, capability)| format!("CAP_{capability}")).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_kernel() {
        assert_eq!(number(&Capability::SysAdmin), Some(21));
        assert_eq!(number(&Capability::AuditRead), Some(37));
        assert_eq!(number(&Capability::CheckpointRestore), Some(40));
    }

    #[test]
    fn known_mask_covers_last_cap() {
        assert_eq!(known_mask(40), 0x1ff_ffff_ffff);
        assert_eq!(known_mask(63), u64::MAX);
    }
}

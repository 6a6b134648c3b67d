//! Landlock: access rules a process puts on itself.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use crate::Result;
use crate::raw::num;

/// `LANDLOCK_CREATE_RULESET_VERSION`
const VERSION: u32 = 1;
/// `LANDLOCK_RULE_PATH_BENEATH`
const RULE_PATH_BENEATH: u32 = 1;

/// `landlock_create_ruleset(NULL, 0, LANDLOCK_CREATE_RULESET_VERSION)`: the version of the interface.
///
/// # Errors
/// `ENOSYS` before Linux 5.13, `EOPNOTSUPP` when turned off at boot.
///
/// # References
/// - [landlock_create_ruleset(2)](https://man7.org/linux/man-pages/man2/landlock_create_ruleset.2.html)
pub fn abi() -> Result<u32> {
    // SAFETY: the version is asked with a null attribute of size zero.
    unsafe { sys!(SYS_landlock_create_ruleset, 0, 0, VERSION) }.map(|version| version as u32)
}

/// What a rule set takes away unless a rule gives it (`struct landlock_ruleset_attr`).
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub struct Handled {
    /// `LANDLOCK_ACCESS_FS_*`
    pub fs: u64,
    /// `LANDLOCK_ACCESS_NET_*` (interface version 4)
    pub net: u64,
    /// `LANDLOCK_SCOPE_*` (interface version 6)
    pub scoped: u64,
}

/// `landlock_create_ruleset(attr, size, 0)`. Only the fields in use are shown to the kernel, so that older
/// ones accept.
///
/// # Errors
/// `EINVAL` for an access right the kernel does not know, `ENOMSG` for none at all.
///
/// # References
/// - [landlock_create_ruleset(2)](https://man7.org/linux/man-pages/man2/landlock_create_ruleset.2.html)
pub fn ruleset(handled: Handled) -> Result<OwnedFd> {
    let fields = match handled {
        Handled { scoped: 1.., .. } => 3,
        Handled { net: 1.., .. } => 2,
        Handled { .. } => 1,
    };
    // SAFETY: the structure lives through the call and has at least the length given.
    unsafe { sys_fd!(SYS_landlock_create_ruleset, &raw const handled, fields * size_of::<u64>(), 0) }
}

/// `struct landlock_path_beneath_attr`, which the kernel declares packed.
#[repr(C, packed)]
struct PathBeneath {
    allowed_access: u64,
    parent_fd: i32,
}

/// `landlock_add_rule(ruleset, LANDLOCK_RULE_PATH_BENEATH, {access, parent}, 0)`
///
/// # References
/// - [landlock_add_rule(2)](https://man7.org/linux/man-pages/man2/landlock_add_rule.2.html)
pub fn add_path_rule(ruleset: impl AsFd, parent: impl AsFd, access: u64) -> Result<()> {
    let attr = PathBeneath { allowed_access: access, parent_fd: parent.as_fd().as_raw_fd() };
    // SAFETY: the structure lives through the call and is what the rule type asks for.
    unsafe { sys!(SYS_landlock_add_rule, num(&ruleset), RULE_PATH_BENEATH, &raw const attr, 0) }.map(drop)
}

/// `landlock_restrict_self(ruleset, 0)`: for this thread and what it makes from now on.
///
/// # Errors
/// `EPERM` without no_new_privs or `CAP_SYS_ADMIN`.
///
/// # References
/// - [landlock_restrict_self(2)](https://man7.org/linux/man-pages/man2/landlock_restrict_self.2.html)
pub fn restrict_self(ruleset: impl AsFd) -> Result<()> {
    // SAFETY: no pointers.
    unsafe { sys!(SYS_landlock_restrict_self, num(&ruleset), 0) }.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Errno, OFlag, path};

    #[test]
    fn a_restricted_process_reads_only_beneath_the_allowed_directory() {
        if let Err(errno) = abi() {
            return println!("skipped: no Landlock: {errno}");
        }
        crate::testing::in_child(|| {
            const READ_FILE: u64 = 1 << 2;
            let rules = ruleset(Handled { fs: READ_FILE, ..Handled::default() }).unwrap();
            let proc = path::open("/proc", OFlag::O_PATH).unwrap();
            add_path_rule(&rules, &proc, READ_FILE).unwrap();
            crate::creds::set_no_new_privs().unwrap();
            restrict_self(&rules).unwrap();
            path::open("/proc/self/stat", OFlag::O_RDONLY).unwrap();
            assert_eq!(path::open("/etc/passwd", OFlag::O_RDONLY).unwrap_err(), Errno::EACCES);
        });
    }
}

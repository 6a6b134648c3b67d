//! Who a process is: ids, and the attributes of prctl(2) that go with them.
//!
//! The ids are set by the raw calls, for this thread alone: libc's functions would signal other threads, of
//! which a process about to exec has none.

use nix::sys::stat::Mode;

use crate::Result;

/// `setgroups(groups)`
///
/// # Errors
/// `EPERM` without `CAP_SETGID`, or in a user namespace whose `setgroups` file says "deny".
///
/// # References
/// - [setgroups(2)](https://man7.org/linux/man-pages/man2/setgroups.2.html)
pub fn setgroups(groups: &[u32]) -> Result<()> {
    // SAFETY: the slice is valid for its length.
    unsafe { sys!(SYS_setgroups, groups.len(), groups.as_ptr()) }.map(drop)
}

/// `setresgid(gid, gid, gid)`, which sets the file system id as well.
///
/// # References
/// - [setresuid(2)](https://man7.org/linux/man-pages/man2/setresuid.2.html)
pub fn setresgid(gid: u32) -> Result<()> {
    // SAFETY: no pointers.
    unsafe { sys!(SYS_setresgid, gid, gid, gid) }.map(drop)
}

/// `setresuid(uid, uid, uid)`, which sets the file system id as well.
///
/// Leaving uid 0 clears the effective, permitted (unless [`set_keep_caps`]) and ambient capabilities.
///
/// # References
/// - [setresuid(2)](https://man7.org/linux/man-pages/man2/setresuid.2.html), [capabilities(7)](https://man7.org/linux/man-pages/man7/capabilities.7.html)
pub fn setresuid(uid: u32) -> Result<()> {
    // SAFETY: no pointers.
    unsafe { sys!(SYS_setresuid, uid, uid, uid) }.map(drop)
}

/// `geteuid()`
pub fn geteuid() -> u32 {
    nix::unistd::geteuid().as_raw()
}

/// `getegid()`
pub fn getegid() -> u32 {
    nix::unistd::getegid().as_raw()
}

/// `getuid()`
pub fn getuid() -> u32 {
    nix::unistd::getuid().as_raw()
}

/// `getgid()`
pub fn getgid() -> u32 {
    nix::unistd::getgid().as_raw()
}

fn prctl(option: i32, value: usize) -> Result<()> {
    // SAFETY: only the options below are passed, whose second argument is a number and whose others must be
    // zero.
    unsafe { sys!(SYS_prctl, option, value, 0, 0, 0) }.map(drop)
}

/// `prctl(PR_SET_KEEPCAPS, on)`: keep the permitted set when leaving uid 0; cleared by exec.
///
/// # References
/// - [PR_SET_KEEPCAPS(2const)](https://man7.org/linux/man-pages/man2/PR_SET_KEEPCAPS.2const.html)
pub fn set_keep_caps(on: bool) -> Result<()> {
    prctl(libc::PR_SET_KEEPCAPS, usize::from(on))
}

/// `prctl(PR_SET_NO_NEW_PRIVS, 1)`: exec gives no privilege any more, for ever.
///
/// # References
/// - [PR_SET_NO_NEW_PRIVS(2const)](https://man7.org/linux/man-pages/man2/PR_SET_NO_NEW_PRIVS.2const.html)
pub fn set_no_new_privs() -> Result<()> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1)
}

/// `prctl(PR_SET_DUMPABLE, on)`: whether processes of the same user may trace this one and read its `/proc`
/// links.
///
/// # References
/// - [PR_SET_DUMPABLE(2const)](https://man7.org/linux/man-pages/man2/PR_SET_DUMPABLE.2const.html)
pub fn set_dumpable(on: bool) -> Result<()> {
    prctl(libc::PR_SET_DUMPABLE, usize::from(on))
}

/// `prctl(PR_SET_PDEATHSIG, signal)`: sent to this process when the thread that made it ends; 0 for none.
///
/// Cleared by a change of ids and by exec of a set-id program. A parent that is gone already sends nothing:
/// check getppid(2) afterwards.
///
/// # References
/// - [PR_SET_PDEATHSIG(2const)](https://man7.org/linux/man-pages/man2/PR_SET_PDEATHSIG.2const.html)
pub fn set_parent_death_signal(signal: i32) -> Result<()> {
    prctl(libc::PR_SET_PDEATHSIG, signal as usize)
}

/// `prctl(PR_SET_CHILD_SUBREAPER, on)`: orphans among the descendants become this process's children.
///
/// # References
/// - [PR_SET_CHILD_SUBREAPER(2const)](https://man7.org/linux/man-pages/man2/PR_SET_CHILD_SUBREAPER.2const.html)
pub fn set_child_subreaper(on: bool) -> Result<()> {
    prctl(libc::PR_SET_CHILD_SUBREAPER, usize::from(on))
}

/// `umask(mask)`; gives the mask from before.
///
/// # References
/// - [umask(2)](https://man7.org/linux/man-pages/man2/umask.2.html)
pub fn umask(mask: u32) -> u32 {
    nix::sys::stat::umask(Mode::from_bits_truncate(mask)).bits()
}

/// `setsid()`: a new session, without controlling terminal.
///
/// # Errors
/// `EPERM` when this process leads a process group.
///
/// # References
/// - [setsid(2)](https://man7.org/linux/man-pages/man2/setsid.2.html)
pub fn setsid() -> Result<()> {
    nix::unistd::setsid().map(drop)
}

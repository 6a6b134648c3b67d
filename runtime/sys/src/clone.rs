//! Process creation by clone3(2).

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use nix::unistd::Pid;

use crate::Result;
use crate::namespace::Namespaces;

/// What the child shares, and where it starts.
#[derive(Debug, Default, Clone, Copy)]
pub struct CloneArgs<'fd> {
    /// New namespaces for the child.
    pub namespaces: Namespaces,
    /// The cgroup v2 directory the child is born in (`CLONE_INTO_CGROUP`, Linux 5.7): no migration, no race.
    pub into_cgroup: Option<BorrowedFd<'fd>>,
    /// The child's parent is this process's parent (`CLONE_PARENT`); it then is not ours to wait for.
    pub parent: bool,
}

/// A process made by [`clone3`].
#[derive(Debug)]
pub struct Child {
    /// Its id in the PID namespace of the caller.
    pub pid: Pid,
    /// Its process descriptor: stays the same process's however pids are used again.
    pub pidfd: OwnedFd,
}

/// `CLONE_INTO_CGROUP`; libc's constant overflows its type.
const INTO_CGROUP: u64 = 0x2_0000_0000;

/// The exit status of a child whose closure panicked: what a Rust program's panic gives.
const PANIC_STATUS: i32 = 101;

/// `clone3({flags | CLONE_PIDFD, SIGCHLD, cgroup})` without a new stack, as fork(2) does it.
///
/// The child has a copy of the caller's memory and descriptors, runs `child` and ends with its value by `_exit`: no
/// destructor of the caller's frames, no `atexit` handler, no buffered output of the parent runs there. A panic ends
/// it with status 101.
///
/// The caller must have one thread. With more, a lock held by another thread (the allocator's, stdout's) stays locked
/// for ever in the child: that is a deadlock, not unsoundness, and the closure must then keep to what is safe in a
/// signal handler. libc's fork handlers do not run.
///
/// # Errors
/// `ENOSYS` before Linux 5.3, `EBADF`/`EOPNOTSUPP` for a cgroup directory that is none or is a domain whose children
/// are not allowed processes (`EBUSY`), `EPERM` without the rights for the namespaces, `ENOSPC` at a limit of
/// namespaces, `EAGAIN` at a limit of processes.
///
/// # References
/// - [clone(2)](https://man7.org/linux/man-pages/man2/clone.2.html)
pub fn clone3(args: CloneArgs<'_>, child: impl FnOnce() -> i32) -> Result<Child> {
    let mut pidfd: i32 = -1;
    // SAFETY: clone_args is plain integers, for which zero means "not given".
    let mut raw: libc::clone_args = unsafe { std::mem::zeroed() };
    raw.flags = libc::CLONE_PIDFD as u64 | args.namespaces.bits();
    raw.pidfd = (&raw mut pidfd) as u64;
    // With CLONE_PARENT the kernel takes the caller's own exit signal and refuses one given here.
    if args.parent {
        raw.flags |= libc::CLONE_PARENT as u64;
    } else {
        raw.exit_signal = libc::SIGCHLD as u64;
    }
    if let Some(cgroup) = args.into_cgroup {
        raw.flags |= INTO_CGROUP;
        raw.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: the structure and `pidfd` live through the call. Without CLONE_VM the child has its own copy of all
    // memory, and without a stack given it goes on on its copy of this one, like after fork; descriptors are copied,
    // so closing them in the child does not close the parent's.
    let pid = unsafe { sys!(SYS_clone3, &raw const raw, size_of::<libc::clone_args>()) }?;
    if pid == 0 {
        let status = catch_unwind(AssertUnwindSafe(child)).unwrap_or(PANIC_STATUS);
        crate::exec::exit_now(status);
    }
    // SAFETY: clone3 succeeded, so the kernel stored a new descriptor in `pidfd`.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Child { pid: Pid::from_raw(pid as i32), pidfd })
}

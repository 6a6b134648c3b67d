//! Processes by descriptor: a pid used again can never be signalled or awaited by mistake.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use nix::unistd::Pid;

use crate::raw::num;
use crate::{Errno, Result, socket};

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    /// By exit, with this code.
    Exited(i32),
    /// By a signal.
    Signaled {
        /// Its number.
        signal: i32,
        /// Whether memory was dumped.
        core: bool,
    },
}

impl ExitStatus {
    /// The code a shell reports: 128 + signal for a process killed by one.
    pub fn code(self) -> i32 {
        match self {
            Self::Exited(code) => code,
            Self::Signaled { signal, .. } => 128 + signal,
        }
    }
}

/// `pidfd_open(pid, 0)`
///
/// # References
/// - [pidfd_open(2)](https://man7.org/linux/man-pages/man2/pidfd_open.2.html)
pub fn open(pid: Pid) -> Result<OwnedFd> {
    // SAFETY: no pointers; the kernel makes the descriptor close-on-exec.
    unsafe { sys_fd!(SYS_pidfd_open, pid.as_raw(), 0) }
}

/// `pidfd_send_signal(pidfd, sig, NULL, 0)`
///
/// # Errors
/// `ESRCH` when the process has ended and been waited for.
///
/// # References
/// - [pidfd_send_signal(2)](https://man7.org/linux/man-pages/man2/pidfd_send_signal.2.html)
pub fn send_signal(pidfd: impl AsFd, sig: i32) -> Result<()> {
    // SAFETY: the siginfo pointer may be null.
    unsafe { sys!(SYS_pidfd_send_signal, num(&pidfd), sig, 0, 0) }.map(drop)
}

/// `waitid(P_PIDFD, pidfd, &info, WEXITED | __WALL)`: waits for a child and reaps it.
///
/// # Errors
/// `ECHILD` when it is no child of this process.
///
/// # References
/// - [waitid(2)](https://man7.org/linux/man-pages/man2/waitid.2.html)
pub fn wait(pidfd: impl AsFd) -> Result<ExitStatus> {
    wait_with(&pidfd, 0)?.ok_or(Errno::ECHILD)
}

/// `waitid(P_PIDFD, pidfd, &info, WEXITED | __WALL | WNOHANG)`: `None` while the child runs.
///
/// # References
/// - [waitid(2)](https://man7.org/linux/man-pages/man2/waitid.2.html)
pub fn try_wait(pidfd: impl AsFd) -> Result<Option<ExitStatus>> {
    wait_with(&pidfd, libc::WNOHANG)
}

fn wait_with(pidfd: &impl AsFd, flags: i32) -> Result<Option<ExitStatus>> {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    let options = libc::WEXITED | libc::__WALL | flags;
    // SAFETY: `info` is valid for writes of a siginfo_t; the rusage pointer may be null.
    unsafe { sys!(SYS_waitid, libc::P_PIDFD, num(pidfd), info.as_mut_ptr(), options, 0) }?;
    // SAFETY: zeroed at first and filled by the kernel; integers, for which all bit patterns are valid.
    let info = unsafe { info.assume_init() };
    // SAFETY: after waitid the siginfo has the layout of SIGCHLD, or is all zero.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    if pid == 0 {
        return Ok(None);
    }
    Ok(Some(match info.si_code {
        libc::CLD_EXITED => ExitStatus::Exited(status),
        code => ExitStatus::Signaled { signal: status, core: code == libc::CLD_DUMPED },
    }))
}

/// `poll(pidfd, POLLIN, timeout)`: whether the process (of anybody) has ended within `timeout_ms` (-1: for
/// ever).
///
/// # References
/// - [pidfd_open(2)](https://man7.org/linux/man-pages/man2/pidfd_open.2.html)
pub fn poll_exit(pidfd: impl AsFd, timeout_ms: i32) -> Result<bool> {
    Ok(socket::poll_readable(&[pidfd.as_fd()], timeout_ms)?[0])
}

/// `pidfd_getfd(pidfd, n, 0)`: a copy of descriptor `n` of the process.
///
/// # References
/// - [pidfd_getfd(2)](https://man7.org/linux/man-pages/man2/pidfd_getfd.2.html)
pub fn getfd(pidfd: impl AsFd, n: i32) -> Result<OwnedFd> {
    // SAFETY: no pointers; the kernel makes the copy close-on-exec.
    unsafe { sys_fd!(SYS_pidfd_getfd, num(&pidfd), n, 0) }
}

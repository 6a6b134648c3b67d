//! Descriptors: close-on-exec, duplication onto fixed numbers, inheritance, `/dev/null`.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::sys::stat::Mode;

use crate::{Errno, Result, path};

/// `close_range(first, ~0, CLOSE_RANGE_CLOEXEC)`
///
/// Marks every descriptor from `first` on close-on-exec. Where the kernel (before 5.11) or an outer seccomp
/// filter lacks the call, walks `/proc/self/fd`, and fails with `ENOSYS` if that is not a procfs.
///
/// # References
/// - [close_range(2)](https://man7.org/linux/man-pages/man2/close_range.2.html)
pub fn close_range_cloexec(first: u32) -> Result<()> {
    // SAFETY: no pointers; the flag only sets FD_CLOEXEC, so no owner loses its descriptor.
    match unsafe { sys!(SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) } {
        Ok(_) => Ok(()),
        Err(Errno::ENOSYS | Errno::EINVAL | Errno::EPERM) => cloexec_by_walk(first),
        Err(errno) => Err(errno),
    }
}

fn cloexec_by_walk(first: u32) -> Result<()> {
    let dir = path::open("/proc/self/fd", OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
    if path::fs_magic(&dir)? != libc::PROC_SUPER_MAGIC {
        return Err(Errno::ENOSYS);
    }
    let mut listing = nix::dir::Dir::from_fd(dir)?;
    for entry in listing.iter() {
        let number = entry?.file_name().to_str().ok().and_then(|name| name.parse::<i32>().ok());
        if let Some(n) = number.filter(|n| *n as u32 >= first) {
            // SAFETY: fcntl on a number touches no memory; F_SETFD closes nothing, and a number that is gone
            // by now only gives EBADF.
            if unsafe { libc::fcntl(n, libc::F_SETFD, libc::FD_CLOEXEC) } == -1
                && Errno::last() != Errno::EBADF
            {
                return Err(Errno::last());
            }
        }
    }
    Ok(())
}

/// `fcntl(fd, F_SETFD, on ? FD_CLOEXEC : 0)`
///
/// # References
/// - [fcntl(2)](https://man7.org/linux/man-pages/man2/fcntl.2.html)
pub fn set_cloexec(fd: impl AsFd, on: bool) -> Result<()> {
    let flags = if on { FdFlag::FD_CLOEXEC } else { FdFlag::empty() };
    fcntl(fd, FcntlArg::F_SETFD(flags)).map(drop)
}

/// `dup3(fd, target, 0)`
///
/// Puts `fd` on the number `target`, which survives exec: for stdio and descriptors passed on to the
/// workload. What was open on `target` is closed. When `fd` has that number already, only its close-on-exec
/// flag is cleared.
///
/// # Errors
/// `EBUSY` when `target` is no stdio number and is owned by a value of this process (is close-on-exec, as all
/// of them are): move that one away with [`dup_above`] first. `EBADF` when `target` is negative or above the
/// limit of open files.
///
/// # References
/// - [dup(2)](https://man7.org/linux/man-pages/man2/dup.2.html)
pub fn dup_onto(fd: impl AsFd, target: i32) -> Result<()> {
    let source = fd.as_fd();
    if source.as_raw_fd() == target {
        return set_cloexec(source, false);
    }
    if target > 2 {
        // SAFETY: fcntl on a number touches no memory; F_GETFD changes nothing.
        let flags = unsafe { libc::fcntl(target, libc::F_GETFD) };
        if flags != -1 && flags & libc::FD_CLOEXEC != 0 {
            return Err(Errno::EBUSY);
        }
    }
    // SAFETY: no pointers. `target` is stdio, free, or without close-on-exec and so without an owner here.
    unsafe { sys!(SYS_dup3, source.as_raw_fd(), target, 0) }.map(drop)
}

/// `fcntl(n, F_GETFD)`: whether number `n` came through exec, open. What this program opens itself is close-on-exec.
///
/// # References
/// - [fcntl(2)](https://man7.org/linux/man-pages/man2/fcntl.2.html)
#[must_use]
pub fn is_inherited(n: i32) -> bool {
    // SAFETY: fcntl on a number touches no memory; F_GETFD changes nothing.
    let flags = unsafe { libc::fcntl(n, libc::F_GETFD) };
    flags != -1 && flags & libc::FD_CLOEXEC == 0
}

/// `fcntl(n, F_GETFD)`, then ownership of the inherited descriptor number `n`, now close-on-exec.
///
/// A number is accepted once: every descriptor this program makes is born close-on-exec, so one without the
/// flag came through exec and has no owner yet, and adopting sets the flag.
///
/// # Errors
/// `EINVAL` for 0, 1 and 2 (stdio has an owner in `std`), `EBADF` when nothing is open there, `EBUSY` when
/// the number has an owner in this process.
pub fn adopt(n: i32) -> Result<OwnedFd> {
    if n < 3 {
        return Err(Errno::EINVAL);
    }
    // SAFETY: fcntl on a number touches no memory; F_GETFD changes nothing.
    match unsafe { libc::fcntl(n, libc::F_GETFD) } {
        -1 => Err(Errno::last()),
        flags if flags & libc::FD_CLOEXEC != 0 => Err(Errno::EBUSY),
        _ => {
            // SAFETY: open (just checked) and unowned: it lacks the flag which each owned descriptor here
            // has.
            let fd = unsafe { crate::raw::own(n as usize) };
            set_cloexec(&fd, true)?;
            Ok(fd)
        }
    }
}

/// `open("/dev/null", access)`, checked to be the null device.
///
/// An image may ship a symlink or another device under that name (CVE-2025-31133).
///
/// # Errors
/// `ENODEV` when the file is not character device 1:3.
pub fn dev_null(access: OFlag) -> Result<OwnedFd> {
    let fd = nix::fcntl::open("/dev/null", access | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW, Mode::empty())?;
    let stat = path::fstat(&fd)?;
    if stat.is_char() && stat.rdev == libc::makedev(1, 3) { Ok(fd) } else { Err(Errno::ENODEV) }
}

/// `fcntl(fd, F_DUPFD_CLOEXEC, lowest)`: a copy on the first free number from `lowest` on.
pub fn dup_above(fd: BorrowedFd<'_>, lowest: i32) -> Result<OwnedFd> {
    // SAFETY: no pointers; the call returns a fresh descriptor.
    unsafe { sys_fd!(SYS_fcntl, fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, lowest) }
}

/// `memfd_create(name, MFD_CLOEXEC)`
///
/// # References
/// - [memfd_create(2)](https://man7.org/linux/man-pages/man2/memfd_create.2.html)
pub fn memfd(name: &str) -> Result<OwnedFd> {
    nix::sys::memfd::memfd_create(name, nix::sys::memfd::MFdFlags::MFD_CLOEXEC)
}

/// Closes every descriptor from `first` on that is not in `keep`, with one close_range(2) per gap.
///
/// Only for a process that has just been cloned and shares no table: owners of the closed numbers elsewhere in
/// memory must never run (the child ends in execve or `_exit`).
///
/// # References
/// - [close_range(2)](https://man7.org/linux/man-pages/man2/close_range.2.html)
pub fn close_except(first: u32, keep: &[BorrowedFd<'_>]) -> Result<()> {
    let mut kept: Vec<u32> = keep.iter().map(|fd| fd.as_raw_fd() as u32).filter(|fd| *fd >= first).collect();
    kept.sort_unstable();
    let mut from = first;
    for fd in kept {
        if fd > from {
            // SAFETY: no pointers; the caller vouches that nothing uses these descriptors any more.
            unsafe { sys!(SYS_close_range, from, fd - 1, 0) }?;
        }
        from = fd + 1;
    }
    // SAFETY: as above.
    unsafe { sys!(SYS_close_range, from, u32::MAX, 0) }.map(drop)
}

/// `pipe2(O_CLOEXEC)`: the reading and the writing end.
///
/// # References
/// - [pipe(2)](https://man7.org/linux/man-pages/man2/pipe.2.html)
pub fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    nix::unistd::pipe2(OFlag::O_CLOEXEC)
}

/// `flock(fd, LOCK_EX or LOCK_SH, with LOCK_NB unless wait)`: held until the last copy of the descriptor is
/// closed.
///
/// # Errors
/// `EWOULDBLOCK` when another holds it and `wait` is false.
///
/// # References
/// - [flock(2)](https://man7.org/linux/man-pages/man2/flock.2.html)
pub fn flock(fd: impl AsFd, exclusive: bool, wait: bool) -> Result<()> {
    let kind = if exclusive { libc::LOCK_EX } else { libc::LOCK_SH };
    let flags = if wait { kind } else { kind | libc::LOCK_NB };
    // SAFETY: no pointers.
    unsafe { sys!(SYS_flock, fd.as_fd().as_raw_fd(), flags) }.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::FromRawFd;

    fn cloexec(fd: &impl AsFd) -> bool {
        fcntl(fd, FcntlArg::F_GETFD).unwrap() & libc::FD_CLOEXEC != 0
    }

    #[test]
    fn adopting_takes_an_inherited_number_once() {
        let null = dev_null(OFlag::O_RDONLY).unwrap();
        assert!(cloexec(&null));
        let number = dup_above(null.as_fd(), 200).unwrap();
        set_cloexec(&number, false).unwrap();
        let raw = std::os::fd::IntoRawFd::into_raw_fd(number);
        let adopted = adopt(raw).unwrap();
        assert!(cloexec(&adopted));
        assert_eq!(adopt(raw).unwrap_err(), Errno::EBUSY);
        drop(adopted);
        assert_eq!(adopt(9999).unwrap_err(), Errno::EBADF);
        assert_eq!(adopt(1).unwrap_err(), Errno::EINVAL);
    }

    #[test]
    fn dup_onto_survives_exec_and_the_range_call_takes_it_back() {
        crate::testing::in_child(|| {
            let null = dev_null(OFlag::O_RDWR).unwrap();
            for walk in [false, true] {
                dup_onto(&null, 300).unwrap();
                // SAFETY: 300 was opened by the line above and has no other owner.
                let target = unsafe { OwnedFd::from_raw_fd(300) };
                assert!(!cloexec(&target));
                if walk {
                    cloexec_by_walk(3).unwrap();
                } else {
                    close_range_cloexec(3).unwrap();
                }
                assert!(cloexec(&target));
            }
        });
    }

    #[test]
    fn a_number_in_use_here_is_not_taken_away() {
        let (reader, writer) = pipe().unwrap();
        let reserved = dup_above(reader.as_fd(), 400).unwrap();
        assert_eq!(dup_onto(&writer, reserved.as_raw_fd()), Err(Errno::EBUSY));
        assert_eq!(dup_onto(&writer, -1), Err(Errno::EBADF));
    }

    #[test]
    fn a_lock_is_held_by_one() {
        let open = || path::open("/proc/self/exe", OFlag::O_RDONLY).unwrap();
        let (one, two) = (open(), open());
        flock(&one, true, false).unwrap();
        assert_eq!(flock(&two, false, false), Err(Errno::EWOULDBLOCK));
        drop(one);
        flock(&two, false, true).unwrap();
    }
}

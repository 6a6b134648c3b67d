//! The one place where the raw `syscall` function is called.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use libc::c_long;

use crate::{Errno, Result};

/// Fills the arguments a call does not have with zeros.
pub(crate) const fn pad<const N: usize>(given: [usize; N]) -> [usize; 6] {
    let mut all = [0; 6];
    let mut i = 0;
    while i < N {
        all[i] = given[i];
        i += 1;
    }
    all
}

/// syscall(2), retried on `EINTR`. Every argument has the width of a register, so that the variadic C
/// function passes no undefined upper half.
///
/// # Safety
/// The arguments must be what system call `nr` expects; pointers must be valid for the time of the call.
pub(crate) unsafe fn call(nr: c_long, a: [usize; 6]) -> Result<usize> {
    loop {
        // SAFETY: the caller guarantees that the arguments fit the call.
        let ret = unsafe { libc::syscall(nr, a[0], a[1], a[2], a[3], a[4], a[5]) };
        if ret != -1 {
            return Ok(ret as usize);
        }
        match Errno::last() {
            Errno::EINTR => {}
            errno => return Err(errno),
        }
    }
}

/// Takes ownership of the descriptor a system call has just returned.
///
/// # Safety
/// `ret` must be a descriptor made by the call just finished, with no other owner.
pub(crate) unsafe fn own(ret: usize) -> OwnedFd {
    // SAFETY: the caller guarantees a fresh, unowned descriptor; the kernel's numbers fit an i32.
    unsafe { OwnedFd::from_raw_fd(ret as i32) }
}

/// The number of a descriptor as a system call argument.
pub(crate) fn num(fd: &impl AsFd) -> usize {
    fd.as_fd().as_raw_fd() as usize
}

/// `sys!(SYS_name, arg…)`: [`call`] with each argument widened to a register.
macro_rules! sys {
    ($nr:ident $(, $arg:expr)* $(,)?) => {
        $crate::raw::call(libc::$nr, $crate::raw::pad([$($arg as usize),*]))
    };
}

/// `sys_fd!(SYS_name, arg…)`: the same for a call that returns a new descriptor.
macro_rules! sys_fd {
    ($($all:tt)*) => {
        match sys!($($all)*) {
            Ok(ret) => Ok($crate::raw::own(ret)),
            Err(errno) => Err(errno),
        }
    };
}

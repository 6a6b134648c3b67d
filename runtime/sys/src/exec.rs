//! The end of the way: execve(2), and `_exit` when that is not possible.

use std::ffi::{CStr, CString, c_char};
use std::os::fd::AsFd;

use crate::raw::num;
use crate::{Errno, Result};

/// Strings with the NULL-terminated array of pointers to them that execve(2) wants, made before it is needed.
#[derive(Debug)]
pub struct StringArray {
    pointers: Vec<*const c_char>,
    strings: Vec<CString>,
}

impl StringArray {
    /// Takes the strings; the pointers stay valid because a `CString`'s text does not move with it.
    pub fn new(strings: Vec<CString>) -> Self {
        let pointers = pointers(&strings);
        Self { pointers, strings }
    }

    /// The strings.
    pub fn strings(&self) -> &[CString] {
        &self.strings
    }
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
}

/// `execve(path, argv, envp)`: returns only the error.
///
/// # References
/// - [execve(2)](https://man7.org/linux/man-pages/man2/execve.2.html)
pub fn execve(path: &CStr, argv: &[CString], envp: &[CString]) -> Errno {
    let (argv, envp) = (pointers(argv), pointers(envp));
    // SAFETY: both arrays end with NULL, and path and strings are NUL-terminated; all live through the call.
    never(unsafe { sys!(SYS_execve, path.as_ptr(), argv.as_ptr(), envp.as_ptr()) })
}

/// [`execve`] with arrays made beforehand: allocates nothing.
///
/// # References
/// - [execve(2)](https://man7.org/linux/man-pages/man2/execve.2.html)
pub fn execve_prepared(path: &CStr, argv: &StringArray, envp: &StringArray) -> Errno {
    // SAFETY: as in `execve`; the pointers point into strings the arrays own.
    never(unsafe { sys!(SYS_execve, path.as_ptr(), argv.pointers.as_ptr(), envp.pointers.as_ptr()) })
}

/// `execveat(fd, "", argv, envp, AT_EMPTY_PATH)`: runs an open file; returns only the error.
///
/// # Errors
/// `ENOENT` for a script: its interpreter would have to open a descriptor that is closed by then.
///
/// # References
/// - [execveat(2)](https://man7.org/linux/man-pages/man2/execveat.2.html)
pub fn execveat(fd: impl AsFd, argv: &[CString], envp: &[CString]) -> Errno {
    let (argv, envp) = (pointers(argv), pointers(envp));
    let flags = libc::AT_EMPTY_PATH;
    // SAFETY: both arrays end with NULL, and all strings are NUL-terminated; all live through the call.
    never(unsafe { sys!(SYS_execveat, num(&fd), c"".as_ptr(), argv.as_ptr(), envp.as_ptr(), flags) })
}

/// An exec that returned has failed.
fn never(result: Result<usize>) -> Errno {
    result.err().unwrap_or(Errno::UnknownErrno)
}

/// `_exit(status)`: ends the process without destructors, `atexit` handlers or buffered output.
///
/// # References
/// - [_exit(2)](https://man7.org/linux/man-pages/man2/_exit.2.html)
pub fn exit_now(status: i32) -> ! {
    // SAFETY: `_exit` may be called at any time and does not return.
    unsafe { libc::_exit(status) }
}

//! Whole-file reads and writes, working directory and root.

use std::os::fd::AsFd;

use nix::NixPath;

use crate::raw::num;
use crate::{Errno, Result};

/// `read(fd, …)` to the end of the file.
///
/// # Errors
/// `EFBIG` when the file holds more than `limit` bytes: files of a container are not to fill the runtime's
/// memory.
///
/// # References
/// - [read(2)](https://man7.org/linux/man-pages/man2/read.2.html)
pub fn read_to_end(fd: impl AsFd, limit: usize) -> Result<Vec<u8>> {
    let mut data = Vec::new();
    let mut chunk = [0_u8; 4096];
    loop {
        let n = match nix::unistd::read(&fd, &mut chunk) {
            Ok(0) => return Ok(data),
            Ok(n) => n,
            Err(Errno::EINTR) => continue,
            Err(errno) => return Err(errno),
        };
        if data.len() + n > limit {
            return Err(Errno::EFBIG);
        }
        data.extend_from_slice(&chunk[..n]);
    }
}

/// `write(fd, …)` until everything is written.
///
/// Files of procfs and cgroupfs take a value in one write: they see one, unless the kernel takes less.
///
/// # References
/// - [write(2)](https://man7.org/linux/man-pages/man2/write.2.html)
pub fn write_all(fd: impl AsFd, data: &[u8]) -> Result<()> {
    let mut rest = data;
    loop {
        match nix::unistd::write(&fd, rest) {
            Ok(0) if !rest.is_empty() => return Err(Errno::EIO),
            Ok(n) => rest = &rest[n..],
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
        if rest.is_empty() {
            return Ok(());
        }
    }
}

/// `getcwd()`: whether the working directory lies beneath the root of this process.
///
/// A descriptor of the host leaked as working directory shows as "(unreachable)…" (CVE-2024-21626); a
/// directory that has been removed counts as unreachable as well. The raw call is made because libc turns
/// both into guesses.
///
/// # References
/// - [getcwd(2)](https://man7.org/linux/man-pages/man2/getcwd.2.html)
pub fn cwd_is_reachable() -> Result<bool> {
    let mut buf = [0_u8; libc::PATH_MAX as usize];
    // SAFETY: `buf` is valid for writes of the length given.
    match unsafe { sys!(SYS_getcwd, buf.as_mut_ptr(), buf.len()) } {
        Ok(_) => Ok(buf[0] == b'/'),
        Err(Errno::ENOENT) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// `fchdir(fd)`
///
/// # References
/// - [chdir(2)](https://man7.org/linux/man-pages/man2/chdir.2.html)
pub fn fchdir(fd: impl AsFd) -> Result<()> {
    // SAFETY: no pointers.
    unsafe { sys!(SYS_fchdir, num(&fd)) }.map(drop)
}

/// `chdir(path)`
///
/// # References
/// - [chdir(2)](https://man7.org/linux/man-pages/man2/chdir.2.html)
pub fn chdir<P: NixPath + ?Sized>(path: &P) -> Result<()> {
    nix::unistd::chdir(path)
}

/// `chroot(path)`; the working directory stays where it is.
///
/// # References
/// - [chroot(2)](https://man7.org/linux/man-pages/man2/chroot.2.html)
pub fn chroot<P: NixPath + ?Sized>(path: &P) -> Result<()> {
    nix::unistd::chroot(path)
}

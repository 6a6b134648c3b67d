//! File system contexts: fsopen, fsconfig, fsmount, fspick.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::NixPath;

use super::MountAttrs;
use crate::raw::num;
use crate::{Errno, Result};

// enum fsconfig_command of linux/mount.h
const SET_FLAG: u32 = 0;
const SET_STRING: u32 = 1;
const SET_BINARY: u32 = 2;
const SET_PATH: u32 = 3;
const SET_FD: u32 = 5;
const CMD_CREATE: u32 = 6;
const CMD_RECONFIGURE: u32 = 7;

/// Longest message the kernel puts in a context's log, with room to spare.
const LOG_LINE: usize = 1024;

/// A file system being configured.
#[derive(Debug)]
pub struct FsContext(OwnedFd);

impl FsContext {
    /// `fsopen(fstype, FSOPEN_CLOEXEC)`
    ///
    /// # Errors
    /// `ENODEV` for a file system the kernel does not have, `ENOSYS` before Linux 5.2.
    ///
    /// # References
    /// - [fsopen(2)](https://man7.org/linux/man-pages/man2/fsopen.2.html)
    pub fn open(fstype: &str) -> Result<Self> {
        let fd = fstype.with_nix_path(|fstype| {
            // SAFETY: the name is NUL-terminated and lives through the call.
            unsafe { sys_fd!(SYS_fsopen, fstype.as_ptr(), libc::FSOPEN_CLOEXEC) }
        })??;
        Ok(Self(fd))
    }

    /// `fsconfig(fd, FSCONFIG_SET_STRING, key, value, 0)`
    ///
    /// # Errors
    /// `EINVAL` for a parameter the file system does not know; [`FsContext::log`] says more.
    ///
    /// # References
    /// - [fsconfig(2)](https://man7.org/linux/man-pages/man2/fsconfig.2.html)
    pub fn string(&self, key: &str, value: &str) -> Result<()> {
        let (key, value) = (cstring(key)?, cstring(value)?);
        // SAFETY: both strings are NUL-terminated and live through the call.
        unsafe { sys!(SYS_fsconfig, num(&self.0), SET_STRING, key.as_ptr(), value.as_ptr(), 0) }.map(drop)
    }

    /// `fsconfig(fd, FSCONFIG_SET_FLAG, key, NULL, 0)`
    ///
    /// # References
    /// - [fsconfig(2)](https://man7.org/linux/man-pages/man2/fsconfig.2.html)
    pub fn flag(&self, key: &str) -> Result<()> {
        let key = cstring(key)?;
        // SAFETY: the key is NUL-terminated and lives through the call; a flag has no value.
        unsafe { sys!(SYS_fsconfig, num(&self.0), SET_FLAG, key.as_ptr(), 0, 0) }.map(drop)
    }

    /// `fsconfig(fd, FSCONFIG_SET_FD, key, NULL, value)`: a parameter that is a descriptor, as overlayfs's
    /// `lowerdir+`.
    ///
    /// # References
    /// - [fsconfig(2)](https://man7.org/linux/man-pages/man2/fsconfig.2.html)
    pub fn fd(&self, key: &str, value: impl AsFd) -> Result<()> {
        let key = cstring(key)?;
        // SAFETY: the key is NUL-terminated and lives through the call; the kernel takes its own reference of
        // the file.
        unsafe { sys!(SYS_fsconfig, num(&self.0), SET_FD, key.as_ptr(), 0, num(&value)) }.map(drop)
    }

    /// `fsconfig(fd, FSCONFIG_SET_PATH, key, path, dir)`: a parameter that is a path, looked up from `dir`,
    /// as ext4's `journal_path`. Most file systems (overlayfs too) take paths as strings or descriptors only.
    ///
    /// # References
    /// - [fsconfig(2)](https://man7.org/linux/man-pages/man2/fsconfig.2.html)
    pub fn path<P: NixPath + ?Sized>(&self, key: &str, dir: impl AsFd, path: &P) -> Result<()> {
        let key = cstring(key)?;
        path.with_nix_path(|path| {
            // SAFETY: both strings are NUL-terminated and live through the call.
            unsafe { sys!(SYS_fsconfig, num(&self.0), SET_PATH, key.as_ptr(), path.as_ptr(), num(&dir)) }
        })?
        .map(drop)
    }

    /// `fsconfig(fd, FSCONFIG_SET_BINARY, key, value, length)`
    ///
    /// # References
    /// - [fsconfig(2)](https://man7.org/linux/man-pages/man2/fsconfig.2.html)
    pub fn binary(&self, key: &str, value: &[u8]) -> Result<()> {
        let key = cstring(key)?;
        // SAFETY: the key is NUL-terminated, `value` is valid for its length; both live through the call.
        unsafe { sys!(SYS_fsconfig, num(&self.0), SET_BINARY, key.as_ptr(), value.as_ptr(), value.len()) }
            .map(drop)
    }

    /// `fsconfig(fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0)`: makes the superblock.
    ///
    /// # References
    /// - [fsconfig(2)](https://man7.org/linux/man-pages/man2/fsconfig.2.html)
    pub fn create(&self) -> Result<()> {
        self.command(CMD_CREATE)
    }

    /// `fsconfig(fd, FSCONFIG_CMD_RECONFIGURE, NULL, NULL, 0)`: applies changes to a picked superblock.
    ///
    /// # References
    /// - [fsconfig(2)](https://man7.org/linux/man-pages/man2/fsconfig.2.html)
    pub fn reconfigure(&self) -> Result<()> {
        self.command(CMD_RECONFIGURE)
    }

    fn command(&self, command: u32) -> Result<()> {
        // SAFETY: commands have neither key nor value.
        unsafe { sys!(SYS_fsconfig, num(&self.0), command, 0, 0, 0) }.map(drop)
    }

    /// `fsmount(fd, FSMOUNT_CLOEXEC, attrs)`: a detached mount of the superblock made by
    /// [`FsContext::create`].
    ///
    /// # References
    /// - [fsmount(2)](https://man7.org/linux/man-pages/man2/fsmount.2.html)
    pub fn mount(&self, attrs: MountAttrs) -> Result<OwnedFd> {
        // SAFETY: no pointers.
        unsafe { sys_fd!(SYS_fsmount, num(&self.0), libc::FSMOUNT_CLOEXEC, attrs.bits()) }
    }

    /// `read(fd, …)`: the kernel's messages about this context, oldest first, as "e overlay: No changes
    /// allowed".
    ///
    /// The letter is `e` for an error, `w` for a warning, `i` for information. Reading takes them away.
    pub fn log(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut buf = [0_u8; LOG_LINE];
        // ENODATA ends the log; other errors leave what was read.
        while let Ok(n) = nix::unistd::read(&self.0, &mut buf) {
            if n == 0 {
                break;
            }
            lines.push(String::from_utf8_lossy(&buf[..n]).trim_end().to_owned());
        }
        lines
    }
}

impl AsFd for FsContext {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// `fspick(fd, "", FSPICK_CLOEXEC | FSPICK_EMPTY_PATH)`: the context of the superblock `fd` is the root of,
/// for [`FsContext::reconfigure`].
///
/// # References
/// - [fspick(2)](https://man7.org/linux/man-pages/man2/fspick.2.html)
pub fn fspick(fd: impl AsFd) -> Result<FsContext> {
    let flags = libc::FSPICK_CLOEXEC | libc::FSPICK_EMPTY_PATH;
    // SAFETY: the empty string is NUL-terminated.
    let fd = unsafe { sys_fd!(SYS_fspick, fd.as_fd().as_raw_fd(), c"".as_ptr(), flags) }?;
    Ok(FsContext(fd))
}

fn cstring(text: &str) -> Result<CString> {
    CString::new(text).or(Err(Errno::EINVAL))
}

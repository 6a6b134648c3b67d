//! A procfs that no image, no over-mount and no option of the host's `/proc` can influence.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::fcntl::OFlag;

use crate::mount::{FsContext, MountAttrs};
use crate::path::{self, Resolve};
use crate::{Errno, Result};

/// Inode number of the root of every procfs.
const PROC_ROOT_INO: u64 = 1;
/// Files of procfs a runtime reads are small; one that is not is no file of procfs.
const READ_LIMIT: usize = 1 << 20;

/// The root of a procfs instance of the caller's PID namespace.
#[derive(Debug)]
pub struct Procfs(OwnedFd);

impl Procfs {
    /// `fsmount(fsopen("proc"))`: a new instance attached nowhere.
    ///
    /// Where making one is not allowed (a user namespace whose `/proc` is partly covered), `/proc` is used,
    /// but only if it is the root of a procfs; look-ups never cross a mount, so files covered there cannot
    /// mislead.
    ///
    /// # Errors
    /// `EXDEV` when `/proc` is not the root of a procfs.
    ///
    /// # References
    /// - [fsopen(2)](https://man7.org/linux/man-pages/man2/fsopen.2.html), [proc(5)](https://man7.org/linux/man-pages/man5/proc.5.html)
    pub fn private() -> Result<Self> {
        match Self::detached() {
            Ok(fd) => Ok(Self(fd)),
            Err(Errno::EPERM | Errno::ENOSYS | Errno::EACCES) => Self::of_host(),
            Err(errno) => Err(errno),
        }
    }

    fn detached() -> Result<OwnedFd> {
        let context = FsContext::open("proc")?;
        context.create()?;
        context.mount(MountAttrs::NOSUID | MountAttrs::NODEV | MountAttrs::NOEXEC)
    }

    /// The `/proc` of this mount namespace, after checking what it is.
    ///
    /// # Errors
    /// `EXDEV` when it is not the root of a procfs.
    pub fn of_host() -> Result<Self> {
        let fd = path::open("/proc", OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW)?;
        if path::fs_magic(&fd)? != libc::PROC_SUPER_MAGIC || path::fstat(&fd)?.ino != PROC_ROOT_INO {
            return Err(Errno::EXDEV);
        }
        Ok(Self(fd))
    }

    /// `openat2(proc, sub, flags, RESOLVE_BENEATH | RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS)`
    ///
    /// `self` and `thread-self` are plain links and allowed; magic links (`exe`, `cwd`, `fd/N`) are not.
    pub fn open(&self, sub: &str, flags: OFlag) -> Result<OwnedFd> {
        path::openat2(&self.0, sub, flags, 0, Resolve::BENEATH | Resolve::NO_XDEV | Resolve::NO_MAGICLINKS)
    }

    /// Opens `sub` and writes `data` with one write(2), as the files of procfs want it.
    pub fn write(&self, sub: &str, data: impl AsRef<[u8]>) -> Result<()> {
        path::write_all(&self.open(sub, OFlag::O_WRONLY)?, data.as_ref())
    }

    /// The contents of `sub`.
    ///
    /// # Errors
    /// `EILSEQ` when it is not UTF-8, `EFBIG` above 1 MiB.
    pub fn read_to_string(&self, sub: &str) -> Result<String> {
        let data = path::read_to_end(self.open(sub, OFlag::O_RDONLY)?, READ_LIMIT)?;
        String::from_utf8(data).or(Err(Errno::EILSEQ))
    }
}

impl AsFd for Procfs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// "/proc/self/fd/N": a path to an open descriptor for calls that take nothing else. Host side only.
pub fn fd_path(fd: impl AsFd) -> String {
    format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd())
}

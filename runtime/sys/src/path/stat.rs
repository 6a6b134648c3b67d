//! What a descriptor or a name is.

use std::mem::MaybeUninit;
use std::os::fd::AsFd;

use nix::NixPath;
use nix::fcntl::AtFlags;

use crate::raw::num;
use crate::{Errno, Result};

/// The part of `struct stat` a runtime looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// File type and permission bits, as in `st_mode`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device the file is on.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Device the file is, for device nodes.
    pub rdev: u64,
    /// Number of hard links.
    pub nlink: u64,
    /// Length in bytes.
    pub size: u64,
}

impl Stat {
    /// The permission bits, with set-id and sticky bits.
    pub fn permissions(&self) -> u32 {
        self.mode & 0o7777
    }

    fn is(&self, kind: libc::mode_t) -> bool {
        self.mode & libc::S_IFMT == kind
    }

    /// A directory?
    pub fn is_dir(&self) -> bool {
        self.is(libc::S_IFDIR)
    }

    /// A regular file?
    pub fn is_file(&self) -> bool {
        self.is(libc::S_IFREG)
    }

    /// A symbolic link?
    pub fn is_symlink(&self) -> bool {
        self.is(libc::S_IFLNK)
    }

    /// A character device?
    pub fn is_char(&self) -> bool {
        self.is(libc::S_IFCHR)
    }

    /// A block device?
    pub fn is_block(&self) -> bool {
        self.is(libc::S_IFBLK)
    }

    /// A named pipe?
    pub fn is_fifo(&self) -> bool {
        self.is(libc::S_IFIFO)
    }

    /// A socket?
    pub fn is_socket(&self) -> bool {
        self.is(libc::S_IFSOCK)
    }
}

impl From<libc::stat> for Stat {
    #[allow(clippy::unnecessary_cast, reason = "st_nlink has 32 bits on arm64")]
    fn from(st: libc::stat) -> Self {
        Self {
            mode: st.st_mode,
            uid: st.st_uid,
            gid: st.st_gid,
            dev: st.st_dev,
            ino: st.st_ino,
            rdev: st.st_rdev,
            nlink: st.st_nlink as u64,
            size: st.st_size as u64,
        }
    }
}

/// `fstat(fd)`; works on `O_PATH` descriptors.
///
/// # References
/// - [stat(2)](https://man7.org/linux/man-pages/man2/stat.2.html)
pub fn fstat(fd: impl AsFd) -> Result<Stat> {
    nix::sys::stat::fstat(fd).map(Stat::from)
}

/// `fstatat(dir, name, follow ? 0 : AT_SYMLINK_NOFOLLOW)`
///
/// # References
/// - [stat(2)](https://man7.org/linux/man-pages/man2/stat.2.html)
pub fn fstatat<P: NixPath + ?Sized>(dir: impl AsFd, name: &P, follow: bool) -> Result<Stat> {
    let flags = if follow { AtFlags::empty() } else { AtFlags::AT_SYMLINK_NOFOLLOW };
    nix::sys::stat::fstatat(dir, name, flags).map(Stat::from)
}

fn fstatfs(fd: &impl AsFd) -> Result<libc::statfs64> {
    let mut buf = MaybeUninit::<libc::statfs64>::uninit();
    // SAFETY: `buf` is valid for writes of a statfs for the time of the call.
    unsafe { sys!(SYS_fstatfs, num(fd), buf.as_mut_ptr()) }?;
    // SAFETY: the call succeeded, so the kernel has filled the structure.
    Ok(unsafe { buf.assume_init() })
}

/// `fstatfs(fd).f_type`: the magic number of the file system, as `libc::PROC_SUPER_MAGIC`.
///
/// # References
/// - [statfs(2)](https://man7.org/linux/man-pages/man2/statfs.2.html)
pub fn fs_magic(fd: impl AsFd) -> Result<i64> {
    fstatfs(&fd).map(|st| st.f_type)
}

/// `fstatfs(fd).f_flags & ST_RDONLY`: whether the mount or its file system is read-only.
///
/// # References
/// - [statfs(2)](https://man7.org/linux/man-pages/man2/statfs.2.html)
pub fn fs_readonly(fd: impl AsFd) -> Result<bool> {
    fstatfs(&fd).map(|st| st.f_flags as u64 & libc::ST_RDONLY != 0)
}

/// `statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID_UNIQUE)`: the id of the mount the descriptor is on.
///
/// The id that is never used again where the kernel has it (6.8), else the one of mountinfo: comparable
/// within one boot only.
///
/// # Errors
/// `ENOSYS` when the kernel reports neither (before 5.8).
///
/// # References
/// - [statx(2)](https://man7.org/linux/man-pages/man2/statx.2.html)
pub fn mount_id(fd: impl AsFd) -> Result<u64> {
    let either = libc::STATX_MNT_ID | libc::STATX_MNT_ID_UNIQUE;
    let mut buf = MaybeUninit::<libc::statx>::zeroed();
    let flags = libc::AT_EMPTY_PATH | libc::AT_STATX_DONT_SYNC;
    // SAFETY: the empty string is NUL-terminated and `buf` is valid for writes of a statx.
    unsafe { sys!(SYS_statx, num(&fd), c"".as_ptr(), flags, either, buf.as_mut_ptr()) }?;
    // SAFETY: zeroed at first and filled by the kernel; every bit pattern is a valid statx.
    let st = unsafe { buf.assume_init() };
    if st.stx_mask & either == 0 { Err(Errno::ENOSYS) } else { Ok(st.stx_mnt_id) }
}

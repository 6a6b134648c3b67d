//! Making, naming and owning inodes relative to a directory descriptor.

use std::ffi::OsString;
use std::os::fd::AsFd;

use nix::NixPath;
use nix::fcntl::AtFlags;
use nix::sys::stat::{Mode, SFlag};
use nix::unistd::{Gid, Uid, UnlinkatFlags};

use crate::raw::num;
use crate::{Errno, Result};

/// The kind of inode [`mknodat`] makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeKind {
    /// Character device.
    Char,
    /// Block device.
    Block,
    /// Named pipe.
    Fifo,
    /// Empty regular file, which mknod(2) makes without opening it.
    File,
}

impl NodeKind {
    fn flag(self) -> SFlag {
        match self {
            Self::Char => SFlag::S_IFCHR,
            Self::Block => SFlag::S_IFBLK,
            Self::Fifo => SFlag::S_IFIFO,
            Self::File => SFlag::S_IFREG,
        }
    }
}

/// `mkdirat(dir, name, perm)`; the umask applies.
///
/// # References
/// - [mkdir(2)](https://man7.org/linux/man-pages/man2/mkdir.2.html)
pub fn mkdirat<P: NixPath + ?Sized>(dir: impl AsFd, name: &P, perm: u32) -> Result<()> {
    nix::sys::stat::mkdirat(dir, name, Mode::from_bits_truncate(perm))
}

/// `mknodat(dir, name, kind | perm, rdev)`; the umask applies. `rdev` as `libc::makedev` makes it.
///
/// # References
/// - [mknod(2)](https://man7.org/linux/man-pages/man2/mknod.2.html)
pub fn mknodat<P: NixPath + ?Sized>(
    dir: impl AsFd,
    name: &P,
    kind: NodeKind,
    perm: u32,
    rdev: u64,
) -> Result<()> {
    nix::sys::stat::mknodat(dir, name, kind.flag(), Mode::from_bits_truncate(perm), rdev)
}

/// `symlinkat(target, dir, name)`
///
/// # References
/// - [symlink(2)](https://man7.org/linux/man-pages/man2/symlink.2.html)
pub fn symlinkat<T: NixPath + ?Sized, P: NixPath + ?Sized>(
    target: &T,
    dir: impl AsFd,
    name: &P,
) -> Result<()> {
    nix::unistd::symlinkat(target, dir, name)
}

/// `readlinkat(dir, name)`; the empty name reads the link an `O_PATH | O_NOFOLLOW` descriptor stands for.
///
/// # References
/// - [readlink(2)](https://man7.org/linux/man-pages/man2/readlink.2.html)
pub fn readlinkat<P: NixPath + ?Sized>(dir: impl AsFd, name: &P) -> Result<OsString> {
    nix::fcntl::readlinkat(dir, name)
}

/// `unlinkat(dir, name, 0)`: removes a file, never a directory.
///
/// # References
/// - [unlink(2)](https://man7.org/linux/man-pages/man2/unlink.2.html)
pub fn unlinkat<P: NixPath + ?Sized>(dir: impl AsFd, name: &P) -> Result<()> {
    nix::unistd::unlinkat(dir, name, UnlinkatFlags::NoRemoveDir)
}

/// `unlinkat(dir, name, AT_REMOVEDIR)`: removes an empty directory.
///
/// # References
/// - [unlink(2)](https://man7.org/linux/man-pages/man2/unlink.2.html)
pub fn rmdirat<P: NixPath + ?Sized>(dir: impl AsFd, name: &P) -> Result<()> {
    nix::unistd::unlinkat(dir, name, UnlinkatFlags::RemoveDir)
}

/// `renameat(dir, from, dir, to)`: both names in one directory, as an atomic replacement of a file needs.
///
/// # References
/// - [rename(2)](https://man7.org/linux/man-pages/man2/rename.2.html)
pub fn renameat<P: NixPath + ?Sized, Q: NixPath + ?Sized>(dir: impl AsFd, from: &P, to: &Q) -> Result<()> {
    nix::fcntl::renameat(dir.as_fd(), from, dir.as_fd(), to)
}

/// `fchownat(dir, name, uid, gid, AT_SYMLINK_NOFOLLOW)`; `None` leaves an id as it is.
///
/// # References
/// - [chown(2)](https://man7.org/linux/man-pages/man2/chown.2.html)
pub fn fchownat<P: NixPath + ?Sized>(
    dir: impl AsFd,
    name: &P,
    uid: Option<u32>,
    gid: Option<u32>,
) -> Result<()> {
    let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
    nix::unistd::fchownat(dir, name, uid, gid, AtFlags::AT_SYMLINK_NOFOLLOW)
}

/// `fchownat(fd, "", uid, gid, AT_EMPTY_PATH)`: works on `O_PATH` descriptors.
///
/// # References
/// - [chown(2)](https://man7.org/linux/man-pages/man2/chown.2.html)
pub fn fchown(fd: impl AsFd, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
    let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
    nix::unistd::fchownat(fd, c"", uid, gid, AtFlags::AT_EMPTY_PATH)
}

/// `fchmodat2(fd, "", mode, AT_EMPTY_PATH)`: works on `O_PATH` descriptors.
///
/// Tries fchmod(2) first; kernels before 6.6 go through `/proc/self/fd` for an `O_PATH` descriptor (host side
/// only there).
///
/// # References
/// - [chmod(2)](https://man7.org/linux/man-pages/man2/chmod.2.html)
pub fn fchmod(fd: impl AsFd, mode: u32) -> Result<()> {
    // SAFETY: no pointers.
    match unsafe { sys!(SYS_fchmod, num(&fd), mode) } {
        Err(Errno::EBADF) => {}
        other => return other.map(drop),
    }
    // SAFETY: the empty string is NUL-terminated.
    match unsafe { sys!(SYS_fchmodat2, num(&fd), c"".as_ptr(), mode, libc::AT_EMPTY_PATH) } {
        Err(Errno::ENOSYS | Errno::EPERM) => {}
        other => return other.map(drop),
    }
    let link = crate::procfs::fd_path(&fd);
    nix::sys::stat::fchmodat(
        nix::fcntl::AT_FDCWD,
        link.as_str(),
        Mode::from_bits_truncate(mode),
        nix::sys::stat::FchmodatFlags::FollowSymlink,
    )
}

//! Mount trees by descriptor: open_tree, move_mount, mount_setattr.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::NixPath;

use crate::Result;
use crate::raw::num;

bitflags::bitflags! {
    /// Attributes of a mount (`MOUNT_ATTR_*`).
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct MountAttrs: u64 {
        /// Read-only.
        const RDONLY = libc::MOUNT_ATTR_RDONLY;
        /// Set-id bits and file capabilities ignored.
        const NOSUID = libc::MOUNT_ATTR_NOSUID;
        /// Device nodes ignored.
        const NODEV = libc::MOUNT_ATTR_NODEV;
        /// No execution.
        const NOEXEC = libc::MOUNT_ATTR_NOEXEC;
        /// Access times never written. One of a field of three: see [`SetAttr`].
        const NOATIME = libc::MOUNT_ATTR_NOATIME;
        /// Access times always written. One of a field of three: see [`SetAttr`].
        const STRICTATIME = libc::MOUNT_ATTR_STRICTATIME;
        /// All bits of the access time field, for clearing. Relative access times are the field's zero.
        const ATIME = libc::MOUNT_ATTR__ATIME;
        /// Access times of directories never written.
        const NODIRATIME = libc::MOUNT_ATTR_NODIRATIME;
        /// Symbolic links not followed.
        const NOSYMFOLLOW = libc::MOUNT_ATTR_NOSYMFOLLOW;
        /// Ids mapped by a user namespace.
        const IDMAP = libc::MOUNT_ATTR_IDMAP;
    }
}

impl MountAttrs {
    /// Access times written when older than the last change (the kernel's default, the value 0 of its field).
    pub const RELATIME: Self = Self::empty();
}

bitflags::bitflags! {
    /// How [`open_tree`] opens (`OPEN_TREE_CLONE`, `AT_*`).
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct OpenTree: u32 {
        /// A detached copy of the mount instead of the mount itself: the new bind mount.
        const CLONE = libc::OPEN_TREE_CLONE;
        /// With `CLONE`: the mounts beneath as well.
        const RECURSIVE = libc::AT_RECURSIVE as u32;
        /// The path is empty and the directory descriptor is meant.
        const EMPTY_PATH = libc::AT_EMPTY_PATH as u32;
        /// A final symbolic link is not followed.
        const NOFOLLOW = libc::AT_SYMLINK_NOFOLLOW as u32;
        /// A final automount is not triggered.
        const NO_AUTOMOUNT = libc::AT_NO_AUTOMOUNT as u32;
    }
}

/// `open_tree(dir, path, flags | OPEN_TREE_CLOEXEC)`; without `dir`, from the working directory.
///
/// # References
/// - [open_tree(2)](https://man7.org/linux/man-pages/man2/open_tree.2.html)
pub fn open_tree<P: NixPath + ?Sized>(
    dir: Option<BorrowedFd<'_>>,
    path: &P,
    flags: OpenTree,
) -> Result<OwnedFd> {
    let dir = dir.map_or(libc::AT_FDCWD, |fd| fd.as_raw_fd());
    let flags = flags.bits() | libc::OPEN_TREE_CLOEXEC;
    // SAFETY: the path is NUL-terminated and lives through the call.
    path.with_nix_path(|path| unsafe { sys_fd!(SYS_open_tree, dir, path.as_ptr(), flags) })?
}

/// `move_mount(from, "", to, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH)`
///
/// Attaches a detached mount (or moves an attached one) onto a file or directory verified and opened before.
///
/// # References
/// - [move_mount(2)](https://man7.org/linux/man-pages/man2/move_mount.2.html)
pub fn move_mount(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<()> {
    let empty = c"".as_ptr();
    let flags = libc::MOVE_MOUNT_F_EMPTY_PATH | libc::MOVE_MOUNT_T_EMPTY_PATH;
    // SAFETY: the empty string is NUL-terminated.
    unsafe { sys!(SYS_move_mount, num(&from), empty, num(&to), empty, flags) }.map(drop)
}

/// `move_mount(from, "", dir, path, MOVE_MOUNT_F_EMPTY_PATH)`; a final symbolic link is not followed.
///
/// # References
/// - [move_mount(2)](https://man7.org/linux/man-pages/man2/move_mount.2.html)
pub fn move_mount_at<P: NixPath + ?Sized>(from: BorrowedFd<'_>, dir: impl AsFd, path: &P) -> Result<()> {
    let flags = libc::MOVE_MOUNT_F_EMPTY_PATH;
    path.with_nix_path(|path| {
        // SAFETY: both strings are NUL-terminated and live through the call.
        unsafe { sys!(SYS_move_mount, num(&from), c"".as_ptr(), num(&dir), path.as_ptr(), flags) }
    })?
    .map(drop)
}

/// How mounts and unmounts travel between copies of a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// Not at all.
    Private,
    /// Received, not sent.
    Slave,
    /// Received and sent.
    Shared,
    /// Not at all, and the mount cannot be bind mounted.
    Unbindable,
}

impl Propagation {
    pub(super) fn flag(self) -> libc::c_ulong {
        match self {
            Self::Private => libc::MS_PRIVATE,
            Self::Slave => libc::MS_SLAVE,
            Self::Shared => libc::MS_SHARED,
            Self::Unbindable => libc::MS_UNBINDABLE,
        }
    }
}

/// What [`set_attr`] changes.
///
/// The access time attributes are one field. Naming `NOATIME` or `STRICTATIME` in `set` replaces it;
/// `RELATIME` is its zero and so is asked for by `MountAttrs::ATIME` in `clear`.
#[derive(Debug, Clone, Copy, Default)]
pub struct SetAttr<'fd> {
    /// Attributes to set.
    pub set: MountAttrs,
    /// Attributes to clear first.
    pub clear: MountAttrs,
    /// New propagation.
    pub propagation: Option<Propagation>,
    /// User namespace for `MountAttrs::IDMAP` (which is set when this is).
    pub userns: Option<BorrowedFd<'fd>>,
}

/// `struct mount_attr` of linux/mount.h.
#[repr(C)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

impl From<&SetAttr<'_>> for MountAttr {
    fn from(change: &SetAttr<'_>) -> Self {
        let idmap = if change.userns.is_some() { MountAttrs::IDMAP } else { MountAttrs::empty() };
        // The kernel refuses a new value of the access time field unless all of the old one is cleared.
        let atime =
            if change.set.intersects(MountAttrs::ATIME) { MountAttrs::ATIME } else { MountAttrs::empty() };
        Self {
            attr_set: (change.set | idmap).bits(),
            attr_clr: (change.clear | atime).bits(),
            propagation: change.propagation.map_or(0, |p| p.flag()),
            userns_fd: change.userns.map_or(0, |fd| fd.as_raw_fd() as u64),
        }
    }
}

/// `mount_setattr(fd, "", AT_EMPTY_PATH | AT_RECURSIVE, attr)`
///
/// # Errors
/// `ENOSYS` before Linux 5.12; `EINVAL` for an idmap on a mount that is attached or a file system without
/// support.
///
/// # References
/// - [mount_setattr(2)](https://man7.org/linux/man-pages/man2/mount_setattr.2.html)
pub fn set_attr(fd: impl AsFd, recursive: bool, change: &SetAttr<'_>) -> Result<()> {
    setattr_raw(num(&fd), c"", libc::AT_EMPTY_PATH, recursive, &MountAttr::from(change))
}

/// `mount_setattr(AT_FDCWD, path, AT_RECURSIVE, {propagation})`; mount(2) before Linux 5.12.
///
/// # References
/// - [mount_setattr(2)](https://man7.org/linux/man-pages/man2/mount_setattr.2.html)
pub fn set_propagation<P: NixPath + ?Sized>(
    path: &P,
    propagation: Propagation,
    recursive: bool,
) -> Result<()> {
    let attr = MountAttr::from(&SetAttr { propagation: Some(propagation), ..SetAttr::default() });
    let result =
        path.with_nix_path(|path| setattr_raw(libc::AT_FDCWD as usize, path, 0, recursive, &attr))?;
    if result != Err(crate::Errno::ENOSYS) {
        return result;
    }
    let recursion = if recursive { libc::MS_REC } else { 0 };
    let flags = super::MsFlags::from_bits_truncate(propagation.flag() | recursion);
    super::legacy_mount(None, path, None, flags, None)
}

fn setattr_raw(dir: usize, path: &std::ffi::CStr, at: i32, recursive: bool, attr: &MountAttr) -> Result<()> {
    let flags = at | if recursive { libc::AT_RECURSIVE } else { 0 };
    let size = size_of::<MountAttr>();
    // SAFETY: path and structure live through the call, and `size` is the structure's.
    unsafe { sys!(SYS_mount_setattr, dir, path.as_ptr(), flags, std::ptr::from_ref(attr), size) }.map(drop)
}

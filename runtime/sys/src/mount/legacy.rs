//! mount(2), umount2(2), pivot_root(2).

use nix::NixPath;
use nix::mount::MntFlags;
pub use nix::mount::MsFlags;
use nix::sched::CloneFlags;

use crate::Result;

/// `mount(source, target, fstype, flags, data)`: for kernels and file systems without the new API.
///
/// # References
/// - [mount(2)](https://man7.org/linux/man-pages/man2/mount.2.html)
pub fn legacy_mount<P: NixPath + ?Sized>(
    source: Option<&str>,
    target: &P,
    fstype: Option<&str>,
    flags: MsFlags,
    data: Option<&str>,
) -> Result<()> {
    nix::mount::mount(source, target, fstype, flags, data)
}

/// `umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW)`
///
/// # References
/// - [umount(2)](https://man7.org/linux/man-pages/man2/umount.2.html)
pub fn umount_detach<P: NixPath + ?Sized>(path: &P) -> Result<()> {
    nix::mount::umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW)
}

/// `umount2(path, UMOUNT_NOFOLLOW)`: fails with `EBUSY` while the mount is used.
///
/// # References
/// - [umount(2)](https://man7.org/linux/man-pages/man2/umount.2.html)
pub fn umount<P: NixPath + ?Sized>(path: &P) -> Result<()> {
    nix::mount::umount2(path, MntFlags::UMOUNT_NOFOLLOW)
}

/// `pivot_root(".", ".")`: the working directory becomes the root and the old root lies on top of it.
///
/// The caller then detaches "." (the old root, which is the topmost mount there) and goes to "/". No
/// directory for the old root is needed, so the new root may be read-only.
///
/// # References
/// - [pivot_root(2)](https://man7.org/linux/man-pages/man2/pivot_root.2.html), "pivot_root(".", ".")"
pub fn pivot_root_dot() -> Result<()> {
    nix::unistd::pivot_root(".", ".")
}

/// `unshare(CLONE_NEWNS)`: a mount namespace of its own for this process (which must have one thread only).
/// The propagation of the copied mounts is as before: see [`super::set_propagation`].
///
/// # References
/// - [unshare(2)](https://man7.org/linux/man-pages/man2/unshare.2.html)
pub fn unshare_mounts() -> Result<()> {
    nix::sched::unshare(CloneFlags::CLONE_NEWNS)
}

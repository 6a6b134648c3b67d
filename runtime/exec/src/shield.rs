//! What the container may see but not change, or not see at all.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use caisson_plan::ids::ContainerPath;
use caisson_plan::step::mounts::AttrChange;
use caisson_sys::mount::{FsContext, MountAttrs, OpenTree};
use caisson_sys::path::{self, OFlag};
use caisson_sys::{Errno, mount};

use crate::error::{Act, Context, Failure};
use crate::mounts::set_attrs;

const READ_ONLY: AttrChange = AttrChange { set: MountAttrs::RDONLY.bits(), clear: 0 };

/// Makes the root read-only; mounts below it keep their own attributes.
pub(crate) fn readonly_root(root: &OwnedFd) -> Act {
    set_attrs(root, READ_ONLY, false).on(|| "make / read-only")
}

/// Makes paths read-only, with what is mounted below; a path that is not there needs no protection.
pub(crate) fn readonly_paths(root: &OwnedFd, paths: &[ContainerPath]) -> Act {
    for one in paths {
        let what = || format!("make {one} read-only");
        let Some(target) = open_if_there(root, one).on(what)? else { continue };
        let flags = OpenTree::CLONE | OpenTree::RECURSIVE | OpenTree::EMPTY_PATH;
        let tree = mount::open_tree(Some(target.as_fd()), Path::new(""), flags).on(what)?;
        set_attrs(&tree, READ_ONLY, true).on(what)?;
        mount::move_mount(tree.as_fd(), target.as_fd()).on(what)?;
    }
    Ok(())
}

/// Hides directories under one empty read-only tmpfs, everything else under the host's /dev/null.
///
/// One tmpfs for all of them: each superblock costs memory and time on hosts that mask a path per CPU.
pub(crate) fn masked_paths(root: &OwnedFd, paths: &[ContainerPath], label: Option<&str>) -> Act {
    let mut empty: Option<OwnedFd> = None;
    for one in paths {
        let what = || format!("mask {one}");
        let Some(target) = open_if_there(root, one).on(what)? else { continue };
        let cover = if path::fstat(target.as_fd()).on(what)?.is_dir() {
            match &empty {
                None => empty_directory(label).on(what)?,
                Some(first) => clone_attached(first).on(what)?,
            }
        } else {
            null_device().on(what)?
        };
        mount::move_mount(cover.as_fd(), target.as_fd()).on(what)?;
        let is_directory = path::fstat(cover.as_fd()).on(what)?.is_dir();
        if is_directory && empty.is_none() {
            empty = Some(cover);
        }
    }
    Ok(())
}

fn open_if_there(root: &OwnedFd, one: &ContainerPath) -> caisson_sys::Result<Option<OwnedFd>> {
    match path::open_in_root(root.as_fd(), one.beneath(), OFlag::O_PATH) {
        Ok(target) => Ok(Some(target)),
        Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
        Err(errno) => Err(errno),
    }
}

fn empty_directory(label: Option<&str>) -> caisson_sys::Result<OwnedFd> {
    let fs = FsContext::open("tmpfs")?;
    fs.string("source", "tmpfs")?;
    fs.string("nr_inodes", "1")?;
    fs.string("nr_blocks", "1")?;
    fs.string("mode", "755")?;
    if let Some(label) = label {
        fs.string("context", label)?;
    }
    fs.create()?;
    fs.mount(MountAttrs::RDONLY)
}

/// open_tree(2) clones mounts of our own namespace only, so the first one is attached before it is cloned.
fn clone_attached(first: &OwnedFd) -> caisson_sys::Result<OwnedFd> {
    mount::open_tree(Some(first.as_fd()), Path::new(""), OpenTree::CLONE | OpenTree::EMPTY_PATH)
}

/// The host's /dev/null, verified: a container that shares a volume with us may have swapped its own
/// for a symbolic link (CVE-2025-31133).
fn null_device() -> caisson_sys::Result<OwnedFd> {
    let null = mount::open_tree(None, Path::new("/dev/null"), OpenTree::CLONE)?;
    let stat = path::fstat(null.as_fd())?;
    if stat.is_char() && stat.rdev == path::makedev(1, 3) { Ok(null) } else { Err(Errno::ENODEV) }
}

/// Writes kernel parameters through a procfs that no mount of the image can lie over (CVE-2025-52881).
pub(crate) fn sysctl(procfs: &caisson_sys::procfs::Procfs, parameters: &[(String, String)]) -> Act {
    for (key, value) in parameters {
        let file = format!("sys/{}", key.replace('.', "/"));
        procfs.write(&file, value).map_err(|errno| {
            let failure = Failure::errno(format!("set {key} to {value:?}"), errno);
            match errno {
                Errno::ENOENT => failure.hint("this kernel, or this namespace, has no such parameter"),
                _ => failure,
            }
        })?;
    }
    Ok(())
}

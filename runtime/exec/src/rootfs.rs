//! The root file system: a directory or an overlay, attached in the container's own mount namespace only.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use caisson_plan::step::mounts::{Propagation as PlanPropagation, RootSwitch, RootfsPlan, RootfsSource};
use caisson_sys::mount::{MountAttrs, OpenTree, Propagation, SetAttr};
use caisson_sys::path::{self, OFlag};
use caisson_sys::{Errno, mount};

use crate::error::{Act, Context, Failure};
use crate::mounts::propagation;
use crate::overlay;

/// Cuts the mount namespace off from the host's and attaches the root over `/`.
///
/// Over `/` and not onto itself: the place then needs no lookup of a host path that a user namespace might
/// not be allowed to do, and pivot_root(2) accepts it.
pub(crate) fn attach(plan: &RootfsPlan, prepared: Option<OwnedFd>) -> Act<OwnedFd> {
    let change = plan.host_propagation;
    let shared = change.to == PlanPropagation::Shared;
    mount::set_propagation(Path::new("/"), propagation(change.to), true)
        .on(|| "set propagation of the host's mounts")?;
    if shared {
        // pivot_root(2) refuses a shared parent.
        mount::set_propagation(Path::new("/"), Propagation::Private, false).on(|| "make / private")?;
    }
    let root = match prepared {
        Some(root) => root,
        None => open_detached(plan, None, true)?,
    };
    if shared {
        // Bind mounts stay the host's peers, as asked for; the root does not, or what is mounted in it appears below
        // the host's directory.
        set_recursive(&root, Propagation::Slave).on(|| "cut the root file system off from the host's")?;
    }
    let host_root = path::open(Path::new("/"), OFlag::O_PATH | OFlag::O_DIRECTORY).on(|| "open /")?;
    mount::move_mount(root.as_fd(), host_root.as_fd()).on(|| "attach the root file system")?;
    Ok(root)
}

/// Makes the root without attaching it; `userns` is the mapping of an idmapped root, `in_init` says that the mount
/// namespace is the container's.
pub(crate) fn open_detached(plan: &RootfsPlan, userns: Option<&OwnedFd>, in_init: bool) -> Act<OwnedFd> {
    match &plan.source {
        RootfsSource::Directory(directory) => {
            let flags = OpenTree::CLONE | OpenTree::RECURSIVE;
            let what = || format!("open root file system {directory}");
            let tree = mount::open_tree(None, directory.as_path(), flags).on(what)?;
            if !path::fstat(tree.as_fd()).on(what)?.is_dir() {
                return Err(Failure::errno(what(), Errno::ENOTDIR));
            }
            if let Some(userns) = userns {
                idmap(&tree, userns, plan.idmap.as_ref().is_some_and(|m| m.recursive))
                    .on(|| format!("map ids of root file system {directory}"))?;
            }
            Ok(tree)
        }
        RootfsSource::Overlay { lowers, upper } => overlay::make(lowers, upper, userns, in_init),
    }
}

fn set_recursive(tree: &OwnedFd, to: Propagation) -> caisson_sys::Result<()> {
    mount::set_attr(tree.as_fd(), true, &SetAttr { propagation: Some(to), ..SetAttr::default() })
}

/// mount_setattr(2) with MOUNT_ATTR_IDMAP.
pub(crate) fn idmap(tree: &OwnedFd, userns: &OwnedFd, recursive: bool) -> caisson_sys::Result<()> {
    let attr = SetAttr { set: MountAttrs::IDMAP, userns: Some(userns.as_fd()), ..SetAttr::default() };
    mount::set_attr(tree.as_fd(), recursive, &attr)
}

/// The directory itself, for a container without a mount namespace of its own.
pub(crate) fn open_plain(directory: &str) -> Act<OwnedFd> {
    path::open(Path::new(directory), OFlag::O_PATH | OFlag::O_DIRECTORY)
        .on(|| format!("open root file system {directory}"))
}

/// Makes `root` the root of this process.
pub(crate) fn switch(root: &OwnedFd, how: RootSwitch) -> Act {
    path::fchdir(root.as_fd()).on(|| "enter the root file system")?;
    match how {
        RootSwitch::Pivot => {
            let old = path::open(Path::new("/"), OFlag::O_PATH | OFlag::O_DIRECTORY).on(|| "open /")?;
            mount::pivot_root_dot().map_err(|errno| {
                Failure::errno("pivot_root", errno).hint("on an initramfs use --no-pivot")
            })?;
            // With rootfsPropagation shared the old root's mounts are still the host's peers: unmounting one here
            // would unmount it there.
            set_recursive(&old, Propagation::Slave).on(|| "cut the host's mounts off")?;
            // The old root now lies on top of the new one at `.`.
            mount::umount_detach(Path::new(".")).on(|| "unmount the host's root")?;
        }
        RootSwitch::MoveAndChroot | RootSwitch::Chroot => {
            path::chroot(Path::new(".")).on(|| "chroot to the root file system")?;
        }
    }
    path::chdir(Path::new("/")).on(|| "enter the new root")
}

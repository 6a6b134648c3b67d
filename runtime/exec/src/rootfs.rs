//! The root file system: a directory or an overlay, attached in the container's own mount namespace only.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use caisson_plan::step::mounts::{
    LowerLayer, OverlayUpper, Propagation as PlanPropagation, RootSwitch, RootfsPlan, RootfsSource,
};
use caisson_sys::mount::{FsContext, MountAttrs, OpenTree, Propagation, SetAttr};
use caisson_sys::path::{self, OFlag};
use caisson_sys::{Errno, mount};

use crate::error::{Act, Context, Failure};
use crate::mounts::propagation;

/// Cuts the mount namespace off from the host's and attaches the root over `/`.
///
/// Over `/` and not onto itself: the place then needs no lookup of a host path that a user namespace might
/// not be allowed to do, and pivot_root(2) accepts it.
pub(crate) fn attach(plan: &RootfsPlan, prepared: Option<OwnedFd>) -> Act<OwnedFd> {
    let change = plan.host_propagation;
    mount::set_propagation(Path::new("/"), propagation(change.to), true)
        .on(|| "set propagation of the host's mounts")?;
    if change.to == PlanPropagation::Shared {
        // pivot_root(2) refuses a shared parent.
        mount::set_propagation(Path::new("/"), Propagation::Private, false).on(|| "make / private")?;
    }
    let root = match prepared {
        Some(root) => root,
        None => open_detached(plan, None)?,
    };
    let host_root = path::open(Path::new("/"), OFlag::O_PATH | OFlag::O_DIRECTORY).on(|| "open /")?;
    mount::move_mount(root.as_fd(), host_root.as_fd()).on(|| "attach the root file system")?;
    Ok(root)
}

/// Makes the root without attaching it; `userns` is the mapping of an idmapped root.
pub(crate) fn open_detached(plan: &RootfsPlan, userns: Option<&OwnedFd>) -> Act<OwnedFd> {
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
        RootfsSource::Overlay { lowers, upper } => overlay(lowers, upper, userns),
    }
}

/// mount_setattr(2) with MOUNT_ATTR_IDMAP.
pub(crate) fn idmap(tree: &OwnedFd, userns: &OwnedFd, recursive: bool) -> caisson_sys::Result<()> {
    let attr = SetAttr { set: MountAttrs::IDMAP, userns: Some(userns.as_fd()), ..SetAttr::default() };
    mount::set_attr(tree.as_fd(), recursive, &attr)
}

fn overlay(lowers: &[LowerLayer], upper: &OverlayUpper, userns: Option<&OwnedFd>) -> Act<OwnedFd> {
    let what = "make the overlay root";
    let fs = FsContext::open("overlay").on(|| what)?;
    let fail = |fs: &FsContext, step: String, errno| {
        let failure = Failure::errno(format!("{what}: {step}"), errno);
        match fs.log() {
            log if log.is_empty() => failure,
            log => failure.detail(log.join("; ")),
        }
    };
    fs.string("source", "caisson").map_err(|e| fail(&fs, "source".into(), e))?;
    let mut layers = Vec::with_capacity(lowers.len());
    for lower in lowers {
        layers.push(open_lower(lower, userns)?);
    }
    for (layer, lower) in layers.iter().zip(lowers) {
        add_layer(&fs, "lowerdir+", layer)
            .map_err(|e| fail(&fs, format!("lower {}", lower_name(lower)), e))?;
    }
    let keep = add_upper(&fs, upper, lowers.len(), userns)?;
    fs.create().map_err(|e| fail(&fs, "create".into(), e))?;
    drop((layers, keep));
    fs.mount(MountAttrs::empty()).map_err(|e| fail(&fs, "fsmount".into(), e))
}

fn lower_name(lower: &LowerLayer) -> String {
    match lower {
        LowerLayer::Directory(path) | LowerLayer::Erofs(path) => path.to_string(),
    }
}

fn open_lower(lower: &LowerLayer, userns: Option<&OwnedFd>) -> Act<OwnedFd> {
    let what = || format!("open lower {}", lower_name(lower));
    let layer = match lower {
        LowerLayer::Directory(directory) => match userns {
            None => path::open(directory.as_path(), OFlag::O_PATH | OFlag::O_DIRECTORY).on(what)?,
            Some(_) => {
                mount::open_tree(None, directory.as_path(), OpenTree::CLONE | OpenTree::RECURSIVE).on(what)?
            }
        },
        LowerLayer::Erofs(image) => {
            // File-backed EROFS (Linux 6.12): no loop device, nothing to detach afterwards.
            let fs = FsContext::open("erofs").on(what)?;
            let source = image.as_path().to_string_lossy();
            fs.string("source", &source).on(what)?;
            fs.create().on(what).map_err(|f| Failure { detail: Some(fs.log().join("; ").into()), ..f })?;
            fs.mount(MountAttrs::RDONLY).on(what)?
        }
    };
    if let Some(userns) = userns {
        idmap(&layer, userns, false).on(|| format!("map ids of lower {}", lower_name(lower)))?;
    }
    Ok(layer)
}

/// Kernels before 6.13 take layers by path only; the fd's path in /proc is one.
fn add_layer(fs: &FsContext, key: &str, layer: &OwnedFd) -> caisson_sys::Result<()> {
    match fs.fd(key, layer.as_fd()) {
        Err(Errno::EINVAL | Errno::EOPNOTSUPP) => {
            let by_path = caisson_sys::procfs::fd_path(layer);
            fs.string(key, &by_path)
        }
        other => other,
    }
}

/// Adds upperdir and workdir; what it returns must live until the overlay is created.
fn add_upper(
    fs: &FsContext,
    upper: &OverlayUpper,
    lowers: usize,
    userns: Option<&OwnedFd>,
) -> Act<Vec<OwnedFd>> {
    // A detached mount lives as long as the fd that fsmount(2) gave.
    let mut scratch_mount = None;
    let (upper_dir, work_dir) = match upper {
        OverlayUpper::None if lowers > 1 => return Ok(Vec::new()),
        // overlayfs wants two lowers or an upper: a single read-only lower gets an empty second one.
        OverlayUpper::None => {
            let empty = scratch_tmpfs(Some(4096))?;
            add_layer(fs, "lowerdir+", &empty).on(|| "add an empty lower")?;
            return Ok(vec![empty]);
        }
        OverlayUpper::Ephemeral { size } => {
            let scratch = scratch_tmpfs(*size)?;
            let make = |name: &str| {
                path::mkdirat(scratch.as_fd(), Path::new(name), 0o755)
                    .and_then(|()| path::dir_beneath(scratch.as_fd(), Path::new(name)))
                    .on(|| format!("make the ephemeral {name} directory"))
            };
            let dirs = (make("upper")?, make("work")?);
            scratch_mount = Some(scratch);
            dirs
        }
        OverlayUpper::Directory { upper, work } => {
            let open = |dir: &caisson_plan::ids::HostPath| match userns {
                None => {
                    path::open(dir.as_path(), OFlag::O_PATH | OFlag::O_DIRECTORY).on(|| format!("open {dir}"))
                }
                Some(userns) => {
                    let tree = mount::open_tree(None, dir.as_path(), OpenTree::CLONE)
                        .on(|| format!("open {dir}"))?;
                    idmap(&tree, userns, false).on(|| format!("map ids of {dir}"))?;
                    Ok(tree)
                }
            };
            (open(upper)?, open(work)?)
        }
    };
    add_layer(fs, "upperdir", &upper_dir).on(|| "add the upper directory")?;
    add_layer(fs, "workdir", &work_dir).on(|| "add the work directory")?;
    Ok([Some(upper_dir), Some(work_dir), scratch_mount].into_iter().flatten().collect())
}

fn scratch_tmpfs(size: Option<u64>) -> Act<OwnedFd> {
    let what = || "make a tmpfs for the overlay";
    let fs = FsContext::open("tmpfs").on(what)?;
    fs.string("source", "caisson-upper").on(what)?;
    fs.string("mode", "755").on(what)?;
    if let Some(size) = size {
        fs.string("size", &size.to_string()).on(what)?;
    }
    fs.create().on(what)?;
    fs.mount(MountAttrs::empty()).on(what)
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
            mount::pivot_root_dot().map_err(|errno| {
                Failure::errno("pivot_root", errno).hint("on an initramfs use --no-pivot")
            })?;
            // The old root now lies on top of the new one at `.`; propagation was cut by `attach`, so the
            // unmount stays in this namespace.
            mount::umount_detach(Path::new(".")).on(|| "unmount the host's root")?;
        }
        RootSwitch::MoveAndChroot | RootSwitch::Chroot => {
            path::chroot(Path::new(".")).on(|| "chroot to the root file system")?;
        }
    }
    path::chdir(Path::new("/")).on(|| "enter the new root")
}

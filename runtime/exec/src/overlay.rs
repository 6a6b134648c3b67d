//! An overlay as the root: lower directories or images, and an upper directory or a tmpfs that goes with the container.
//!
//! Linux 6.15 takes layers that are mounted nowhere, as descriptors, one by one. Older kernels want paths of mounts in
//! the caller's own namespace, before 6.7 in one option: the second way, for what the first one's EINVAL leaves.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use caisson_plan::ids::HostPath;
use caisson_plan::step::mounts::{LowerLayer, OverlayUpper};
use caisson_sys::Errno;
use caisson_sys::mount::{self, FsContext, MountAttrs, OpenTree};
use caisson_sys::path::{self, OFlag};
use caisson_sys::procfs::fd_path;

use crate::error::{Act, Context, Failure, best_effort};
use crate::rootfs::idmap;

const WHAT: &str = "make the overlay root";

/// All directories of an overlay, open.
struct Layers {
    lowers: Vec<(String, OwnedFd)>,
    /// Upper and work directory.
    upper: Option<(OwnedFd, OwnedFd)>,
    /// A tmpfs of ours: a detached mount lives as long as the fd that fsmount(2) gave.
    scratch: Option<OwnedFd>,
}

/// Makes the overlay, mounted nowhere yet. `in_init`: in the container's own mount namespace.
pub(crate) fn make(
    lowers: &[LowerLayer],
    upper: &OverlayUpper,
    userns: Option<&OwnedFd>,
    in_init: bool,
) -> Act<OwnedFd> {
    let layers = open(lowers, upper, userns)?;
    match assemble(&layers, true) {
        Err(failure) if failure.errno == Some(Errno::EINVAL as i32) && in_init => by_paths(&layers),
        Err(failure) if failure.errno == Some(Errno::EINVAL as i32) => {
            Err(failure.hint("layers with mapped ids need Linux 6.15"))
        }
        other => other,
    }
}

/// With the scratch mount attached for a moment: over `/`, which no lookup passes through.
fn by_paths(layers: &Layers) -> Act<OwnedFd> {
    let Some(scratch) = &layers.scratch else { return assemble(layers, false) };
    let root = path::open(Path::new("/"), OFlag::O_PATH | OFlag::O_DIRECTORY).on(|| "open /")?;
    mount::move_mount(scratch.as_fd(), root.as_fd()).on(|| "attach the tmpfs of the overlay")?;
    let made = assemble(layers, false);
    // The overlay has its own hold on it.
    best_effort(path::fchdir(scratch.as_fd()).and_then(|()| mount::umount_detach(".")));
    path::fchdir(root.as_fd()).on(|| "go back to /")?;
    made
}

fn assemble(layers: &Layers, one_by_one: bool) -> Act<OwnedFd> {
    let fs = FsContext::open("overlay").on(|| WHAT)?;
    let fail = |step: &str| {
        let what = format!("{WHAT}: {step}");
        let log = fs.log().join("; ");
        move |errno| {
            let failure = Failure::errno(what, errno);
            if log.is_empty() { failure } else { failure.detail(log) }
        }
    };
    fs.string("source", "caisson").map_err(|e| fail("source")(e))?;
    if one_by_one {
        for (name, layer) in &layers.lowers {
            add_layer(&fs, "lowerdir+", layer).map_err(|e| fail(&format!("lower {name}"))(e))?;
        }
    } else {
        let all: Vec<String> = layers.lowers.iter().map(|(_, layer)| fd_path(layer)).collect();
        fs.string("lowerdir", &all.join(":")).map_err(|e| fail("lower directories")(e))?;
    }
    if let Some((upper, work)) = &layers.upper {
        add_layer(&fs, "upperdir", upper).map_err(|e| fail("upper directory")(e))?;
        add_layer(&fs, "workdir", work).map_err(|e| fail("work directory")(e))?;
    }
    fs.create().map_err(|e| fail("create")(e))?;
    fs.mount(MountAttrs::empty()).map_err(|e| fail("fsmount")(e))
}

/// Kernels before 6.13 take layers by path only; the fd's path in /proc is one.
fn add_layer(fs: &FsContext, key: &str, layer: &OwnedFd) -> caisson_sys::Result<()> {
    match fs.fd(key, layer.as_fd()) {
        Err(Errno::EINVAL | Errno::EOPNOTSUPP) => fs.string(key, &fd_path(layer)),
        other => other,
    }
}

fn open(lowers: &[LowerLayer], upper: &OverlayUpper, userns: Option<&OwnedFd>) -> Act<Layers> {
    let mut layers = Layers { lowers: Vec::with_capacity(lowers.len()), upper: None, scratch: None };
    for lower in lowers {
        layers.lowers.push((lower_name(lower), open_lower(lower, userns)?));
    }
    match upper {
        OverlayUpper::None if lowers.len() > 1 => {}
        // overlayfs wants two lowers or an upper: a single read-only lower gets an empty second one.
        OverlayUpper::None => {
            let scratch = scratch_tmpfs(Some(4096))?;
            layers.lowers.push(("none".to_owned(), scratch_dir(&scratch, "empty")?));
            layers.scratch = Some(scratch);
        }
        OverlayUpper::Ephemeral { size } => {
            let scratch = scratch_tmpfs(*size)?;
            layers.upper = Some((scratch_dir(&scratch, "upper")?, scratch_dir(&scratch, "work")?));
            layers.scratch = Some(scratch);
        }
        OverlayUpper::Directory { upper, work } => {
            layers.upper = Some((open_upper(upper, userns)?, open_upper(work, userns)?));
        }
    }
    Ok(layers)
}

fn open_upper(dir: &HostPath, userns: Option<&OwnedFd>) -> Act<OwnedFd> {
    let what = || format!("open {dir}");
    let Some(userns) = userns else {
        return path::open(dir.as_path(), OFlag::O_PATH | OFlag::O_DIRECTORY).on(what);
    };
    let tree = mount::open_tree(None, dir.as_path(), OpenTree::CLONE).on(what)?;
    idmap(&tree, userns, false).on(|| format!("map ids of {dir}"))?;
    Ok(tree)
}

fn scratch_dir(scratch: &OwnedFd, name: &str) -> Act<OwnedFd> {
    path::mkdirat(scratch.as_fd(), Path::new(name), 0o755)
        .and_then(|()| path::dir_beneath(scratch.as_fd(), Path::new(name)))
        .on(|| format!("make the {name} directory of the overlay's tmpfs"))
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

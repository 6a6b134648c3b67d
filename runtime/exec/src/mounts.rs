//! Mounts: made detached, then moved onto a destination that is already an open fd.
//!
//! No destination is ever used by name: the name is resolved beneath the root's fd, once, and the mount goes
//! onto what that gave (CVE-2021-30465, CVE-2019-18837).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use caisson_plan::ids::{ContainerPath, HostPath};
use caisson_plan::step::mounts::{
    AttrChange, LinkPolicy, MountKind, MountPlan, Propagation as PlanPropagation, PropagationChange,
};
use caisson_sys::mount::{FsContext, MountAttrs, OpenTree, Propagation, SetAttr};
use caisson_sys::path::{self, OFlag};
use caisson_sys::{Errno, mount};

use crate::cgroup_mount;
use crate::copy_up;
use crate::error::{Act, Context, Failure};

/// The MOUNT_ATTR__ATIME group: these bits are one field, changed as a whole (mount_setattr(2)).
const ATIME_GROUP: u64 = 0x70;
/// fsconfig(2) takes no longer string.
const FSCONFIG_MAX: usize = 255;

/// Does one mount: makes it unless the runtime did before the clone, and puts it in its place.
/// When the mount covers `/`, the new root is given back.
pub(crate) fn mount(root: &OwnedFd, plan: &MountPlan, prepared: Option<OwnedFd>) -> Act<Option<OwnedFd>> {
    match &plan.kind {
        MountKind::Remount => remount(root, plan).map(|()| None),
        MountKind::Cgroup(cgroup) => cgroup_mount::mount(root, plan, cgroup).map(|()| None),
        MountKind::Bind { source, link: LinkPolicy::Copy, .. } if copy_link(root, plan, source)? => Ok(None),
        MountKind::Filesystem { fstype, source, options, .. } if too_long(options) => {
            legacy(root, plan, fstype, source, options).map(|()| None)
        }
        MountKind::Bind { .. } | MountKind::Filesystem { .. } => {
            let target = existing_mode(root, plan);
            let tree = match prepared {
                Some(tree) => tree,
                None => open_detached(plan, target)?,
            };
            place(root, plan, tree)
        }
    }
}

/// The text by which errors name this mount.
pub(crate) fn describe(plan: &MountPlan) -> String {
    let what = match &plan.kind {
        MountKind::Bind { source, .. } => source.to_string(),
        MountKind::Filesystem { fstype, .. } => fstype.clone(),
        MountKind::Cgroup(_) => "cgroup".to_owned(),
        MountKind::Remount => "(remount)".to_owned(),
    };
    format!("mount {what} on {}", plan.destination)
}

/// Makes the mount without attaching it anywhere. `mode` is what a tmpfs takes over from the directory it covers.
pub(crate) fn open_detached(plan: &MountPlan, mode: Option<u32>) -> Act<OwnedFd> {
    let tree = match &plan.kind {
        MountKind::Bind { source, recursive, link, .. } => {
            let tree = clone_tree(source, *recursive, *link).map_err(|f| in_mount(plan, f))?;
            only_procfs_on_proc(plan, &tree)?;
            set_attrs(&tree, plan.attrs, false).on(|| format!("{}: set attributes", describe(plan)))?;
            tree
        }
        MountKind::Filesystem { fstype, source, options, fallback_bind, .. } => {
            match new_filesystem(plan, fstype, source, options, mode) {
                Ok(tree) => tree,
                Err(failure) => match fallback_bind {
                    Some(host) if is_refusal(&failure) => {
                        let tree = clone_tree(host, true, LinkPolicy::Follow)?;
                        set_attrs(&tree, plan.attrs, true)
                            .on(|| format!("{}: set attributes", describe(plan)))?;
                        tree
                    }
                    _ => return Err(failure),
                },
            }
        }
        MountKind::Cgroup(_) | MountKind::Remount => return Err(Failure::new(describe(plan))),
    };
    if !plan.recursive_attrs.is_empty() {
        set_attrs(&tree, plan.recursive_attrs, true)
            .on(|| format!("{}: set recursive attributes", describe(plan)))?;
    }
    Ok(tree)
}

/// Anything but a procfs on /proc would stand in for the files by which labels are set (CVE-2019-16884).
fn only_procfs_on_proc(plan: &MountPlan, tree: &OwnedFd) -> Act {
    const PROC_SUPER_MAGIC: i64 = 0x9fa0;
    let on_proc = plan.destination.as_path() == Path::new("/proc");
    if on_proc && path::fs_magic(tree.as_fd()).on(|| describe(plan))? != PROC_SUPER_MAGIC {
        return Err(
            Failure::new(describe(plan)).detail("the source is no procfs, and nothing else may cover /proc")
        );
    }
    Ok(())
}

fn is_refusal(failure: &Failure) -> bool {
    matches!(failure.errno.map(Errno::from_raw), Some(Errno::EPERM | Errno::EBUSY | Errno::EACCES))
}

fn in_mount(plan: &MountPlan, failure: Failure) -> Failure {
    Failure { what: format!("{}: {}", describe(plan), failure.what), ..failure }
}

fn clone_tree(source: &HostPath, recursive: bool, link: LinkPolicy) -> Act<OwnedFd> {
    let mut flags = OpenTree::CLONE;
    if recursive {
        flags |= OpenTree::RECURSIVE;
    }
    if link != LinkPolicy::Follow {
        flags |= OpenTree::NOFOLLOW;
    }
    mount::open_tree(None, source.as_path(), flags).on(|| format!("open source {source}"))
}

fn new_filesystem(
    plan: &MountPlan,
    fstype: &str,
    source: &str,
    options: &[(String, Option<String>)],
    mode: Option<u32>,
) -> Act<OwnedFd> {
    let fs = FsContext::open(fstype).on(|| describe(plan)).map_err(|f| unknown_fs(f, fstype))?;
    let fail = |fs: &FsContext, step: String, errno| {
        let failure = Failure::errno(format!("{}: {step}", describe(plan)), errno);
        match fs.log() {
            log if log.is_empty() => failure,
            log => failure.detail(log.join("; ")),
        }
    };
    if !source.is_empty() {
        fs.string("source", source).map_err(|e| fail(&fs, format!("source={source}"), e))?;
    }
    for (key, value) in options {
        let (result, text) = match value {
            Some(value) => (fs.string(key, value), format!("option {key}={value}")),
            None => (fs.flag(key), format!("option {key}")),
        };
        result.map_err(|e| fail(&fs, text, e))?;
    }
    // A tmpfs without a mode of its own looks like the directory it covers, as mount(8) users expect of runtimes.
    if let Some(mode) = mode.filter(|_| fstype == "tmpfs" && !options.iter().any(|(key, _)| key == "mode")) {
        fs.string("mode", &format!("{:o}", mode & 0o7777)).map_err(|e| fail(&fs, "option mode".into(), e))?;
    }
    fs.create().map_err(|e| fail(&fs, "make the file system".into(), e))?;
    // Read-only only after the copy, if there is one.
    let attrs = MountAttrs::from_bits_retain(plan.attrs.set);
    let attrs = if plan.copy_up { attrs - MountAttrs::RDONLY } else { attrs };
    fs.mount(attrs).map_err(|e| fail(&fs, "fsmount".into(), e))
}

fn unknown_fs(failure: Failure, fstype: &str) -> Failure {
    if failure.errno == Some(Errno::ENODEV as i32) {
        failure.detail(format!("the kernel has no file system type {fstype:?}")).hint("see /proc/filesystems")
    } else {
        failure
    }
}

/// Applies attribute changes to a mount, or to the whole tree below it.
pub(crate) fn set_attrs(tree: impl AsFd, change: AttrChange, recursive: bool) -> caisson_sys::Result<()> {
    if change.is_empty() {
        return Ok(());
    }
    let clear = if (change.set | change.clear) & ATIME_GROUP != 0 {
        change.clear | ATIME_GROUP
    } else {
        change.clear
    };
    let attr = SetAttr {
        set: MountAttrs::from_bits_retain(change.set),
        clear: MountAttrs::from_bits_retain(clear),
        ..SetAttr::default()
    };
    mount::set_attr(tree.as_fd(), recursive, &attr)
}

/// Moves `tree` onto the plan's destination and finishes it there.
fn place(root: &OwnedFd, plan: &MountPlan, tree: OwnedFd) -> Act<Option<OwnedFd>> {
    let is_directory = path::fstat(tree.as_fd()).on(|| describe(plan))?.is_dir();
    let target = destination(root, plan, is_directory)?;
    if plan.copy_up {
        copy_up::copy(target.as_fd(), tree.as_fd()).map_err(|f| in_mount(plan, f))?;
        set_attrs(&tree, plan.attrs, false).on(|| format!("{}: set attributes", describe(plan)))?;
    }
    attach(plan, tree.as_fd(), target.as_fd())?;
    set_propagation(&tree, &plan.propagation).on(|| format!("{}: set propagation", describe(plan)))?;
    let covers_root = plan.destination.as_path() == Path::new("/");
    Ok(covers_root.then_some(tree))
}

fn attach(plan: &MountPlan, tree: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Act {
    mount::move_mount(tree, target).map_err(|errno| {
        let failure = Failure::errno(describe(plan), errno);
        let is_dir = |fd| path::fstat(fd).is_ok_and(|stat| stat.is_dir());
        match (is_dir(tree), is_dir(target)) {
            (true, false) => failure.detail("a directory cannot be mounted on a file"),
            (false, true) => failure.detail("a file cannot be mounted on a directory"),
            _ => failure,
        }
    })
}

/// Opens the destination, made when missing: a directory for a directory, an empty file for anything else.
pub(crate) fn destination(root: &OwnedFd, plan: &MountPlan, is_directory: bool) -> Act<OwnedFd> {
    let beneath = plan.destination.beneath();
    let what = || format!("{}: make the destination", describe(plan));
    if no_symlink(plan) {
        return directory_not_link(root, &plan.destination).map_err(|f| in_mount(plan, f));
    }
    if plan.destination_link == LinkPolicy::NoFollow
        && let Ok(target) = path::open_in_root(root.as_fd(), beneath, OFlag::O_PATH | OFlag::O_NOFOLLOW)
    {
        return Ok(target);
    }
    match path::open_in_root(root.as_fd(), beneath, OFlag::O_PATH) {
        Ok(target) => return Ok(target),
        Err(Errno::ENOENT) => {}
        Err(errno) => return Err(Failure::errno(what(), errno)),
    }
    if is_directory {
        path::mkdir_all_in_root(root.as_fd(), beneath, 0o755).on(what)
    } else {
        path::create_file_in_root(root.as_fd(), beneath, 0o644).on(what)
    }
}

fn no_symlink(plan: &MountPlan) -> bool {
    matches!(plan.kind, MountKind::Filesystem { no_symlink: true, .. })
}

/// `/proc` and `/sys` of a hostile image: anything but a real directory is refused
/// (CVE-2019-19921, CVE-2023-27561).
fn directory_not_link(root: &OwnedFd, destination: &ContainerPath) -> Act<OwnedFd> {
    let beneath = destination.beneath();
    match path::open_dir_nofollow_in_root(root.as_fd(), beneath) {
        Ok(target) => Ok(target),
        Err(Errno::ENOENT) => path::mkdir_all_in_root(root.as_fd(), beneath, 0o755)
            .and_then(|_| path::open_dir_nofollow_in_root(root.as_fd(), beneath))
            .on(|| format!("make {destination}")),
        Err(errno @ (Errno::ELOOP | Errno::ENOTDIR)) => {
            Err(Failure::errno(format!("{destination} must be a directory in the root file system"), errno)
                .detail("it, or a directory above it, is a symbolic link or a file"))
        }
        Err(errno) => Err(Failure::errno(format!("open {destination}"), errno)),
    }
}

/// Permission bits of the directory a tmpfs will cover.
fn existing_mode(root: &OwnedFd, plan: &MountPlan) -> Option<u32> {
    let MountKind::Filesystem { fstype, .. } = &plan.kind else { return None };
    if fstype != "tmpfs" {
        return None;
    }
    let target = path::open_in_root(root.as_fd(), plan.destination.beneath(), OFlag::O_PATH).ok()?;
    path::fstat(target.as_fd()).ok().filter(|s| s.is_dir()).map(|s| s.mode)
}

/// Changes propagation in the order asked for.
pub(crate) fn set_propagation(tree: impl AsFd, changes: &[PropagationChange]) -> caisson_sys::Result<()> {
    for change in changes {
        let attr = SetAttr { propagation: Some(propagation(change.to)), ..SetAttr::default() };
        mount::set_attr(tree.as_fd(), change.recursive, &attr)?;
    }
    Ok(())
}

/// The plan's word as the kernel's.
pub(crate) fn propagation(plan: PlanPropagation) -> Propagation {
    match plan {
        PlanPropagation::Private => Propagation::Private,
        PlanPropagation::Slave => Propagation::Slave,
        PlanPropagation::Shared => Propagation::Shared,
        PlanPropagation::Unbindable => Propagation::Unbindable,
    }
}

fn remount(root: &OwnedFd, plan: &MountPlan) -> Act {
    let target =
        path::open_in_root(root.as_fd(), plan.destination.beneath(), OFlag::O_PATH).on(|| describe(plan))?;
    set_attrs(&target, plan.attrs, false)
        .and_then(|()| set_attrs(&target, plan.recursive_attrs, true))
        .on(|| describe(plan))?;
    set_propagation(&target, &plan.propagation).on(|| format!("{}: set propagation", describe(plan)))
}

/// `copy-symlink`: a source that is a link is made again at the destination. False when it is none.
fn copy_link(root: &OwnedFd, plan: &MountPlan, source: &HostPath) -> Act<bool> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW;
    let link = path::open(source.as_path(), flags).on(|| format!("{}: open source", describe(plan)))?;
    if !path::fstat(link.as_fd()).on(|| describe(plan))?.is_symlink() {
        return Ok(false);
    }
    let text = path::readlinkat(link.as_fd(), Path::new("")).on(|| describe(plan))?;
    let beneath = plan.destination.beneath();
    let (parent, name) = parent_and_name(root, beneath).map_err(|f| in_mount(plan, f))?;
    match path::symlinkat(Path::new(&text), parent.as_fd(), Path::new(&name)) {
        Ok(()) => Ok(true),
        Err(Errno::EEXIST) => match path::readlinkat(parent.as_fd(), Path::new(&name)) {
            Ok(existing) if existing == text => Ok(true),
            _ => Err(Failure::errno(format!("{}: copy the symbolic link", describe(plan)), Errno::EEXIST)),
        },
        Err(errno) => Err(Failure::errno(format!("{}: copy the symbolic link", describe(plan)), errno)),
    }
}

/// Opens (and makes) the parent of a path in the root; the last component stays a name.
pub(crate) fn parent_and_name(root: &OwnedFd, beneath: &Path) -> Act<(OwnedFd, std::ffi::OsString)> {
    let name =
        beneath.file_name().ok_or_else(|| Failure::new(format!("{} has no name", beneath.display())))?;
    let parent = beneath.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let dir = path::mkdir_all_in_root(root.as_fd(), parent, 0o755)
        .on(|| format!("make directory /{}", parent.display()))?;
    Ok((dir, name.to_owned()))
}

fn too_long(options: &[(String, Option<String>)]) -> bool {
    options.iter().any(|(_, value)| value.as_ref().is_some_and(|v| v.len() > FSCONFIG_MAX))
}

/// mount(2), for option values that fsconfig(2) does not take (long `lowerdir` lists).
fn legacy(
    root: &OwnedFd,
    plan: &MountPlan,
    fstype: &str,
    source: &str,
    options: &[(String, Option<String>)],
) -> Act {
    let target = destination(root, plan, true)?;
    let data: Vec<String> = options
        .iter()
        .map(|(key, value)| value.as_ref().map_or_else(|| key.clone(), |v| format!("{key}={v}")))
        .collect();
    let place = caisson_sys::procfs::fd_path(&target);
    mount::legacy_mount(
        Some(source),
        place.as_str(),
        Some(fstype),
        mount::MsFlags::empty(),
        Some(&data.join(",")),
    )
    .on(|| describe(plan))?;
    let mounted =
        path::open_in_root(root.as_fd(), plan.destination.beneath(), OFlag::O_PATH).on(|| describe(plan))?;
    set_attrs(&mounted, plan.attrs, false).on(|| format!("{}: set attributes", describe(plan)))?;
    set_propagation(&mounted, &plan.propagation).on(|| format!("{}: set propagation", describe(plan)))
}

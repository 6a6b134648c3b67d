//! `type: cgroup`: the container's view of its own control groups.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use caisson_plan::step::mounts::{AttrChange, CgroupMount, MountPlan, V1CgroupMount};
use caisson_sys::mount::{FsContext, MountAttrs, OpenTree};
use caisson_sys::{Errno, mount, path};

use crate::error::{Act, Context};
use crate::mounts::{describe, destination, set_attrs, set_propagation};

/// Mounts what `kind` says on the plan's destination.
pub(crate) fn mount(root: &OwnedFd, plan: &MountPlan, kind: &CgroupMount) -> Act {
    let target = destination(root, plan, true)?;
    let tree = match kind {
        CgroupMount::V2Filesystem => hierarchy("cgroup2", &[], plan.attrs).on(|| describe(plan))?,
        CgroupMount::V2Bind { source } => bind(source.as_path(), plan.attrs).on(|| describe(plan))?,
        CgroupMount::V1 { hierarchies, namespaced } => {
            return v1(&target, plan, hierarchies, *namespaced);
        }
    };
    mount::move_mount(tree.as_fd(), target.as_fd()).on(|| describe(plan))?;
    set_propagation(&tree, &plan.propagation).on(|| describe(plan))
}

/// A tmpfs with a directory per hierarchy; itself read-only at last when the mount is.
fn v1(target: &OwnedFd, plan: &MountPlan, hierarchies: &[V1CgroupMount], namespaced: bool) -> Act {
    let what = || describe(plan);
    let base = tmpfs(plan.attrs).on(what)?;
    mount::move_mount(base.as_fd(), target.as_fd()).on(what)?;
    for one in hierarchies {
        let name = Path::new(&one.name);
        let what = || format!("{}: hierarchy {}", describe(plan), one.name);
        path::mkdirat(base.as_fd(), name, 0o755).on(what)?;
        let tree = v1_hierarchy(one, plan.attrs, namespaced).on(what)?;
        let place = path::dir_beneath(base.as_fd(), name).on(what)?;
        mount::move_mount(tree.as_fd(), place.as_fd()).on(what)?;
        for link in &one.links {
            path::symlinkat(name, base.as_fd(), Path::new(link)).on(what)?;
        }
    }
    let read_only = AttrChange { set: plan.attrs.set & MountAttrs::RDONLY.bits(), clear: 0 };
    set_attrs(&base, read_only, false).on(what)?;
    set_propagation(&base, &plan.propagation).on(what)
}

fn v1_hierarchy(one: &V1CgroupMount, attrs: AttrChange, namespaced: bool) -> caisson_sys::Result<OwnedFd> {
    if !namespaced {
        return bind(one.source.as_path(), attrs);
    }
    let (fstype, options) =
        if one.options.is_empty() { ("cgroup2", &[][..]) } else { ("cgroup", &one.options[..]) };
    match hierarchy(fstype, options, attrs) {
        // A user namespace may not mount v1 hierarchies; its own part of the host's is the same thing.
        Err(Errno::EPERM) => bind(one.source.as_path(), attrs),
        other => other,
    }
}

fn hierarchy(fstype: &str, options: &[String], attrs: AttrChange) -> caisson_sys::Result<OwnedFd> {
    let fs = FsContext::open(fstype)?;
    fs.string("source", fstype)?;
    for option in options {
        match option.split_once('=') {
            Some((key, value)) => fs.string(key, value)?,
            None => fs.flag(option)?,
        }
    }
    fs.create()?;
    fs.mount(MountAttrs::from_bits_retain(attrs.set))
}

fn bind(source: &Path, attrs: AttrChange) -> caisson_sys::Result<OwnedFd> {
    let tree = mount::open_tree(None, source, OpenTree::CLONE | OpenTree::RECURSIVE)?;
    set_attrs(&tree, attrs, true)?;
    Ok(tree)
}

fn tmpfs(attrs: AttrChange) -> caisson_sys::Result<OwnedFd> {
    let fs = FsContext::open("tmpfs")?;
    fs.string("source", "tmpfs")?;
    fs.string("mode", "755")?;
    fs.create()?;
    let writable = MountAttrs::from_bits_retain(attrs.set) - MountAttrs::RDONLY;
    fs.mount(writable)
}

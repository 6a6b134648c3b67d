//! Mounts whose source init could not open itself, made by the runtime before the clone: sources that the container's
//! user may not reach, and idmapped mounts, which need rights over the file system's own user namespace.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use caisson_plan::step::mounts::{
    IdMapPair, MountKind, MountPlan, Propagation, PropagationChange, RootfsPlan,
};
use caisson_plan::step::namespaces::NamespaceKind;
use caisson_plan::step::{Action, Plan};
use caisson_sys::path;

use crate::error::{Act, Context, Failure};
use crate::{idmap, mounts, rootfs};

/// The mounts by index of their step; errors name the field of the mount, not of the clone.
pub(crate) fn mounts(plan: &Plan) -> Act<Vec<Option<OwnedFd>>> {
    let mut prepared: Vec<Option<OwnedFd>> = Vec::new();
    for (index, step) in plan.steps.iter().enumerate() {
        let tree = match &step.action {
            Action::Rootfs(root) if root.opened_by_host || root.idmap.is_some() => prepare_root(plan, root),
            Action::Mount(mount) if by_host(mount) => prepare_mount(plan, mount),
            _ => continue,
        };
        let tree = tree.map_err(|failure| Failure { from: Some(Box::new(step.from.clone())), ..failure })?;
        prepared.resize_with(index + 1, || None);
        prepared[index] = Some(tree);
    }
    Ok(prepared)
}

fn by_host(mount: &MountPlan) -> bool {
    let opened = matches!(&mount.kind, MountKind::Bind { opened_by_host: true, .. });
    opened || mount.idmap.is_some()
}

fn prepare_root(plan: &Plan, root: &RootfsPlan) -> Act<OwnedFd> {
    let userns = root.idmap.as_ref().map(|map| mapping(plan, map.mapping.as_ref())).transpose()?;
    let tree = rootfs::open_detached(root, userns.as_ref(), false)?;
    detach_from_host(tree.as_fd()).on(|| "cut the root file system off from the host's propagation")?;
    Ok(tree)
}

fn prepare_mount(plan: &Plan, mount: &MountPlan) -> Act<OwnedFd> {
    let tree = mounts::open_detached(mount, None)?;
    detach_from_host(tree.as_fd()).on(|| mounts::describe(mount))?;
    if let Some(map) = &mount.idmap {
        let userns = mapping(plan, map.mapping.as_ref())?;
        rootfs::idmap(&tree, &userns, map.recursive).map_err(|errno| {
            Failure::errno(format!("{}: map ids", mounts::describe(mount)), errno)
                .hint("the file system, or one mounted below it, may not support idmapped mounts")
        })?;
    }
    Ok(tree)
}

/// A clone made in the host's namespace is its original's peer: what happens inside would show on the host.
fn detach_from_host(tree: BorrowedFd<'_>) -> caisson_sys::Result<()> {
    mounts::set_propagation(tree, &[PropagationChange { to: Propagation::Slave, recursive: true }])
}

/// The user namespace of an idmapped mount: its own mapping, or the container's.
fn mapping(plan: &Plan, own: Option<&IdMapPair>) -> Act<OwnedFd> {
    if let Some(pair) = own {
        return idmap::namespace_for(pair);
    }
    for step in &plan.steps {
        match &step.action {
            Action::MapIds(maps) => {
                let pair = IdMapPair { uid: maps.uid.clone(), gid: maps.gid.clone() };
                return idmap::namespace_for(&pair);
            }
            Action::Clone(clone) => {
                let user = clone.join.iter().find(|j| j.kind == NamespaceKind::User);
                if let Some(join) = user {
                    return path::open(join.path.as_path(), path::OFlag::O_RDONLY)
                        .on(|| format!("open user namespace {}", join.path));
                }
            }
            _ => {}
        }
    }
    Err(Failure::new("map ids of a mount").detail("the container has no user namespace"))
}

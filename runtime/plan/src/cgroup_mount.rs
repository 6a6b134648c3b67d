//! `type: cgroup` mounts: what the container sees of its own cgroups.

use crate::context::Context;
use crate::facts::{CgroupFacts, V1Hierarchy, V2Tree};
use crate::ids::{CgroupPath, HostPath, Pointer};
use crate::mount_options::MountOptions;
use crate::mounts::force_read_only;
use crate::options::CgroupManager;
use crate::problem::Problems;
use crate::step::mounts::{CgroupMount, V1CgroupMount};
use crate::step::namespaces::NamespaceKind;

/// Decides how `/sys/fs/cgroup` is provided on this host.
pub(crate) fn plan(
    context: &Context<'_>,
    cgroup: &CgroupPath,
    fstype: &str,
    options: &mut MountOptions,
    at: &Pointer,
    problems: &mut Problems,
) -> Option<CgroupMount> {
    // Without a cgroup namespace the container's own part is bound. A writable bind would let a container change its
    // limits, and in a rootless set-up the part is the user's, if not the host's (CVE-2023-25809).
    let namespaced = context.shape.has(NamespaceKind::Cgroup);
    if !namespaced && (context.rootless() || !options.writable()) {
        force_read_only(options);
    }
    if !options.data.is_empty() {
        problems.warn(&at.child("options"), "data of the file system is ignored for cgroup mounts");
        options.data.clear();
    }
    match &context.facts.cgroups {
        CgroupFacts::V2(_) if namespaced => Some(CgroupMount::V2Filesystem),
        CgroupFacts::V2(tree) => Some(CgroupMount::V2Bind { source: container_part(context, tree, cgroup) }),
        CgroupFacts::V1 { hierarchies, unified } if fstype == "cgroup" => {
            Some(v1_directory(context, hierarchies, unified.as_ref(), namespaced, cgroup))
        }
        // cgroup2 by name beside v1 hierarchies: the v2 tree alone.
        CgroupFacts::V1 { .. } if namespaced => Some(CgroupMount::V2Filesystem),
        CgroupFacts::V1 { unified: Some(tree), .. } => {
            Some(CgroupMount::V2Bind { source: container_part(context, tree, cgroup) })
        }
        CgroupFacts::V1 { unified: None, .. } => {
            problems.error_hint(
                at,
                "this host has no cgroup2 mount",
                "use type cgroup, or add a cgroup namespace",
            );
            None
        }
        CgroupFacts::None => {
            problems.error_hint(at, "this host has no cgroup file system", "mount one, or drop this mount");
            None
        }
    }
}

/// A tmpfs with a directory for every hierarchy, the v2 tree's `unified` among them.
fn v1_directory(
    context: &Context<'_>,
    hierarchies: &[V1Hierarchy],
    unified: Option<&V2Tree>,
    namespaced: bool,
    cgroup: &CgroupPath,
) -> CgroupMount {
    let mut list: Vec<V1CgroupMount> =
        hierarchies.iter().map(|hierarchy| v1_hierarchy(context, hierarchy, cgroup)).collect();
    // The container is in the v2 tree's root unless it needs a controller that only that tree has: a bind of the root
    // would show the host's groups, so only a namespaced mount is of use.
    list.extend(unified.filter(|_| namespaced).map(|tree| V1CgroupMount {
        name: "unified".to_owned(),
        options: Vec::new(),
        source: container_part(context, tree, cgroup),
        links: Vec::new(),
    }));
    CgroupMount::V1 { hierarchies: list, namespaced }
}

/// With `--cgroup-manager disabled` the container stays in the runtime's own cgroup.
fn container_part(context: &Context<'_>, tree: &V2Tree, cgroup: &CgroupPath) -> HostPath {
    let part = if disabled(context) { &tree.own } else { cgroup };
    tree.mount.join(part.relative())
}

fn disabled(context: &Context<'_>) -> bool {
    context.options.cgroup_manager == CgroupManager::Disabled
}

fn v1_hierarchy(context: &Context<'_>, hierarchy: &V1Hierarchy, cgroup: &CgroupPath) -> V1CgroupMount {
    let part = if disabled(context) { &hierarchy.own } else { cgroup };
    let named = hierarchy.controllers.iter().find_map(|controller| controller.strip_prefix("name="));
    let joined = hierarchy.controllers.join(",");
    let options = match named {
        Some(name) => vec!["none".to_owned(), format!("name={name}")],
        None => hierarchy.controllers.clone(),
    };
    // Programs look for /sys/fs/cgroup/cpu also where cpu and cpuacct share a hierarchy.
    let links = if hierarchy.controllers.len() > 1 { hierarchy.controllers.clone() } else { Vec::new() };
    V1CgroupMount {
        name: named.map_or(joined, str::to_owned),
        options,
        source: hierarchy.mount.join(part.relative()),
        links,
    }
}

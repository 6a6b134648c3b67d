//! `linux.cgroupsPath` and who makes the cgroup; its limits come from `resources`.

use crate::context::Context;
use crate::facts::{CgroupFacts, HostFacts};
use crate::ids::{CgroupPath, Pointer};
use crate::options::CgroupManager;
use crate::problem::Problems;
use crate::resources;
use crate::step::cgroup::{CgroupDriver, CgroupPlan};
use crate::step::namespaces::NamespaceKind;
use crate::systemd;

/// Reads `linux.cgroupsPath` and `linux.resources`.
pub(crate) fn plan(context: &Context<'_>, problems: &mut Problems) -> CgroupPlan {
    let at = Pointer::new("/linux/resources");
    let given = context.linux().and_then(|linux| linux.resources().as_ref());
    let wanted =
        given.map(|resources| resources::plan(resources, context.facts, &at, problems)).unwrap_or_default();
    let disabled = context.options.cgroup_manager == CgroupManager::Disabled;
    if disabled && !wanted.settings.is_empty() {
        problems.error_hint(
            &at,
            "limits need a cgroup, and the cgroup manager is disabled",
            "drop them or the option",
        );
    }
    let (driver, path) = place(context, given, problems);
    let path_given = context.linux().and_then(|linux| linux.cgroups_path().as_ref()).is_some();
    CgroupPlan {
        driver,
        path,
        hierarchies: context.facts.cgroups.clone(),
        // Device rules of a rootless container cannot be loaded and are not needed: it cannot make nodes.
        optional: context.rootless() && wanted.settings.is_empty() && !path_given,
        settings: if disabled { Vec::new() } else { wanted.settings },
        devices: if disabled { Vec::new() } else { wanted.devices },
        delegate_to: delegate_to(context),
    }
}

fn place(
    context: &Context<'_>,
    resources: Option<&oci_spec::runtime::LinuxResources>,
    problems: &mut Problems,
) -> (CgroupDriver, CgroupPath) {
    match context.options.cgroup_manager {
        CgroupManager::Cgroupfs => (CgroupDriver::Cgroupfs, cgroupfs_path(context)),
        CgroupManager::Disabled => (CgroupDriver::Disabled, own(context.facts)),
        CgroupManager::Systemd => systemd::place(context, resources, problems),
    }
}

/// An absolute path starts at each hierarchy's root; a relative one, and the default (the id), in the runtime's own
/// place, as runc has it.
fn cgroupfs_path(context: &Context<'_>) -> CgroupPath {
    let given = context.linux().and_then(|linux| linux.cgroups_path().as_deref());
    match given.filter(|path| !path.as_os_str().is_empty()) {
        Some(path) if path.is_absolute() => CgroupPath::new(path),
        Some(path) => own(context.facts).join(CgroupPath::new(path).relative()),
        None => own(context.facts).join(context.options.id.as_str()),
    }
}

/// Where new cgroups go. On v2 that is beside the runtime's own cgroup, not below it: a cgroup with processes cannot
/// pass controllers on (cgroups(7), "no internal processes"). On v1 it is below, if the hierarchies agree where that
/// is; else the roots.
fn own(facts: &HostFacts) -> CgroupPath {
    match &facts.cgroups {
        CgroupFacts::V2(tree) => {
            CgroupPath::new(tree.own.as_path().parent().unwrap_or_else(|| std::path::Path::new("/")))
        }
        CgroupFacts::V1 { hierarchies, .. } => match hierarchies.split_first() {
            Some((first, rest)) if rest.iter().all(|other| other.own == first.own) => first.own.clone(),
            _ => CgroupPath::new("/"),
        },
        CgroupFacts::None => CgroupPath::new("/"),
    }
}

/// config-linux.md, "Cgroup ownership": with cgroup v2, a cgroup namespace and a user namespace of its own, and a
/// writable cgroup mount, the container's root owns its cgroup.
fn delegate_to(context: &Context<'_>) -> Option<u32> {
    let v2 = matches!(context.facts.cgroups, CgroupFacts::V2(_));
    let own = context.shape.creates(NamespaceKind::User) && context.shape.creates(NamespaceKind::Cgroup);
    if !v2 || !own || !cgroup_mount_writable(context) {
        return None;
    }
    let maps = context.linux()?.uid_mappings().as_ref()?;
    maps.iter().find(|line| line.container_id() == 0).map(|line| line.host_id())
}

fn cgroup_mount_writable(context: &Context<'_>) -> bool {
    let mounts = context.spec.mounts().iter().flatten();
    let mut cgroups = mounts.filter(|mount| matches!(mount.typ().as_deref(), Some("cgroup" | "cgroup2")));
    cgroups.any(|mount| {
        let options = mount.options().iter().flatten();
        let last = options.filter(|word| matches!(word.as_str(), "ro" | "rw")).next_back();
        last.is_none_or(|word| word == "rw")
    })
}

//! `linux.cgroupsPath` and who makes the cgroup; its limits come from `resources`.

use oci_spec::runtime::LinuxResources;

use crate::context::Context;
use crate::devices;
use crate::facts::{CgroupFacts, HostFacts};
use crate::ids::{CgroupPath, Pointer};
use crate::options::CgroupManager;
use crate::problem::Problems;
use crate::resources;
use crate::step::cgroup::{CgroupDriver, CgroupPlan, DeviceRule};
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
    let devices = if disabled { Vec::new() } else { device_rules(context, wanted.devices) };
    let (driver, path) = place(context, given, &devices, problems);
    CgroupPlan {
        driver,
        path,
        hierarchies: context.facts.cgroups.clone(),
        optional: context.rootless() && wanted.settings.is_empty(),
        settings: if disabled { Vec::new() } else { wanted.settings },
        devices,
        delegate_to: delegate_to(context),
    }
}

/// The config's rules, then what every container may use. A config without rules gets all others denied first, as the
/// field has it: devices are allowed by name, never by omission.
///
/// An unprivileged runtime can load no rules, and needs none: its container can neither make nodes nor open more than
/// the user could before.
fn device_rules(context: &Context<'_>, given: Vec<DeviceRule>) -> Vec<DeviceRule> {
    if context.facts.is_rootless() {
        return Vec::new();
    }
    let mut rules = if given.is_empty() { vec![devices::deny_all()] } else { given };
    rules.extend(devices::default_rules());
    rules
}

fn place(
    context: &Context<'_>,
    resources: Option<&LinuxResources>,
    devices: &[DeviceRule],
    problems: &mut Problems,
) -> (CgroupDriver, CgroupPath) {
    match context.options.cgroup_manager {
        CgroupManager::Cgroupfs => (CgroupDriver::Cgroupfs, cgroupfs_path(context)),
        CgroupManager::Disabled => (CgroupDriver::Disabled, own(context.facts)),
        CgroupManager::Systemd => systemd::place(context, resources, devices, problems),
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
        let mut options = mount.options().iter().flatten();
        let last = options.rfind(|word| matches!(word.as_str(), "ro" | "rw"));
        last.is_none_or(|word| word == "rw")
    })
}

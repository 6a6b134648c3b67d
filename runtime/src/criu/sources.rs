//! Where the mounts and cgroups that lie outside of the images come from on restore: the bundle says it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use caisson_cgroup::Location;
use caisson_plan::step::mounts::{CgroupMount, MountKind, MountPlan};
use caisson_plan::step::{Action, Plan};

use super::outside::Outside;

/// What hides masked files.
const NULL: &str = "/dev/null";

/// Says for each mount from outside where it comes from now, in criu's words.
///
/// # Errors
/// Names a mount that the bundle has not.
pub fn externals(plan: &Plan, cgroup: &Location, stored: Option<&Outside>) -> anyhow::Result<Vec<String>> {
    let Some(stored) = stored else { return Ok(guessed_externals(plan, cgroup)) };
    let external = |point: &PathBuf| {
        let source = source(plan, cgroup, point).with_context(|| {
            format!("the images have a mount on {} which the bundle's config.json has not", point.display())
        })?;
        Ok(format!("mnt[{}]:{}", point.display(), source.display()))
    };
    stored.mounts.iter().map(external).collect()
}

/// Images of another runtime do not say what is outside: everything that may be is named, by runc's keys.
fn guessed_externals(plan: &Plan, cgroup: &Location) -> Vec<String> {
    let points = plan.steps.iter().filter_map(|step| match &step.action {
        Action::Mount(mount) => Some(mount.destination.as_path()),
        _ => None,
    });
    let known = points.filter_map(|point| Some((point, source(plan, cgroup, point)?)));
    let mounts = known.map(|(point, source)| format!("mnt[{}]:{}", point.display(), source.display()));
    mounts.chain(["mnt[/dev/null]:/dev/null".to_owned()]).collect()
}

/// Where the container's cgroup is in each hierarchy: the images have the place it had.
#[must_use]
pub fn cgroup_roots(cgroup: &Location) -> Vec<(Option<String>, String)> {
    // criu wants paths as /proc/PID/cgroup shows them: below the hierarchy's mount.
    let below = |dir: &Path| {
        let mut at = dir;
        while let Some(parent) = at.parent() {
            if is_mount_boundary(at, parent) {
                break;
            }
            at = parent;
        }
        let rest = dir.strip_prefix(at).unwrap_or(dir);
        format!("/{}", rest.display())
    };
    let v1 = cgroup.v1.iter().flat_map(|v1| {
        let path = below(&v1.dir);
        v1.controllers.iter().map(move |name| (Some(name.clone()), path.clone()))
    });
    let v2 = cgroup.v2_only().map(|dir| (None, below(dir)));
    v1.chain(v2).collect()
}

/// Each hierarchy is a file system of its own.
fn is_mount_boundary(dir: &Path, parent: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let device = |path: &Path| fs::metadata(path).map(|meta| meta.dev()).ok();
    match (device(dir), device(parent)) {
        (Some(dir), Some(parent)) => dir != parent,
        // The container's own part need not exist yet (systemd).
        _ => false,
    }
}

/// The host's path for the container's mount on `point`; `None` when the bundle knows of no such mount.
fn source(plan: &Plan, cgroup: &Location, point: &Path) -> Option<PathBuf> {
    let actions = || plan.steps.iter().map(|step| &step.action);
    let masked = actions().any(|action| match action {
        Action::MaskedPaths { paths, .. } => paths.iter().any(|path| path.as_path() == point),
        _ => false,
    });
    if masked {
        return Some(NULL.into());
    }
    let is_bound_device = actions().any(|action| match action {
        Action::Devices(list) => list.iter().any(|device| device.bind && device.path.as_path() == point),
        _ => false,
    });
    if is_bound_device {
        return Some(point.to_owned());
    }
    // The innermost mount that the point lies in, the later of two on one place: a bind brings along what is
    // mounted in it.
    let around = actions().filter_map(|action| match action {
        Action::Mount(mount) if !matches!(mount.kind, MountKind::Remount) => {
            let rest = point.strip_prefix(mount.destination.as_path()).ok()?;
            Some((mount, rest))
        }
        _ => None,
    });
    let (mount, rest) = around.max_by_key(|(mount, _)| mount.destination.as_path().components().count())?;
    of_mount(mount, rest, cgroup)
}

/// What is mounted, and in it `rest`, the part of the point below the destination.
fn of_mount(mount: &MountPlan, rest: &Path, cgroup: &Location) -> Option<PathBuf> {
    let below = |source: &Path, rest: &Path| match rest.as_os_str().is_empty() {
        true => source.to_owned(), // joining nothing would add a slash, which a file cannot have
        false => source.join(rest),
    };
    match &mount.kind {
        MountKind::Bind { source, .. } => Some(below(source.as_path(), rest)),
        MountKind::Filesystem { fallback_bind: Some(source), .. } => Some(below(source.as_path(), rest)),
        // One file system that both have: the container shares the namespace it belongs to.
        MountKind::Filesystem { fstype, .. } => host_mount(fstype).map(|path| below(&path, rest)),
        MountKind::Cgroup(CgroupMount::V2Filesystem) => cgroup.v2.as_deref().map(|dir| below(dir, rest)),
        MountKind::Cgroup(CgroupMount::V2Bind { source }) => Some(below(source.as_path(), rest)),
        MountKind::Cgroup(CgroupMount::V1 { hierarchies, .. }) => hierarchies.iter().find_map(|hierarchy| {
            let rest = rest.strip_prefix(&hierarchy.name).ok()?;
            // The v2 tree beside v1 hierarchies: the container stays where we are, unless it has a place there.
            let in_v2 = hierarchy.options.is_empty().then(|| cgroup.v2.clone().or_else(own_v2)).flatten();
            Some(below(in_v2.as_deref().unwrap_or(hierarchy.source.as_path()), rest))
        }),
        MountKind::Remount => None,
    }
}

/// This process's cgroup in the v2 tree.
fn own_v2() -> Option<PathBuf> {
    let cgroups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = cgroups.lines().find_map(|line| line.strip_prefix("0::/"))?.to_owned();
    host_mount("cgroup2").map(|mount| if path.is_empty() { mount } else { mount.join(path) })
}

/// Where this process has a file system of that type mounted.
fn host_mount(fstype: &str) -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let words = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    words.filter(|words| words.get(2) == Some(&fstype)).find_map(|words| words.get(1).map(PathBuf::from))
}

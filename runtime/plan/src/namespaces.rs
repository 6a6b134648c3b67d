//! `linux.namespaces`: which are made, which are joined, and what that asks of the clone.

use oci_spec::runtime::{LinuxNamespaceType, Spec};

use crate::context::{Context, each, sorted};
use crate::ids::{HostPath, Pointer};
use crate::options::CgroupManager;
use crate::problem::Problems;
use crate::step::namespaces::{ClonePlan, NamespaceJoin, NamespaceKind, TimeOffset};

/// The namespaces of the container.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shape {
    pub create: Vec<NamespaceKind>,
    pub join: Vec<NamespaceJoin>,
}

impl Shape {
    /// Made for this container.
    pub fn creates(&self, kind: NamespaceKind) -> bool {
        self.create.contains(&kind)
    }

    /// Entered by path.
    pub fn joins(&self, kind: NamespaceKind) -> bool {
        self.join.iter().any(|join| join.kind == kind)
    }

    /// Other than the runtime's, as far as the config says.
    pub fn has(&self, kind: NamespaceKind) -> bool {
        self.creates(kind) || self.joins(kind)
    }
}

/// Reads `linux.namespaces`.
pub(crate) fn shape(spec: &Spec, problems: &mut Problems) -> Shape {
    let mut shape = Shape::default();
    let Some(linux) = spec.linux() else {
        return shape;
    };
    for (index, namespace) in each(linux.namespaces()).enumerate() {
        let at = Pointer::new("/linux/namespaces").child(index);
        let kind = kind_of(namespace.typ());
        if shape.has(kind) {
            problems.error(&at.child("type"), format!("a second {} namespace", name_of(kind)));
            continue;
        }
        match namespace.path() {
            None => shape.create.push(kind),
            // Some engines write an empty path for "make one".
            Some(path) if path.as_os_str().is_empty() => shape.create.push(kind),
            Some(path) if !path.is_absolute() => {
                problems.error(&at.child("path"), format!("{} is not an absolute path", path.display()));
            }
            Some(path) => {
                shape.join.push(NamespaceJoin { kind, path: HostPath::new(path), from: at.child("path") });
            }
        }
    }
    // User first: it gives the rights to make and to enter the others (user_namespaces(7)). Mount last: entering it
    // would hide the paths of those still to be opened.
    shape.create.sort();
    shape.join.sort_by_key(|join| (join.kind == NamespaceKind::Mount, join.kind));
    shape
}

fn kind_of(kind: LinuxNamespaceType) -> NamespaceKind {
    match kind {
        LinuxNamespaceType::User => NamespaceKind::User,
        LinuxNamespaceType::Pid => NamespaceKind::Pid,
        LinuxNamespaceType::Network => NamespaceKind::Network,
        LinuxNamespaceType::Ipc => NamespaceKind::Ipc,
        LinuxNamespaceType::Uts => NamespaceKind::Uts,
        LinuxNamespaceType::Mount => NamespaceKind::Mount,
        LinuxNamespaceType::Cgroup => NamespaceKind::Cgroup,
        LinuxNamespaceType::Time => NamespaceKind::Time,
    }
}

/// The name that config.json uses.
pub(crate) fn name_of(kind: NamespaceKind) -> &'static str {
    match kind {
        NamespaceKind::User => "user",
        NamespaceKind::Pid => "pid",
        NamespaceKind::Network => "network",
        NamespaceKind::Ipc => "ipc",
        NamespaceKind::Uts => "uts",
        NamespaceKind::Mount => "mount",
        NamespaceKind::Cgroup => "cgroup",
        NamespaceKind::Time => "time",
    }
}

/// The clone that makes init.
pub(crate) fn clone_plan(context: &Context<'_>, problems: &mut Problems) -> ClonePlan {
    let shape = &context.shape;
    // Joining a user namespace gives up the rights over the runtime's own; a new one beside joined ones must be
    // made after those are entered, as its owner could not enter them. A pid or time namespace is entered by being
    // born there. Each needs a process in between; all other namespaces init enters by itself.
    let before_birth = [NamespaceKind::User, NamespaceKind::Pid, NamespaceKind::Time];
    let stage = before_birth.iter().any(|kind| shape.joins(*kind))
        || (shape.creates(NamespaceKind::User) && !shape.join.is_empty());
    let mut create = shape.create.clone();
    // Not flags of the clone: a cgroup namespace is rooted where its maker is, so init unshares it after the
    // cgroup was joined; a time namespace takes its offsets before its first process enters.
    create.retain(|kind| !matches!(kind, NamespaceKind::Cgroup | NamespaceKind::Time));
    ClonePlan {
        create,
        join: shape.join.clone(),
        stage,
        time: time_offsets(context, problems),
        into_cgroup: into_cgroup(context, stage),
        enter: Vec::new(),
    }
}

/// CLONE_INTO_CGROUP (Linux 5.7) saves the move, which waits for an RCU grace period. The staging process has lost
/// the right to use it; systemd moves the process itself.
fn into_cgroup(context: &Context<'_>, stage: bool) -> bool {
    matches!(context.facts.cgroups, crate::facts::CgroupFacts::V2(_))
        && context.options.cgroup_manager == CgroupManager::Cgroupfs
        && context.facts.kernel >= (5, 7)
        && !context.rootless()
        && !stage
}

fn time_offsets(context: &Context<'_>, problems: &mut Problems) -> Option<Vec<TimeOffset>> {
    let offsets = context.linux().and_then(|linux| linux.time_offsets().as_ref());
    let at = Pointer::new("/linux/timeOffsets");
    let created = context.shape.creates(NamespaceKind::Time);
    let Some(offsets) = offsets.filter(|map| !map.is_empty()) else {
        return created.then(Vec::new);
    };
    if !created {
        problems.error_hint(
            &at,
            "time offsets need a new time namespace",
            "add {\"type\": \"time\"} to /linux/namespaces",
        );
        return None;
    }
    let mut list = Vec::new();
    for (clock, offset) in sorted(offsets) {
        let here = at.child(clock);
        if clock != "monotonic" && clock != "boottime" {
            problems.error(&here, "unknown clock: expected monotonic or boottime");
            continue;
        }
        let nanosecs = offset.nanosecs().unwrap_or(0);
        if nanosecs >= 1_000_000_000 {
            problems.error(&here.child("nanosecs"), format!("{nanosecs} is not below 1000000000"));
        }
        list.push(TimeOffset { clock: clock.clone(), secs: offset.secs().unwrap_or(0), nanosecs });
    }
    Some(list)
}

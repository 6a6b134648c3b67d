//! Control groups: which version, which controllers, and whether this user may make any.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use caisson_plan::facts::{CgroupFacts, HostFacts, V2Tree};

use super::Finding;

/// Controllers that people set limits with.
const WANTED: [&str; 4] = ["cpu", "memory", "pids", "io"];

pub(super) fn examine(facts: &HostFacts) -> Vec<Finding> {
    match &facts.cgroups {
        CgroupFacts::None => vec![Finding::missing(
            "cgroups",
            "none mounted: containers run without limits",
            "mount -t cgroup2 none /sys/fs/cgroup",
        )],
        CgroupFacts::V2(tree) => {
            vec![Finding::good("cgroups", "version 2"), controllers(tree), delegated(facts, tree)]
        }
        CgroupFacts::V1 { hierarchies, unified } => {
            let mut names: Vec<&str> =
                hierarchies.iter().flat_map(|one| one.controllers.iter().map(String::as_str)).collect();
            names.sort_unstable();
            let kind = if unified.is_some() { "version 1 and 2 side by side" } else { "version 1" };
            let mut findings = vec![Finding::good("cgroups", format!("{kind}: {}", names.join(" ")))];
            if facts.is_rootless() {
                let fix = "boot with systemd.unified_cgroup_hierarchy=1: version 1 cannot be delegated";
                findings.push(Finding::missing("limits, rootless", "not with version 1", fix));
            }
            findings
        }
    }
}

fn controllers(tree: &V2Tree) -> Finding {
    let missing: Vec<&str> =
        WANTED.into_iter().filter(|name| !tree.controllers.iter().any(|have| have == name)).collect();
    if missing.is_empty() {
        Finding::good("controllers", tree.controllers.join(" "))
    } else {
        let found = format!("no {}", missing.join(", no "));
        Finding::missing(
            "controllers",
            found,
            "boot without cgroup_disable=, and not with these in version 1",
        )
    }
}

/// Whether an ordinary user's own cgroup is its to divide.
fn delegated(facts: &HostFacts, tree: &V2Tree) -> Finding {
    if !facts.is_rootless() {
        return Finding::good("delegation", "root may make cgroups anywhere");
    }
    let own = tree.mount.as_path().join(tree.own.relative());
    if owner(&own) == Some(facts.euid) {
        Finding::good("delegation", format!("{} belongs to this user", own.display()))
    } else {
        let fix = "systemd-run --user --scope -p Delegate=yes caisson …; for cpu and io also \
                   Delegate=cpu cpuset io memory pids in user@.service";
        Finding::missing("delegation", format!("{} belongs to another user", own.display()), fix)
    }
}

fn owner(dir: &Path) -> Option<u32> {
    std::fs::metadata(dir).ok().map(|meta| meta.uid())
}

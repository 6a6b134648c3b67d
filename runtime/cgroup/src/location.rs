//! Where a container's cgroups are: the part that is kept in state.json.

use std::path::{Path, PathBuf};

use caisson_plan::facts::{CgroupFacts, V2Tree};
use caisson_plan::ids::CgroupPath;
use caisson_plan::step::cgroup::{CgroupDriver, CgroupPlan, Setting};
use serde::{Deserialize, Serialize};

/// Where a container's cgroups are; enough to do everything later. An empty one is a container without cgroups.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Location {
    /// One directory for each v1 hierarchy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub v1: Vec<V1Dir>,
    /// The directory in the v2 tree. Beside v1 directories (hybrid) it is a cgroup without the v1 controllers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub v2: Option<PathBuf>,
    /// The scope unit, when systemd made the cgroup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub systemd: Option<SystemdUnit>,
    /// Parent directories that were made for this container: removed with it when they are empty. Deepest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parents: Vec<PathBuf>,
}

/// A cgroup in one v1 hierarchy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct V1Dir {
    /// The hierarchy's controllers.
    pub controllers: Vec<String>,
    /// The container's directory.
    pub dir: PathBuf,
}

/// A scope unit of systemd.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SystemdUnit {
    /// `prefix-name.scope`
    pub unit: String,
    /// Its slice.
    pub slice: String,
    /// Whether the user's manager has it.
    pub user: bool,
    /// The user's `XDG_RUNTIME_DIR`, where its manager listens; `/run/user/UID` when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime_dir: Option<PathBuf>,
}

impl Location {
    /// Where `plan` puts the container, made or not.
    #[must_use]
    pub fn of(plan: &CgroupPlan) -> Self {
        let mut location = Self::default();
        match &plan.driver {
            CgroupDriver::Disabled => return location,
            CgroupDriver::Cgroupfs => {}
            CgroupDriver::Systemd { unit, slice, user, .. } => {
                location.systemd = Some(SystemdUnit {
                    unit: unit.clone(),
                    slice: slice.clone(),
                    user: *user,
                    runtime_dir: None,
                });
            }
        }
        match &plan.hierarchies {
            CgroupFacts::V1 { hierarchies, unified } => {
                location.v1 = hierarchies
                    .iter()
                    .map(|h| V1Dir {
                        controllers: h.controllers.clone(),
                        dir: below(h.mount.as_path(), &plan.path),
                    })
                    .collect();
                // A v2 tree beside v1 hierarchies is joined only for a controller which it alone has (hugetlb): it
                // costs a slow move otherwise, for nothing.
                let wanted = |tree: &&V2Tree| {
                    let only_there = |setting: &Setting| {
                        tree.controllers.contains(&setting.controller)
                            && !location.v1.iter().any(|dir| dir.has(&setting.controller))
                    };
                    plan.settings.iter().any(only_there)
                };
                location.v2 =
                    unified.as_ref().filter(wanted).map(|tree| below(tree.mount.as_path(), &plan.path));
            }
            CgroupFacts::V2(tree) => location.v2 = Some(below(tree.mount.as_path(), &plan.path)),
            CgroupFacts::None => {}
        }
        location
    }

    /// Whether there is no cgroup at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.v1.is_empty() && self.v2.is_none() && self.systemd.is_none()
    }

    /// The v1 directory with `controller`.
    #[must_use]
    pub fn v1_dir(&self, controller: &str) -> Option<&Path> {
        self.v1.iter().find(|dir| dir.has(controller)).map(|dir| dir.dir.as_path())
    }

    /// The v2 directory of a host that has only v2.
    #[must_use]
    pub fn v2_only(&self) -> Option<&Path> {
        if self.v1.is_empty() { self.v2.as_deref() } else { None }
    }

    /// Every directory, v2 first: it is there that emptiness can be waited for.
    pub(crate) fn dirs(&self) -> impl Iterator<Item = &Path> {
        self.v2.as_deref().into_iter().chain(self.v1.iter().map(|dir| dir.dir.as_path()))
    }

    /// The directory whose `cgroup.procs` lists the container's processes: any would do, some are likelier to have
    /// stayed as they were made (a container's systemd makes sub-cgroups in its own hierarchy and in pids).
    pub(crate) fn process_dir(&self) -> Option<&Path> {
        ["freezer", "devices", "memory", "cpuset"]
            .iter()
            .find_map(|controller| self.v1_dir(controller))
            .or_else(|| self.v1.first().map(|dir| dir.dir.as_path()))
            .or(self.v2.as_deref())
    }
}

impl V1Dir {
    pub(crate) fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|name| name == controller)
    }
}

fn below(mount: &Path, path: &CgroupPath) -> PathBuf {
    mount.join(path.relative())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{plan, setting};
    use caisson_plan::facts::V1Hierarchy;
    use caisson_plan::ids::HostPath;
    use caisson_plan::step::cgroup::SettingMode;

    #[test]
    fn the_v2_tree_of_a_hybrid_host_is_used_for_what_only_it_has() {
        let memory = V1Hierarchy {
            controllers: vec!["memory".into()],
            mount: HostPath::new("/cg/memory"),
            own: CgroupPath::new("/"),
        };
        let unified = V2Tree {
            mount: HostPath::new("/cg/unified"),
            own: CgroupPath::new("/"),
            controllers: vec!["hugetlb".into()],
        };
        let mut plan = plan(CgroupFacts::V1 { hierarchies: vec![memory], unified: Some(unified) }, "x");
        plan.path = CgroupPath::new("/a/b");
        plan.settings = vec![setting("memory", "memory.limit_in_bytes", "1", SettingMode::Required)];
        assert_eq!(Location::of(&plan).v2, None);
        plan.settings.push(setting("hugetlb", "hugetlb.2MB.max", "0", SettingMode::Required));
        let location = Location::of(&plan);
        assert_eq!(location.v2, Some("/cg/unified/a/b".into()));
        assert_eq!(location.v1_dir("memory"), Some(Path::new("/cg/memory/a/b")));
    }
}

//! What is kept of a container, and how it looks from outside.

use std::collections::BTreeMap;
use std::path::PathBuf;

use caisson_cgroup::Location;
use caisson_plan::ExecContext;
use caisson_plan::ids::ContainerId;
use caisson_plan::step::AfterPlan;
use serde::{Deserialize, Serialize};

use super::Entry;
use crate::procs;
use crate::status::Status;

/// intent.json: what a `create` is about to make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Intent {
    /// Where the cgroup will be.
    pub cgroup: Location,
    /// The bundle, for `list`.
    pub bundle: PathBuf,
    /// resctrl group that will be made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resctrl_group: Option<PathBuf>,
}

/// state.json. Only facts that do not change by themselves: the status is asked of the kernel.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// Version of this format.
    pub caisson_state: u32,
    /// The id.
    pub id: ContainerId,
    /// The bundle directory, absolute.
    pub bundle: PathBuf,
    /// Pid of the container's first process, in the runtime's pid namespace.
    pub pid: i32,
    /// Its start time: tells it from a later process with the same pid.
    pub start_time: u64,
    /// Whether the runtime was still making it when this was written (a hook is running).
    #[serde(default)]
    pub creating: bool,
    /// RFC 3339.
    pub created: String,
    /// User who created it.
    pub owner_uid: u32,
    /// Where its cgroups are.
    pub cgroup: Location,
    /// What later commands need of the plan.
    pub after: AfterPlan,
    /// What processes that join it are planned with.
    pub joining: ExecContext,
}

impl State {
    /// The version this program writes.
    pub const VERSION: u32 = 1;

    /// Whether its first process is there.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        procs::is_alive(self.pid, self.start_time)
    }

    /// What it is doing now, as the kernel says; `frozen` is asked only of a container that runs.
    pub fn status(&self, entry: &Entry, frozen: impl FnOnce(&Location) -> bool) -> Status {
        if !self.is_alive() {
            Status::Stopped
        } else if self.creating {
            Status::Creating
        } else if entry.waits_for_start() {
            Status::Created
        } else if frozen(&self.cgroup) {
            Status::Paused
        } else {
            Status::Running
        }
    }

    /// The state as runtime.md defines it: for hooks.
    #[must_use]
    pub fn view(&self, status: Status) -> View<'_> {
        View {
            oci_version: &self.after.oci_version,
            id: &self.id,
            // A stopped container's pid may be another process's by now (runtime.md: REQUIRED only when alive).
            pid: if status == Status::Stopped { 0 } else { self.pid },
            status,
            bundle: &self.bundle,
            annotations: &self.after.annotations,
        }
    }
}

/// The state that hooks get on standard input (runtime.md, "State").
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct View<'a> {
    oci_version: &'a str,
    id: &'a ContainerId,
    pid: i32,
    status: Status,
    bundle: &'a PathBuf,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
}

/// The state with runc's additional fields, for `state` and `list`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Listed {
    oci_version: String,
    /// The id.
    pub id: ContainerId,
    /// 0 when it has no process.
    pub pid: i32,
    /// One of the five, or `unknown` for a damaged entry.
    pub status: String,
    /// The bundle.
    pub bundle: PathBuf,
    rootfs: String,
    /// When it was made.
    pub created: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
    /// Name of the user who made it.
    pub owner: String,
}

impl Listed {
    /// The whole view of a container.
    #[must_use]
    pub fn new(state: State, status: Status, owner: String) -> Self {
        Self {
            pid: if status == Status::Stopped { 0 } else { state.pid },
            oci_version: state.after.oci_version,
            id: state.id,
            status: status.to_string(),
            bundle: state.bundle,
            rootfs: state.after.rootfs,
            created: state.created,
            annotations: state.after.annotations,
            owner,
        }
    }

    /// What can be said of an entry without a readable state.
    #[must_use]
    pub fn damaged(id: ContainerId, bundle: PathBuf, status: &str) -> Self {
        Self {
            oci_version: String::new(),
            id,
            pid: 0,
            status: status.to_owned(),
            bundle,
            rootfs: String::new(),
            created: String::new(),
            annotations: BTreeMap::new(),
            owner: String::new(),
        }
    }
}

//! Namespaces, id mappings and the clone itself.

use serde::{Deserialize, Serialize};

use crate::ids::{HostPath, Pointer};

/// The eight namespaces (namespaces(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NamespaceKind {
    /// user_namespaces(7)
    User,
    /// pid_namespaces(7)
    Pid,
    /// network_namespaces(7)
    Network,
    /// ipc_namespaces(7)
    Ipc,
    /// uts_namespaces(7)
    Uts,
    /// mount_namespaces(7)
    Mount,
    /// cgroup_namespaces(7)
    Cgroup,
    /// time_namespaces(7)
    Time,
}

/// How the container's first process is made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClonePlan {
    /// Namespaces made by clone3(2). Cgroup and time are not among them: see `UnshareCgroupNamespace`, `time_offsets`.
    pub create: Vec<NamespaceKind>,
    /// Namespaces entered by path.
    pub join: Vec<NamespaceJoin>,
    /// Enter `join` in a process of its own that then clones init as its sibling: needed when a user, pid or
    /// time namespace is joined, or a user namespace made while others are joined. Without it init enters them.
    pub stage: bool,
    /// A new time namespace, with these offsets.
    pub time: Option<Vec<TimeOffset>>,
    /// Make init in its cgroup (CLONE_INTO_CGROUP, cgroup v2 with the cgroupfs driver). With `stage` it is the
    /// staging process that is made there, before it enters anything; init inherits the cgroup.
    pub into_cgroup: bool,
    /// Namespaces of the running container that are entered through its pidfd (`exec`: setns(2)).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub enter: Vec<NamespaceKind>,
}

/// A namespace to enter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamespaceJoin {
    /// Its kind.
    pub kind: NamespaceKind,
    /// Its file.
    pub path: HostPath,
    /// The field of config.json.
    pub from: Pointer,
}

/// Offset of one clock of a time namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeOffset {
    /// `monotonic` or `boottime`.
    pub clock: String,
    /// Seconds.
    pub secs: i64,
    /// Nanoseconds.
    pub nanosecs: u32,
}

/// One line of a uid_map or gid_map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMap {
    /// First id inside.
    pub container: u32,
    /// First id outside.
    pub host: u32,
    /// How many.
    pub size: u32,
}

/// The mappings of the new user namespace and who writes them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMapsPlan {
    /// Users.
    pub uid: Vec<IdMap>,
    /// Groups.
    pub gid: Vec<IdMap>,
    /// Who writes them.
    pub writer: IdMapWriter,
    /// Write `deny` to `setgroups` first: an unprivileged single mapping needs it.
    pub deny_setgroups: bool,
}

/// Who writes uid_map and gid_map.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IdMapWriter {
    /// The runtime itself.
    Direct,
    /// The setuid programs of shadow, with /etc/subuid.
    Helpers {
        /// `newuidmap`
        newuidmap: HostPath,
        /// `newgidmap`
        newgidmap: HostPath,
    },
}

/// A network device moved into the container (linux.netDevices).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetDevicePlan {
    /// Name on the host.
    pub host_name: String,
    /// Name in the container.
    pub container_name: String,
}

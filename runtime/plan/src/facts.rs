//! What the plan may know of the host: plain data, probed by the caller, written literally by tests.

use serde::{Deserialize, Serialize};

use crate::ids::{CgroupPath, HostPath};

/// The host as far as planning needs it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostFacts {
    /// Kernel release as (major, minor).
    pub kernel: (u32, u32),
    /// Effective user id of the runtime.
    pub euid: u32,
    /// Effective group id of the runtime.
    pub egid: u32,
    /// Whether the runtime itself runs in a user namespace other than the initial one.
    pub in_userns: bool,
    /// Bit mask of the capabilities the runtime holds (effective set).
    pub capabilities: u64,
    /// Highest capability number the kernel knows.
    pub last_cap: u8,
    /// Control group hierarchies.
    pub cgroups: CgroupFacts,
    /// Whether systemd is PID 1 (`/run/systemd/system` exists).
    pub systemd: bool,
    /// Whether AppArmor is active.
    pub apparmor: bool,
    /// Whether SELinux is active.
    pub selinux: bool,
    /// Landlock ABI version, 0 when absent.
    pub landlock_abi: u32,
    /// Mount point of resctrl, when mounted.
    pub resctrl: Option<HostPath>,
    /// Subordinate ids of the runtime's user: `newuidmap` is used when present.
    pub newuidmap: Option<HostPath>,
    /// See `newuidmap`.
    pub newgidmap: Option<HostPath>,
    /// File systems the kernel lists (`/proc/filesystems`); empty when not probed.
    pub filesystems: Vec<String>,
}

impl HostFacts {
    /// Whether the runtime holds root's powers over the host's namespaces.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.euid == 0
    }

    /// Whether the runtime has to work without host privileges: an ordinary user, or root of a user namespace.
    #[must_use]
    pub fn is_rootless(&self) -> bool {
        self.euid != 0 || self.in_userns
    }
}

/// Which cgroup hierarchies there are, and where the runtime itself is in them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CgroupFacts {
    /// cgroup v1, alone or with a v2 tree beside it (hybrid).
    V1 {
        /// The v1 hierarchies, named ones (`name=systemd`) included.
        hierarchies: Vec<V1Hierarchy>,
        /// The v2 tree beside them (`/sys/fs/cgroup/unified`).
        unified: Option<V2Tree>,
    },
    /// cgroup v2 only.
    V2(V2Tree),
    /// No cgroup file system is mounted.
    None,
}

/// One v1 hierarchy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct V1Hierarchy {
    /// Its controllers: `["cpu", "cpuacct"]`, or `["name=systemd"]`.
    pub controllers: Vec<String>,
    /// Where it is mounted.
    pub mount: HostPath,
    /// The runtime's own cgroup in it.
    pub own: CgroupPath,
}

/// A v2 tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct V2Tree {
    /// Where it is mounted.
    pub mount: HostPath,
    /// The runtime's own cgroup in it.
    pub own: CgroupPath,
    /// `cgroup.controllers` of its root.
    pub controllers: Vec<String>,
}

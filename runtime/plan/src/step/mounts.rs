//! Mounts, devices and the root file system.

use serde::{Deserialize, Serialize};

use crate::ids::{ContainerPath, HostPath};
use crate::step::namespaces::IdMap;

/// `MOUNT_ATTR_*` bits to set and to clear (mount_setattr(2)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttrChange {
    /// Bits to set.
    pub set: u64,
    /// Bits to clear.
    pub clear: u64,
}

impl AttrChange {
    /// Whether nothing is asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.set == 0 && self.clear == 0
    }
}

/// Mount propagation (mount_namespaces(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Propagation {
    /// `private`
    Private,
    /// `slave`
    Slave,
    /// `shared`
    Shared,
    /// `unbindable`
    Unbindable,
}

/// Propagation and whether it goes for the whole subtree (`rslave`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PropagationChange {
    /// The type.
    pub to: Propagation,
    /// The whole subtree.
    pub recursive: bool,
}

/// One mount of config.json.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountPlan {
    /// Where, in the container.
    pub destination: ContainerPath,
    /// What.
    pub kind: MountKind,
    /// Attributes of this mount.
    pub attrs: AttrChange,
    /// Attributes of the whole subtree (`rro`, `rnosuid`, …).
    pub recursive_attrs: AttrChange,
    /// Propagation, changed last.
    pub propagation: Vec<PropagationChange>,
    /// Id mapping of the mount.
    pub idmap: Option<MountIdMap>,
    /// Copy what the destination holds into the new tmpfs.
    pub copy_up: bool,
    /// How the destination's last component is treated.
    pub destination_link: LinkPolicy,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MountKind {
    /// A part of the host's tree.
    Bind {
        /// The host's path.
        source: HostPath,
        /// With what is mounted below (`rbind`).
        recursive: bool,
        /// Follow the source if it is a symbolic link, open the link itself, or copy it.
        link: LinkPolicy,
        /// Opened by the runtime before the clone: the container's user may not reach it.
        opened_by_host: bool,
    },
    /// A new file system.
    Filesystem {
        /// Its type.
        fstype: String,
        /// Its source: a name, or a device.
        source: String,
        /// Options for fsconfig(2), in order; `None` for a flag.
        options: Vec<(String, Option<String>)>,
        /// Destination must be a real directory, never a symbolic link (`proc`, `sysfs`: CVE-2023-27561).
        no_symlink: bool,
        /// When the kernel refuses (EPERM/EBUSY in a user namespace without its own network): bind this
        /// host path recursively instead.
        fallback_bind: Option<HostPath>,
    },
    /// The container's own cgroups.
    Cgroup(CgroupMount),
    /// Change the attributes of what is mounted there already (`remount`).
    Remount,
}

/// How `type: cgroup` is provided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CgroupMount {
    /// A cgroup2 file system (own cgroup namespace).
    V2Filesystem,
    /// Bind of the container's cgroup in the v2 tree (no cgroup namespace).
    V2Bind {
        /// Directory on the host.
        source: HostPath,
    },
    /// A tmpfs with one directory per hierarchy.
    V1 {
        /// Every hierarchy: directory name, controllers as mount options, source on the host for a bind.
        hierarchies: Vec<V1CgroupMount>,
        /// Mount the hierarchies themselves (own cgroup namespace) rather than bind the container's part.
        namespaced: bool,
    },
}

/// One hierarchy inside a `type: cgroup` mount on v1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct V1CgroupMount {
    /// Directory name (`cpu,cpuacct`, `systemd`).
    pub name: String,
    /// cgroup mount options (`cpu`, `cpuacct`; `none` and `name=systemd`); empty for the unified v2 tree.
    pub options: Vec<String>,
    /// The container's cgroup in the hierarchy, on the host.
    pub source: HostPath,
    /// Symbolic links beside it (`cpu` → `cpu,cpuacct`).
    pub links: Vec<String>,
}

/// Whether a symbolic link in the last place is followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkPolicy {
    /// Resolved (inside the root, for a destination).
    #[default]
    Follow,
    /// The link itself (`src-nofollow`, `dest-nofollow`).
    NoFollow,
    /// Made again at the destination (`copy-symlink`).
    Copy,
}

/// An idmapped mount (mount_setattr(2), MOUNT_ATTR_IDMAP).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountIdMap {
    /// The mapping; `None`: the container's own user namespace.
    pub mapping: Option<IdMapPair>,
    /// The whole subtree (`ridmap`).
    pub recursive: bool,
}

/// Mapping of users and groups.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMapPair {
    /// Users.
    pub uid: Vec<IdMap>,
    /// Groups.
    pub gid: Vec<IdMap>,
}

/// The root file system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootfsPlan {
    /// Where it comes from.
    pub source: RootfsSource,
    /// Propagation of `/` in the new namespace before anything is mounted.
    pub host_propagation: PropagationChange,
    /// Opened by the runtime before the clone (own user namespace).
    pub opened_by_host: bool,
    /// Id mapping of the root or of the overlay's lowers.
    pub idmap: Option<MountIdMap>,
}

/// Where the root comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RootfsSource {
    /// A directory, bound onto itself.
    Directory(HostPath),
    /// An overlay made by the runtime (`dev.caisson.rootfs.*`).
    Overlay {
        /// Top to bottom; directories, or read-only EROFS files.
        lowers: Vec<LowerLayer>,
        /// Where changes go.
        upper: OverlayUpper,
    },
}

/// One read-only layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LowerLayer {
    /// A directory.
    Directory(HostPath),
    /// An EROFS image.
    Erofs(HostPath),
}

/// Where an overlay's changes go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OverlayUpper {
    /// Nowhere: read-only.
    None,
    /// A tmpfs that goes with the container (`--ephemeral`).
    Ephemeral {
        /// tmpfs `size=` option, bytes.
        size: Option<u64>,
    },
    /// A directory of the host; `work` lies on the same file system.
    Directory {
        /// upperdir.
        upper: HostPath,
        /// workdir.
        work: HostPath,
    },
}

/// How the root is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RootSwitch {
    /// pivot_root(2).
    Pivot,
    /// `--no-pivot`: MS_MOVE and chroot (initramfs).
    MoveAndChroot,
    /// chroot(2) alone, to `AfterPlan::rootfs` as the runtime sees it (opened before any namespace is joined): no
    /// mount namespace of its own, and no `Rootfs` step.
    Chroot,
}

/// A device node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DevicePlan {
    /// Where, in the container.
    pub path: ContainerPath,
    /// `c`, `b`, `u` are given as S_IFCHR/S_IFBLK, `p` as S_IFIFO.
    pub node_type: u32,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    /// Owner in the container.
    pub uid: u32,
    /// Group in the container.
    pub gid: u32,
    /// Bind the host's node of the same path instead of mknod(2) (user namespaces).
    pub bind: bool,
}

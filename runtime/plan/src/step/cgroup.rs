//! What is to be done in the cgroup hierarchies: values already converted for this host.

use serde::{Deserialize, Serialize};

use crate::facts::CgroupFacts;
use crate::ids::{CgroupPath, Pointer};

/// The container's cgroup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupPlan {
    /// Who makes it.
    pub driver: CgroupDriver,
    /// Where it is, below each hierarchy's root. With systemd: slice/unit, as systemd will place it.
    pub path: CgroupPath,
    /// The hierarchies of this host.
    pub hierarchies: CgroupFacts,
    /// Files to write, in this order.
    pub settings: Vec<Setting>,
    /// Device rules in the order of config.json, the runtime's default allowances last.
    pub devices: Vec<DeviceRule>,
    /// Whether the container may be made without a cgroup when it cannot be created
    /// (rootless, nothing asked for).
    pub optional: bool,
    /// Give the cgroup's files to this host uid (`cgroup.procs`, `cgroup.subtree_control`, the directory):
    /// cgroup v2 delegation to a container with its own user namespace.
    pub delegate_to: Option<u32>,
}

/// Who makes the cgroup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CgroupDriver {
    /// The runtime, through the file system.
    Cgroupfs,
    /// systemd, through D-Bus, as a scope unit.
    Systemd {
        /// Unit name, `prefix-name.scope`.
        unit: String,
        /// Slice the unit belongs to.
        slice: String,
        /// The user's manager rather than the system's.
        user: bool,
        /// Unit properties: resources mapped, and `org.systemd.property.*` annotations.
        properties: Vec<UnitProperty>,
    },
    /// Nobody: `--cgroup-manager disabled`.
    Disabled,
}

/// A systemd unit property.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitProperty {
    /// D-Bus name, `MemoryMax`.
    pub name: String,
    /// Its typed value.
    pub value: UnitValue,
}

/// The D-Bus types that unit properties need.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnitValue {
    /// `b`
    Bool(bool),
    /// `s`
    String(String),
    /// `as`
    Strings(Vec<String>),
    /// `t`
    U64(u64),
    /// `u`
    U32(u32),
    /// `i`
    I32(i32),
    /// `x`
    I64(i64),
    /// `ay`
    Bytes(Vec<u8>),
    /// `a(ss)`
    Pairs(Vec<(String, String)>),
    /// `a(st)`
    Weights(Vec<(String, u64)>),
}

/// One cgroup file to write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// v1 hierarchy or v2 controller the file belongs to (`memory`).
    pub controller: String,
    /// File name (`memory.max`).
    pub file: String,
    /// What is written.
    pub value: String,
    /// The field of config.json it comes from.
    pub from: Pointer,
    /// How strictly.
    #[serde(default)]
    pub mode: SettingMode,
}

/// How a setting is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SettingMode {
    /// An error is an error.
    #[default]
    Required,
    /// A missing file is passed over (controllers a kernel may lack, values that are the default).
    IfPresent,
    /// Refused when the cgroup already uses more (linux.resources.memory.checkBeforeUpdate).
    NotBelowUsage,
}

/// A device cgroup rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRule {
    /// Allow or deny.
    pub allow: bool,
    /// Which kind of node.
    pub kind: DeviceKind,
    /// Major number, `None` for all.
    pub major: Option<u32>,
    /// Minor number, `None` for all.
    pub minor: Option<u32>,
    /// Read.
    pub read: bool,
    /// Write.
    pub write: bool,
    /// Create with mknod(2).
    pub mknod: bool,
}

/// The kinds of device a rule can speak of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceKind {
    /// `a`
    All,
    /// `c`
    Char,
    /// `b`
    Block,
}

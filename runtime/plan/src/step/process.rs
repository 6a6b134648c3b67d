//! Who the container's process is and what it may do: the same for `create`, `run` and `exec`.

use serde::{Deserialize, Serialize};

/// User and groups, as numbers of the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserPlan {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// What to do about supplementary groups.
    pub groups: GroupsPlan,
}

/// Supplementary groups.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupsPlan {
    /// Exactly these.
    Set(Vec<u32>),
    /// Leave what is there: setgroups(2) is denied in the namespace, or `run.oci.keep_original_groups` is set.
    Keep,
}

/// The five capability sets as bit masks (capabilities(7)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapsPlan {
    /// Bounding.
    pub bounding: u64,
    /// Effective.
    pub effective: u64,
    /// Inheritable.
    pub inheritable: u64,
    /// Permitted.
    pub permitted: u64,
    /// Ambient.
    pub ambient: u64,
}

/// One resource limit (getrlimit(2)).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RlimitPlan {
    /// Kernel number, `RLIMIT_NOFILE` = 7.
    pub resource: u32,
    /// Name as written.
    pub name: String,
    /// Soft limit.
    pub soft: u64,
    /// Hard limit.
    pub hard: u64,
}

/// Scheduling attributes (sched_setattr(2)).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchedulerPlan {
    /// `SCHED_*` number.
    pub policy: u32,
    /// `SCHED_FLAG_*` bits.
    pub flags: u64,
    /// Nice value.
    pub nice: i32,
    /// Static priority.
    pub priority: u32,
    /// SCHED_DEADLINE, ns.
    pub runtime: u64,
    /// SCHED_DEADLINE, ns.
    pub deadline: u64,
    /// SCHED_DEADLINE, ns.
    pub period: u64,
}

/// NUMA memory policy (set_mempolicy(2)).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryPolicyPlan {
    /// `MPOL_*` number.
    pub mode: u32,
    /// `MPOL_F_*` bits.
    pub flags: u32,
    /// Node numbers.
    pub nodes: Vec<u32>,
}

/// The seccomp filter, normalised; compiled to BPF by the executor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeccompPlan {
    /// What happens to system calls without a rule.
    pub default: SeccompAction,
    /// Architectures beside the native one, as `SCMP_ARCH_*` names.
    pub architectures: Vec<String>,
    /// `SECCOMP_FILTER_FLAG_*` bits.
    pub flags: u32,
    /// The rules, in order.
    pub rules: Vec<SeccompRule>,
    /// Where the notify fd goes.
    pub listener: Option<SeccompListener>,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeccompRule {
    /// System call names.
    pub names: Vec<String>,
    /// What happens.
    pub action: SeccompAction,
    /// Conditions on arguments; all must hold.
    pub args: Vec<SeccompArg>,
}

/// A condition on a system call's argument.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeccompArg {
    /// Argument number, 0 to 5.
    pub index: u32,
    /// Compared with.
    pub value: u64,
    /// Second operand, for `MaskedEqual`: the value to equal (`value` is the mask).
    pub value_two: u64,
    /// `SCMP_CMP_*` name.
    pub op: String,
}

/// What a filter answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SeccompAction {
    /// Kill the process.
    KillProcess,
    /// Kill the thread.
    KillThread,
    /// Send SIGSYS.
    Trap,
    /// Fail with this errno.
    Errno(u32),
    /// Tell the tracer, with this message.
    Trace(u32),
    /// Allow.
    Allow,
    /// Allow and log.
    Log,
    /// Ask the listener.
    Notify,
}

/// Who gets the notify fd (seccomp_unotify(2)).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeccompListener {
    /// Unix socket of the agent.
    pub path: crate::ids::HostPath,
    /// Opaque text passed on.
    pub metadata: Option<String>,
}

/// Landlock by annotation: paths that stay reachable (landlock(7)).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LandlockPlan {
    /// Read and execute beneath these.
    pub read: Vec<crate::ids::ContainerPath>,
    /// Also write beneath these.
    pub write: Vec<crate::ids::ContainerPath>,
}

/// What is executed at the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecPlan {
    /// Arguments; the first is looked up in PATH when it has no slash.
    pub args: Vec<String>,
    /// The whole environment; `HOME` is added from the container's passwd when absent.
    pub env: Vec<String>,
    /// How many fds after stderr stay open for the program (`LISTEN_FDS` and `--preserve-fds`).
    #[serde(default)]
    pub keep_fds: u32,
}

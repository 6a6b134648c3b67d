//! The vocabulary: everything caisson can do to make a container, about 40 kinds of step.
//!
//! A step is data. It says who does it, what, and which field of config.json asked for it. The order is the
//! order of the list; the two actors run side by side and meet only at `Signal` and `Await`.
//!
//! ```text
//! runtime: cgroup ─ clone ─ map ids ─ signal(mapped) ─ limits, devices ─ signal(confined) ─ … await(created) ─ state
//! init:             └─▶ await(mapped) ─ cgroup, root, mounts ─ await(confined) ─ … signal(created) ─ await(start) ─ execve
//! ```
//!
//! A barrier that nothing depends on is not in the list: an ordinary container has only the last ones.

pub mod cgroup;
pub mod mounts;
pub mod namespaces;
pub mod process;

use serde::{Deserialize, Serialize};

use crate::ids::{ContainerId, ContainerPath, HostPath, Pointer};
use cgroup::CgroupPlan;
use mounts::{DevicePlan, MountPlan, RootSwitch, RootfsPlan};
use namespaces::{ClonePlan, IdMapsPlan, NetDevicePlan};
use process::{
    CapsPlan, ExecPlan, LandlockPlan, MemoryPolicyPlan, RlimitPlan, SchedulerPlan, SeccompPlan, UserPlan,
};

/// Everything that will be done to make one container (or to run one more process in it), in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The container.
    pub id: ContainerId,
    /// The bundle directory.
    pub bundle: HostPath,
    /// The steps of both actors.
    pub steps: Vec<Step>,
    /// Needed after creation: by `start`, `delete`, `state`.
    pub after: AfterPlan,
}

/// What later commands need, so that they never read config.json again (runtime.md, lifecycle).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AfterPlan {
    /// `ociVersion` of the config.
    pub oci_version: String,
    /// Root file system as given, absolute.
    pub rootfs: String,
    /// The config's annotations.
    pub annotations: std::collections::BTreeMap<String, String>,
    /// Run by `start` in the runtime's namespaces, after the process is started.
    pub poststart: Vec<Hook>,
    /// Run by `delete`.
    pub poststop: Vec<Hook>,
    /// Whether the init process leads its own pid namespace: killing it ends all others.
    pub own_pid_namespace: bool,
    /// resctrl group to remove on delete.
    pub resctrl_group: Option<HostPath>,
    /// Whether the process has a terminal.
    pub terminal: bool,
    /// Whether the config has a process. Without one the container can be created, but `start` has to refuse
    /// (runtime.md, start: "MUST generate an error if process was not set").
    #[serde(default)]
    pub process: bool,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Which process does it.
    pub actor: Actor,
    /// What is done.
    pub action: Action,
    /// The field of config.json that asked for it.
    pub from: Pointer,
}

/// The process that runs a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Actor {
    /// The `caisson` command, in the caller's namespaces.
    Runtime,
    /// The container's first process, in its namespaces, until it becomes the user's program.
    Init,
}

/// Where the two actors meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Barrier {
    /// Runtime → init: id maps are written.
    Mapped,
    /// Runtime → init: cgroup joined, devices moved, limits set.
    Confined,
    /// Init → runtime: the environment stands, run the hooks that come before pivot_root.
    HooksDue,
    /// Runtime → init: those hooks have run.
    HooksDone,
    /// Init → runtime: ready to execute the user's program.
    Created,
    /// `start` → init.
    Start,
    /// Runtime → init, in `run`: the state is on disk. A program that ran before could be lost: without a cgroup
    /// nothing but the state leads to it.
    Recorded,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    // --- runtime, before the clone
    /// Make the cgroup and write its limits. Undo: remove it.
    CreateCgroup(CgroupPlan),
    /// Make or enter a resctrl group. Undo: remove it if it was made.
    IntelRdt(IntelRdtPlan),
    /// Open the agent's socket for the seccomp notify fd.
    ConnectSeccompListener(HostPath),
    /// Compile the filter, or read it from the cache.
    CompileSeccomp(SeccompPlan),
    /// Set CPU affinity of the runtime so that init starts on these CPUs (execCPUAffinity.initial).
    InitialAffinity(Vec<u32>),
    /// Make init. Undo: kill it.
    Clone(ClonePlan),
    // --- runtime, beside init
    /// Write uid_map and gid_map.
    MapIds(IdMapsPlan),
    /// Put init into the cgroup from outside: with systemd, which makes the scope around it.
    JoinCgroup,
    /// Enter the cgroup through files that the runtime opened before the clone. Moving oneself spares the grace
    /// period that moving another process waits for (docs/decisions/0003-cgroups-rs.md).
    EnterCgroup,
    /// Set limits of init from outside: raising them needs CAP_SYS_RESOURCE in the initial user namespace.
    /// With the init actor: set them on itself, last.
    Rlimits(Vec<RlimitPlan>),
    /// Write oom_score_adj (either actor).
    OomScoreAdj(i32),
    /// Move a network device. Undo: it returns to the initial namespace with the end of the namespace.
    MoveNetDevice(NetDevicePlan),
    /// Run hooks: `prestart`, `createRuntime` (runtime), `createContainer`, `startContainer` (init).
    Hooks(HookKind, Vec<Hook>),

    // --- both
    /// Tell the other actor.
    Signal(Barrier),
    /// Wait for the other actor.
    Await(Barrier),

    // --- init
    /// setsid(2).
    NewSession,
    /// Join a session keyring of its own (keyctl(2)).
    Keyring {
        /// Its name, `_ses.ID`.
        name: String,
        /// SELinux label of the keyring.
        label: Option<String>,
    },
    /// unshare(CLONE_NEWCGROUP), after the cgroup was joined: it becomes the namespace's root.
    UnshareCgroupNamespace,
    /// Bring up `lo` in the new network namespace.
    LoopbackUp,
    /// sethostname(2).
    Hostname(String),
    /// setdomainname(2).
    Domainname(String),
    /// Cut the new mount namespace off from the host's and prepare the root.
    Rootfs(RootfsPlan),
    /// One mount; index in `mounts`.
    Mount(MountPlan),
    /// Device nodes.
    Devices(Vec<DevicePlan>),
    /// `/dev/fd`, `/dev/stdin`, … and `/dev/ptmx` where the container has its own `/dev`.
    DevLinks,
    /// Make the terminal, send its master to the console socket, make it stdio.
    Console(ConsolePlan),
    /// Make the prepared root the root.
    SwitchRoot(RootSwitch),
    /// Propagation of the container's `/` (linux.rootfsPropagation).
    RootPropagation(mounts::PropagationChange),
    /// Remount `/` read-only.
    ReadonlyRoot,
    /// Write kernel parameters, through a private procfs.
    Sysctl(Vec<(String, String)>),
    /// Make paths read-only (linux.readonlyPaths).
    ReadonlyPaths(Vec<ContainerPath>),
    /// Hide paths (linux.maskedPaths).
    MaskedPaths {
        /// What to hide.
        paths: Vec<ContainerPath>,
        /// SELinux label of the empty directory.
        label: Option<String>,
    },
    /// Set the AppArmor profile for the next execve.
    AppArmor(String),
    /// Set the SELinux label for the next execve.
    SelinuxLabel(String),
    /// sched_setattr(2).
    Scheduler(SchedulerPlan),
    /// ioprio_set(2): class and level.
    IoPriority(u32, u32),
    /// sched_setaffinity(2) (execCPUAffinity.final).
    FinalAffinity(Vec<u32>),
    /// personality(2).
    Personality(u64),
    /// set_mempolicy(2).
    MemoryPolicy(MemoryPolicyPlan),
    /// umask(2).
    Umask(u32),
    /// Make the working directory when it is missing, while the root can still be written.
    MakeCwd(ContainerPath),
    /// Change to the working directory; made when missing and the root can be written.
    Chdir(ContainerPath),
    /// Restrict the file system by Landlock.
    Landlock(LandlockPlan),
    /// Become the user: groups, ids, capabilities, no_new_privs, seccomp. One step because the kernel ties
    /// their order: see `caisson-exec`'s `identity`.
    Identity(IdentityPlan),
    /// Look the program up, so that `create` can say what is missing.
    FindProgram(ExecPlan),
    /// Close what is not to be inherited and execute.
    Execve(ExecPlan),
}

/// Who the process becomes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityPlan {
    /// Ids.
    pub user: UserPlan,
    /// Capabilities; `None`: keep what the kernel gives (exec without a list).
    pub capabilities: Option<CapsPlan>,
    /// prctl(PR_SET_NO_NEW_PRIVS).
    pub no_new_privileges: bool,
    /// Load the filter compiled by `CompileSeccomp`.
    pub seccomp: bool,
}

/// The terminal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsolePlan {
    /// Width and height in characters.
    pub size: Option<(u16, u16)>,
    /// Bind the terminal onto `/dev/console`.
    pub dev_console: bool,
    /// Owner of the terminal in the container.
    pub uid: u32,
}

/// resctrl (linux.intelRdt).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntelRdtPlan {
    /// The group's directory.
    pub group: HostPath,
    /// Whether the group may be made (no closID, or one with schemata).
    pub create: bool,
    /// Lines for `schemata`.
    pub schemata: Vec<String>,
    /// Also make a monitoring group.
    pub monitoring: bool,
}

/// The six hook points (config.md, POSIX-platform hooks).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum HookKind {
    /// Deprecated, runtime namespace, before `createRuntime`.
    Prestart,
    /// Runtime namespace, before pivot_root.
    CreateRuntime,
    /// Container namespace, before pivot_root.
    CreateContainer,
    /// Container namespace, before the user's program.
    StartContainer,
    /// Runtime namespace, after it.
    Poststart,
    /// Runtime namespace, after deletion.
    Poststop,
}

impl HookKind {
    /// The name in config.json.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Prestart => "prestart",
            Self::CreateRuntime => "createRuntime",
            Self::CreateContainer => "createContainer",
            Self::StartContainer => "startContainer",
            Self::Poststart => "poststart",
            Self::Poststop => "poststop",
        }
    }
}

/// One hook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// Absolute path.
    pub path: HostPath,
    /// Arguments, the first is argv[0].
    pub args: Vec<String>,
    /// Whole environment.
    pub env: Vec<String>,
    /// Seconds.
    pub timeout: Option<u32>,
    /// The field of config.json.
    pub from: Pointer,
}

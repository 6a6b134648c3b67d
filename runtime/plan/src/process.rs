//! `process`: who runs, with which limits, on which terminal. The same code for `create`, `run` and `exec`.

use oci_spec::runtime::{LinuxIdMapping, PosixRlimitType, Process, User};

use crate::caps;
use crate::facts::HostFacts;
use crate::ids::{ContainerPath, Pointer};
use crate::problem::Problems;
use crate::step::process::{ExecPlan, GroupsPlan, RlimitPlan, UserPlan};
use crate::step::{ConsolePlan, IdentityPlan};

/// What the process's surroundings say.
#[derive(Clone, Debug)]
pub(crate) struct Surroundings<'a> {
    pub facts: &'a HostFacts,
    /// setgroups(2) is denied in the container's user namespace.
    pub setgroups_denied: bool,
    /// Annotation `run.oci.keep_original_groups`.
    pub keep_groups: bool,
    /// Mappings of the container's user namespace, when it has its own: ids outside them do not exist there.
    pub uid_map: Option<&'a [LinuxIdMapping]>,
    /// See `uid_map`.
    pub gid_map: Option<&'a [LinuxIdMapping]>,
    /// Fds passed on by systemd.
    pub listen_fds: u32,
    /// Fds kept open beside stdio.
    pub preserve_fds: u32,
    /// The container's notify socket.
    pub notify_socket: Option<&'a str>,
    /// Whether a seccomp filter is loaded.
    pub seccomp: bool,
    /// The container is in a user namespace other than the runtime's, where its root holds every capability.
    pub in_userns: bool,
}

impl Surroundings<'_> {
    fn capability_limits(&self) -> caps::Limits {
        let grantable = if self.in_userns { u64::MAX } else { self.facts.capabilities };
        caps::Limits { last_cap: self.facts.last_cap, grantable }
    }
}

/// The steps' data of one process.
#[derive(Clone, Debug)]
pub(crate) struct ProcessPlan {
    pub exec: ExecPlan,
    pub identity: IdentityPlan,
    pub cwd: ContainerPath,
    pub umask: Option<u32>,
    pub rlimits: Vec<RlimitPlan>,
    pub console: Option<ConsolePlan>,
    pub oom_score_adj: Option<i32>,
}

/// Reads the parts of `process` that decide who it is.
pub(crate) fn plan(
    process: &Process,
    around: &Surroundings<'_>,
    at: &Pointer,
    problems: &mut Problems,
) -> ProcessPlan {
    check_ids(process.user(), around, &at.child("user"), problems);
    let capabilities = process.capabilities().as_ref();
    let capabilities = capabilities
        .map(|sets| caps::plan(sets, around.capability_limits(), &at.child("capabilities"), problems));
    let no_new_privileges = process.no_new_privileges().unwrap_or(false);
    let identity = IdentityPlan {
        user: user(process, around, at, problems),
        capabilities,
        no_new_privileges,
        seccomp: around.seccomp,
    };
    let score = process.oom_score_adj();
    if score.is_some_and(|score| !(-1000..=1000).contains(&score)) {
        problems.error(&at.child("oomScoreAdj"), "expected a value from -1000 to 1000");
    }
    if process.command_line().is_some() {
        problems.warn(&at.child("commandLine"), "for Windows only: it has no effect");
    }
    ProcessPlan {
        exec: exec(process, around, at, problems),
        identity,
        cwd: cwd(process, &at.child("cwd"), problems),
        umask: process.user().umask(),
        rlimits: rlimits(process, &at.child("rlimits"), problems),
        console: console(process, at, problems),
        oom_score_adj: score,
    }
}

fn exec(process: &Process, around: &Surroundings<'_>, at: &Pointer, problems: &mut Problems) -> ExecPlan {
    let args = process.args().clone().unwrap_or_default();
    if args.is_empty() {
        problems.error(&at.child("args"), "no program: args must have at least one element");
    } else if args.iter().any(|arg| arg.contains('\0')) {
        problems.error(&at.child("args"), "an argument has a NUL byte");
    }
    let mut env = Vec::new();
    for (index, entry) in process.env().iter().flatten().enumerate() {
        if entry.contains('\0') {
            problems.error(&at.child("env").child(index), "the entry has a NUL byte");
        }
        env.push(entry.clone());
    }
    if around.listen_fds > 0 {
        // sd_listen_fds(3): LISTEN_PID has to name the receiver, which is the first process of its namespace only if
        // it has its own; the executor knows the pid and replaces this value.
        env.push(format!("LISTEN_FDS={}", around.listen_fds));
        env.push("LISTEN_PID=1".to_owned());
    }
    if let Some(socket) = around.notify_socket {
        env.retain(|entry| !entry.starts_with("NOTIFY_SOCKET="));
        env.push(format!("NOTIFY_SOCKET={socket}"));
    }
    ExecPlan { args, env, keep_fds: around.listen_fds.saturating_add(around.preserve_fds) }
}

fn cwd(process: &Process, at: &Pointer, problems: &mut Problems) -> ContainerPath {
    let cwd = process.cwd();
    if !cwd.is_absolute() {
        problems.error(at, format!("{:?} is not an absolute path", cwd.display().to_string()));
    }
    ContainerPath::new(cwd)
}

fn user(process: &Process, around: &Surroundings<'_>, at: &Pointer, problems: &mut Problems) -> UserPlan {
    let user = process.user();
    let at = at.child("user");
    if user.username().as_ref().is_some_and(|name| !name.is_empty()) {
        problems.error_hint(
            &at.child("username"),
            "user names are for Windows",
            "use /process/user/uid and gid",
        );
    }
    if user.umask().is_some_and(|umask| umask > 0o777) {
        problems.error(&at.child("umask"), "expected at most 0777 (511)");
    }
    let additional = user.additional_gids().clone().unwrap_or_default();
    let groups = if around.keep_groups || around.setgroups_denied {
        if !additional.is_empty() && around.setgroups_denied {
            problems.error_hint(
                &at.child("additionalGids"),
                "setgroups(2) is denied in a user namespace mapped by an ordinary user alone",
                "give the user a range in /etc/subgid and install newgidmap",
            );
        }
        GroupsPlan::Keep
    } else {
        GroupsPlan::Set(additional)
    };
    UserPlan { uid: user.uid(), gid: user.gid(), groups }
}

fn check_ids(user: &User, around: &Surroundings<'_>, at: &Pointer, problems: &mut Problems) {
    let mut check = |id: u32, map: Option<&[LinuxIdMapping]>, at: Pointer| {
        if id == u32::MAX {
            problems.error(&at, "4294967295 is not a valid id: it means \"unchanged\" to the kernel");
        } else if map.is_some_and(|map| !map.is_empty() && !covers(map, id)) {
            problems.error(&at, format!("id {id} is not mapped in the container's user namespace"));
        }
    };
    check(user.uid(), around.uid_map, at.child("uid"));
    check(user.gid(), around.gid_map, at.child("gid"));
    for (index, gid) in user.additional_gids().iter().flatten().enumerate() {
        check(*gid, around.gid_map, at.child("additionalGids").child(index));
    }
}

/// Whether `id` of the container is in the mapping.
pub(crate) fn covers(map: &[LinuxIdMapping], id: u32) -> bool {
    map.iter().any(|line| id >= line.container_id() && id - line.container_id() < line.size())
}

fn rlimits(process: &Process, at: &Pointer, problems: &mut Problems) -> Vec<RlimitPlan> {
    let mut list: Vec<RlimitPlan> = Vec::new();
    for (index, limit) in process.rlimits().iter().flatten().enumerate() {
        let at = at.child(index);
        let resource = rlimit_number(limit.typ());
        if list.iter().any(|other| other.resource == resource) {
            // config.md: "If rlimits contains duplicated entries with same type, the runtime MUST generate an error."
            problems.error(&at.child("type"), format!("{} is set twice", limit.typ()));
        }
        if limit.soft() > limit.hard() {
            problems.error(
                &at.child("soft"),
                format!("{} exceeds the hard limit {}", limit.soft(), limit.hard()),
            );
        }
        let name = limit.typ().to_string();
        list.push(RlimitPlan { resource, name, soft: limit.soft(), hard: limit.hard() });
    }
    list
}

/// Numbers of asm-generic/resource.h (x86_64, arm64).
fn rlimit_number(kind: PosixRlimitType) -> u32 {
    match kind {
        PosixRlimitType::RlimitCpu => 0,
        PosixRlimitType::RlimitFsize => 1,
        PosixRlimitType::RlimitData => 2,
        PosixRlimitType::RlimitStack => 3,
        PosixRlimitType::RlimitCore => 4,
        PosixRlimitType::RlimitRss => 5,
        PosixRlimitType::RlimitNproc => 6,
        PosixRlimitType::RlimitNofile => 7,
        PosixRlimitType::RlimitMemlock => 8,
        PosixRlimitType::RlimitAs => 9,
        PosixRlimitType::RlimitLocks => 10,
        PosixRlimitType::RlimitSigpending => 11,
        PosixRlimitType::RlimitMsgqueue => 12,
        PosixRlimitType::RlimitNice => 13,
        PosixRlimitType::RlimitRtprio => 14,
        PosixRlimitType::RlimitRttime => 15,
    }
}

fn console(process: &Process, at: &Pointer, problems: &mut Problems) -> Option<ConsolePlan> {
    // config.md: "Runtimes MUST ignore consoleSize if terminal is false or unset."
    if !process.terminal().unwrap_or(false) {
        return None;
    }
    let size = process.console_size().and_then(|size| {
        let fits = u16::try_from(size.width()).ok().zip(u16::try_from(size.height()).ok());
        if fits.is_none() {
            problems.error(&at.child("consoleSize"), "width and height must be below 65536");
        }
        fits
    });
    Some(ConsolePlan { size, dev_console: true, uid: process.user().uid() })
}

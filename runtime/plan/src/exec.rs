//! `exec`: one more process in a running container. It goes through the code that planned the first one, so that both
//! end as the same user with the same rights (CVE-2025-27612, CVE-2022-27650 came of a second path).

use oci_spec::runtime::{LinuxIdMapping, LinuxIdMappingBuilder, Process};
use serde::{Deserialize, Serialize};

use crate::context::Steps;
use crate::facts::{CgroupFacts, HostFacts};
use crate::ids::Pointer;
use crate::init_steps::{self, Extra, Labels};
use crate::options::{CgroupManager, Options};
use crate::plan::{Planned, finish};
use crate::problem::Problems;
use crate::process::{self, ProcessPlan, Surroundings};
use crate::scheduling;
use crate::step::cgroup::CgroupDriver;
use crate::step::namespaces::{ClonePlan, IdMapsPlan, NamespaceKind};
use crate::step::process::{GroupsPlan, LandlockPlan, MemoryPolicyPlan, SeccompPlan};
use crate::step::{Action, AfterPlan, Barrier, Plan};

/// What a running container says about processes that join it. Stored with its state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecContext {
    /// The namespaces it has of its own, made or joined.
    pub namespaces: Vec<NamespaceKind>,
    /// The mapping of its user namespace, when that was made for it.
    pub id_maps: Option<IdMapsPlan>,
    /// Whether its processes keep the supplementary groups of the runtime.
    #[serde(default)]
    pub keep_groups: bool,
    /// Whether it has a cgroup to be joined.
    pub cgroup: bool,
    /// Its seccomp filter.
    pub seccomp: Option<SeccompPlan>,
    /// Its execution domain.
    pub personality: Option<u64>,
    /// Its memory policy.
    pub memory_policy: Option<MemoryPolicyPlan>,
    /// Its file system restriction.
    pub landlock: Option<LandlockPlan>,
}

impl ExecContext {
    /// Reads from the plan of the container what its later processes need.
    #[must_use]
    pub fn of(plan: &Plan) -> Self {
        let mut context = Self::default();
        for step in &plan.steps {
            match &step.action {
                Action::Clone(clone) => {
                    context.namespaces.extend(&clone.create);
                    context.namespaces.extend(clone.join.iter().map(|join| join.kind));
                    context.namespaces.extend(clone.time.iter().map(|_| NamespaceKind::Time));
                }
                Action::UnshareCgroupNamespace => context.namespaces.push(NamespaceKind::Cgroup),
                Action::Identity(identity) => context.keep_groups = identity.user.groups == GroupsPlan::Keep,
                Action::MapIds(maps) => context.id_maps = Some(maps.clone()),
                Action::CreateCgroup(cgroup) => context.cgroup = cgroup.driver != CgroupDriver::Disabled,
                Action::CompileSeccomp(seccomp) => context.seccomp = Some(seccomp.clone()),
                Action::Personality(personality) => context.personality = Some(*personality),
                Action::MemoryPolicy(policy) => context.memory_policy = Some(policy.clone()),
                Action::Landlock(landlock) => context.landlock = Some(landlock.clone()),
                _ => {}
            }
        }
        context.namespaces.sort();
        context.namespaces.dedup();
        context
    }

    fn has(&self, kind: NamespaceKind) -> bool {
        self.namespaces.contains(&kind)
    }
}

/// Decides everything that `exec` will do.
///
/// Pointers of problems start at the process: `/user/uid`, `/args`.
#[must_use]
pub fn plan_exec(
    process: &Process,
    container: &ExecContext,
    facts: &HostFacts,
    options: &Options,
) -> Planned {
    let mut problems = Problems::default();
    let at = Pointer::default();
    check(process, facts, options, &mut problems);
    let maps = container.id_maps.as_ref();
    let (uid_map, gid_map) = (maps.map(|maps| model(&maps.uid)), maps.map(|maps| model(&maps.gid)));
    let around = Surroundings {
        facts,
        setgroups_denied: maps.is_some_and(|maps| maps.deny_setgroups),
        keep_groups: container.keep_groups,
        uid_map: uid_map.as_deref(),
        gid_map: gid_map.as_deref(),
        listen_fds: options.listen_fds,
        preserve_fds: options.preserve_fds,
        notify_socket: None,
        seccomp: container.seccomp.is_some(),
        in_userns: container.has(NamespaceKind::User),
    };
    let mut planned = process::plan(process, &around, &at, &mut problems);
    if let Some(console) = &mut planned.console {
        // /dev/console is the first process's.
        console.dev_console = false;
    }
    let scheduling = scheduling::plan(process, &at, &mut problems);
    let terminal = planned.console.is_some();
    finish(problems, || {
        let mut steps = Steps::default();
        runtime_steps(&planned, container, &scheduling, facts, options, &mut steps);
        let entry = CgroupEntry::of(container, facts, options);
        init_steps(process, &planned, (container, entry), &scheduling, options, &mut steps);
        Plan {
            id: options.id.clone(),
            bundle: options.bundle.clone(),
            steps: steps.list,
            after: AfterPlan { terminal, process: true, ..AfterPlan::default() },
        }
    })
}

fn model(maps: &[crate::step::namespaces::IdMap]) -> Vec<LinuxIdMapping> {
    let line = |map: &crate::step::namespaces::IdMap| {
        let builder = LinuxIdMappingBuilder::default();
        builder.container_id(map.container).host_id(map.host).size(map.size).build().ok()
    };
    maps.iter().filter_map(line).collect()
}

fn check(process: &Process, facts: &HostFacts, options: &Options, problems: &mut Problems) {
    let given = |label: &Option<String>| label.as_ref().is_some_and(|label| !label.is_empty());
    if given(process.apparmor_profile()) && !facts.apparmor {
        problems.error_hint(
            &Pointer::new("/apparmorProfile"),
            "AppArmor is not active on this host",
            "boot with AppArmor, or drop the profile",
        );
    }
    if given(process.selinux_label()) && !facts.selinux {
        problems.error_hint(
            &Pointer::new("/selinuxLabel"),
            "SELinux is not active on this host",
            "boot with SELinux, or drop the label",
        );
    }
    let terminal = process.terminal().unwrap_or(false);
    if terminal && options.detach && !options.console_socket {
        problems.error_hint(
            &Pointer::new("/terminal"),
            "no one to give the terminal to",
            "use --console-socket, or run in the foreground",
        );
    }
    if !terminal && options.console_socket {
        problems.error_hint(
            &Pointer::new("/terminal"),
            "a console socket without a terminal",
            "drop --console-socket, or ask for a terminal (--tty)",
        );
    }
}

fn runtime_steps(
    process: &ProcessPlan,
    container: &ExecContext,
    scheduling: &scheduling::Scheduling,
    facts: &HostFacts,
    options: &Options,
    steps: &mut Steps,
) {
    if let Some(seccomp) = &container.seccomp {
        if let Some(listener) = &seccomp.listener {
            steps.runtime(Action::ConnectSeccompListener(listener.path.clone()), "");
        }
        steps.runtime(Action::CompileSeccomp(seccomp.clone()), "");
    }
    if let Some(cpus) = &scheduling.initial_affinity {
        steps.runtime(Action::InitialAffinity(cpus.clone()), "/execCPUAffinity/initial");
    }
    let entry = CgroupEntry::of(container, facts, options);
    let into_cgroup = entry == CgroupEntry::Born;
    // A process enters a pid namespace by being born there. The runtime can point its own children at it, unless
    // that takes rights in a user namespace: then one that has entered all others makes the real one.
    let stage = container.has(NamespaceKind::User);
    let clone = ClonePlan { stage, into_cgroup, enter: container.namespaces.clone(), ..ClonePlan::default() };
    steps.runtime(Action::Clone(clone), "");
    if entry == CgroupEntry::Moved {
        steps.runtime(Action::JoinCgroup, "");
    }
    if let Some(score) = process.oom_score_adj {
        steps.runtime(Action::OomScoreAdj(score), "/oomScoreAdj");
    }
    if container.has(NamespaceKind::User) && !process.rlimits.is_empty() {
        steps.runtime(Action::Rlimits(process.rlimits.clone()), "/rlimits");
    }
    if confines(process, container, entry) {
        steps.runtime(Action::Signal(Barrier::Confined), "");
    }
    steps.runtime(Action::Await(Barrier::Created), "");
}

/// How the process comes into the container's cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CgroupEntry {
    /// There is none.
    Nowhere,
    /// CLONE_INTO_CGROUP: Linux 5.7.
    Born,
    /// By itself.
    Itself,
    /// A user's own process can be moved into a unit of the user's systemd only by systemd.
    Moved,
}

impl CgroupEntry {
    fn of(container: &ExecContext, facts: &HostFacts, options: &Options) -> Self {
        let systemd = options.cgroup_manager == CgroupManager::Systemd;
        if !container.cgroup {
            Self::Nowhere
        } else if facts.is_rootless() && systemd {
            Self::Moved
        } else if matches!(facts.cgroups, CgroupFacts::V2(_))
            && facts.kernel >= (5, 7)
            && !facts.is_rootless()
        {
            Self::Born
        } else {
            Self::Itself
        }
    }
}

/// Whether the runtime does anything to init that init has to wait for.
fn confines(process: &ProcessPlan, container: &ExecContext, entry: CgroupEntry) -> bool {
    entry == CgroupEntry::Moved
        || process.oom_score_adj.is_some()
        || (container.has(NamespaceKind::User) && !process.rlimits.is_empty())
}

fn init_steps(
    process: &Process,
    planned: &ProcessPlan,
    (container, entry): (&ExecContext, CgroupEntry),
    scheduling: &scheduling::Scheduling,
    options: &Options,
    steps: &mut Steps,
) {
    let given = |label: &Option<String>| label.clone().filter(|label| !label.is_empty());
    let labels =
        Labels { apparmor: given(process.apparmor_profile()), selinux: given(process.selinux_label()) };
    if entry == CgroupEntry::Itself {
        steps.init(Action::EnterCgroup, "");
    }
    steps.init(Action::NewSession, "");
    if !options.no_new_keyring {
        let name = format!("_ses.{}", options.id);
        steps.init(Action::Keyring { name, label: labels.selinux.clone() }, "");
    }
    if let Some(console) = &planned.console {
        steps.init(Action::Console(console.clone()), "/terminal");
    }
    if confines(planned, container, entry) {
        // Nothing of the user's runs before the limits hold.
        steps.init(Action::Await(Barrier::Confined), "");
    }
    let extra = Extra { personality: container.personality, memory_policy: container.memory_policy.clone() };
    init_steps::settle(planned, scheduling, &labels, &extra, steps);
    steps.init(Action::Signal(Barrier::Created), "");
    let own_limits = !container.has(NamespaceKind::User);
    init_steps::become_user(planned, own_limits, container.landlock.as_ref(), steps);
}

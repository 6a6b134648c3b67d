//! The order of things: from the sections of config.json to one list of steps.
//!
//! Each section decides for itself (one file each) and reports its problems; this file says when it happens and why
//! then.

use oci_spec::runtime::Spec;

use crate::checks;
use crate::context::{Context, Steps};
use crate::facts::HostFacts;
use crate::hooks::{self, Hooks};
use crate::ids::Pointer;
use crate::init_steps;
use crate::landlock;
use crate::mounts;
use crate::namespaces;
use crate::netdevices;
use crate::options::{Command, Options};
use crate::problem::Problems;
use crate::process::{self, ProcessPlan, Surroundings};
use crate::rdt;
use crate::rootfs::{self, Root};
use crate::scheduling::{self, Scheduling};
use crate::step::cgroup::{CgroupDriver, CgroupPlan};
use crate::step::mounts::DevicePlan;
use crate::step::namespaces::{ClonePlan, IdMapsPlan, NamespaceKind, NetDevicePlan};
use crate::step::process::{LandlockPlan, MemoryPolicyPlan, SeccompPlan};
use crate::step::{Action, AfterPlan, Barrier, HookKind, IntelRdtPlan, Plan};
use crate::{cgroup, devices, idmaps, seccomp, sysctl};

/// What planning came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// The plan, or every error that could be found (warnings are not among them).
    pub result: Result<Plan, Problems>,
    /// What will not be quite as asked for.
    pub warnings: Problems,
}

/// Decides everything that `create` or `run` will do.
///
/// Pure: the same inputs give the same plan. All problems of the config are reported at once.
#[must_use]
pub fn plan(spec: &Spec, facts: &HostFacts, options: &Options) -> Planned {
    let mut problems = Problems::default();
    let shape = namespaces::shape(spec, &mut problems);
    let context = Context { spec, facts, options, shape };
    checks::whole(&context, &mut problems);
    let sections = Sections::read(&context, &mut problems);
    finish(problems, || Plan {
        id: options.id.clone(),
        bundle: options.bundle.clone(),
        after: after(&context, &sections),
        steps: steps(&context, &sections),
    })
}

/// Splits problems from warnings.
pub(crate) fn finish(problems: Problems, plan: impl FnOnce() -> Plan) -> Planned {
    let (errors, warnings) = problems.split();
    let result = if errors.list().is_empty() { Ok(plan()) } else { Err(errors) };
    Planned { result, warnings }
}

/// What each section of config.json came to.
#[derive(Debug)]
pub(crate) struct Sections {
    pub cgroup: CgroupPlan,
    pub clone: ClonePlan,
    pub id_maps: Option<IdMapsPlan>,
    pub net_devices: Vec<NetDevicePlan>,
    pub root: Root,
    pub mounts: Vec<mounts::Planned>,
    pub devices: Vec<DevicePlan>,
    pub hooks: Hooks,
    pub sysctl: Vec<(String, String)>,
    pub seccomp: Option<SeccompPlan>,
    pub rdt: Option<IntelRdtPlan>,
    pub personality: Option<u64>,
    pub memory_policy: Option<MemoryPolicyPlan>,
    pub landlock: Option<LandlockPlan>,
    pub process: Option<ProcessPlan>,
    pub scheduling: Scheduling,
}

impl Sections {
    fn read(context: &Context<'_>, problems: &mut Problems) -> Self {
        let linux = context.linux();
        let id_maps = idmaps::plan(context, problems);
        let cgroup = cgroup::plan(context, problems);
        let mounts = mounts::plan(context, &cgroup.path, problems);
        let wanted = linux.and_then(|linux| linux.seccomp().as_ref());
        let seccomp = wanted.map(|wanted| seccomp::plan(wanted, &Pointer::new("/linux/seccomp"), problems));
        let wanted = linux.and_then(|linux| linux.personality().as_ref());
        let personality =
            wanted.map(|it| scheduling::personality(it, &Pointer::new("/linux/personality"), problems));
        let wanted = linux.and_then(|linux| linux.memory_policy().as_ref());
        let memory_policy =
            wanted.map(|it| scheduling::memory_policy(it, &Pointer::new("/linux/memoryPolicy"), problems));
        let at = Pointer::new("/process");
        Self {
            clone: namespaces::clone_plan(context, problems),
            net_devices: netdevices::plan(context, problems),
            root: rootfs::plan(context, problems),
            devices: devices::nodes(context, &mounts, problems),
            hooks: hooks::plan(context, problems),
            sysctl: sysctl::plan(context, problems),
            rdt: rdt::plan(context, problems),
            landlock: landlock::plan(context, problems),
            process: process_of(context, id_maps.as_ref(), seccomp.is_some(), problems),
            scheduling: context.process().map(|it| scheduling::plan(it, &at, problems)).unwrap_or_default(),
            cgroup,
            id_maps,
            mounts,
            seccomp,
            personality,
            memory_policy,
        }
    }
}

fn process_of(
    context: &Context<'_>,
    id_maps: Option<&IdMapsPlan>,
    seccomp: bool,
    problems: &mut Problems,
) -> Option<ProcessPlan> {
    let mapped = context.shape.creates(NamespaceKind::User);
    let linux = context.linux().filter(|_| mapped);
    let around = Surroundings {
        facts: context.facts,
        setgroups_denied: idmaps::setgroups_denied(id_maps),
        keep_groups: context.annotation("run.oci.keep_original_groups") == Some("1"),
        uid_map: linux.and_then(|linux| linux.uid_mappings().as_deref()),
        gid_map: linux.and_then(|linux| linux.gid_mappings().as_deref()),
        listen_fds: context.options.listen_fds,
        preserve_fds: context.options.preserve_fds,
        notify_socket: context.options.notify_dir.is_some().then_some(mounts::NOTIFY_SOCKET),
        seccomp,
        in_userns: context.shape.has(NamespaceKind::User),
    };
    let process = context.process()?;
    let mut plan = process::plan(process, &around, &Pointer::new("/process"), problems);
    if let Some(console) = &mut plan.console {
        console.dev_console = context.shape.has(NamespaceKind::Mount);
    }
    Some(plan)
}

fn after(context: &Context<'_>, sections: &Sections) -> AfterPlan {
    AfterPlan {
        oci_version: context.spec.version().clone(),
        rootfs: sections.root.path.to_string(),
        annotations: context
            .spec
            .annotations()
            .iter()
            .flatten()
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect(),
        poststart: sections.hooks.poststart.clone(),
        poststop: sections.hooks.poststop.clone(),
        own_pid_namespace: context.shape.creates(NamespaceKind::Pid),
        resctrl_group: sections.rdt.as_ref().filter(|rdt| rdt.create).map(|rdt| rdt.group.clone()),
        terminal: sections.process.as_ref().is_some_and(|process| process.console.is_some()),
        process: sections.process.is_some(),
    }
}

fn steps(context: &Context<'_>, sections: &Sections) -> Vec<crate::step::Step> {
    let mut steps = Steps::default();
    before_clone(sections, &mut steps);
    steps.runtime(Action::Clone(sections.clone.clone()), "/linux/namespaces");
    beside_init(context, sections, &mut steps);
    init_steps::all(context, sections, &mut steps);
    steps.list
}

/// Slow or failing things that need no init come first: nothing has to be undone for them.
fn before_clone(sections: &Sections, steps: &mut Steps) {
    if let Some(seccomp) = &sections.seccomp {
        if let Some(listener) = &seccomp.listener {
            steps.runtime(
                Action::ConnectSeccompListener(listener.path.clone()),
                "/linux/seccomp/listenerPath",
            );
        }
        steps.runtime(Action::CompileSeccomp(seccomp.clone()), "/linux/seccomp");
    }
    if sections.cgroup.driver != CgroupDriver::Disabled {
        steps.runtime(Action::CreateCgroup(sections.cgroup.clone()), "/linux/resources");
    }
    if let Some(rdt) = &sections.rdt {
        steps.runtime(Action::IntelRdt(rdt.clone()), "/linux/intelRdt");
    }
    if let Some(cpus) = &sections.scheduling.initial_affinity {
        steps.runtime(Action::InitialAffinity(cpus.clone()), "/process/execCPUAffinity/initial");
    }
}

/// What the runtime does to init from outside, while init builds its root.
fn beside_init(context: &Context<'_>, sections: &Sections, steps: &mut Steps) {
    if let Some(maps) = &sections.id_maps {
        steps.runtime(Action::MapIds(maps.clone()), "/linux/uidMappings");
        steps.runtime(Action::Signal(Barrier::Mapped), "/linux/uidMappings");
    }
    if joined_from_outside(sections) {
        steps.runtime(Action::JoinCgroup, "/linux/cgroupsPath");
    }
    for device in &sections.net_devices {
        let from = Pointer::new("/linux/netDevices").child(&device.host_name);
        steps.push(crate::step::Actor::Runtime, Action::MoveNetDevice(device.clone()), from);
    }
    if let Some(process) = &sections.process {
        if let Some(score) = process.oom_score_adj {
            // By the runtime: lowering it takes CAP_SYS_RESOURCE in the initial user namespace.
            steps.runtime(Action::OomScoreAdj(score), "/process/oomScoreAdj");
        }
        if context.shape.has(NamespaceKind::User) && !process.rlimits.is_empty() {
            // Raising a hard limit takes CAP_SYS_RESOURCE in the initial user namespace, which init has left.
            steps.runtime(Action::Rlimits(process.rlimits.clone()), "/process/rlimits");
        }
    }
    if confines(context, sections) {
        steps.runtime(Action::Signal(Barrier::Confined), "/linux");
    }
    let early = [
        (HookKind::Prestart, &sections.hooks.prestart, "/hooks/prestart"),
        (HookKind::CreateRuntime, &sections.hooks.create_runtime, "/hooks/createRuntime"),
    ];
    if early.iter().any(|(_, list, _)| !list.is_empty()) {
        steps.runtime(Action::Await(Barrier::HooksDue), "/hooks");
        for (kind, list, from) in early.into_iter().filter(|(_, list, _)| !list.is_empty()) {
            steps.runtime(Action::Hooks(kind, list.clone()), from);
        }
        steps.runtime(Action::Signal(Barrier::HooksDone), "/hooks");
    }
    steps.runtime(Action::Await(Barrier::Created), "/process");
}

/// systemd takes the process from outside; every other driver lets init enter by itself, or clones it there.
pub(crate) fn joined_from_outside(sections: &Sections) -> bool {
    matches!(sections.cgroup.driver, CgroupDriver::Systemd { .. }) || sections.rdt.is_some()
}

/// Whether the runtime does anything to init that init has to wait for.
pub(crate) fn confines(context: &Context<'_>, sections: &Sections) -> bool {
    let from_outside = |process: &ProcessPlan| {
        process.oom_score_adj.is_some()
            || (context.shape.has(NamespaceKind::User) && !process.rlimits.is_empty())
    };
    joined_from_outside(sections)
        || !sections.net_devices.is_empty()
        || sections.process.as_ref().is_some_and(from_outside)
}

/// Whether init waits for `start`.
pub(crate) fn waits(context: &Context<'_>) -> bool {
    context.options.command == Command::Create
}

//! The steps of init, in their order, and why each stands where it stands.

use std::path::Path;

use crate::context::{Context, Steps, each};
use crate::ids::{ContainerPath, Pointer};
use crate::plan::{Sections, confines, joined_from_outside, waits};
use crate::process::ProcessPlan;
use crate::scheduling::Scheduling;
use crate::step::cgroup::CgroupDriver;
use crate::step::namespaces::NamespaceKind;
use crate::step::{Action, Actor, Barrier, HookKind};

/// All steps of init.
pub(crate) fn all(context: &Context<'_>, sections: &Sections, steps: &mut Steps) {
    if sections.id_maps.is_some() {
        // Before anything else: without a mapping init owns nothing and may do nothing (user_namespaces(7)).
        steps.init(Action::Await(Barrier::Mapped), "/linux/uidMappings");
    }
    enter_cgroup(context, sections, steps);
    surroundings(context, steps);
    filesystem(context, sections, steps);
    before_switch(sections, steps);
    switch_and_seal(context, sections, steps);
    if let Some(process) = &sections.process {
        let labels = labels(context);
        settle(process, &sections.scheduling, &labels, &Extra::of(sections), steps);
    }
    finish(context, sections, steps);
}

/// First of all, so that everything after it is counted and limited. Only systemd makes init wait.
fn enter_cgroup(context: &Context<'_>, sections: &Sections, steps: &mut Steps) {
    if joined_from_outside(sections) {
        return;
    }
    if !sections.clone.into_cgroup && sections.cgroup.driver == CgroupDriver::Cgroupfs {
        steps.init(Action::EnterCgroup, "/linux/cgroupsPath");
    }
    if context.shape.creates(NamespaceKind::Cgroup) {
        // In its cgroup: where its maker is becomes the namespace's root (cgroup_namespaces(7)).
        steps.init(Action::UnshareCgroupNamespace, "/linux/namespaces");
    }
}

fn surroundings(context: &Context<'_>, steps: &mut Steps) {
    steps.init(Action::NewSession, "/process");
    if !context.options.no_new_keyring {
        let label = labels(context).selinux;
        steps.init(Action::Keyring { name: format!("_ses.{}", context.options.id), label }, "");
    }
    if let Some(name) = context.spec.hostname().as_ref().filter(|name| !name.is_empty()) {
        steps.init(Action::Hostname(name.clone()), "/hostname");
    }
    if let Some(name) = context.spec.domainname().as_ref().filter(|name| !name.is_empty()) {
        steps.init(Action::Domainname(name.clone()), "/domainname");
    }
    if context.shape.creates(NamespaceKind::Network) {
        // The specification is silent; programs expect 127.0.0.1, and every runtime of the field brings it up.
        steps.init(Action::LoopbackUp, "/linux/namespaces");
    }
}

/// The root and what is mounted in it. systemd takes its time to make a scope: whatever does not need the cgroup
/// goes before `Await(Confined)`, so that both actors work at the same time.
fn filesystem(context: &Context<'_>, sections: &Sections, steps: &mut Steps) {
    let Some(root) = &sections.root.plan else {
        console(sections, steps);
        confined(context, sections, steps);
        return;
    };
    steps.init(Action::Rootfs(root.clone()), "/root");
    let mounts = &sections.mounts;
    let needs_wait =
        |planned: &crate::mounts::Planned| planned.needs_cgroup() && joined_from_outside(sections);
    let late = mounts.iter().position(needs_wait).unwrap_or(mounts.len());
    let (early, late) = mounts.split_at(late);
    push_mounts(early, steps);
    // Nodes made now stay visible only if no later mount covers their directory.
    let nodes_now = late.iter().all(|planned| !covers_nodes(&planned.mount.destination, sections));
    if nodes_now {
        nodes(sections, steps);
        console(sections, steps);
    }
    confined(context, sections, steps);
    push_mounts(late, steps);
    if !nodes_now {
        nodes(sections, steps);
        console(sections, steps);
    }
}

fn push_mounts(mounts: &[crate::mounts::Planned], steps: &mut Steps) {
    for planned in mounts {
        steps.push(Actor::Init, Action::Mount(planned.mount.clone()), planned.from.clone());
    }
}

fn covers_nodes(destination: &ContainerPath, sections: &Sections) -> bool {
    let over = |path: &Path| path.starts_with(destination.as_path());
    over(Path::new("/dev/console")) || sections.devices.iter().any(|node| over(node.path.as_path()))
}

fn nodes(sections: &Sections, steps: &mut Steps) {
    if !sections.devices.is_empty() {
        steps.init(Action::Devices(sections.devices.clone()), "/linux/devices");
    }
    if crate::devices::has_own_dev(&sections.mounts) {
        steps.init(Action::DevLinks, "/mounts");
    }
}

/// After the nodes: `/dev/console` is bound over a place in the finished `/dev`, and the terminal comes from the
/// container's own devpts.
fn console(sections: &Sections, steps: &mut Steps) {
    if let Some(console) = sections.process.as_ref().and_then(|process| process.console.as_ref()) {
        steps.init(Action::Console(console.clone()), "/process/terminal");
    }
}

fn confined(context: &Context<'_>, sections: &Sections, steps: &mut Steps) {
    if confines(context, sections) {
        steps.init(Action::Await(Barrier::Confined), "/linux");
    }
    if joined_from_outside(sections) && context.shape.creates(NamespaceKind::Cgroup) {
        // After the cgroup was joined: where its maker is becomes the namespace's root (cgroup_namespaces(7)).
        steps.init(Action::UnshareCgroupNamespace, "/linux/namespaces");
    }
}

/// runtime.md: prestart, createRuntime and createContainer hooks see the finished environment, before pivot_root.
fn before_switch(sections: &Sections, steps: &mut Steps) {
    if !sections.hooks.prestart.is_empty() || !sections.hooks.create_runtime.is_empty() {
        steps.init(Action::Signal(Barrier::HooksDue), "/hooks");
        steps.init(Action::Await(Barrier::HooksDone), "/hooks");
    }
    if !sections.hooks.create_container.is_empty() {
        let hooks = sections.hooks.create_container.clone();
        steps.init(Action::Hooks(HookKind::CreateContainer, hooks), "/hooks/createContainer");
    }
}

/// What is hidden and what is read-only, while the host's own /dev/null can still be reached, then the new root.
fn switch_and_seal(context: &Context<'_>, sections: &Sections, steps: &mut Steps) {
    if !sections.sysctl.is_empty() {
        // Before readonlyPaths: /proc/sys is usually among them.
        steps.init(Action::Sysctl(sections.sysctl.clone()), "/linux/sysctl");
    }
    let cwd =
        sections.process.as_ref().map(|process| &process.cwd).filter(|cwd| cwd.as_path() != Path::new("/"));
    if let Some(cwd) = cwd.filter(|_| sections.root.readonly) {
        // Chdir itself has to come after maskedPaths: a working directory below one of them would stay open.
        steps.init(Action::MakeCwd(cwd.clone()), "/process/cwd");
    }
    if sections.root.readonly {
        // Last of what writes to the root: mount points, /dev links and hooks are done.
        steps.init(Action::ReadonlyRoot, "/root/readonly");
    }
    if let Some(linux) = context.linux() {
        shield(context, linux, steps);
    }
    steps.init(Action::SwitchRoot(sections.root.switch), "/root");
    if let Some(change) = sections.root.propagation {
        // After the pivot: pivot_root(2) refuses a shared new root.
        steps.init(Action::RootPropagation(change), "/linux/rootfsPropagation");
    }
}

fn shield(context: &Context<'_>, linux: &oci_spec::runtime::Linux, steps: &mut Steps) {
    let paths = |list: &Option<Vec<String>>| each(list).map(ContainerPath::new).collect::<Vec<_>>();
    let readonly = paths(linux.readonly_paths());
    if !readonly.is_empty() {
        steps.init(Action::ReadonlyPaths(readonly), "/linux/readonlyPaths");
    }
    let masked = paths(linux.masked_paths());
    if !masked.is_empty() {
        let label = linux.mount_label().clone().filter(|label| !label.is_empty() && context.facts.selinux);
        steps.init(Action::MaskedPaths { paths: masked, label }, "/linux/maskedPaths");
    }
}

/// Security labels of the process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Labels {
    pub apparmor: Option<String>,
    pub selinux: Option<String>,
}

fn labels(context: &Context<'_>) -> Labels {
    let given = |label: &Option<String>| label.clone().filter(|label| !label.is_empty());
    context.process().map_or_else(Labels::default, |process| Labels {
        apparmor: given(process.apparmor_profile()),
        selinux: given(process.selinux_label()),
    })
}

/// What belongs to the container and also holds for processes that join it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Extra {
    pub personality: Option<u64>,
    pub memory_policy: Option<crate::step::process::MemoryPolicyPlan>,
}

impl Extra {
    fn of(sections: &Sections) -> Self {
        Self { personality: sections.personality, memory_policy: sections.memory_policy.clone() }
    }
}

/// What init does to itself while it is still root: each of these needs rights, or files, that the user may not have.
/// The same for `exec`.
pub(crate) fn settle(
    process: &ProcessPlan,
    scheduling: &Scheduling,
    labels: &Labels,
    extra: &Extra,
    steps: &mut Steps,
) {
    if let Some(profile) = &labels.apparmor {
        steps.init(Action::AppArmor(profile.clone()), "/process/apparmorProfile");
    }
    if let Some(label) = &labels.selinux {
        steps.init(Action::SelinuxLabel(label.clone()), "/process/selinuxLabel");
    }
    if let Some(scheduler) = &scheduling.scheduler {
        steps.init(Action::Scheduler(scheduler.clone()), "/process/scheduler");
    }
    if let Some((class, level)) = scheduling.io_priority {
        steps.init(Action::IoPriority(class, level), "/process/ioPriority");
    }
    if let Some(policy) = &extra.memory_policy {
        steps.init(Action::MemoryPolicy(policy.clone()), "/linux/memoryPolicy");
    }
    if let Some(personality) = extra.personality {
        steps.init(Action::Personality(personality), "/linux/personality");
    }
    // As root: the directory may have to be made, and may lie below one that the user cannot pass. (One that only
    // the user can pass, as on NFS, is tried again by the executor after the change of identity.)
    steps.init(Action::Chdir(process.cwd.clone()), "/process/cwd");
    steps.init(Action::FindProgram(process.exec.clone()), "/process/args");
    if let Some(umask) = process.umask {
        // After Chdir: the mask is for what the program makes, not for its working directory.
        steps.init(Action::Umask(umask), "/process/user/umask");
    }
    if let Some(cpus) = &scheduling.final_affinity {
        steps.init(Action::FinalAffinity(cpus.clone()), "/process/execCPUAffinity/final");
    }
}

fn finish(context: &Context<'_>, sections: &Sections, steps: &mut Steps) {
    steps.init(Action::Signal(Barrier::Created), "/process");
    if waits(context) || sections.process.is_none() {
        steps.init(Action::Await(Barrier::Start), "/process");
    }
    if !sections.hooks.start_container.is_empty() {
        let hooks = sections.hooks.start_container.clone();
        steps.init(Action::Hooks(HookKind::StartContainer, hooks), "/hooks/startContainer");
    }
    let Some(process) = &sections.process else { return };
    if !waits(context) {
        // As late as can be, so that both actors work at the same time; before Identity: the filter of the user's
        // program may forbid to receive.
        steps.init(Action::Await(Barrier::Recorded), "/process");
    }
    let own_limits = !context.shape.has(NamespaceKind::User);
    become_user(process, own_limits, sections.landlock.as_ref(), steps);
}

/// The last steps: from here on nothing but the user's program runs. The same for `exec`.
pub(crate) fn become_user(
    process: &ProcessPlan,
    own_limits: bool,
    landlock: Option<&crate::step::process::LandlockPlan>,
    steps: &mut Steps,
) {
    if own_limits && !process.rlimits.is_empty() {
        // Late: a low RLIMIT_NOFILE or RLIMIT_AS would starve the set-up; before Identity: raising takes
        // CAP_SYS_RESOURCE.
        steps.init(Action::Rlimits(process.rlimits.clone()), "/process/rlimits");
    }
    if let Some(landlock) = landlock {
        // Before Identity: without no_new_privs it takes CAP_SYS_ADMIN (landlock(7)).
        let from = crate::rootfs::annotation_pointer(crate::landlock::ANNOTATION);
        steps.push(Actor::Init, Action::Landlock(landlock.clone()), from);
    }
    steps.push(Actor::Init, Action::Identity(process.identity.clone()), Pointer::new("/process/user"));
    steps.init(Action::Execve(process.exec.clone()), "/process/args");
}

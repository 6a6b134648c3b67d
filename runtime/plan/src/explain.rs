//! A plan as a table for people. The JSON form is the plan's own serialisation.

use crate::problem::Problems;
use crate::step::cgroup::{CgroupDriver, CgroupPlan};
use crate::step::mounts::{LowerLayer, MountKind, MountPlan, OverlayUpper, RootSwitch, RootfsSource};
use crate::step::namespaces::ClonePlan;
use crate::step::process::{ExecPlan, GroupsPlan};
use crate::step::{Action, Actor, Barrier, IdentityPlan, Plan};

/// Numbered steps: who does what, and which field of config.json asked for it; then the warnings.
#[must_use]
pub fn table(plan: &Plan, warnings: &Problems) -> String {
    let rows: Vec<[String; 4]> = plan
        .steps
        .iter()
        .enumerate()
        .map(|(index, step)| {
            let who = match step.actor {
                Actor::Runtime => "runtime",
                Actor::Init => "init",
            };
            let (verb, what) = describe(&step.action);
            [(index + 1).to_string(), who.to_owned(), format!("{verb:<9} {what}"), step.from.to_string()]
        })
        .collect();
    // Long actions do not push the last column out of sight.
    let width = rows.iter().map(|row| row[2].chars().count()).filter(|width| *width <= 60).max().unwrap_or(6);
    let mut text = format!(" #  {:<8} {:<width$}  from\n", "who", "action");
    for [number, who, action, from] in rows {
        let line = format!("{number:>2}  {who:<8} {:<width$}  {from}", action.trim_end());
        text.push_str(line.trim_end());
        text.push('\n');
    }
    let count = warnings.list().len();
    for (index, warning) in warnings.list().iter().enumerate() {
        if index == 0 {
            let plural = if count == 1 { "" } else { "s" };
            text.push_str(&format!("{count} warning{plural}:\n"));
        }
        text.push_str(&format!("  {warning}\n"));
    }
    text
}

/// A verb and its object.
fn describe(action: &Action) -> (&'static str, String) {
    match action {
        Action::CreateCgroup(cgroup) => ("cgroup", self::cgroup(cgroup)),
        Action::IntelRdt(rdt) => ("resctrl", format!("{} {}", rdt.group, rdt.schemata.join("; "))),
        Action::ConnectSeccompListener(path) => ("connect", format!("seccomp agent {path}")),
        Action::CompileSeccomp(plan) => {
            ("seccomp", format!("compile {} rules, else {:?}", plan.rules.len(), plan.default))
        }
        Action::InitialAffinity(cpus) => ("affinity", format!("initial CPUs {}", join(cpus))),
        Action::Clone(clone) => ("clone", self::clone(clone)),
        Action::MapIds(maps) => ("idmap", format!("uid {}; gid {}", ranges(&maps.uid), ranges(&maps.gid))),
        Action::JoinCgroup => ("cgroup", "join".to_owned()),
        Action::EnterCgroup => ("cgroup", "enter".to_owned()),
        Action::Rlimits(list) => {
            let list = list.iter().map(|limit| format!("{}={}:{}", limit.name, limit.soft, limit.hard));
            ("rlimits", list.collect::<Vec<_>>().join(" "))
        }
        Action::OomScoreAdj(score) => ("oom", format!("score adjustment {score}")),
        Action::MoveNetDevice(device) => {
            ("netdev", format!("{} as {}", device.host_name, device.container_name))
        }
        Action::Hooks(kind, hooks) => {
            let paths: Vec<String> = hooks.iter().map(|hook| hook.path.to_string()).collect();
            ("hooks", format!("{} {}", kind.as_str(), paths.join(" ")))
        }
        Action::Signal(barrier) => ("signal", barrier_name(*barrier).to_owned()),
        Action::Await(barrier) => ("await", barrier_name(*barrier).to_owned()),
        other => describe_init(other),
    }
}

fn describe_init(action: &Action) -> (&'static str, String) {
    match action {
        Action::NewSession => ("session", "new".to_owned()),
        Action::Keyring { name, .. } => ("keyring", name.clone()),
        Action::UnshareCgroupNamespace => ("unshare", "cgroup".to_owned()),
        Action::LoopbackUp => ("net", "lo up".to_owned()),
        Action::Hostname(name) => ("hostname", name.clone()),
        Action::Domainname(name) => ("domain", name.clone()),
        Action::Rootfs(root) => ("root", rootfs(&root.source)),
        Action::Mount(mount) => ("mount", self::mount(mount)),
        Action::Devices(list) => {
            let paths: Vec<String> = list.iter().map(|node| node.path.to_string()).collect();
            ("devices", paths.join(" "))
        }
        Action::DevLinks => ("links", "/dev/fd /dev/stdin /dev/stdout /dev/stderr /dev/ptmx".to_owned()),
        Action::Console(console) => {
            ("terminal", console.size.map_or_else(String::new, |(width, height)| format!("{width}x{height}")))
        }
        Action::SwitchRoot(RootSwitch::Pivot) => ("pivot", "/".to_owned()),
        Action::SwitchRoot(RootSwitch::MoveAndChroot) => ("move", "root to / and chroot".to_owned()),
        Action::SwitchRoot(RootSwitch::Chroot) => ("chroot", "/".to_owned()),
        Action::RootPropagation(change) => ("mount", format!("/ {:?}", change.to).to_lowercase()),
        Action::MakeCwd(path) => ("mkdir", path.to_string()),
        Action::ReadonlyRoot => ("mount", "/ read-only".to_owned()),
        Action::Sysctl(list) => (
            "sysctl",
            list.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" "),
        ),
        Action::ReadonlyPaths(paths) => ("readonly", join(paths)),
        Action::MaskedPaths { paths, .. } => ("mask", join(paths)),
        other => describe_process(other),
    }
}

fn describe_process(action: &Action) -> (&'static str, String) {
    match action {
        Action::AppArmor(profile) => ("apparmor", profile.clone()),
        Action::SelinuxLabel(label) => ("selinux", label.clone()),
        Action::Scheduler(plan) => {
            ("sched", format!("policy {} nice {} priority {}", plan.policy, plan.nice, plan.priority))
        }
        Action::IoPriority(class, level) => ("ioprio", format!("class {class} level {level}")),
        Action::FinalAffinity(cpus) => ("affinity", format!("final CPUs {}", join(cpus))),
        Action::Personality(value) => ("persona", format!("{value:#x}")),
        Action::MemoryPolicy(plan) => {
            ("numa", format!("mode {} flags {:#x} nodes {}", plan.mode, plan.flags, join(&plan.nodes)))
        }
        Action::Umask(mask) => ("umask", format!("{mask:04o}")),
        Action::Chdir(path) => ("chdir", path.to_string()),
        Action::Landlock(plan) => {
            ("landlock", format!("read {}; write {}", join(&plan.read), join(&plan.write)))
        }
        Action::Identity(identity) => ("become", self::identity(identity)),
        Action::FindProgram(exec) => ("find", exec.args.first().cloned().unwrap_or_default()),
        Action::Execve(exec) => ("execve", command(exec)),
        // Named by the callers above.
        _ => ("", String::new()),
    }
}

fn join<T: ToString>(list: &[T]) -> String {
    list.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

fn cgroup(cgroup: &CgroupPlan) -> String {
    let mut text = match &cgroup.driver {
        CgroupDriver::Cgroupfs => format!("create {}", cgroup.path),
        CgroupDriver::Systemd { unit, slice, .. } => format!("start {unit} in {slice}"),
        CgroupDriver::Disabled => "none".to_owned(),
    };
    for setting in &cgroup.settings {
        text.push_str(&format!(" {}={}", setting.file, setting.value));
    }
    if !cgroup.devices.is_empty() {
        text.push_str(&format!(" {} device rules", cgroup.devices.len()));
    }
    text
}

fn clone(clone: &ClonePlan) -> String {
    let name = |kind: &_| crate::namespaces::name_of(*kind);
    let mut words: Vec<String> = clone.create.iter().map(|kind| name(kind).to_owned()).collect();
    if clone.time.is_some() {
        words.push("time".to_owned());
    }
    words.extend(clone.join.iter().map(|join| format!("{}={}", name(&join.kind), join.path)));
    if !clone.enter.is_empty() {
        words.push(format!("enter {}", clone.enter.iter().map(name).collect::<Vec<_>>().join(" ")));
    }
    words.extend(clone.into_cgroup.then(|| "(into the cgroup)".to_owned()));
    words.join(" ")
}

fn ranges(maps: &[crate::step::namespaces::IdMap]) -> String {
    maps.iter()
        .map(|line| format!("{}←{}×{}", line.container, line.host, line.size))
        .collect::<Vec<_>>()
        .join(" ")
}

fn rootfs(source: &RootfsSource) -> String {
    match source {
        RootfsSource::Directory(path) => path.to_string(),
        RootfsSource::Overlay { lowers, upper } => {
            let lowers: Vec<String> = lowers
                .iter()
                .map(|layer| match layer {
                    LowerLayer::Directory(path) | LowerLayer::Erofs(path) => path.to_string(),
                })
                .collect();
            let upper = match upper {
                OverlayUpper::None => "read-only".to_owned(),
                OverlayUpper::Ephemeral { .. } => "changes in memory".to_owned(),
                OverlayUpper::Directory { upper, .. } => format!("changes in {upper}"),
            };
            format!("overlay {} ({upper})", lowers.join(":"))
        }
    }
}

fn mount(mount: &MountPlan) -> String {
    let mut text = match &mount.kind {
        MountKind::Bind { source, .. } => format!("bind {source} on {}", mount.destination),
        MountKind::Filesystem { fstype, .. } => format!("{fstype} on {}", mount.destination),
        MountKind::Cgroup(_) => format!("cgroups on {}", mount.destination),
        MountKind::Remount => format!("change {}", mount.destination),
    };
    let mut words: Vec<String> = crate::mount_options::attr_words(mount.attrs.set, false);
    words.extend(crate::mount_options::attr_words(mount.recursive_attrs.set, true));
    if let MountKind::Filesystem { options, .. } = &mount.kind {
        words.extend(options.iter().map(|(key, value)| match value {
            Some(value) => format!("{key}={value}"),
            None => key.clone(),
        }));
    }
    words.extend(mount.idmap.is_some().then(|| "idmap".to_owned()));
    words.extend(mount.copy_up.then(|| "tmpcopyup".to_owned()));
    if !words.is_empty() {
        text.push_str(&format!(" ({})", words.join(",")));
    }
    text
}

fn identity(identity: &IdentityPlan) -> String {
    let mut text = format!("{}:{}", identity.user.uid, identity.user.gid);
    match &identity.user.groups {
        GroupsPlan::Set(groups) if groups.is_empty() => {}
        GroupsPlan::Set(groups) => text.push_str(&format!(" groups {}", join(groups))),
        GroupsPlan::Keep => text.push_str(" groups kept"),
    }
    match &identity.capabilities {
        Some(caps) => text.push_str(&format!(", {} capabilities", caps.permitted.count_ones())),
        None => text.push_str(", capabilities as given by the kernel"),
    }
    if identity.no_new_privileges {
        text.push_str(", no_new_privs");
    }
    if identity.seccomp {
        text.push_str(", seccomp");
    }
    text
}

fn command(exec: &ExecPlan) -> String {
    let mut words = Vec::new();
    for arg in &exec.args {
        let plain = !arg.is_empty()
            && arg.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./=:,+@%".contains(&byte));
        words.push(if plain { arg.clone() } else { format!("{arg:?}") });
    }
    words.join(" ")
}

fn barrier_name(barrier: Barrier) -> &'static str {
    match barrier {
        Barrier::Mapped => "mapped",
        Barrier::Confined => "confined",
        Barrier::HooksDue => "hooks due",
        Barrier::HooksDone => "hooks done",
        Barrier::Created => "created",
        Barrier::Start => "start",
        Barrier::Recorded => "recorded",
    }
}

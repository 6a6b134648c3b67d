//! Init: the steps of the plan that the container's first process does, until it becomes the user's program.
//!
//! Called in the child of clone3(2). It may not return to the runtime's code: it ends in execve(2) or `_exit`.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use caisson_cgroup::Entries;
use caisson_plan::step::process::ExecPlan;
use caisson_plan::step::{Action, Actor, Barrier, Plan, Step};
use caisson_sys::namespace::{self, Namespaces};
use caisson_sys::procfs::Procfs;
use caisson_sys::{creds, exec, fd, keyring, net, sched, signal, socket};

use crate::act::{self, set_oom_score, set_rlimits};
use crate::error::{Act, Context, Failure, StepError, best_effort};
use crate::seccomp::Filter;
use crate::sync::{Channel, Message};
use crate::timings::Clock;
use crate::{
    Status, cgroup_failure, chdir, console, devices, hooks, identity, landlock, mounts, program, rootfs,
    shield,
};

/// Values that exist only now.
pub(crate) struct InitCtx<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) sync: Channel,
    /// Mounts that the runtime made before the clone, by index of their step.
    pub(crate) prepared: Vec<Option<OwnedFd>>,
    pub(crate) filter: Option<Filter>,
    pub(crate) seccomp_agent: Option<OwnedFd>,
    /// Listening socket of `start`.
    pub(crate) start: Option<OwnedFd>,
    pub(crate) console: Option<OwnedFd>,
    /// File descriptors from 3 on that the user's program inherits.
    pub(crate) inherited: u32,
    pub(crate) hook_state: &'a dyn Fn(i32, Status) -> String,
    pub(crate) fail_at: Option<usize>,
    /// Doors to the cgroup.
    pub(crate) entries: Option<Entries>,
    pub(crate) clock: Clock,
    root: Option<OwnedFd>,
    procfs: Option<Procfs>,
    /// Who waits for the outcome of `start`.
    starter: Option<OwnedFd>,
    program: Option<PathBuf>,
    /// The working directory could not be entered as root: try again as the user.
    late_chdir: Option<PathBuf>,
    uid: u32,
    /// This process's pid as the runtime sees it; known when a seccomp agent has to be told.
    pid_outside: Option<i32>,
}

impl<'a> InitCtx<'a> {
    pub(crate) fn new(plan: &'a Plan, sync: Channel, hook_state: &'a dyn Fn(i32, Status) -> String) -> Self {
        Self {
            plan,
            sync,
            prepared: Vec::new(),
            filter: None,
            seccomp_agent: None,
            start: None,
            console: None,
            inherited: 0,
            hook_state,
            fail_at: None,
            entries: None,
            clock: Clock::off(),
            root: None,
            procfs: None,
            starter: None,
            program: None,
            late_chdir: None,
            uid: 0,
            pid_outside: None,
        }
    }

    fn root(&self) -> Act<&OwnedFd> {
        self.root.as_ref().ok_or_else(|| Failure::new("use the root file system before it was made"))
    }

    fn procfs(&mut self) -> Act<&Procfs> {
        if self.procfs.is_none() {
            self.procfs = Some(Procfs::private().on(|| "open a private procfs")?);
        }
        self.procfs.as_ref().ok_or_else(|| Failure::new("open a private procfs"))
    }
}

/// Runs init to its end. Comes back only when something failed; the value is its exit status.
pub(crate) fn main(mut ctx: InitCtx<'_>) -> i32 {
    let total = ctx.plan.steps.len();
    let before = close_inherited(&ctx)
        .and_then(|()| learn_pid(&mut ctx))
        .map_err(|f| f.at(0, total, Actor::Init, &caisson_plan::ids::Pointer::default()));
    let error = match before.and_then(|()| run(&mut ctx)) {
        Ok(()) => Failure::new("run a plan without an execve step").at(
            0,
            total,
            Actor::Init,
            &caisson_plan::ids::Pointer::default(),
        ),
        Err(error) => error,
    };
    tell(&ctx, error);
    1
}

fn learn_pid(ctx: &mut InitCtx<'_>) -> Act {
    if ctx.seccomp_agent.is_some()
        && let Message::Pid(pid) = ctx.sync.receive()?
    {
        ctx.pid_outside = Some(pid);
    }
    Ok(())
}

/// The runtime's own fds must not live on in init: its lock would stay held, its directories open (CVE-2024-21626).
fn close_inherited(ctx: &InitCtx<'_>) -> Act {
    let keep = [ctx.seccomp_agent.as_ref(), ctx.start.as_ref(), ctx.console.as_ref(), Some(ctx.sync.fd())];
    let prepared = ctx.prepared.iter().map(Option::as_ref);
    let doors = ctx.entries.iter().flat_map(Entries::fds);
    let keep: Vec<_> = keep.into_iter().chain(prepared).flatten().map(AsFd::as_fd).chain(doors).collect();
    let first = 3 + ctx.inherited;
    fd::close_except(first, &keep).on(|| "close the runtime's file descriptors")?;
    // Signals the caller had blocked or ignored are not for the container; SIGPIPE is ignored by our own start-up.
    signal::reset_all().on(|| "reset signals")
}

fn run(ctx: &mut InitCtx<'_>) -> Result<(), StepError> {
    let plan = ctx.plan;
    let total = plan.steps.len();
    for (index, step) in plan.steps.iter().enumerate().filter(|(_, s)| s.actor == Actor::Init) {
        let begun = ctx.clock.now();
        let result = match ctx.fail_at {
            Some(at) if at == index => Err(Failure::new("fail on purpose")),
            _ => one(ctx, index, step),
        };
        ctx.clock.record(index, begun);
        result.map_err(|failure| failure.at(index + 1, total, Actor::Init, &step.from))?;
    }
    Ok(())
}

/// Tells whoever waits: the runtime, or `start` once it has connected.
fn tell(ctx: &InitCtx<'_>, error: StepError) {
    match &ctx.starter {
        Some(starter) => {
            let text = serde_json::to_vec(&error).unwrap_or_default();
            best_effort(socket::send(starter.as_fd(), &text, &[]));
        }
        None => best_effort(ctx.sync.send(&Message::Failed(Box::new(error)))),
    }
}

fn one(ctx: &mut InitCtx<'_>, index: usize, step: &Step) -> Act {
    match &step.action {
        Action::Signal(barrier) => signal_barrier(ctx, *barrier),
        Action::Await(barrier) => await_barrier(ctx, *barrier),
        Action::Execve(plan) => execute(ctx, plan),
        Action::FindProgram(plan) => {
            ctx.program = Some(program::find(plan)?);
            Ok(())
        }
        Action::Identity(plan) => {
            ctx.uid = plan.user.uid;
            let state = agent_state(ctx);
            let agent = ctx.seccomp_agent.as_ref().map(|fd| (fd, state.as_str()));
            // What belongs to root is done; the ids change now.
            if let Some(directory) = ctx.late_chdir.take().filter(|_| !plan.seccomp) {
                identity::become_user(plan, ctx.filter.as_ref(), agent)?;
                return chdir::as_user(&directory);
            }
            identity::become_user(plan, ctx.filter.as_ref(), agent)
        }
        Action::Chdir(directory) => {
            ctx.late_chdir = chdir::as_root(directory)?;
            Ok(())
        }
        other => environment(ctx, index, other),
    }
}

/// What the seccomp agent is told with the notify fd (config-linux.md, "The Container Process State").
fn agent_state(ctx: &InitCtx<'_>) -> String {
    let pid = ctx.pid_outside.unwrap_or_else(act::own_pid);
    let state = (ctx.hook_state)(pid, Status::Creating);
    let metadata = ctx.plan.steps.iter().find_map(|step| match &step.action {
        Action::CompileSeccomp(plan) => plan.listener.as_ref()?.metadata.clone(),
        _ => None,
    });
    let mut value = serde_json::json!({
        "ociVersion": ctx.plan.after.oci_version,
        "fds": ["seccompFd"],
        "pid": pid,
        "state": serde_json::from_str::<serde_json::Value>(&state).unwrap_or_default(),
    });
    if let (Some(metadata), Some(object)) = (metadata, value.as_object_mut()) {
        object.insert("metadata".to_owned(), metadata.into());
    }
    value.to_string()
}

/// The steps that build the container around the process.
fn environment(ctx: &mut InitCtx<'_>, index: usize, action: &Action) -> Act {
    match action {
        Action::NewSession => act::new_session(),
        Action::Keyring { name, label } => join_keyring(ctx, name, label.as_deref()),
        Action::EnterCgroup => enter_cgroup(ctx),
        Action::UnshareCgroupNamespace => {
            namespace::unshare(Namespaces::CGROUP).on(|| "make a cgroup namespace")
        }
        Action::LoopbackUp => net::loopback_up().on(|| "bring up the loopback device"),
        Action::Hostname(name) => namespace::set_hostname(name).on(|| format!("set hostname {name}")),
        Action::Domainname(name) => namespace::set_domainname(name).on(|| format!("set domainname {name}")),
        Action::Rootfs(plan) => {
            ctx.root = Some(rootfs::attach(plan, take(ctx, index))?);
            Ok(())
        }
        Action::Mount(plan) => {
            let prepared = take(ctx, index);
            if let Some(root) = mounts::mount(ctx.root()?, plan, prepared)? {
                ctx.root = Some(root);
            }
            Ok(())
        }
        Action::Devices(plans) => devices::make_all(ctx.root()?, plans),
        Action::DevLinks => devices::links(ctx.root()?),
        Action::Console(plan) => {
            let console = ctx.console.take();
            console::set_up(ctx.root.as_ref(), plan, console.as_ref())
        }
        Action::SwitchRoot(how) => {
            if ctx.root.is_none() {
                ctx.root = Some(rootfs::open_plain(&ctx.plan.after.rootfs)?);
            }
            rootfs::switch(ctx.root()?, *how)
        }
        Action::RootPropagation(change) => {
            mounts::set_propagation(ctx.root()?, &[*change]).on(|| "set propagation of /")
        }
        Action::MakeCwd(directory) => {
            caisson_sys::path::mkdir_all_in_root(ctx.root()?, directory.beneath(), 0o755)
                .map(drop)
                .on(|| format!("make working directory {directory}"))
        }
        Action::ReadonlyRoot => shield::readonly_root(ctx.root()?),
        Action::ReadonlyPaths(paths) => shield::readonly_paths(ctx.root()?, paths),
        Action::MaskedPaths { paths, label } => shield::masked_paths(ctx.root()?, paths, label.as_deref()),
        Action::Sysctl(parameters) => shield::sysctl(ctx.procfs()?, parameters),
        Action::Hooks(kind, list) => {
            let state = (ctx.hook_state)(act::own_pid(), Status::of_hook(*kind));
            hooks::run(*kind, list, &state)
        }
        other => process(ctx, other),
    }
}

/// The steps that set the process itself up.
fn process(ctx: &mut InitCtx<'_>, action: &Action) -> Act {
    match action {
        Action::AppArmor(profile) => act::apparmor(ctx.procfs()?, profile),
        Action::SelinuxLabel(label) => act::selinux(ctx.procfs()?, label),
        Action::Scheduler(plan) => act::scheduler(plan),
        Action::IoPriority(class, level) => act::io_priority(*class, *level),
        Action::InitialAffinity(cpus) | Action::FinalAffinity(cpus) => act::affinity(cpus),
        Action::Personality(domain) => {
            sched::personality(*domain).map(drop).on(|| format!("set personality {domain:#x}"))
        }
        Action::MemoryPolicy(plan) => act::memory_policy(plan),
        Action::Umask(mask) => {
            creds::umask(*mask);
            Ok(())
        }
        Action::OomScoreAdj(value) => set_oom_score(None, *value),
        Action::Rlimits(limits) => set_rlimits(None, limits),
        Action::Landlock(plan) => landlock::restrict(plan),
        other => Err(Failure::new(format!("do as init what only the runtime can: {other:?}"))),
    }
}

fn take(ctx: &mut InitCtx<'_>, index: usize) -> Option<OwnedFd> {
    ctx.prepared.get_mut(index).and_then(Option::take)
}

fn enter_cgroup(ctx: &mut InitCtx<'_>) -> Act {
    let Some(entries) = ctx.entries.take() else { return Ok(()) };
    entries.enter().map_err(|shut| cgroup_failure(&entries.error(shut)))
}

fn join_keyring(ctx: &mut InitCtx<'_>, name: &str, label: Option<&str>) -> Act {
    if let Some(label) = label {
        act::keyring_label(ctx.procfs()?, label)?;
    }
    match keyring::join_session(Some(name)) {
        Ok(_) => Ok(()),
        // Kernels without keyrings, and filters of an outer container that forbid them.
        Err(caisson_sys::Errno::ENOSYS | caisson_sys::Errno::EPERM) => Ok(()),
        Err(errno) => Err(Failure::errno(format!("join session keyring {name}"), errno)
            .hint("see /proc/sys/kernel/keys/maxkeys, or use --no-new-keyring")),
    }
}

fn signal_barrier(ctx: &mut InitCtx<'_>, barrier: Barrier) -> Act {
    ctx.clock.send(&ctx.sync)?;
    ctx.sync.send(&Message::Reached(barrier))
}

fn await_barrier(ctx: &mut InitCtx<'_>, barrier: Barrier) -> Act {
    match barrier {
        Barrier::Start => return await_start(ctx),
        Barrier::Recorded => return await_record(ctx),
        _ => {}
    }
    loop {
        match ctx.sync.receive()? {
            Message::Reached(reached) if reached == barrier => break,
            Message::Reached(_) => {}
            other => return Err(runtime_gone(&other)),
        }
    }
    if barrier == Barrier::Confined {
        creds::set_dumpable(false).on(|| "hide the new process from the container")?;
    }
    if barrier == Barrier::Mapped {
        // The maps are written: from here on we are root of the new user namespace.
        act::become_root_of_userns()?;
    }
    Ok(())
}

fn runtime_gone(message: &Message) -> Failure {
    Failure::new("wait for the runtime").detail(format!("it is gone ({message:?})"))
}

/// Waits until the runtime has written the state.
fn await_record(ctx: &InitCtx<'_>) -> Act {
    match ctx.sync.receive()? {
        Message::Committed => Ok(()),
        other => Err(runtime_gone(&other)),
    }
}

/// Waits until the runtime has written the state, then for `start`.
///
/// A runtime that was killed in between has left no state that anybody could start: init ends too.
fn await_start(ctx: &mut InitCtx<'_>) -> Act {
    await_record(ctx)?;
    let listener = ctx.start.take().ok_or_else(|| Failure::new("wait for start without a socket"))?;
    let starter = socket::accept(listener.as_fd()).on(|| "accept the connection of start")?;
    ctx.starter = Some(starter);
    Ok(())
}

/// The last step. On success the kernel closes the sync socket or the starter's: that is the answer.
fn execute(ctx: &mut InitCtx<'_>, plan: &ExecPlan) -> Act {
    if let Some(directory) = ctx.late_chdir.take() {
        chdir::as_user(&directory)?;
    }
    let file = match ctx.program.take() {
        Some(file) => file,
        None => program::find(plan)?,
    };
    let path = CString::new(file.as_os_str().as_bytes()).map_err(nul)?;
    let args = plan.args.iter().map(|a| CString::new(a.as_str()).map_err(nul)).collect::<Act<Vec<_>>>()?;
    let env = program::environment(plan, ctx.uid);
    ctx.clock.send(&ctx.sync)?;
    fd::close_range_cloexec(3 + ctx.inherited).on(|| "mark file descriptors close-on-exec")?;
    let errno = exec::execve(&path, &args, &env);
    Err(program::diagnose(&file, errno))
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn nul(error: std::ffi::NulError) -> Failure {
    Failure::new("pass an argument to the program").detail(error.to_string())
}

//! The runtime's half of a plan: its steps in order, each with an undo.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use caisson_cgroup::{Cgroup, Created as CreatedCgroup, Entries};
use caisson_plan::ids::Pointer;
use caisson_plan::step::cgroup::CgroupPlan;
use caisson_plan::step::namespaces::{ClonePlan, IdMapsPlan, NamespaceKind};
use caisson_plan::step::{Action, Actor, Barrier, Plan, Step};
use caisson_sys::clone::Child;
use caisson_sys::{Errno, creds, net, path, pidfd, socket};

use crate::act::{self, set_oom_score, set_rlimits};
use crate::error::{Act, Context, Failure, StepError, best_effort};
use crate::init::{self, InitCtx};
use crate::seccomp::{self, Filter};
use crate::spawn::{self, Spawn};
use crate::sync::{Channel, Message};
use crate::timings::Clock;
use crate::{Outside, Status, Target, cgroup_failure, hooks, idmap, prepared, rdt};

/// What has been done and would have to be undone.
#[derive(Debug, Default)]
struct Done {
    cgroup: Option<CreatedCgroup>,
    resctrl: Option<rdt::Made>,
    init: Option<Child>,
    start_socket: bool,
    devices: Vec<MovedDevice>,
}

/// A network device in the container. With the namespace held open it comes back even from a dead one; left to
/// the kernel, a virtual device would end with the namespace.
#[derive(Debug)]
pub(crate) struct MovedDevice {
    link: net::MovedLink,
    netns: OwnedFd,
    host_name: String,
}

impl MovedDevice {
    pub(crate) fn bring_back(&self) -> Act {
        net::move_link_back(&self.link, self.netns.as_fd(), &self.host_name)
            .on(|| format!("bring back network device {}", self.host_name))
    }
}

/// The runtime while it works through a plan.
pub(crate) struct Host<'a> {
    plan: &'a Plan,
    outside: Outside<'a>,
    target: Option<&'a Target<'a>>,
    done: Done,
    /// Cgroup of a running container, for `exec`.
    existing: Option<Cgroup>,
    filter: Option<Filter>,
    seccomp_agent: Option<OwnedFd>,
    start: Option<OwnedFd>,
    sync: Option<Channel>,
    rdt: Option<caisson_plan::step::IntelRdtPlan>,
    pub(crate) clock: Clock,
}

/// Init made and ready.
pub(crate) struct Ready {
    pub(crate) child: Child,
    pub(crate) cgroup: Option<CreatedCgroup>,
    pub(crate) sync: Channel,
    pub(crate) clock: Clock,
    pub(crate) devices: Vec<MovedDevice>,
}

impl<'a> Host<'a> {
    pub(crate) fn new(plan: &'a Plan, outside: Outside<'a>, target: Option<&'a Target<'a>>) -> Self {
        let clock = Clock::for_actor(Actor::Runtime, outside.timings);
        Self {
            plan,
            outside,
            target,
            done: Done::default(),
            existing: target.map(|t| {
                let cgroup = Cgroup::open(t.cgroup.clone());
                if t.sub_cgroups.is_empty() { cgroup.beside(t.pid) } else { cgroup }
            }),
            filter: None,
            seccomp_agent: None,
            start: None,
            sync: None,
            rdt: None,
            clock,
        }
    }

    /// Works through the runtime's steps; on failure the host is as it was.
    pub(crate) fn run(mut self) -> Result<Ready, StepError> {
        let plan = self.plan;
        let total = plan.steps.len();
        for (index, step) in plan.steps.iter().enumerate().filter(|(_, s)| s.actor == Actor::Runtime) {
            let begun = self.clock.now();
            let result = match self.outside.fail_at {
                Some(at) if at == index => Err(Stop::Here(Failure::new("fail on purpose"))),
                _ => self.one(step),
            };
            self.clock.record(index, begun);
            if let Err(stop) = result {
                let error = self.explain(stop, index, total, &step.from);
                self.undo();
                return Err(error);
            }
        }
        self.finish(total)
    }

    fn finish(mut self, total: usize) -> Result<Ready, StepError> {
        match (self.done.init.take(), self.sync.take()) {
            (Some(child), Some(sync)) => {
                let (cgroup, devices) = (self.done.cgroup.take(), self.done.devices);
                Ok(Ready { child, cgroup, sync, clock: self.clock, devices })
            }
            (child, _) => {
                self.done.init = child;
                self.undo();
                Err(Failure::new("run a plan without a clone step").at(
                    0,
                    total,
                    Actor::Runtime,
                    &Pointer::default(),
                ))
            }
        }
    }

    /// A step on an init that has ended fails for that reason alone: its own word, when it has one, says more.
    fn explain(&self, stop: Stop, index: usize, total: usize, from: &Pointer) -> StepError {
        let failure = match stop {
            Stop::Init(error) => return *error,
            Stop::Here(failure) => failure,
        };
        // A process loses its namespaces some time before it counts as ended.
        let gone = [Some(Errno::ENOENT as i32), Some(Errno::ESRCH as i32)].contains(&failure.errno);
        let patience_ms = if gone { 100 } else { 0 };
        let ended = |child: &Child| pidfd::poll_exit(child.pidfd.as_fd(), patience_ms) == Ok(true);
        let undelivered = failure.what.contains("sync socket");
        if undelivered || self.done.init.as_ref().is_some_and(ended) {
            while let Some(Ok(message)) = self.sync.as_ref().map(Channel::receive) {
                match message {
                    Message::Failed(error) => return *error,
                    Message::Closed => break,
                    _ => {}
                }
            }
        }
        failure.at(index + 1, total, Actor::Runtime, from)
    }

    /// Newest first. What cannot be undone must not hide the error that brought us here.
    fn undo(&mut self) {
        for device in self.done.devices.drain(..).rev() {
            best_effort(device.bring_back());
        }
        self.sync = None;
        if let Some(child) = self.done.init.take() {
            kill_and_reap(&child);
        }
        if self.done.start_socket {
            best_effort(path::unlinkat(self.outside.state_dir, Path::new(crate::start::SOCKET)));
        }
        if let Some(made) = self.done.resctrl.take() {
            best_effort(std::fs::remove_dir(made.0));
        }
        if let Some(cgroup) = self.done.cgroup.take() {
            best_effort(cgroup.undo());
        }
    }

    fn one(&mut self, step: &Step) -> Result<(), Stop> {
        match &step.action {
            Action::Await(barrier) => return self.await_barrier(*barrier),
            Action::Signal(barrier) => self.sync()?.send(&Message::Reached(*barrier))?,
            Action::CreateCgroup(plan) => self.create_cgroup(plan)?,
            Action::IntelRdt(plan) => {
                self.done.resctrl = rdt::prepare(plan)?;
                self.rdt = Some(plan.clone());
            }
            Action::ConnectSeccompListener(agent) => {
                let connection = socket::connect_stream(agent.as_path())
                    .on(|| format!("connect to the seccomp agent {agent}"))?;
                self.seccomp_agent = Some(connection);
            }
            Action::CompileSeccomp(plan) => {
                self.filter = Some(seccomp::compile(plan, self.outside.seccomp_cache)?);
            }
            Action::InitialAffinity(cpus) => act::affinity(cpus)?,
            Action::Clone(plan) => self.clone_init(plan)?,
            Action::MapIds(plan) => self.map_ids(plan)?,
            Action::JoinCgroup => self.join_cgroup()?,
            Action::Rlimits(limits) => set_rlimits(Some(self.pid()?), limits)?,
            Action::OomScoreAdj(value) => set_oom_score(Some(self.pid()?), *value)?,
            Action::MoveNetDevice(device) => {
                let what = || format!("move network device {} into the container", device.host_name);
                let netns = self.netns().on(what)?;
                let name = Some(device.container_name.as_str());
                let link = net::move_link(&device.host_name, netns.as_fd(), name).on(what)?;
                self.done.devices.push(MovedDevice { link, netns, host_name: device.host_name.clone() });
            }
            Action::Hooks(kind, list) => {
                let state = (self.outside.hook_state)(self.pid()?, Status::of_hook(*kind));
                hooks::run(*kind, list, &state)?;
            }
            other => return Err(Failure::new(format!("do as runtime what only init can: {other:?}")).into()),
        }
        Ok(())
    }

    fn sync(&self) -> Act<&Channel> {
        self.sync.as_ref().ok_or_else(|| Failure::new("speak to init before it was made"))
    }

    fn child(&self) -> Act<&Child> {
        self.done.init.as_ref().ok_or_else(|| Failure::new("act on init before it was made"))
    }

    fn pid(&self) -> Act<i32> {
        self.child().map(|child| child.pid.as_raw())
    }

    fn netns(&self) -> caisson_sys::Result<OwnedFd> {
        let child = self.done.init.as_ref().ok_or(caisson_sys::Errno::ESRCH)?;
        caisson_sys::namespace::open_ns(child.pid, caisson_sys::namespace::Namespaces::NET)
    }

    fn create_cgroup(&mut self, plan: &CgroupPlan) -> Act {
        self.done.cgroup = Some(caisson_cgroup::create(plan).map_err(|e| cgroup_failure(&e))?);
        Ok(())
    }

    fn join_cgroup(&mut self) -> Act {
        let pid = self.pid()?;
        if let Some(plan) = &self.rdt {
            rdt::join(plan, self.plan.id.as_str(), pid)?;
        }
        match (&self.done.cgroup, &self.existing, self.target) {
            (Some(made), _, _) => made.cgroup.join(pid).map_err(|e| cgroup_failure(&e)),
            (None, Some(cgroup), Some(target)) => {
                if target.sub_cgroups.is_empty() {
                    cgroup.join(pid).map_err(|e| cgroup_failure(&e))
                } else {
                    cgroup.join_sub(pid, target.sub_cgroups).map_err(|e| cgroup_failure(&e))
                }
            }
            _ => Ok(()),
        }
    }

    fn map_ids(&mut self, plan: &IdMapsPlan) -> Act {
        idmap::write(plan, self.pid()?)
    }

    fn clone_init(&mut self, clone: &ClonePlan) -> Act {
        let (ours, theirs) = Channel::pair()?;
        if awaits_start(self.plan) {
            let listener = socket::listen_unix(self.outside.state_dir, crate::start::SOCKET)
                .on(|| "make the start socket")?;
            self.done.start_socket = true;
            self.start = Some(listener);
        }
        let prepared = prepared::mounts(self.plan)?;
        let entries = self.entries()?;
        let joins = spawn::open_joins(clone)?;
        let mut ctx = Some(self.init_ctx(prepared, entries));
        let existing = if clone.into_cgroup { self.existing_cgroup()? } else { None };
        let made = self.done.cgroup.as_ref().and_then(|c| c.into.as_ref());
        let into = made.or(existing.as_ref()).map(AsFd::as_fd);
        let into_any = into.is_some() && clone.into_cgroup;
        let spawn = Spawn {
            plan: clone,
            joins,
            target: self.target.map(|t| t.pidfd),
            into_cgroup: into.filter(|_| clone.into_cgroup),
            entered_user: false,
        };
        if self.is_watched(clone) {
            creds::set_dumpable(false).on(|| "hide the new process from the container")?;
        }
        let plan = self.plan;
        let hook_state = self.outside.hook_state;
        let child = spawn.run(&ours, theirs, move |channel| match ctx.take() {
            Some(parts) => init::main(parts.into_ctx(plan, channel, hook_state)),
            None => 1,
        });
        let child = child.map_err(|failure| if into_any { self.explain_clone(failure) } else { failure })?;
        let pid = child.pid.as_raw();
        self.sync = Some(ours);
        // Recorded before anything can fail: undo has to find it.
        self.done.init = Some(child);
        if self.plan.steps.iter().any(|step| matches!(step.action, Action::ConnectSeccompListener(_))) {
            // The agent is told the pid as the runtime sees it, which init cannot know.
            self.sync()?.send(&Message::Pid(pid))?;
        }
        Ok(())
    }

    /// The cgroup that a process of `exec` is born in.
    fn existing_cgroup(&self) -> Act<Option<OwnedFd>> {
        let (Some(cgroup), Some(target)) = (&self.existing, self.target) else { return Ok(None) };
        cgroup.into_fd(target.sub_cgroups).map_err(|error| cgroup_failure(&error))
    }

    /// The kernel answers for the cgroup with errors of its own (clone(2), `CLONE_INTO_CGROUP`).
    fn explain_clone(&self, failure: Failure) -> Failure {
        let cgroup = self.done.cgroup.as_ref().map(|made| &made.cgroup).or(self.existing.as_ref());
        let errno = failure.errno.map(Errno::from_raw);
        match (errno, cgroup) {
            (Some(errno @ (Errno::EOPNOTSUPP | Errno::EBUSY | Errno::EACCES)), Some(cgroup)) => {
                cgroup_failure(&cgroup.explain_clone(errno))
            }
            _ => failure,
        }
    }

    fn init_ctx(&mut self, prepared: Vec<Option<OwnedFd>>, entries: Option<Entries>) -> InitParts {
        InitParts {
            prepared,
            filter: self.filter.take(),
            seccomp_agent: self.seccomp_agent.take(),
            start: self.start.take(),
            console: self.outside.console_socket.take(),
            inherited: self.outside.inherited,
            fail_at: self.outside.fail_at,
            entries,
            timings: self.clock.is_on(),
        }
    }

    /// Whether init is born where others can see it: their root must not trace it, nor read its descriptors, before
    /// it is the user's program (CVE-2016-9962). The flag is inherited from here; init of an ordinary user whose
    /// /proc files have yet to be written by the runtime sets it later (`await_barrier`).
    fn is_watched(&self, clone: &ClonePlan) -> bool {
        let joins_pid = clone.join.iter().any(|join| join.kind == NamespaceKind::Pid);
        let confined = Action::Signal(Barrier::Confined);
        let written_later = self.plan.steps.iter().any(|step| step.action == confined);
        (self.target.is_some() || joins_pid) && (creds::geteuid() == 0 || !written_later)
    }

    /// Opened before the clone, with the runtime's rights and in its mount namespace.
    fn entries(&self) -> Act<Option<Entries>> {
        if !self.plan.steps.iter().any(|step| step.action == Action::EnterCgroup) {
            return Ok(None);
        }
        let opened = match (&self.done.cgroup, &self.existing, self.target) {
            (Some(made), _, _) => made.cgroup.entries(),
            (None, Some(cgroup), Some(target)) if !target.sub_cgroups.is_empty() => {
                cgroup.entries_sub(target.sub_cgroups)
            }
            (None, Some(cgroup), _) => cgroup.entries(),
            (None, None, _) => return Ok(None),
        };
        opened.map(Some).map_err(|error| cgroup_failure(&error))
    }

    fn await_barrier(&mut self, barrier: Barrier) -> Result<(), Stop> {
        loop {
            match self.sync()?.receive()? {
                Message::Reached(reached) if reached == barrier => return Ok(()),
                Message::Timings(list) => self.clock.list.extend(list),
                Message::Failed(error) => return Err(Stop::Init(error)),
                Message::Closed => return Err(self.init_died().into()),
                other => {
                    return Err(Failure::new("wait for init")
                        .detail(format!("unexpected answer {other:?}"))
                        .into());
                }
            }
        }
    }

    /// Init went without a word: killed from outside, most often for memory.
    fn init_died(&self) -> Failure {
        let failure = Failure::new("wait for init");
        let status = self.child().ok().and_then(|child| pidfd::wait(child.pidfd.as_fd()).ok());
        match status {
            Some(pidfd::ExitStatus::Signaled { signal: 9, .. }) => failure.detail("it was killed").hint(
                "a memory limit below what starting needs does that: see /linux/resources/memory/limit",
            ),
            Some(status) => failure.detail(format!("it ended unexpectedly: {status:?}")),
            None => failure.detail("it ended unexpectedly"),
        }
    }
}

/// What init gets of the runtime's, moved into the child.
struct InitParts {
    prepared: Vec<Option<OwnedFd>>,
    filter: Option<Filter>,
    seccomp_agent: Option<OwnedFd>,
    start: Option<OwnedFd>,
    console: Option<OwnedFd>,
    inherited: u32,
    fail_at: Option<usize>,
    entries: Option<Entries>,
    timings: bool,
}

impl InitParts {
    fn into_ctx<'p>(
        self,
        plan: &'p Plan,
        sync: Channel,
        hook_state: &'p dyn Fn(i32, Status) -> String,
    ) -> InitCtx<'p> {
        let mut ctx = InitCtx::new(plan, sync, hook_state);
        ctx.prepared = self.prepared;
        ctx.filter = self.filter;
        ctx.seccomp_agent = self.seccomp_agent;
        ctx.start = self.start;
        ctx.console = self.console;
        ctx.inherited = self.inherited;
        ctx.fail_at = self.fail_at;
        ctx.entries = self.entries;
        ctx.clock = Clock::for_actor(Actor::Init, self.timings);
        ctx
    }
}

/// Why the runtime stops.
enum Stop {
    /// Its own step failed.
    Here(Failure),
    /// Init has reported.
    Init(Box<StepError>),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Here(failure)
    }
}

/// Kills init and waits for its end, so that its namespaces and cgroup are free.
pub(crate) fn kill_and_reap(child: &Child) {
    best_effort(pidfd::send_signal(child.pidfd.as_fd(), 9));
    best_effort(pidfd::wait(child.pidfd.as_fd()));
}

fn awaits_start(plan: &Plan) -> bool {
    plan.steps.iter().any(|step| step.action == Action::Await(Barrier::Start))
}

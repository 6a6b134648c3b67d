//! The executor: does what a plan says, in the runtime and in the container's first process. No policy.
//!
//! Callers: `caisson create|run|start|exec`. It never reads config.json.
//! [`create`] and [`exec`] come back when init has everything but the user's program; the caller writes its state
//! and says [`Container::commit`].
#![forbid(unsafe_code)]

mod act;
mod cgroup_mount;
mod chdir;
mod console;
mod copy_up;
mod devices;
mod error;
pub mod hooks;
mod host;
mod identity;
mod idmap;
mod init;
mod landlock;
mod mounts;
mod overlay;
mod prepared;
mod program;
mod rdt;
mod rootfs;
mod seccomp;
mod seccomp_cache;
mod shield;
mod spawn;
mod start;
mod sync;
mod timings;

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use caisson_cgroup::{Created as CreatedCgroup, Location};
use caisson_plan::step::{Action, Barrier, HookKind, Plan};
use caisson_sys::clone::Child;

pub use error::{Failure, StepError};
pub use start::{SOCKET as START_SOCKET, start};
pub use timings::Timing;

use sync::{Channel, Message};

/// What the caller brings: things that a plan cannot hold.
pub struct Outside<'a> {
    /// The container's state directory; the start socket goes there.
    pub state_dir: BorrowedFd<'a>,
    /// Connected console socket, for a process with a terminal.
    pub console_socket: Option<OwnedFd>,
    /// How many fds from 3 on the user's program inherits (`--preserve-fds` and LISTEN_FDS).
    pub inherited: u32,
    /// Directory of compiled seccomp filters.
    pub seccomp_cache: Option<&'a Path>,
    /// Measure every step.
    pub timings: bool,
    /// Fail at this step (index from 0) instead of doing it: for tests of the undo.
    pub fail_at: Option<usize>,
    /// The state as hooks read it, given a pid and the status.
    pub hook_state: &'a dyn Fn(i32, Status) -> String,
}

impl fmt::Debug for Outside<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outside").field("inherited", &self.inherited).finish_non_exhaustive()
    }
}

/// The container's status as hooks are told (runtime.md, "State").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Being made.
    Creating,
    /// Made.
    Created,
    /// The user's program runs.
    Running,
    /// It has ended.
    Stopped,
}

impl Status {
    /// The status at each hook point.
    #[must_use]
    pub fn of_hook(kind: HookKind) -> Self {
        match kind {
            // The environment is made (step 2 of the lifecycle), the user's program is not: runtime.md, "State".
            HookKind::Prestart
            | HookKind::CreateRuntime
            | HookKind::CreateContainer
            | HookKind::StartContainer => Self::Created,
            HookKind::Poststart => Self::Running,
            HookKind::Poststop => Self::Stopped,
        }
    }

    /// The word of the state's JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Stopped => "stopped",
        }
    }
}

/// The running container that `exec` enters.
#[derive(Debug)]
pub struct Target<'a> {
    /// Its init.
    pub pidfd: BorrowedFd<'a>,
    /// The pid of the same.
    pub pid: i32,
    /// Its cgroup.
    pub cgroup: Location,
    /// `exec --cgroup`: sub-cgroups, each for the named controllers or for all.
    pub sub_cgroups: &'a [(Option<Vec<String>>, String)],
}

/// A container whose init waits for [`Container::commit`]. Dropped without it, everything is undone.
pub struct Container {
    child: Option<Child>,
    cgroup: Option<CreatedCgroup>,
    sync: Option<Channel>,
    timings: timings::Clock,
    devices: Vec<host::MovedDevice>,
    awaits_record: bool,
}

impl fmt::Debug for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Container").field("pid", &self.pid()).finish_non_exhaustive()
    }
}

/// Makes the container: init stands, before the user's program. On failure the host is as it was.
///
/// # Errors
/// The step that failed, in either process.
pub fn create(plan: &Plan, outside: Outside<'_>) -> Result<Container, StepError> {
    run(plan, outside, None)
}

/// Makes one more process in a running container.
///
/// # Errors
/// The step that failed, in either process.
pub fn exec<'a>(
    plan: &'a Plan,
    target: &'a Target<'a>,
    outside: Outside<'a>,
) -> Result<Container, StepError> {
    run(plan, outside, Some(target))
}

fn run<'a>(
    plan: &'a Plan,
    outside: Outside<'a>,
    target: Option<&'a Target<'a>>,
) -> Result<Container, StepError> {
    let hook_state = outside.hook_state;
    let ready = match host::Host::new(plan, outside, target).run() {
        Ok(ready) => ready,
        Err(error) => {
            after_failed_hook(plan, &error, hook_state);
            return Err(error);
        }
    };
    Ok(Container {
        child: Some(ready.child),
        cgroup: ready.cgroup,
        sync: Some(ready.sync),
        timings: ready.clock,
        devices: ready.devices,
        awaits_record: plan.steps.iter().any(|step| step.action == Action::Await(Barrier::Recorded)),
    })
}

/// A failing hook takes the container to the end of its life, where `poststop` hooks run (runtime.md, "Lifecycle").
fn after_failed_hook(plan: &Plan, error: &StepError, hook_state: &dyn Fn(i32, Status) -> String) {
    let step = error.step.checked_sub(1).and_then(|index| plan.steps.get(index));
    if step.is_some_and(|step| matches!(step.action, Action::Hooks(..))) {
        // The failure that led here is the one to report.
        drop(hooks::run_all(HookKind::Poststop, &plan.after.poststop, &hook_state(0, Status::Stopped)));
    }
}

impl Container {
    /// Init's pid in the caller's pid namespace.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.child.as_ref().map_or(0, |child| child.pid.as_raw())
    }

    /// Init's pidfd.
    #[must_use]
    pub fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.child.as_ref().map(|child| child.pidfd.as_fd())
    }

    /// Where its cgroups are.
    #[must_use]
    pub fn cgroup(&self) -> Option<&Location> {
        self.cgroup.as_ref().map(|made| made.cgroup.location())
    }

    /// What was measured so far.
    #[must_use]
    pub fn timings(&self) -> &[Timing] {
        &self.timings.list
    }

    /// `create`: the state is on disk, init may outlive the runtime and wait for `start`.
    ///
    /// # Errors
    /// Init died in the meantime.
    pub fn commit(mut self) -> Result<OwnedFd, StepError> {
        self.tell_recorded()?;
        self.release()
    }

    /// `run`, once the state is on disk, and `exec`: waits until the user's program is executed.
    ///
    /// # Errors
    /// What init says instead.
    pub fn wait_for_exec(mut self) -> Result<(OwnedFd, Vec<Timing>), StepError> {
        if self.awaits_record {
            self.tell_recorded()?;
        }
        let mut measured = std::mem::take(&mut self.timings.list);
        while let Some(sync) = &self.sync {
            match sync.receive().map_err(Failure::outside)? {
                Message::Closed => break,
                Message::Failed(error) => return Err(*error),
                Message::Timings(list) => measured.extend(list),
                _ => {}
            }
        }
        Ok((self.release()?, measured))
    }

    fn tell_recorded(&self) -> Result<(), StepError> {
        let Some(sync) = &self.sync else { return Ok(()) };
        sync.send(&Message::Committed).map_err(|failure| match sync.receive() {
            // Init's own word says more than that it could not be told.
            Ok(Message::Failed(error)) => *error,
            _ => failure.outside(),
        })
    }

    fn release(&mut self) -> Result<OwnedFd, StepError> {
        self.sync = None;
        self.cgroup = None;
        self.devices.clear();
        match self.child.take() {
            Some(child) => Ok(child.pidfd),
            None => Err(Failure::new("release a container twice").outside()),
        }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        for device in self.devices.drain(..).rev() {
            error::best_effort(device.bring_back());
        }
        if let Some(child) = self.child.take() {
            host::kill_and_reap(&child);
        }
        if let Some(cgroup) = self.cgroup.take() {
            // The first error is what the user sees; a cgroup that stays behind is found by `delete --force`.
            error::best_effort(cgroup.undo());
        }
    }
}

/// A cgroup error as a step's failure.
fn cgroup_failure(error: &caisson_cgroup::Error) -> Failure {
    if let caisson_cgroup::Error::File(file, errno) = error {
        let value = file.value.as_ref().map_or(String::new(), |value| format!(" {value:?} to"));
        let what = format!("{}{value} {}", file.action, file.path.display());
        let hint = file.hint.as_deref().map(Into::into);
        return Failure { hint, from: file.from.clone().map(Box::new), ..Failure::errno(what, *errno) };
    }
    let mut failure = Failure::new(error.to_string());
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        failure = failure.detail(cause.to_string());
        source = cause.source();
    }
    failure
}

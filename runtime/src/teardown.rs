//! Ending a container from whatever is left of it: a whole state, or the intent alone.
//!
//! Order: processes, cgroup, resctrl group, hooks' state, directory. Each part is done by handle (pidfd, cgroup), so
//! it can be repeated: a `delete` that was killed is finished by the next one.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use caisson_cgroup::{Cgroup, Location};
use caisson_exec::hooks;
use caisson_plan::step::HookKind;
use caisson_sys::pidfd;
use nix::unistd::Pid;

use crate::context::Context;
use crate::store::{Entry, Lock, State};
use crate::{make, procs};

/// How long killed processes may take to go: a process in an uninterruptible system call dies after it.
const PATIENCE: Duration = Duration::from_secs(10);
const SIGKILL: i32 = 9;

/// Kills and removes everything of a container whose state can be read, then runs its `poststop` hooks.
///
/// # Errors
/// What could not be removed; the state stays then, for another try.
pub fn whole(context: &Context, entry: &Entry, lock: Lock, state: &State) -> anyhow::Result<()> {
    kill_init(state)?;
    remove_cgroup(&state.cgroup)?;
    if let Some(group) = &state.after.resctrl_group {
        remove_resctrl(group.as_path())?;
    }
    entry.remove(lock)?;
    // After everything is gone, as runtime.md says; a failure is a warning there.
    let json = make::state_for_hook(state, caisson_exec::Status::Stopped);
    for failure in hooks::run_all(HookKind::Poststop, &state.after.poststop, &json) {
        context.log.warn(failure.to_string());
    }
    Ok(())
}

/// Kills and removes what a `create` that never came to its end, or a damaged state, left behind.
///
/// # Errors
/// What could not be removed.
pub fn remains(context: &Context, entry: &Entry, lock: Lock) -> anyhow::Result<()> {
    match entry.intent() {
        Ok(Some(intent)) => {
            remove_cgroup(&intent.cgroup)?;
            intent.resctrl_group.as_deref().map_or(Ok(()), remove_resctrl)?;
        }
        // Nothing was made before the intent was written.
        Ok(None) => {}
        Err(error) => context.log.warn(format!("cgroup unknown: {:#}", anyhow::Error::new(error))),
    }
    entry.remove(lock)?;
    Ok(())
}

/// Kills whatever runs in the cgroup that an operation under way has announced, so that it gives up its lock.
///
/// # Errors
/// When the processes cannot be signalled.
pub fn interrupt(entry: &Entry) -> anyhow::Result<()> {
    match entry.intent()? {
        Some(intent) if !intent.cgroup.is_empty() => {
            Cgroup::open(intent.cgroup).kill_all(SIGKILL).context("kill every process of the cgroup")
        }
        _ => Ok(()),
    }
}

fn kill_init(state: &State) -> anyhow::Result<()> {
    let Ok(handle) = pidfd::open(Pid::from_raw(state.pid)) else { return Ok(()) };
    // Checked with the handle open: it cannot come to mean a later process.
    if !procs::is_alive(state.pid, state.start_time) {
        return Ok(());
    }
    let pid = state.pid;
    match pidfd::send_signal(&handle, SIGKILL) {
        Ok(()) | Err(caisson_sys::Errno::ESRCH) => {}
        Err(errno) => return Err(errno).with_context(|| format!("kill process {pid}")),
    }
    if !state.cgroup.is_empty() {
        // Thaws too: on cgroup v1 a frozen process takes no signal.
        Cgroup::open(state.cgroup.clone()).kill_all(SIGKILL).context("kill every process of the cgroup")?;
    }
    let patience_ms = i32::try_from(PATIENCE.as_millis()).unwrap_or(i32::MAX);
    let ended = pidfd::poll_exit(&handle, patience_ms).with_context(|| format!("wait for process {pid}"))?;
    anyhow::ensure!(ended, "process {pid} was killed {} s ago and is still there", PATIENCE.as_secs());
    Ok(())
}

fn remove_cgroup(location: &Location) -> anyhow::Result<()> {
    if location.is_empty() {
        return Ok(());
    }
    let cgroup = Cgroup::open(location.clone());
    // What the first process left behind in its cgroup belongs to the container.
    cgroup.kill_all(SIGKILL).context("kill every process of the cgroup")?;
    cgroup.destroy(PATIENCE).context("remove the cgroup")
}

fn remove_resctrl(group: &Path) -> anyhow::Result<()> {
    match fs::remove_dir(group) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove the resctrl group {}", group.display()))
        }
        _ => Ok(()),
    }
}

//! Pause and resume: the freezer of v1, `cgroup.freeze` of v2.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::files;
use crate::kill;
use crate::location::Location;
use crate::wait::{self, Deadline};

/// How long processes may take to stop.
const LIMIT: Duration = Duration::from_secs(10);

/// Whether a container is paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FreezeState {
    /// Running.
    Thawed,
    /// Stopping: some processes have not stopped yet.
    Freezing,
    /// Stopped.
    Frozen,
}

/// The state now.
pub(crate) fn state(location: &Location) -> Result<FreezeState> {
    if let Some(dir) = location.v1_dir("freezer") {
        return v1_state(dir);
    }
    let Some(dir) = location.v2_only() else { return Ok(FreezeState::Thawed) };
    let asked_path = dir.join("cgroup.freeze");
    let asked = files::read_value(&asked_path).map_err(|errno| Error::file("read", &asked_path, errno))?;
    let events = wait::Events::open(dir).and_then(|events| events.get("frozen"));
    let frozen = events.map_err(|errno| Error::file("read", &dir.join("cgroup.events"), errno))?;
    Ok(match (asked.as_str(), frozen) {
        (_, Some(1)) => FreezeState::Frozen,
        ("1", _) => FreezeState::Freezing,
        _ => FreezeState::Thawed,
    })
}

/// Stops every process and waits until all have stopped. When they do not, they are let go again.
pub(crate) fn freeze(location: &Location) -> Result<()> {
    let result = change(location, FreezeState::Frozen);
    if matches!(result, Err(Error::FreezeTimeout { .. })) {
        // Half a pause is worse than none. The first error is the one to report.
        drop(change(location, FreezeState::Thawed));
    }
    result
}

/// Lets every process go on.
pub(crate) fn thaw(location: &Location) -> Result<()> {
    change(location, FreezeState::Thawed)
}

fn change(location: &Location, to: FreezeState) -> Result<()> {
    if let Some(dir) = location.v1_dir("freezer") {
        return v1_change(dir, to);
    }
    match location.v2_only() {
        Some(dir) => v2_change(dir, to),
        None => Err(Error::Missing { what: "pause or resume", needs: "freezer cgroup" }),
    }
}

fn v1_state(dir: &Path) -> Result<FreezeState> {
    let path = dir.join("freezer.state");
    match files::read_value(&path).map_err(|errno| Error::file("read", &path, errno))?.as_str() {
        "FROZEN" => Ok(FreezeState::Frozen),
        "FREEZING" => Ok(FreezeState::Freezing),
        _ => Ok(FreezeState::Thawed),
    }
}

/// v1 looks at the processes only while `freezer.state` is written or read, and one that forks meanwhile can leave
/// the state at FREEZING for ever: so it is written again, and now and then thawed in between so that a process
/// stuck in a fork or in another's wait can get on.
fn v1_change(dir: &Path, to: FreezeState) -> Result<()> {
    let path = dir.join("freezer.state");
    let word = if to == FreezeState::Frozen { "FROZEN" } else { "THAWED" };
    let write =
        |word: &str| files::write(&path, word).map_err(|errno| Error::write(&path, word, None, errno));
    let deadline = Deadline::after(LIMIT);
    let mut attempt: u32 = 0;
    loop {
        write(word)?;
        let now = v1_state(dir)?;
        if now == to {
            return Ok(());
        }
        if deadline.is_over() {
            return Err(timed_out(dir, to, &format!("{now:?}"), deadline));
        }
        attempt += 1;
        if attempt.is_multiple_of(50) {
            write("THAWED")?;
        }
        // Nothing announces the change of a v1 freezer.
        wait::pause(Duration::from_millis(u64::from(attempt.min(10))));
    }
}

fn v2_change(dir: &Path, to: FreezeState) -> Result<()> {
    let path = dir.join("cgroup.freeze");
    let (word, wanted) = if to == FreezeState::Frozen { ("1", 1) } else { ("0", 0) };
    let read_failed = |errno| Error::file("read", &dir.join("cgroup.events"), errno);
    // Opened and read first, so that no change is missed.
    let events = wait::Events::open(dir).map_err(read_failed)?;
    events.get("frozen").map_err(read_failed)?;
    files::write(&path, word).map_err(|errno| Error::write(&path, word, None, errno))?;
    let deadline = Deadline::after(LIMIT);
    loop {
        let now = events.get("frozen").map_err(read_failed)?;
        if now == Some(wanted) {
            return Ok(());
        }
        if deadline.is_over() {
            return Err(timed_out(dir, to, if wanted == 1 { "running" } else { "frozen" }, deadline));
        }
        events.wait(deadline.left()).map_err(read_failed)?;
    }
}

fn timed_out(dir: &Path, to: FreezeState, state: &str, deadline: Deadline) -> Error {
    let pids = kill::pids_below(dir).unwrap_or_default();
    let stuck = wait::look_at(&pids).into_iter().filter(|process| process.state == 'D').collect();
    Error::FreezeTimeout {
        what: if to == FreezeState::Frozen { "freeze" } else { "thaw" },
        path: dir.to_owned(),
        state: state.to_lowercase(),
        waited_ms: deadline.waited_ms(),
        inside: stuck,
    }
}

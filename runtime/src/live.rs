//! A container as it is now: the stored state put together with what the kernel says.

use std::time::Duration;

use anyhow::Context as _;
use caisson_cgroup::{Cgroup, FreezeState, Location};
use caisson_sys::pidfd;
use nix::unistd::Pid;
use std::os::fd::OwnedFd;

use crate::procs;
use crate::status::{Event, Status};
use crate::store::{Entry, Lock, State};

/// How long an operation waits for another on the same container: a `create` may run slow hooks.
const PATIENCE: Duration = Duration::from_secs(60);

/// The status of a container.
#[must_use]
pub fn status(state: &State, entry: &Entry) -> Status {
    state.status(entry, is_frozen)
}

fn is_frozen(location: &Location) -> bool {
    !location.is_empty()
        && Cgroup::open(location.clone()).state().is_ok_and(|state| state == FreezeState::Frozen)
}

/// A container whose status allows `event`, locked against others.
#[derive(Debug)]
pub struct Locked {
    /// Its directory.
    pub entry: Entry,
    /// Its state.
    pub state: State,
    /// The status it had when locked.
    pub status: Status,
    /// The lock.
    pub lock: Lock,
}

/// Opens, locks and loads a container, and checks that `event` is allowed.
///
/// # Errors
/// `StoreError`, or `NotAllowed` with the container's id.
pub fn lock_for(store: &crate::store::Store, id: &str, event: Event) -> anyhow::Result<Locked> {
    let entry = store.open(id)?;
    let lock = entry.lock(PATIENCE)?;
    let state = entry.load()?;
    let status = status(&state, &entry);
    status.on(event).with_context(|| format!("container {id}"))?;
    Ok(Locked { entry, state, status, lock })
}

/// A handle on the container's first process that cannot come to mean another one.
///
/// # Errors
/// When it has ended.
pub fn init_handle(state: &State) -> anyhow::Result<OwnedFd> {
    let fd = pidfd::open(Pid::from_raw(state.pid)).with_context(|| format!("open process {}", state.pid))?;
    // Checked after opening: if the start time is right now, the handle cannot be of a later process.
    anyhow::ensure!(procs::is_alive(state.pid, state.start_time), "container not running: no such process");
    Ok(fd)
}

/// The name of a user of the host, its number when it has none.
#[must_use]
pub fn user_name(uid: u32) -> String {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    name_in_passwd(&passwd, uid).unwrap_or_else(|| uid.to_string())
}

/// /etc/passwd alone: a static program has no name service switch, and a number is answer enough.
fn name_in_passwd(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let found: u32 = fields.nth(1)?.parse().ok()?;
        (found == uid).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwd_gives_the_name_of_a_number() {
        let passwd = "root:x:0:0::/root:/bin/sh\nweb:x:33:33::/:/bin/false\n";
        assert_eq!(name_in_passwd(passwd, 33), Some("web".into()));
        assert_eq!(name_in_passwd(passwd, 34), None);
    }
}

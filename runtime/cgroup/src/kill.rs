//! Which processes are in a cgroup, and signalling all of them.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc::SIGKILL;

use crate::error::{Error, Result};
use crate::freezer::FreezeState;
use crate::location::Location;
use crate::{files, freezer, wait};

/// How often new processes may appear between two looks before the cgroup is frozen to get hold of them.
const ROUNDS_BEFORE_FREEZING: u32 = 4;

/// The processes of the cgroup itself.
pub(crate) fn pids_of(dir: &Path) -> Result<Vec<i32>> {
    files::pids(dir).map_err(|errno| Error::file("read", &dir.join("cgroup.procs"), errno))
}

/// The processes of the cgroup and of all below it.
pub(crate) fn pids_below(dir: &Path) -> Result<Vec<i32>> {
    let mut pids = pids_of(dir)?;
    match files::children(dir) {
        Ok(children) => {
            for child in children {
                pids.extend(pids_below(&child)?);
            }
        }
        // Removed while we looked.
        Err(Errno::ENOENT | Errno::ENODEV) => {}
        Err(errno) => return Err(Error::file("list", dir, errno)),
    }
    pids.sort_unstable();
    pids.dedup();
    Ok(pids)
}

/// Sends `signal` once to every process of the container, those that appear meanwhile included.
pub(crate) fn all(location: &Location, signal: i32) -> Result<()> {
    let Some(dir) = location.process_dir() else {
        return Err(Error::Missing { what: "signal all processes", needs: "cgroup" });
    };
    if signal == SIGKILL && kill_file(location)? {
        return Ok(());
    }
    let frozen_before = freezer::state(location).unwrap_or(FreezeState::Thawed) != FreezeState::Thawed;
    let result = signal_until_stable(location, dir, signal, frozen_before);
    // A frozen process of v1 dies only once it is thawed; one that stays frozen on purpose keeps other signals
    // pending, which is what pause means.
    if signal == SIGKILL && freezer::state(location).unwrap_or(FreezeState::Thawed) != FreezeState::Thawed {
        freezer::thaw(location)?;
    }
    result
}

/// cgroup.kill (Linux 5.14) ends a whole tree without a race. Whether it was there.
fn kill_file(location: &Location) -> Result<bool> {
    let Some(dir) = location.v2_only() else { return Ok(false) };
    let path = dir.join("cgroup.kill");
    match files::write(&path, "1") {
        Ok(()) => Ok(true),
        // EOPNOTSUPP: a threaded cgroup.
        Err(Errno::ENOENT | Errno::EOPNOTSUPP) => Ok(false),
        Err(errno) => Err(Error::write(&path, "1", None, errno)),
    }
}

fn signal_until_stable(location: &Location, dir: &Path, signal: i32, frozen: bool) -> Result<()> {
    let mut done: BTreeMap<i32, OwnedFd> = BTreeMap::new();
    let mut froze = false;
    let mut round = 0;
    let result = loop {
        let fresh = match signal_new(dir, signal, &mut done) {
            Ok(fresh) => fresh,
            Err(error) => break Err(error),
        };
        if fresh == 0 {
            break Ok(());
        }
        round += 1;
        // Something forks faster than we signal.
        if round == ROUNDS_BEFORE_FREEZING && !frozen {
            froze = freezer::freeze(location).is_ok();
        }
        if round > 100 {
            wait::pause(Duration::from_millis(1));
        }
    };
    if froze {
        let thawed = freezer::thaw(location);
        return result.and(thawed);
    }
    result
}

/// Signals the processes not signalled before; how many there were.
///
/// A pid read from a file may be another process a moment later: the pidfd is opened first, and only used when the
/// pid is still listed afterwards. Then the pidfd is either that process or one that has ended.
fn signal_new(dir: &Path, signal: i32, done: &mut BTreeMap<i32, OwnedFd>) -> Result<usize> {
    let own = std::process::id().cast_signed();
    let mut opened = BTreeMap::new();
    for pid in pids_below(dir)? {
        let known = done.get(&pid).is_some_and(|fd| !has_ended(fd));
        if pid == own || known {
            continue;
        }
        match wait::pidfd(pid) {
            Ok(fd) => drop(opened.insert(pid, fd)),
            // ESRCH: ended meanwhile. EINVAL: a thread of a threaded cgroup, reached through its process.
            Err(Errno::ESRCH | Errno::EINVAL) => {}
            Err(errno) => return Err(Error::file("open a pidfd of a process in", dir, errno)),
        }
    }
    if opened.is_empty() {
        return Ok(0);
    }
    let still: Vec<i32> = pids_below(dir)?;
    let mut sent = 0;
    for (pid, fd) in opened {
        if still.contains(&pid) && send(&fd, dir, signal)? {
            sent += 1;
            done.insert(pid, fd);
        }
    }
    Ok(sent)
}

fn send(fd: &OwnedFd, dir: &Path, signal: i32) -> Result<bool> {
    match caisson_sys::pidfd::send_signal(fd, signal) {
        Ok(()) => Ok(true),
        Err(Errno::ESRCH) => Ok(false),
        Err(errno) => Err(Error::file("signal a process in", dir, errno)),
    }
}

fn has_ended(fd: &OwnedFd) -> bool {
    caisson_sys::pidfd::poll_exit(fd, 0).unwrap_or(false)
}

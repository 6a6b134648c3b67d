//! Deadlines, and waiting for the kernel without a busy loop.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::error::Straggler;
use crate::files;

/// A point in time after which waiting is over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    began: Instant,
    limit: Duration,
}

impl Deadline {
    pub(crate) fn after(limit: Duration) -> Self {
        Self { began: Instant::now(), limit }
    }

    pub(crate) fn left(&self) -> Duration {
        self.limit.saturating_sub(self.began.elapsed())
    }

    pub(crate) fn is_over(&self) -> bool {
        self.left().is_zero()
    }

    pub(crate) fn waited_ms(&self) -> u128 {
        self.began.elapsed().as_millis()
    }
}

/// poll(2) of one descriptor for at most `limit`, rounded up to a millisecond; whether something happened.
pub(crate) fn on_fd(fd: BorrowedFd<'_>, events: PollFlags, limit: Duration) -> Result<bool, Errno> {
    let mut fds = [PollFd::new(fd, events)];
    match poll(&mut fds, timeout(limit)) {
        Ok(n) => Ok(n > 0),
        Err(Errno::EINTR) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// A pause for the few kernel states that nothing announces; callers look again afterwards, until their deadline.
pub(crate) fn pause(limit: Duration) {
    // The only errors are EINTR, which ends the pause early, and ENOMEM, which does too.
    poll(&mut [], timeout(limit)).ok();
}

fn timeout(limit: Duration) -> PollTimeout {
    let ms = limit.as_micros().div_ceil(1000);
    PollTimeout::try_from(i32::try_from(ms).unwrap_or(i32::MAX)).unwrap_or(PollTimeout::MAX)
}

/// The `cgroup.events` of a v2 cgroup: polling it wakes when a line changes (cgroups(7), "cgroup.events").
#[derive(Debug)]
pub(crate) struct Events(File);

impl Events {
    pub(crate) fn open(dir: &Path) -> Result<Self, Errno> {
        File::open(dir.join("cgroup.events")).map(Self).map_err(|error| files::errno(&error))
    }

    /// The value of a line. Reading also arms the next wait.
    pub(crate) fn get(&self, name: &str) -> Result<Option<u64>, Errno> {
        let mut buffer = [0; 256];
        let length =
            std::os::unix::fs::FileExt::read_at(&self.0, &mut buffer, 0).map_err(|e| files::errno(&e))?;
        let text = String::from_utf8_lossy(&buffer[..length]);
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        Ok(value)
    }

    /// Waits for a change since the last `get`.
    pub(crate) fn wait(&self, limit: Duration) -> Result<bool, Errno> {
        on_fd(self.0.as_fd(), PollFlags::POLLPRI, limit)
    }
}

/// Opens a pidfd for a pid just read from a cgroup.
pub(crate) fn pidfd(pid: i32) -> Result<OwnedFd, Errno> {
    caisson_sys::pidfd::open(nix::unistd::Pid::from_raw(pid))
}

/// Waits until one of the processes has ended, but no longer than `limit`.
pub(crate) fn for_any_exit(pids: &[i32], limit: Duration) {
    let fds: Vec<OwnedFd> = pids.iter().take(64).filter_map(|pid| pidfd(*pid).ok()).collect();
    let mut polled: Vec<PollFd<'_>> =
        fds.iter().map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN)).collect();
    // A pidfd is readable for a zombie as well, which has left its cgroup already or is about to: see `pause`.
    poll(&mut polled, timeout(limit)).ok();
}

/// Who these pids are, and what they wait for: for errors about cgroups that do not become empty.
pub(crate) fn look_at(pids: &[i32]) -> Vec<Straggler> {
    pids.iter().filter_map(|pid| straggler(*pid)).collect()
}

fn straggler(pid: i32) -> Option<Straggler> {
    let proc = Path::new("/proc").join(pid.to_string());
    let stat = files::read(&proc.join("stat")).ok()?;
    // The name may contain spaces and parentheses: the last `)` ends it.
    let state = stat.rsplit_once(") ")?.1.chars().next()?;
    let name = files::read_value(&proc.join("comm")).unwrap_or_default();
    let waits_in = files::read_value(&proc.join("wchan")).unwrap_or_default();
    Some(Straggler { pid, name, state, waits_in })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Process;

    #[test]
    fn a_straggler_is_named_with_its_state() {
        let sleeper = Process::sleep();
        let found = look_at(&[sleeper.pid()]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].pid, sleeper.pid());
        assert!("SRD".contains(found[0].state));
    }

    #[test]
    fn waiting_for_an_exit_ends_with_it() {
        let quick = Process::run("true", &[]);
        let deadline = Deadline::after(Duration::from_secs(20));
        for_any_exit(&[quick.pid()], deadline.left());
        assert!(!deadline.is_over());
    }
}

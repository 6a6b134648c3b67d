//! Watching for the memory limit being hit: an eventfd on v1, inotify on v2.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use crate::error::{Error, Result};
use crate::files;
use crate::location::Location;
use crate::stats::parse;

/// What happened since the last look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OomEvent {
    /// The limit was reached and nothing could be reclaimed.
    Oom,
    /// The kernel killed a process of the container. On v1 the kernel wakes the watch before it kills, so this may
    /// come with the next event only.
    OomKill,
    /// The container has no process any more, or its cgroup is gone: there will be no more events.
    Gone,
}

/// A watch on the memory of a container: its descriptor is readable when there is something to
/// [`read`](OomWatch::read).
#[derive(Debug)]
pub struct OomWatch {
    source: Source,
    dir: PathBuf,
    seen: Counters,
}

#[derive(Debug)]
enum Source {
    V1(EventFd),
    V2(Inotify),
}

#[derive(Clone, Copy, Debug, Default)]
struct Counters {
    oom: u64,
    oom_kill: u64,
}

impl AsFd for OomWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.source {
            Source::V1(fd) => fd.as_fd(),
            Source::V2(fd) => fd.as_fd(),
        }
    }
}

impl OomWatch {
    pub(crate) fn open(location: &Location) -> Result<Self> {
        let (source, dir) = match (location.v1_dir("memory"), location.v2_only()) {
            (Some(dir), _) => (Source::V1(register(dir)?), dir),
            (None, Some(dir)) => (Source::V2(watch(dir)?), dir),
            (None, None) => {
                return Err(Error::Missing { what: "watch for the memory limit", needs: "memory cgroup" });
            }
        };
        let mut new = Self { source, dir: dir.to_owned(), seen: Counters::default() };
        // What happened before is no event.
        new.seen = new.count().unwrap_or_default();
        Ok(new)
    }

    /// Takes the events; none when there is nothing to take (it does not wait).
    ///
    /// # Errors
    /// The descriptor cannot be read.
    pub fn read(&mut self) -> Result<Vec<OomEvent>> {
        let failed = |errno| Error::file("read the events of", &self.dir, errno);
        let told = match &self.source {
            Source::V1(fd) => match fd.read() {
                Ok(times) => times,
                Err(Errno::EAGAIN) => return Ok(Vec::new()),
                Err(errno) => return Err(failed(errno)),
            },
            Source::V2(fd) => match fd.read_events() {
                Ok(_) => 0,
                Err(Errno::EAGAIN) => return Ok(Vec::new()),
                Err(errno) => return Err(failed(errno)),
            },
        };
        Ok(self.changes(told))
    }

    /// The events behind a wake-up; `told` is how often v1 says the limit was hit.
    fn changes(&mut self, told: u64) -> Vec<OomEvent> {
        let mut events = Vec::new();
        match self.count() {
            Some(now) => {
                // v1 counts kills only, and tells of the rest by waking.
                let oom = now.oom.saturating_sub(self.seen.oom).max(told);
                let kills = now.oom_kill.saturating_sub(self.seen.oom_kill);
                self.seen = now;
                events.extend((0..oom.min(16)).map(|_| OomEvent::Oom));
                events.extend((0..kills.min(16)).map(|_| OomEvent::OomKill));
                if matches!(self.source, Source::V2(_)) && is_empty(&self.dir) {
                    events.push(OomEvent::Gone);
                }
            }
            // Removing a v1 cgroup wakes its eventfds too.
            None => events.push(OomEvent::Gone),
        }
        events
    }

    /// The counters now; `None` when the cgroup is gone.
    fn count(&self) -> Option<Counters> {
        let file = match self.source {
            Source::V1(_) => "memory.oom_control",
            Source::V2(_) => "memory.events",
        };
        let table = parse::table(&files::read(&self.dir.join(file)).ok()?);
        let get = |name: &str| table.get(name).copied().unwrap_or(0);
        Some(Counters { oom: get("oom"), oom_kill: get("oom_kill") })
    }
}

/// cgroups v1, memory.txt, "OOM Control": the descriptors of an eventfd and of memory.oom_control, written to
/// cgroup.event_control.
fn register(dir: &Path) -> Result<EventFd> {
    use std::os::fd::AsRawFd;
    let event = EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
        .map_err(|errno| Error::file("make an eventfd for", dir, errno))?;
    let control_path = dir.join("memory.oom_control");
    let control = std::fs::File::open(&control_path)
        .map_err(|error| Error::file("open", &control_path, files::errno(&error)))?;
    let line = format!("{} {}", event.as_fd().as_raw_fd(), control.as_raw_fd());
    let path = dir.join("cgroup.event_control");
    files::write(&path, &line).map_err(|errno| Error::write(&path, &line, None, errno))?;
    Ok(event)
}

/// cgroup-v2.rst: a change of memory.events and of cgroup.events is a modification of the file.
fn watch(dir: &Path) -> Result<Inotify> {
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)
        .map_err(|errno| Error::file("make an inotify for", dir, errno))?;
    for file in ["memory.events", "cgroup.events"] {
        let path = dir.join(file);
        inotify
            .add_watch(&path, AddWatchFlags::IN_MODIFY)
            .map_err(|errno| Error::file("watch", &path, errno))?;
    }
    Ok(inotify)
}

fn is_empty(dir: &Path) -> bool {
    files::read(&dir.join("cgroup.events")).is_ok_and(|text| text.lines().any(|line| line == "populated 0"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Process, Scratch, plan, real_v1, setting};
    use crate::wait;
    use caisson_plan::step::cgroup::SettingMode;
    use nix::poll::PollFlags;
    use std::time::Duration;

    const SOON: Duration = Duration::from_secs(20);

    #[test]
    fn v2_tells_oom_and_the_end() {
        let root = Scratch::new("oom");
        root.file("memory.events", "oom 1\noom_kill 1\n").file("cgroup.events", "populated 1\n");
        let mut watch =
            OomWatch::open(&Location { v2: Some(root.path().to_owned()), ..Location::default() }).unwrap();
        assert_eq!(watch.read().unwrap(), []);
        root.file("memory.events", "oom 2\noom_kill 3\n");
        assert!(wait::on_fd(watch.as_fd(), PollFlags::POLLIN, SOON).unwrap());
        assert_eq!(watch.read().unwrap(), [OomEvent::Oom, OomEvent::OomKill, OomEvent::OomKill]);
        root.file("cgroup.events", "populated 0\n");
        assert!(wait::on_fd(watch.as_fd(), PollFlags::POLLIN, SOON).unwrap());
        assert_eq!(watch.read().unwrap(), [OomEvent::Gone]);
    }

    #[test]
    fn v1_tells_oom_and_the_end() {
        let Some(facts) = real_v1() else { return };
        let mut plan = plan(facts, "oom");
        plan.settings = vec![setting("memory", "memory.limit_in_bytes", "8388608", SettingMode::Required)];
        plan.settings.push(setting(
            "memory",
            "memory.memsw.limit_in_bytes",
            "8388608",
            SettingMode::IfPresent,
        ));
        let cgroup = crate::create(&plan).unwrap().cgroup;
        let mut watch = cgroup.oom_events().unwrap();
        // tail keeps a line without an end in memory.
        let (gate, mut shell) = Process::gated("read _; head -c 100000000 /dev/zero | tail -n 1 > /dev/null");
        cgroup.join(shell.pid()).unwrap();
        drop(gate);
        assert!(wait::on_fd(watch.as_fd(), PollFlags::POLLIN, SOON).unwrap());
        shell.wait();
        let events = watch.read().unwrap();
        assert!(events.contains(&OomEvent::Oom) && events.contains(&OomEvent::OomKill), "{events:?}");
        assert!(cgroup.stats().unwrap().memory.peak > Some(4 << 20));
        cgroup.destroy(SOON).unwrap();
        assert!(wait::on_fd(watch.as_fd(), PollFlags::POLLIN, SOON).unwrap());
        assert_eq!(watch.read().unwrap(), [OomEvent::Gone]);
    }
}

//! A container's cgroups: made, entered, limited, frozen, emptied, counted and removed, on v1, v2 and through systemd.
//!
//! The values come ready from the plan; nothing is decided here but the order of writes. What later commands need is
//! the [`Location`], which the caller keeps in state.json.
//!
//! ```text
//! create(plan) ─▶ Created { cgroup, into } ─▶ v2: clone3(CLONE_INTO_CGROUP, into)
//!       │                                     v1: entries() before the clone, entries.enter() in the child
//!       │                                     systemd: join(pid)                                  ─▶ … ─▶ destroy
//!       └────────▶ undo()  (exactly what was made)
//! ```
//!
//! Files are reached by absolute path: cgroup file systems have no symbolic links, the paths come from the host's
//! facts and a checked [`CgroupPath`](caisson_plan::ids::CgroupPath), and opening each directory first costs two
//! system calls more for each of the v1 hierarchies.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use caisson_plan::facts::CgroupFacts;
use caisson_plan::step::cgroup::{CgroupDriver, CgroupPlan, DeviceRule, Setting, UnitProperty};
use nix::errno::Errno;

pub use entries::{Entries, Shut};
pub use error::{Error, FileError, Result, Straggler};
pub use freezer::FreezeState;
pub use location::{Location, SystemdUnit, V1Dir};
pub use systemd::SystemdError;

mod device_filter;
mod devices_v1;
mod devices_v2;
mod entries;
mod error;
mod files;
mod freezer;
mod hint;
mod kill;
mod location;
mod oom;
mod remove;
mod settings;
pub mod stats;
pub mod systemd;
#[cfg(test)]
mod testing;
mod v1;
mod v2;
mod wait;

pub use oom::{OomEvent, OomWatch};
pub use stats::Stats;

/// The cgroups of one container.
#[derive(Clone, Debug)]
pub struct Cgroup {
    location: Location,
    /// What is still to be done when the first process joins: with systemd there is no cgroup before.
    pending: Option<Box<CgroupPlan>>,
    /// Whether the unit of a pending plan is ours to stop, and not another container's with the same name.
    started: Cell<bool>,
}

/// New cgroups.
#[derive(Debug)]
pub struct Created {
    /// The cgroups.
    pub cgroup: Cgroup,
    /// The v2 directory for `CLONE_INTO_CGROUP`: the child is born in it and need not `join`. Only on hosts with v2
    /// alone, and not with systemd, which makes the cgroup around an existing process.
    pub into: Option<OwnedFd>,
    /// The directories that did not exist before, in the order they were made.
    pub made: Vec<PathBuf>,
}

/// Makes the container's cgroups and writes their limits and device rules. With the systemd driver nothing happens
/// before [`Cgroup::join`].
///
/// With an `optional` plan (rootless, no limits asked for), hierarchies this user may not write are left out; the
/// location is empty when that is all of them.
///
/// # Errors
/// Directories that cannot be made, a controller that is missing, a value the kernel refuses. Nothing made is left.
pub fn create(plan: &CgroupPlan) -> Result<Created> {
    if plan.path.relative().as_os_str().is_empty() && !matches!(plan.driver, CgroupDriver::Disabled) {
        return Err(Error::IsRoot);
    }
    let location = Location::of(plan);
    if location.systemd.is_some() {
        let cgroup = Cgroup { location, pending: Some(Box::new(plan.clone())), started: Cell::new(false) };
        return Ok(Created { cgroup, into: None, made: Vec::new() });
    }
    let mut made = Vec::new();
    match fill(plan, location, &mut made) {
        Ok((location, into)) => Ok(Created { cgroup: Cgroup::open(location), into, made }),
        Err(error) => {
            remove::parents(&made);
            if plan.optional && error.is_permission() {
                let cgroup = Cgroup::open(Location::default());
                return Ok(Created { cgroup, into: None, made: Vec::new() });
            }
            Err(error)
        }
    }
}

fn fill(
    plan: &CgroupPlan,
    mut location: Location,
    made: &mut Vec<PathBuf>,
) -> Result<(Location, Option<OwnedFd>)> {
    make_dirs(plan, &mut location, made)?;
    location.parents = made.iter().filter(|dir| !location.dirs().any(|own| own == *dir)).cloned().collect();
    settings::write_all(&location, &plan.settings)?;
    match write_devices(&location, &plan.devices) {
        // Without privileges there are no device rules, and no device the user could not open anyway.
        Err(error) if plan.optional && error.is_permission() => {}
        other => other?,
    }
    let Some(dir) = location.v2.clone() else { return Ok((location, None)) };
    if let Some(uid) = plan.delegate_to {
        v2::delegate(&dir, uid)?;
    }
    let into = if location.v1.is_empty() { Some(v2::open_dir(&dir)?) } else { None };
    Ok((location, into))
}

fn make_dirs(plan: &CgroupPlan, location: &mut Location, made: &mut Vec<PathBuf>) -> Result<()> {
    let v2_dir = location.v2.clone();
    match &plan.hierarchies {
        CgroupFacts::V1 { hierarchies, unified } => {
            location.v1 = v1::make(plan, hierarchies, &location.v1, made)?;
            if let (Some(tree), Some(dir)) = (unified, &v2_dir) {
                match v2::make(plan, tree, dir, made) {
                    Err(error) if plan.optional && error.is_permission() => location.v2 = None,
                    other => other?,
                }
            }
            Ok(())
        }
        CgroupFacts::V2(tree) => match &v2_dir {
            Some(dir) => v2::make(plan, tree, dir, made),
            None => Ok(()),
        },
        CgroupFacts::None => Ok(()),
    }
}

fn write_devices(location: &Location, rules: &[DeviceRule]) -> Result<()> {
    if rules.is_empty() {
        return Ok(());
    }
    match (location.v1_dir("devices"), location.v2_only()) {
        (Some(dir), _) => devices_v1::write(dir, rules),
        (None, Some(dir)) => devices_v2::put(dir, rules),
        (None, None) => Ok(()),
    }
}

impl Created {
    /// Removes exactly what was made. The processes must have left.
    ///
    /// # Errors
    /// A directory that stays busy for 10 seconds.
    pub fn undo(self) -> Result<()> {
        let deadline = wait::Deadline::after(Duration::from_secs(10));
        let own: Vec<&Path> = self.cgroup.location.dirs().collect();
        let mut first = Ok(());
        for dir in self.made.iter().rev().filter(|dir| own.contains(&dir.as_path())) {
            let result = remove::tree(dir, deadline);
            if first.is_ok() {
                first = result;
            }
        }
        remove::parents(&self.cgroup.location.parents);
        if self.cgroup.started.get() {
            return first.and(self.cgroup.destroy(deadline.left()));
        }
        first
    }
}

impl Cgroup {
    /// The cgroups recorded in state.json.
    #[must_use]
    pub fn open(location: Location) -> Self {
        Self { location, pending: None, started: Cell::new(false) }
    }

    /// Says where the user's systemd listens (`XDG_RUNTIME_DIR`), for units of a user's manager.
    pub fn set_user_runtime_dir(&mut self, dir: PathBuf) {
        if let Some(unit) = self.location.systemd.as_mut().filter(|unit| unit.user) {
            unit.runtime_dir = Some(dir);
        }
    }

    /// What to record.
    #[must_use]
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// Opens the files by which a child enters the cgroups itself: on v1 this is some ten milliseconds faster than
    /// [`join`](Self::join). Empty for the first process under systemd, which only `join` can place.
    ///
    /// # Errors
    /// A cgroup that is gone, or that this user may not enter.
    pub fn entries(&self) -> Result<Entries> {
        if self.pending.is_some() {
            return Entries::open(&Location::default());
        }
        Entries::open(&self.location)
    }

    /// The same for sub-cgroups, see [`join_sub`](Self::join_sub).
    ///
    /// # Errors
    /// As for `entries` and `join_sub`.
    pub fn entries_sub(&self, sub: &[(Option<Vec<String>>, String)]) -> Result<Entries> {
        Entries::open(&self.sub_location(sub)?)
    }

    /// Moves a process into every cgroup of the container. On v2 without systemd only needed when it was not cloned
    /// into it. The first join of a plan with the systemd driver starts the unit around the process, then writes what
    /// systemd has no property for, and the device rules.
    ///
    /// # Errors
    /// A cgroup that takes no processes, or a process that has exited; systemd's own errors.
    pub fn join(&self, pid: i32) -> Result<()> {
        match &self.pending {
            Some(plan) => {
                let result = systemd::start(plan, &self.location, pid);
                let taken = matches!(&result, Err(Error::Systemd(error)) if error.is("UnitExists"));
                self.started.set(!taken);
                result
            }
            None => self.enter(pid, &self.location),
        }
    }

    fn enter(&self, pid: i32, location: &Location) -> Result<()> {
        let pid_text = pid.to_string();
        for dir in location.dirs() {
            let result = enter_dir(dir, &pid_text);
            match (&location.systemd, result) {
                // A user's own processes outside of the unit can only be moved into it by the manager.
                (Some(unit), Err(error)) if error.is_permission() => systemd::attach(unit, pid)?,
                (_, other) => other?,
            }
        }
        Ok(())
    }

    /// Moves a process into sub-cgroups of the container's (`exec --cgroup`): each with the v1 controllers it is
    /// for, or none for all hierarchies. Where none is named, the container's own cgroup is joined.
    ///
    /// # Errors
    /// A path outside of the container's cgroup, one that does not exist, a controller without a hierarchy.
    pub fn join_sub(&self, pid: i32, sub: &[(Option<Vec<String>>, String)]) -> Result<()> {
        self.enter(pid, &self.sub_location(sub)?)
    }

    fn sub_location(&self, sub: &[(Option<Vec<String>>, String)]) -> Result<Location> {
        let mut target = self.location.clone();
        for (controllers, path) in sub {
            let tail = below(path)?;
            match controllers {
                None => {
                    for (own, to) in self.location.v1.iter().zip(&mut target.v1) {
                        to.dir = own.dir.join(tail);
                    }
                    target.v2 = self.location.v2.as_ref().map(|dir| dir.join(tail));
                }
                Some(names) => {
                    for name in names {
                        let known = target.v1.iter_mut().zip(&self.location.v1).find(|(to, _)| to.has(name));
                        let Some((to, own)) = known else {
                            return Err(Error::NoHierarchy {
                                controller: name.clone(),
                                file: "cgroup.procs".into(),
                                from: caisson_plan::ids::Pointer::new("--cgroup"),
                                present: self
                                    .location
                                    .v1
                                    .iter()
                                    .flat_map(|d| d.controllers.clone())
                                    .collect(),
                            });
                        };
                        to.dir = own.dir.join(tail);
                    }
                }
            }
        }
        Ok(target)
    }

    /// Where another process of the container goes: into its cgroup or, when that has handed controllers down and so
    /// takes no processes (a container's own systemd does it), into the one below that holds `init`.
    #[must_use]
    pub fn beside(mut self, init: i32) -> Self {
        if let Some(below) = self.location.v2_only().and_then(|dir| v2::refuge(dir, init)) {
            self.location.v2 = Some(below);
        }
        self
    }

    /// Opens the v2 directory for `CLONE_INTO_CGROUP` (exec), on hosts with v2 alone; that of a sub-cgroup where one
    /// is named, see [`join_sub`](Self::join_sub).
    ///
    /// # Errors
    /// The directory is gone; as for `join_sub`.
    pub fn into_fd(&self, sub: &[(Option<Vec<String>>, String)]) -> Result<Option<OwnedFd>> {
        match (&self.pending, self.sub_location(sub)?.v2_only()) {
            (None, Some(dir)) => v2::open_dir(dir).map(Some),
            _ => Ok(None),
        }
    }

    /// What a failed `CLONE_INTO_CGROUP` means: the same words as for a failed join.
    #[must_use]
    pub fn explain_clone(&self, errno: Errno) -> Error {
        let dir = self.location.v2.clone().unwrap_or_default();
        Error::file("clone into", &dir.join("cgroup.procs"), errno)
    }

    /// Changes limits, device rules and unit properties of a running container (`update`).
    ///
    /// # Errors
    /// As for [`create`]. Settings before the refused one stay in force; the caller knows the old values.
    pub fn apply(
        &self,
        settings: &[Setting],
        devices: Option<&[DeviceRule]>,
        properties: &[UnitProperty],
    ) -> Result<()> {
        if let (Some(unit), false) = (&self.location.systemd, properties.is_empty()) {
            systemd::set_properties(unit, properties)?;
        }
        settings::write_all(&self.location, settings)?;
        devices.map_or(Ok(()), |rules| write_devices(&self.location, rules))
    }

    /// Pauses every process, and waits until all have stopped.
    ///
    /// # Errors
    /// `FreezeTimeout` after ten seconds, with the processes that did not stop; all run again then.
    pub fn freeze(&self) -> Result<()> {
        freezer::freeze(&self.location)
    }

    /// Resumes every process.
    ///
    /// # Errors
    /// As for [`freeze`](Self::freeze).
    pub fn thaw(&self) -> Result<()> {
        freezer::thaw(&self.location)
    }

    /// Whether the container is paused.
    ///
    /// # Errors
    /// The cgroup is gone.
    pub fn state(&self) -> Result<FreezeState> {
        freezer::state(&self.location)
    }

    /// The processes in the container's cgroup, and with `recursive` in those below it.
    ///
    /// # Errors
    /// A container without cgroups; one that cannot be read. A cgroup that is gone has no processes.
    pub fn pids(&self, recursive: bool) -> Result<Vec<i32>> {
        match self.location.process_dir() {
            Some(dir) if recursive => kill::pids_below(dir),
            Some(dir) => kill::pids_of(dir),
            None => Err(Error::Missing { what: "list the processes", needs: "cgroup" }),
        }
    }

    /// Signals every process of the container once. SIGKILL also ends processes that are paused.
    ///
    /// # Errors
    /// A container without cgroups; no right to signal.
    pub fn kill_all(&self, signal: i32) -> Result<()> {
        kill::all(&self.location, signal)
    }

    /// Removes the cgroups, waiting up to `limit` for processes on their way out; then the parents that were made for
    /// the container and are empty. What is gone already is no error.
    ///
    /// # Errors
    /// `StillInUse` names the processes inside and what they wait for.
    pub fn destroy(&self, limit: Duration) -> Result<()> {
        let stopped = match &self.location.systemd {
            Some(unit) => systemd::stop(unit, limit),
            None => Ok(()),
        };
        stopped.and(remove::all(&self.location, limit))
    }

    /// The counters of every controller.
    ///
    /// # Errors
    /// A counter that exists but cannot be read.
    pub fn stats(&self) -> Result<Stats> {
        stats::read(&self.location)
    }

    /// Watches for the memory limit being hit.
    ///
    /// # Errors
    /// A container without a memory cgroup.
    pub fn oom_events(&self) -> Result<OomWatch> {
        OomWatch::open(&self.location)
    }
}

fn enter_dir(dir: &Path, pid: &str) -> Result<()> {
    let path = dir.join("cgroup.procs");
    files::write(&path, pid).map_err(|errno| Error::write(&path, pid, None, errno))
}

/// A relative path without `..`.
fn below(path: &str) -> Result<&Path> {
    let tail = Path::new(path.trim_start_matches('/'));
    let plain = |part| matches!(part, std::path::Component::Normal(_) | std::path::Component::CurDir);
    if tail.components().all(plain) { Ok(tail) } else { Err(Error::Escapes { path: path.to_owned() }) }
}

#[cfg(test)]
mod tests;

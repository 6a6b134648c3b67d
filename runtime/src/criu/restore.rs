//! `restore`: from images to a running container.
//!
//! criu makes the namespaces, the mounts and the processes. It does so in a mount namespace of its own in which the root
//! file system is a mount, as it wants it: nothing is ever mounted on the host. Ours are the state directory, the cgroup,
//! the hooks and the terminal; criu stops for them at the points it notifies us of.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Context as _;
use caisson_cgroup::{Cgroup, Created};
use caisson_exec::hooks;
use caisson_plan::ExecContext;
use caisson_plan::step::mounts::RootfsSource;
use caisson_plan::step::{Action, HookKind, Plan};
use caisson_sys::mount::{self, MsFlags, Propagation};
use caisson_sys::namespace::Namespaces;
use caisson_sys::{pidfd, procfs};
use nix::unistd::Pid;

use super::outside::{self, Outside};
use super::process::{Criu, best_effort};
use super::rpc::{CgroupMode, Feature, Kind, Notification, Options};
use super::{Dir, inherit, sources};
use crate::context::Context;
use crate::make::{self, Wishes};
use crate::store::{Entry, Intent, Lock, State};
use crate::{clock, procs, sockets};

/// The log's name in the work directory.
const LOG: &str = "restore.log";
const SIGKILL: i32 = 9;

/// A restored container; it runs.
#[derive(Debug)]
pub struct Restored {
    /// Its directory.
    pub entry: Entry,
    /// Its state, on disk.
    pub state: State,
    /// Its lock.
    pub lock: Lock,
    /// Its first process, a child of ours.
    pub process: OwnedFd,
    /// The terminal's master, when there is no console socket it could go to.
    pub terminal: Option<OwnedFd>,
}

/// Where images are and what the flags say.
#[derive(Debug)]
pub struct Images {
    /// `--image-path`
    pub dir: Dir,
    /// `--work-path`; without it, the container's state directory.
    pub work: Option<Dir>,
    /// What the flags say.
    pub options: Options,
}

/// Makes the container; it runs when this returns. On failure the host is as it was.
///
/// # Errors
/// What criu cannot make again, in its words; a hook that failed; a cgroup that cannot be made.
pub fn restore(context: &Context, plan: &Plan, wishes: Wishes, images: Images) -> anyhow::Result<Restored> {
    check(plan, &images.dir)?;
    let cgroup = make::planned_cgroup(plan);
    let intent = Intent { cgroup, bundle: wishes.bundle.dir.clone(), resctrl_group: None };
    let (entry, lock) = context.store.create(&wishes.id, &intent)?;
    let undone = match Work::begin(plan, &entry, wishes) {
        Ok(work) => work.finish(context, images),
        Err(error) => Err(error),
    };
    match undone {
        Ok((state, process, terminal)) => Ok(Restored { entry, state, lock, process, terminal }),
        Err(error) => {
            if let Err(second) = entry.remove(lock) {
                context.log.warn(format!("{:#}", anyhow::Error::new(second)));
            }
            Err(error)
        }
    }
}

/// What criu cannot do for us, or would say in words that nobody understands.
fn check(plan: &Plan, images: &Dir) -> anyhow::Result<()> {
    let inventory = images.path.join("inventory.img");
    let what = "no checkpoint, or one that was not finished";
    anyhow::ensure!(inventory.exists(), "{}: {what}: it has no inventory.img", images.path.display());
    for step in &plan.steps {
        let what = match &step.action {
            Action::Rootfs(root) if !matches!(root.source, RootfsSource::Directory(_)) => {
                "a root that is composed of layers"
            }
            Action::IntelRdt(_) => "a resctrl group",
            _ => continue,
        };
        anyhow::bail!("restore does not support {what} (from {})", step.from);
    }
    Ok(())
}

/// A restore under way.
struct Work<'a> {
    plan: &'a Plan,
    entry: &'a Entry,
    wishes: Wishes,
    cgroup: Option<Created>,
    state: State,
    console: Option<OwnedFd>,
}

impl<'a> Work<'a> {
    fn begin(plan: &'a Plan, entry: &'a Entry, mut wishes: Wishes) -> anyhow::Result<Self> {
        entry.save_config(&wishes.bundle.config)?;
        let planned = plan.steps.iter().find_map(|step| match &step.action {
            Action::CreateCgroup(cgroup) => Some(cgroup),
            _ => None,
        });
        let cgroup = planned.map(caisson_cgroup::create).transpose().context("make the cgroup")?;
        let location = cgroup.as_ref().map(|made| made.cgroup.location().clone()).unwrap_or_default();
        let state = State {
            caisson_state: State::VERSION,
            id: wishes.id.clone(),
            bundle: wishes.bundle.dir.clone(),
            pid: 0,
            start_time: 0,
            creating: true,
            created: clock::rfc3339(SystemTime::now()),
            owner_uid: nix::unistd::getuid().as_raw(),
            cgroup: location,
            after: plan.after.clone(),
            joining: ExecContext::of(plan),
        };
        let console = wishes.console.take();
        Ok(Self { plan, entry, wishes, cgroup, state, console })
    }

    fn finish(
        mut self,
        context: &Context,
        images: Images,
    ) -> anyhow::Result<(State, OwnedFd, Option<OwnedFd>)> {
        let result = self.go(images);
        if result.is_err() {
            self.undo(context);
        }
        let (process, terminal) = result?;
        Ok((self.state, process, terminal))
    }

    /// Newest first. What cannot be undone must not hide the error that brought us here.
    fn undo(&mut self, context: &Context) {
        if let Ok(process) = pidfd::open(Pid::from_raw(self.state.pid))
            && self.state.is_alive()
        {
            best_effort(pidfd::send_signal(&process, SIGKILL));
            best_effort(pidfd::wait(&process));
        }
        if let Some(made) = self.cgroup.take()
            && let Err(error) = made.undo()
        {
            context.log.warn(format!("{:#}", anyhow::Error::new(error)));
        }
    }

    fn go(&mut self, images: Images) -> anyhow::Result<(OwnedFd, Option<OwnedFd>)> {
        let Images { dir, work, options } = images;
        dir.let_in(self.state.joining.id_maps.as_ref())?;
        let work = match work {
            Some(work) => work,
            None => Dir::make("--work-path", &self.entry.dir().join("criu.work"))?,
        };
        let root = real_path(&self.plan.after.rootfs)?;
        let (options, namespaces) = self.options(&dir, &work, &root, options)?;
        let pidfd_socket = self.wishes.pidfd_socket.as_deref().map(sockets::connect).transpose()?;
        let mut inherited: Vec<BorrowedFd<'_>> = namespaces.iter().map(AsFd::as_fd).collect();
        inherited.extend([dir.as_fd(), work.as_fd()]);
        let setup = || {
            die_with_us()?;
            mount_root(&root)?;
            dir.open_again()?;
            work.open_again()
        };
        let criu = Criu::start(Namespaces::MNT, Box::new(setup), &inherited)?;
        if options.lazy_pages {
            criu.need(Feature::LazyPages)?;
        }
        if self.state.cgroup.systemd.is_some()
            && let Some(made) = &self.cgroup
        {
            // systemd makes a unit around a process; init enters it before criu leaves.
            made.cgroup.join(criu.pid()).context("start the container's systemd unit")?;
        }
        let mut terminal = None;
        let mut on_notify =
            |notification: &Notification, fds: Vec<OwnedFd>| self.notified(notification, fds, &mut terminal);
        let answer = criu.perform(Kind::Restore, &options, &work.path, &mut on_notify)?;
        if self.state.pid == 0 {
            self.adopt(answer.restored_pid.context("criu names no process")?);
        }
        self.state.creating = false;
        self.entry.save(&self.state)?;
        let pid = self.state.pid;
        let process = pidfd::open(Pid::from_raw(pid)).with_context(|| format!("open process {pid}"))?;
        if let Some(socket) = pidfd_socket {
            sockets::send_fd(&socket, process.as_fd()).context("--pidfd-socket")?;
        }
        Ok((process, terminal))
    }

    fn adopt(&mut self, pid: i32) {
        self.state.pid = pid;
        self.state.start_time = procs::see(pid).map_or(0, |seen| seen.start_time);
    }

    fn notified(
        &mut self,
        notification: &Notification,
        fds: Vec<OwnedFd>,
        terminal: &mut Option<OwnedFd>,
    ) -> anyhow::Result<()> {
        match notification.script.as_str() {
            // Only the first process is there, and it has nothing but its namespaces.
            "setup-namespaces" => {
                self.adopt(notification.pid);
                if !self.state.cgroup.is_empty() {
                    // Its children are born where it is; criu puts them into sub-cgroups when the images say so.
                    let cgroup = Cgroup::open(self.state.cgroup.clone());
                    cgroup.join(notification.pid).context("put the first process into the cgroup")?;
                }
                self.entry.save(&self.state)?; // so that a hook can ask
                self.run_hooks()
            }
            "orphan-pts-master" => {
                let master = fds.into_iter().next().context("criu sent no terminal")?;
                match &self.console {
                    Some(socket) => sockets::send_fd(socket, master.as_fd()).context("--console-socket")?,
                    None => *terminal = Some(master),
                }
                Ok(())
            }
            // Everything is there and stopped: from here on it cannot fail any more.
            "post-restore" => {
                self.adopt(notification.pid);
                self.entry.save(&self.state)?;
                let pid_file = self.wishes.pid_file.as_deref();
                pid_file.map_or(Ok(()), |path| make::write_pid_file(path, notification.pid))
            }
            _ => Ok(()),
        }
    }

    /// The hooks that a `create` runs in the runtime's namespaces, at the same point. Those of the container's own
    /// namespaces are for a program that is about to start: there is none.
    fn run_hooks(&self) -> anyhow::Result<()> {
        let json = make::state_for_hook(&self.state, caisson_exec::Status::Created);
        for step in &self.plan.steps {
            if let Action::Hooks(kind @ (HookKind::Prestart | HookKind::CreateRuntime), list) = &step.action {
                hooks::run(*kind, list, &json).map_err(|failure| anyhow::anyhow!("{failure}"))?;
            }
        }
        Ok(())
    }

    /// The request's options, with the namespaces that criu inherits: open for as long as it starts.
    fn options(
        &self,
        images: &Dir,
        work: &Dir,
        root: &Path,
        given: Options,
    ) -> anyhow::Result<(Options, Vec<OwnedFd>)> {
        let stored = Outside::load(&images.path)?;
        let cgroup = &self.state.cgroup;
        let mut options = Options {
            images_dir: images.number(),
            work_dir: work.number(),
            log_file: LOG,
            root: root.display().to_string(),
            external: sources::externals(self.plan, cgroup, stored.as_ref())?,
            cgroup_roots: sources::cgroup_roots(cgroup),
            as_sibling: true,
            config_file: self.plan.after.annotations.get("org.criu.config").cloned(),
            ..given
        };
        if cgroup.is_empty() {
            options.cgroup_mode = Some(CgroupMode::Ignore);
        }
        let stdio = match &stored {
            Some(stored) => stored.stdio.clone(),
            None => outside::load_descriptors(&images.path)?,
        };
        let mut inherited = inherit::namespaces(self.plan, stored.as_ref(), &mut options)?;
        inherit::stdio(stdio, &mut options, &mut inherited)?;
        Ok((options, inherited))
    }
}

/// criu compares the root with the mount table, which has no symbolic links.
fn real_path(root: &str) -> anyhow::Result<PathBuf> {
    let dir = fs::File::open(root).with_context(|| format!("root file system {root}"))?;
    fs::read_link(procfs::fd_path(&dir)).with_context(|| format!("root file system {root}"))
}

/// A criu whose caller is gone would wait for it for ever, with half a container that nobody can kill: it traces it.
fn die_with_us() -> Result<(), String> {
    caisson_sys::creds::set_parent_death_signal(SIGKILL)
        .map_err(|errno| format!("let criu die with its caller: {errno}"))
}

/// In criu's own mount namespace: the root file system as a mount, which nobody else sees.
fn mount_root(root: &Path) -> Result<(), String> {
    // Slave: unmounts of the host arrive, so that a dying criu keeps no disk busy; nothing goes back.
    mount::set_propagation("/", Propagation::Slave, true)
        .map_err(|errno| format!("make criu's mounts its own: {errno}"))?;
    let shown = root.display().to_string();
    mount::legacy_mount(Some(&shown), root, None, MsFlags::MS_BIND | MsFlags::MS_REC, None)
        .map_err(|errno| format!("bind the root file system {shown}: {errno}"))
}

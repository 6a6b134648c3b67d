//! Making a container: what `create` and `run` have in common.
//!
//! ```text
//! bundle ─▶ parse ─▶ probe ─▶ plan ─▶ store (id, lock, intent) ─▶ exec::create ─▶ state.json ─▶ pid file ─▶ commit
//! ```
//! Whatever fails after the intent was written is undone here: the exec crate undoes what it made when its guard is
//! dropped, and the directory goes last.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Context as _;
use caisson_cgroup::Location;
use caisson_exec::{Container, Outside};
use caisson_plan::ExecContext;
use caisson_plan::ids::{ContainerId, HostPath};
use caisson_plan::options::{Command, Options};
use caisson_plan::step::{Action, Plan};
use clap::{Arg, ArgMatches};

use crate::bundle::{self, Bundle};
use crate::cli::{self, Given};
use crate::context::Context;
use crate::status::Status;
use crate::store::{self, Entry, Intent, Lock, State};
use crate::{clock, notify_socket, planning, sockets};

/// What the caller wants beside config.json.
#[derive(Debug)]
pub struct Wishes {
    /// The id.
    pub id: ContainerId,
    /// The bundle.
    pub bundle: Bundle,
    /// `create` or `run`.
    pub command: Command,
    /// Whether the runtime leaves before the container does.
    pub detach: bool,
    /// Where the terminal goes.
    pub console: Option<OwnedFd>,
    /// `--pidfd-socket`
    pub pidfd_socket: Option<PathBuf>,
    /// `--pid-file`
    pub pid_file: Option<PathBuf>,
    /// `--no-pivot`
    pub no_pivot: bool,
    /// `--no-new-keyring`
    pub no_new_keyring: bool,
    /// `--preserve-fds`
    pub preserve_fds: u32,
}

/// A container that has been made and waits.
#[derive(Debug)]
pub struct Made {
    /// Its directory.
    pub entry: Entry,
    /// Its state, on disk.
    pub state: State,
    /// Its first process; dropping it undoes everything.
    pub container: Container,
    /// Its lock.
    pub lock: Lock,
}

/// The flags of both verbs.
#[must_use]
pub fn flags() -> Vec<Arg> {
    let mut flags = Vec::from(bundle::flags());
    flags.extend([
        cli::path("console-socket", "PATH", "Send the terminal's master to this Unix socket"),
        cli::path("pidfd-socket", "PATH", "Send a pidfd of the first process to this Unix socket"),
        cli::path("pid-file", "FILE", "Write the first process's pid to FILE"),
        cli::switch("no-pivot", "Do not use pivot_root(2): for root file systems on a ramdisk"),
        cli::switch("no-new-keyring", "Keep the caller's session keyring"),
        cli::number::<u32>("preserve-fds", "N", "Pass N more file descriptors, from 3 on, to the program"),
    ]);
    flags
}

impl Wishes {
    /// Takes the flags.
    ///
    /// # Errors
    /// An id that is none, a missing bundle.
    pub fn new(matches: &ArgMatches, command: Command, detach: bool) -> anyhow::Result<Self> {
        Ok(Self {
            id: ContainerId::parse(matches.text("id").unwrap_or_default())?,
            bundle: bundle::open(matches)?,
            command,
            detach,
            console: None,
            pidfd_socket: matches.path("pidfd-socket").cloned(),
            pid_file: matches.path("pid-file").cloned(),
            no_pivot: matches.on("no-pivot"),
            no_new_keyring: matches.on("no-new-keyring"),
            preserve_fds: matches.number("preserve-fds").unwrap_or(0),
        })
    }

    /// What the plan may know of the wishes.
    fn options(&self, context: &Context, console: bool) -> Options {
        let asked = context.environment.notify_socket.is_some();
        Options {
            command: self.command,
            cgroup_manager: context.cgroup_manager,
            rootless: context.rootless,
            no_pivot: self.no_pivot,
            no_new_keyring: self.no_new_keyring,
            preserve_fds: self.preserve_fds,
            listen_fds: context.environment.listen_fds,
            console_socket: console,
            detach: self.detach,
            systemd_user: !nix::unistd::geteuid().is_root(),
            notify_dir: asked.then(|| HostPath::new(notify_socket::dir(&context.store.dir_of(&self.id)))),
            ..Options::new(self.id.clone(), HostPath::new(&self.bundle.dir))
        }
    }
}

/// Plans the container.
///
/// # Errors
/// Every problem of config.json that forbids it.
pub fn plan(context: &Context, wishes: &Wishes, console: bool) -> anyhow::Result<Plan> {
    planning::plan(&context.log, &wishes.bundle, &wishes.options(context, console))
}

/// Makes the container; it waits before the user's program.
///
/// # Errors
/// The step that failed; everything made is undone.
pub fn make(context: &Context, plan: &Plan, wishes: Wishes) -> anyhow::Result<Made> {
    let inherited = inherited(context, wishes.preserve_fds)?;
    let cgroup = planned_cgroup(plan);
    let intent = Intent {
        cgroup: cgroup.clone(),
        bundle: wishes.bundle.dir.clone(),
        resctrl_group: plan.after.resctrl_group.as_ref().map(|group| group.as_path().to_owned()),
    };
    let (entry, lock) = context.store.create(&wishes.id, &intent)?;
    match fill(context, plan, wishes, &entry, (cgroup, inherited)) {
        Ok((state, container)) => Ok(Made { entry, state, container, lock }),
        Err(error) => {
            if let Err(second) = entry.remove(lock) {
                context.log.warn(format!("{:#}", anyhow::Error::new(second)));
            }
            Err(error)
        }
    }
}

fn fill(
    context: &Context,
    plan: &Plan,
    wishes: Wishes,
    entry: &Entry,
    (cgroup, inherited): (Location, u32),
) -> anyhow::Result<(State, Container)> {
    entry.save_config(&wishes.bundle.config)?;
    if context.environment.notify_socket.is_some() {
        notify_socket::prepare(entry.dir())?;
    }
    let blank = State {
        caisson_state: State::VERSION,
        id: wishes.id.clone(),
        bundle: wishes.bundle.dir.clone(),
        pid: 0,
        start_time: 0,
        creating: true,
        created: clock::rfc3339(SystemTime::now()),
        owner_uid: nix::unistd::getuid().as_raw(),
        cgroup,
        after: plan.after.clone(),
        joining: ExecContext::of(plan),
    };
    let runtime = std::process::id();
    let hook_state = |pid: i32, status: caisson_exec::Status| {
        let state = during_creation(&blank, pid);
        // Init calls this too, in the container's namespaces: only the runtime may write, so that a hook can ask.
        if std::process::id() == runtime
            && let Err(error) = entry.save(&state)
        {
            context.log.warn(format!("{:#}", anyhow::Error::new(error)));
        }
        state_for_hook(&state, status)
    };
    let pidfd_socket = wishes.pidfd_socket.as_deref().map(sockets::connect).transpose()?;
    let dir = entry.dir_fd()?;
    let cache = context.store.seccomp_cache();
    let outside = Outside {
        state_dir: dir.as_fd(),
        console_socket: wishes.console,
        inherited,
        seccomp_cache: Some(&cache),
        timings: context.timings.is_some(),
        fail_at: context.fail_at,
        hook_state: &hook_state,
    };
    let container = caisson_exec::create(plan, outside)?;
    let made_cgroup = container.cgroup().cloned().unwrap_or_default();
    let whole = during_creation(&blank, container.pid());
    let state = State { creating: false, cgroup: made_cgroup, ..whole };
    entry.save(&state)?;
    if let Some(path) = &wishes.pid_file {
        write_pid_file(path, state.pid)?;
    }
    if let (Some(socket), Some(pidfd)) = (pidfd_socket, container.pidfd()) {
        sockets::send_fd(&socket, pidfd).context("--pidfd-socket")?;
    }
    Ok((state, container))
}

/// How many descriptors from 3 on the program inherits: `--preserve-fds` and LISTEN_FDS.
///
/// # Errors
/// When one of them is not open: in the program its number would mean something else.
pub fn inherited(context: &Context, preserve_fds: u32) -> anyhow::Result<u32> {
    let count = preserve_fds.saturating_add(context.environment.listen_fds);
    let mut numbers = (3..).take(usize::try_from(count).unwrap_or(usize::MAX));
    match numbers.find(|number| !caisson_sys::fd::is_inherited(*number)) {
        Some(closed) => {
            anyhow::bail!(
                "descriptor {closed} is not open: --preserve-fds and LISTEN_FDS count {count} from 3 on"
            )
        }
        None => Ok(count),
    }
}

/// The state while hooks run before the container is whole.
fn during_creation(blank: &State, pid: i32) -> State {
    let start_time = crate::procs::see(pid).map_or(0, |seen| seen.start_time);
    State { pid, start_time, ..blank.clone() }
}

/// The state as hooks read it.
#[must_use]
pub fn state_for_hook(state: &State, status: caisson_exec::Status) -> String {
    let status = match status {
        caisson_exec::Status::Creating => Status::Creating,
        caisson_exec::Status::Created => Status::Created,
        caisson_exec::Status::Running => Status::Running,
        caisson_exec::Status::Stopped => Status::Stopped,
    };
    serde_json::to_string(&state.view(status)).unwrap_or_default()
}

/// Where the plan will put the cgroup, with the parents that do not exist yet: they are the container's to remove.
#[must_use]
pub fn planned_cgroup(plan: &Plan) -> Location {
    let planned = plan.steps.iter().find_map(|step| match &step.action {
        Action::CreateCgroup(cgroup) => Some(cgroup),
        _ => None,
    });
    let mut location = planned.map(Location::of).unwrap_or_default();
    if location.systemd.is_none() {
        let dirs = location.v1.iter().map(|v1| v1.dir.as_path()).chain(location.v2.as_deref());
        let mut parents: Vec<PathBuf> = dirs.flat_map(missing_parents).collect();
        parents.sort_by_key(|dir| dir.components().count());
        parents.dedup();
        location.parents = parents;
    }
    location
}

fn missing_parents(dir: &Path) -> Vec<PathBuf> {
    let above = dir.ancestors().skip(1);
    above.take_while(|parent| !parent.exists()).map(Path::to_owned).collect()
}

/// Writes a pid file that readers see whole or not at all.
///
/// # Errors
/// When it cannot be written.
pub fn write_pid_file(path: &Path, pid: i32) -> anyhow::Result<()> {
    store::replace_file(path, pid.to_string().as_bytes(), 0o644)
        .with_context(|| format!("write the pid file {}", path.display()))
}

//! Making init: one clone3(2), or two when namespaces have to be entered in an order of their own.
//!
//! ```text
//! direct:  runtime ──clone3(new namespaces)──▶ init ──setns(joined ones)──▶ …
//! stage:   runtime ──clone3──▶ stage ──setns(joined, user first)── clone3(CLONE_PARENT, new ones) ──▶ init
//!                               └─ tells init's pid, exits
//! ```
//! A user namespace decides who owns the namespaces made after it, and setns(2) into namespaces that belong to
//! the host must happen before a new one is entered: hence the stage.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use caisson_plan::step::namespaces::{ClonePlan, NamespaceJoin, NamespaceKind, TimeOffset};
use caisson_sys::Pid;
use caisson_sys::clone::{Child, CloneArgs, clone3};
use caisson_sys::namespace::{self, Namespaces};
use caisson_sys::path::{self, OFlag};
use caisson_sys::{Errno, pidfd};

use crate::act;
use crate::error::{Act, Context, Failure, best_effort};
use crate::sync::{Channel, Message};

/// A namespace file, opened before the clone: its path means nothing inside the container.
#[derive(Debug)]
pub(crate) struct OpenJoin {
    kind: Namespaces,
    fd: OwnedFd,
    text: String,
}

/// What init is made from.
#[derive(Debug)]
pub(crate) struct Spawn<'a> {
    pub(crate) plan: &'a ClonePlan,
    pub(crate) joins: Vec<OpenJoin>,
    /// Init of the container that `exec` enters.
    pub(crate) target: Option<BorrowedFd<'a>>,
    pub(crate) into_cgroup: Option<BorrowedFd<'a>>,
    /// Whether a user namespace was entered, whose root init then becomes: its ids are mapped already.
    pub(crate) entered_user: bool,
}

/// The kernel's flag for a kind.
pub(crate) fn flag(kind: NamespaceKind) -> Namespaces {
    match kind {
        NamespaceKind::User => Namespaces::USER,
        NamespaceKind::Pid => Namespaces::PID,
        NamespaceKind::Network => Namespaces::NET,
        NamespaceKind::Ipc => Namespaces::IPC,
        NamespaceKind::Uts => Namespaces::UTS,
        NamespaceKind::Mount => Namespaces::MNT,
        NamespaceKind::Cgroup => Namespaces::CGROUP,
        NamespaceKind::Time => Namespaces::TIME,
    }
}

/// Opens every namespace file of the plan and checks that it is of the kind the config says.
pub(crate) fn open_joins(plan: &ClonePlan) -> Act<Vec<OpenJoin>> {
    plan.join.iter().map(open_join).collect()
}

fn open_join(join: &NamespaceJoin) -> Act<OpenJoin> {
    let text = format!("join {} namespace {}", format!("{:?}", join.kind).to_lowercase(), join.path);
    let fd = path::open(join.path.as_path(), OFlag::O_RDONLY).on(|| text.clone())?;
    let kind = flag(join.kind);
    match namespace::ns_type(fd.as_fd()) {
        Ok(found) if found == kind => Ok(OpenJoin { kind, fd, text }),
        Ok(found) => Err(Failure::new(text).detail(format!("it is a namespace of another kind: {found:?}"))),
        Err(Errno::ENOTTY) => Err(Failure::new(text).detail("it is not a namespace file")),
        Err(errno) => Err(Failure::errno(text, errno)),
    }
}

impl Spawn<'_> {
    /// Makes init, which runs `init` and exits with what it returns.
    pub(crate) fn run(
        mut self,
        sync: &Channel,
        theirs: Channel,
        init: impl FnOnce(Channel) -> i32,
    ) -> Act<Child> {
        if self.plan.stage { self.staged(sync, theirs, init) } else { self.direct(theirs, init) }
    }

    fn create_flags(&self) -> Namespaces {
        self.plan.create.iter().fold(Namespaces::empty(), |all, kind| all | flag(*kind))
    }

    fn direct(&mut self, theirs: Channel, init: impl FnOnce(Channel) -> i32) -> Act<Child> {
        let pid_join = self.take(Namespaces::PID);
        let time_join = self.take(Namespaces::TIME);
        let guard = ForChildren::enter(
            self.target,
            self.joins_target(NamespaceKind::Pid),
            pid_join.as_ref(),
            time_join.as_ref(),
            self.plan,
        )?;
        let args = CloneArgs {
            namespaces: self.create_flags(),
            into_cgroup: self.into_cgroup,
            ..CloneArgs::default()
        };
        let joins = std::mem::take(&mut self.joins);
        let (target, kinds) = (self.target, self.target_kinds());
        let child = clone3(args, move || {
            let entered = enter_target(target, kinds).and_then(|()| enter_all(&joins));
            match entered {
                Ok(()) => {
                    drop(joins);
                    init(theirs)
                }
                Err(failure) => report(&theirs, failure),
            }
        });
        let child = child.map_err(|errno| clone_failed(errno, self.plan));
        guard.leave()?;
        child
    }

    fn staged(&mut self, sync: &Channel, theirs: Channel, init: impl FnOnce(Channel) -> i32) -> Act<Child> {
        let stage =
            clone3(CloneArgs { into_cgroup: self.into_cgroup, ..CloneArgs::default() }, || {
                match self.stage_main(theirs, init) {
                    Ok(()) => 0,
                    Err((channel, failure)) => report(&channel, failure),
                }
            })
            .on(|| "clone the process that enters namespaces")?;
        let answer = sync.receive();
        pidfd::wait(stage.pidfd.as_fd()).on(|| "wait for the process that enters namespaces")?;
        match answer? {
            Message::Pid(pid) => {
                let pid = Pid::from_raw(pid);
                // Init is our own child (CLONE_PARENT) and not waited for yet: the pid cannot be another's.
                let pidfd = pidfd::open(pid).on(|| "open a pidfd for init")?;
                Ok(Child { pid, pidfd })
            }
            Message::Failed(error) => Err(error.failure),
            other => Err(Failure::new("clone init").detail(format!("unexpected answer {other:?}"))),
        }
    }

    fn stage_main(
        &mut self,
        theirs: Channel,
        init: impl FnOnce(Channel) -> i32,
    ) -> Result<(), (Channel, Failure)> {
        let late = match self.enter_early() {
            Ok(late) => late,
            Err(failure) => return Err((theirs, failure)),
        };
        let args = CloneArgs { namespaces: self.create_flags(), parent: true, ..CloneArgs::default() };
        let message = theirs.try_clone();
        let time = self.plan.time.clone();
        let entered_user = self.entered_user;
        let child = clone3(args, move || {
            let root = || if entered_user { act::become_root_of_userns() } else { Ok(()) };
            let ready = enter_all(&late).and_then(|()| root()).and_then(|()| match &time {
                // In force from execve(2) on.
                Some(offsets) => unshare_time(offsets),
                None => Ok(()),
            });
            drop(late);
            match ready {
                Ok(()) => init(theirs),
                Err(failure) => report(&theirs, failure),
            }
        });
        let message = match message {
            Ok(message) => message,
            Err(_) => return Ok(()),
        };
        match child {
            Ok(child) => match message.send(&Message::Pid(child.pid.as_raw())) {
                Ok(()) => Ok(()),
                Err(failure) => Err((message, failure)),
            },
            Err(errno) => Err((message, clone_failed(errno, self.plan))),
        }
    }

    /// Enters what can be entered now; what only a new user namespace's owner may enter is given back.
    fn enter_early(&mut self) -> Act<Vec<OpenJoin>> {
        enter_target(self.target, self.target_kinds() | self.pid_of_target())?;
        self.entered_user = self.joins_target(NamespaceKind::User);
        if let Some(user) = self.take(Namespaces::USER) {
            namespace::setns(user.fd.as_fd(), user.kind).on(|| user.text.clone())?;
            self.entered_user = true;
        }
        let new_user = self.create_flags().contains(Namespaces::USER);
        let mut late = Vec::new();
        for join in std::mem::take(&mut self.joins) {
            match namespace::setns(join.fd.as_fd(), join.kind) {
                Ok(()) => {}
                Err(Errno::EPERM) if new_user => late.push(join),
                Err(errno) => return Err(Failure::errno(join.text, errno)),
            }
        }
        Ok(late)
    }

    fn take(&mut self, kind: Namespaces) -> Option<OpenJoin> {
        let at = self.joins.iter().position(|join| join.kind == kind)?;
        Some(self.joins.remove(at))
    }

    fn joins_target(&self, kind: NamespaceKind) -> bool {
        self.target.is_some() && self.plan.enter.contains(&kind)
    }

    /// What init enters through the target's pidfd; pid is for its parent to enter.
    fn target_kinds(&self) -> Namespaces {
        let kinds = self.plan.enter.iter().filter(|kind| **kind != NamespaceKind::Pid);
        kinds.fold(Namespaces::empty(), |all, kind| all | flag(*kind))
    }

    fn pid_of_target(&self) -> Namespaces {
        if self.joins_target(NamespaceKind::Pid) { Namespaces::PID } else { Namespaces::empty() }
    }
}

/// All at once: the kernel checks permissions against the user namespace that is entered with the others.
fn enter_target(target: Option<BorrowedFd<'_>>, kinds: Namespaces) -> Act {
    match target {
        Some(pidfd) if !kinds.is_empty() => {
            namespace::setns_pidfd(pidfd, kinds).on(|| "enter the container's namespaces")
        }
        _ => Ok(()),
    }
}

fn enter_all(joins: &[OpenJoin]) -> Act {
    // The mount namespace last: setns(2) into it moves root and working directory.
    let mount_last = joins.iter().filter(|j| j.kind != Namespaces::MNT);
    for join in mount_last.chain(joins.iter().filter(|j| j.kind == Namespaces::MNT)) {
        namespace::setns(join.fd.as_fd(), join.kind).on(|| join.text.clone())?;
    }
    Ok(())
}

fn report(channel: &Channel, failure: Failure) -> i32 {
    let error = Box::new(failure.outside());
    // The other end being gone means that nobody is left to tell.
    best_effort(channel.send(&Message::Failed(error)));
    1
}

fn clone_failed(errno: Errno, plan: &ClonePlan) -> Failure {
    let failure = Failure::errno(format!("clone init with new namespaces {:?}", plan.create), errno);
    match errno {
        Errno::EPERM => failure.hint("without root a new user namespace is needed; see `caisson doctor`"),
        Errno::ENOSPC => failure.hint("a limit of /proc/sys/user/max_*_namespaces is reached"),
        Errno::EINVAL => failure.hint("the kernel lacks one of these namespaces"),
        _ => failure,
    }
}

/// Pid and time namespaces are entered by children only: the runtime sets them for the clone and goes back,
/// so that its hooks and helpers stay outside.
#[derive(Debug)]
struct ForChildren {
    back: Vec<(Namespaces, OwnedFd)>,
}

impl ForChildren {
    fn enter(
        target: Option<BorrowedFd<'_>>,
        pid_of_target: bool,
        pid: Option<&OpenJoin>,
        time: Option<&OpenJoin>,
        plan: &ClonePlan,
    ) -> Act<Self> {
        let mut back = Vec::new();
        if pid_of_target || pid.is_some() {
            back.push((Namespaces::PID, own("pid")?));
        }
        if time.is_some() || plan.time.is_some() {
            back.push((Namespaces::TIME, own("time")?));
        }
        if let (true, Some(pidfd)) = (pid_of_target, target) {
            namespace::setns_pidfd(pidfd, Namespaces::PID).on(|| "enter the container's pid namespace")?;
        }
        for join in pid.into_iter().chain(time) {
            namespace::setns(join.fd.as_fd(), join.kind).on(|| join.text.clone())?;
        }
        if let Some(offsets) = &plan.time {
            unshare_time(offsets)?;
        }
        Ok(Self { back })
    }

    fn leave(self) -> Act {
        for (kind, fd) in self.back {
            namespace::setns(fd.as_fd(), kind).on(|| "go back to the runtime's own namespace")?;
        }
        Ok(())
    }
}

fn own(name: &str) -> Act<OwnedFd> {
    let file = format!("/proc/self/ns/{name}");
    path::open(Path::new(&file), OFlag::O_RDONLY).on(|| format!("open {file}"))
}

/// A new time namespace for the processes to come; offsets are set before the first of them (time_namespaces(7)).
fn unshare_time(offsets: &[TimeOffset]) -> Act {
    namespace::unshare(Namespaces::TIME).on(|| "make a time namespace")?;
    if offsets.is_empty() {
        return Ok(());
    }
    let text: String = offsets.iter().map(|o| format!("{} {} {}\n", o.clock, o.secs, o.nanosecs)).collect();
    let what = || format!("set time offsets {:?}", text.trim_end());
    let file = path::open(Path::new("/proc/self/timens_offsets"), OFlag::O_WRONLY).on(what)?;
    path::write_all(file.as_fd(), text.as_bytes()).on(what)
}

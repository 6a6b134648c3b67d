//! `caisson run ID`: creates a container, starts it, and stays until it ends (or leaves at once with `--detach`).

use std::os::fd::OwnedFd;
use std::time::Duration;

use caisson_plan::options::Command as Planned;
use clap::{ArgMatches, Command};

use super::Verb;
use crate::cli::{self, Given};
use crate::context::Context;
use crate::foreground::{self, Signals, Terminal};
use crate::make::{self, Made, Wishes};
use crate::notify_socket::Proxy;
use crate::store::{Entry, State, StoreError};
use crate::timings::Stopwatch;
use crate::{poststart, sockets, teardown, union};

pub(super) const VERB: Verb = Verb::new("run", "Create a container and run its program", flags, run).sealed();

fn flags(command: Command) -> Command {
    command.args(make::flags()).args(union::flags()).args([
        cli::switch("detach", "Leave as soon as the program runs").short('d'),
        cli::switch("keep", "Do not delete the container when the program ends"),
        cli::switch("no-subreaper", "Accepted for runc's sake: caisson is never a subreaper"),
        cli::id(),
    ])
}

fn run(context: &Context, matches: &ArgMatches) -> anyhow::Result<u8> {
    let mut clock = Stopwatch::start(context);
    let detach = matches.on("detach");
    let mut wishes = Wishes::new(matches, Planned::Run, detach)?;
    union::apply(&mut wishes.bundle, matches)?;
    let given = matches.path("console-socket");
    let plan = make::plan(context, &wishes, given.is_some())?;
    clock.lap("read, probe and plan");
    let mut own_end = None;
    if let Some(path) = given {
        wishes.console = Some(sockets::connect(path)?);
    } else if plan.after.terminal && !detach {
        let (ours, theirs) = sockets::pair()?;
        wishes.console = Some(theirs);
        own_end = Some(ours);
    }
    let made = make::make(context, &plan, wishes)?;
    let host = context.environment.notify_socket.as_deref();
    let proxy = host.map(|host| Proxy::bind(made.entry.dir(), host, made.state.pid)).transpose()?.flatten();
    // Before the program runs: a signal that its first output provokes is for it already.
    let signals = if detach { None } else { Some(Signals::catch()?) };
    let (process, state, entry) = go(context, made, &mut clock, &plan)?;
    clock.finish(context)?;
    let Some(signals) = signals else {
        proxy.map_or(Ok(()), |proxy| proxy.until_ready(&process))?;
        return Ok(0);
    };
    let code = stay(&process, own_end.as_ref(), &signals, proxy.as_ref());
    if !matches.on("keep") {
        clean(context, &entry, &state)?;
    }
    code
}

/// Waits until the program runs, then runs the `poststart` hooks. What fails here takes the container with it.
fn go(
    context: &Context,
    made: Made,
    clock: &mut Stopwatch,
    plan: &caisson_plan::step::Plan,
) -> anyhow::Result<(OwnedFd, State, Entry)> {
    let Made { entry, state, container, lock } = made;
    let process = match container.wait_for_exec() {
        Ok((process, timings)) => {
            clock.steps(plan, &timings);
            process
        }
        // The guard has undone the container; its directory is ours to remove.
        Err(error) => {
            entry.remove(lock)?;
            return Err(error.into());
        }
    };
    if let Err(error) = poststart::run(&state) {
        teardown::whole(context, &entry, lock, &state)?;
        return Err(error);
    }
    drop(lock);
    Ok((process, state, entry))
}

fn stay(
    process: &OwnedFd,
    console: Option<&OwnedFd>,
    signals: &Signals,
    proxy: Option<&Proxy>,
) -> anyhow::Result<u8> {
    let terminal = console.map(|socket| Terminal::new(sockets::receive_fd(socket)?)).transpose()?;
    foreground::attend(process, terminal, signals, proxy)
}

/// Removes the ended container, unless somebody else did.
fn clean(context: &Context, entry: &Entry, state: &State) -> anyhow::Result<()> {
    match entry.lock(Duration::from_secs(60)) {
        Ok(lock) => teardown::whole(context, entry, lock, state),
        Err(StoreError::NotFound(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

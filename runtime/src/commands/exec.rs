//! `caisson exec ID COMMAND…`: one more process in a running container.

use std::os::fd::{AsFd, OwnedFd};

use anyhow::Context as _;
use caisson_exec::{Outside, Target, Timing};
use caisson_plan::ids::HostPath;
use caisson_plan::options::Options;
use caisson_plan::step::Plan;
use clap::{ArgMatches, Command};

use super::Verb;
use crate::cli::{self, Given};
use crate::context::Context;
use crate::foreground::{self, Signals, Terminal};
use crate::status::{Event, Status};
use crate::store::{Entry, State};
use crate::timings::Stopwatch;
use crate::{live, make, probe, process_wishes, sockets};

pub(super) const VERB: Verb =
    Verb::new("exec", "Run another program in a container", flags, run).sealed().error_code(255);

fn flags(command: Command) -> Command {
    command
        .args([
            cli::path("console-socket", "PATH", "Send the terminal's master to this Unix socket"),
            cli::path("pidfd-socket", "PATH", "Send a pidfd of the process to this Unix socket"),
            cli::path("pid-file", "FILE", "Write the process's pid to FILE"),
            cli::switch("detach", "Leave as soon as the program runs").short('d'),
            cli::number::<u32>(
                "preserve-fds",
                "N",
                "Pass N more file descriptors, from 3 on, to the program",
            ),
            cli::texts("cgroup", "[CONTROLLERS:]PATH", "Put it into a sub-cgroup of the container's"),
            cli::switch("ignore-paused", "Also in a paused container: it runs when that is resumed"),
            cli::id(),
        ])
        .args(process_wishes::flags())
}

fn run(context: &Context, matches: &ArgMatches) -> anyhow::Result<u8> {
    let mut clock = Stopwatch::start(context);
    let id = matches.text("id").unwrap_or_default();
    let entry = context.store.open(id)?;
    let state = entry.load()?;
    check(&state, &entry, matches).with_context(|| format!("container {id}"))?;
    let init = live::init_handle(&state)?;
    let plan = plan(context, &entry, &state, matches)?;
    clock.lap("read, probe and plan");
    let sub_cgroups = sub_cgroups(&matches.texts("cgroup"));
    let target = Target {
        pidfd: init.as_fd(),
        pid: state.pid,
        cgroup: state.cgroup.clone(),
        sub_cgroups: &sub_cgroups,
    };
    let detach = matches.on("detach");
    let (console, own_end) = console(matches, &plan, detach)?;
    // Before the program runs: a signal that its first output provokes is for it already.
    let signals = if detach { None } else { Some(Signals::catch()?) };
    let (process, timings) = launch(context, matches, &entry, &plan, &target, console)?;
    clock.steps(&plan, &timings);
    clock.finish(context)?;
    let Some(signals) = signals else { return Ok(0) };
    let terminal = own_end.map(|socket| Terminal::new(sockets::receive_fd(&socket)?)).transpose()?;
    foreground::attend(&process, terminal, &signals, None)
}

fn check(state: &State, entry: &Entry, matches: &ArgMatches) -> anyhow::Result<()> {
    let status = live::status(state, entry);
    status.on(Event::Exec)?;
    anyhow::ensure!(
        status != Status::Paused || matches.on("ignore-paused"),
        "it is paused: resume it first, or give --ignore-paused"
    );
    Ok(())
}

fn plan(context: &Context, entry: &Entry, state: &State, matches: &ArgMatches) -> anyhow::Result<Plan> {
    let process = process_wishes::process(entry, matches)?;
    let options = Options {
        cgroup_manager: context.cgroup_manager,
        rootless: context.rootless,
        preserve_fds: matches.number("preserve-fds").unwrap_or(0),
        listen_fds: context.environment.listen_fds,
        console_socket: matches.path("console-socket").is_some(),
        detach: matches.on("detach"),
        systemd_user: !nix::unistd::geteuid().is_root(),
        ..Options::new(state.id.clone(), HostPath::new(&state.bundle))
    };
    let planned = caisson_plan::plan_exec(&process, &state.joining, &probe::host()?, &options);
    for warning in planned.warnings.list() {
        context.log.warn(warning.to_string());
    }
    planned.result.context("the process to execute")
}

/// The socket for the terminal's master, and our end of it when we show the terminal ourselves.
fn console(
    matches: &ArgMatches,
    plan: &Plan,
    detach: bool,
) -> anyhow::Result<(Option<OwnedFd>, Option<OwnedFd>)> {
    match matches.path("console-socket") {
        Some(path) => Ok((Some(sockets::connect(path)?), None)),
        None if plan.after.terminal && !detach => {
            let (ours, theirs) = sockets::pair()?;
            Ok((Some(theirs), Some(ours)))
        }
        None => Ok((None, None)),
    }
}

fn launch(
    context: &Context,
    matches: &ArgMatches,
    entry: &Entry,
    plan: &Plan,
    target: &Target<'_>,
    console: Option<OwnedFd>,
) -> anyhow::Result<(OwnedFd, Vec<Timing>)> {
    let pidfd_socket = matches.path("pidfd-socket").map(|path| sockets::connect(path)).transpose()?;
    let dir = entry.dir_fd()?;
    let cache = context.store.seccomp_cache();
    let outside = Outside {
        state_dir: dir.as_fd(),
        console_socket: console,
        inherited: make::inherited(context, matches.number("preserve-fds").unwrap_or(0))?,
        seccomp_cache: Some(&cache),
        timings: context.timings.is_some(),
        fail_at: context.fail_at,
        hook_state: &|_, _| String::new(),
    };
    let container = caisson_exec::exec(plan, target, outside)?;
    if let Some(path) = matches.path("pid-file") {
        make::write_pid_file(path, container.pid())?;
    }
    if let (Some(socket), Some(pidfd)) = (pidfd_socket, container.pidfd()) {
        sockets::send_fd(&socket, pidfd).context("--pidfd-socket")?;
    }
    Ok(container.wait_for_exec()?)
}

/// `cpu,memory:/sub` or `/sub`, as runc reads them.
fn sub_cgroups(texts: &[String]) -> Vec<(Option<Vec<String>>, String)> {
    let one = |text: &String| match text.split_once(':') {
        Some((controllers, path)) => {
            (Some(controllers.split(',').map(str::to_owned).collect()), path.to_owned())
        }
        None => (None, text.clone()),
    };
    texts.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sub_cgroups_are_for_named_controllers_or_all() {
        let parsed = sub_cgroups(&["cpu,memory:/a".into(), "/b".into()]);
        assert_eq!(parsed[0], (Some(vec!["cpu".into(), "memory".into()]), "/a".to_owned()));
        assert_eq!(parsed[1], (None, "/b".to_owned()));
    }
}

//! `caisson kill ID [SIGNAL]`: signals the container's first process, or all of them.
//!
//! Takes no lock: it must work while another operation hangs.

use anyhow::Context as _;
use caisson_cgroup::Cgroup;
use caisson_sys::{pidfd, signal};
use clap::{Arg, ArgMatches, Command};

use super::Verb;
use crate::cli::{self, Given};
use crate::context::Context;
use crate::live;
use crate::status::{Event, Status};
use crate::store::State;

const SIGKILL: i32 = 9;

pub(super) const VERB: Verb = Verb::new("kill", "Send a signal to a container", flags, run);

fn flags(command: Command) -> Command {
    command.args([
        cli::switch("all", "Signal every process of the container").short('a'),
        cli::id(),
        Arg::new("signal")
            .value_name("SIGNAL")
            .default_value("SIGTERM")
            .allow_hyphen_values(true)
            .help("Name or number of the signal"),
    ])
}

fn run(context: &Context, matches: &ArgMatches) -> anyhow::Result<u8> {
    let id = matches.text("id").unwrap_or_default();
    let number = parse_signal(matches.text("signal").unwrap_or("SIGTERM"))?;
    let entry = context.store.open(id)?;
    let state = entry.load()?;
    let status = live::status(&state, &entry);
    let all = matches.on("all");
    // `kill --all` of a stopped container ends what its first process left behind; containerd relies on it.
    if !(all && status == Status::Stopped) {
        status.on(Event::Kill).with_context(|| format!("container {id}"))?;
    }
    // Without a pid namespace of its own, the end of the first process does not end the others.
    if all || (number == SIGKILL && !state.after.own_pid_namespace) {
        signal_all(&state, number)?;
    } else {
        let init = live::init_handle(&state)?;
        pidfd::send_signal(&init, number).with_context(|| format!("signal container {id}"))?;
    }
    if number == SIGKILL && status == Status::Paused {
        // cgroup v1: a frozen process dies only when it is thawed.
        Cgroup::open(state.cgroup.clone()).thaw().with_context(|| format!("thaw container {id}"))?;
    }
    Ok(0)
}

fn signal_all(state: &State, number: i32) -> anyhow::Result<()> {
    if state.cgroup.is_empty() {
        let init = live::init_handle(state)?;
        return pidfd::send_signal(&init, number).context("signal the first process");
    }
    Cgroup::open(state.cgroup.clone()).kill_all(number).context("signal every process of the cgroup")
}

fn parse_signal(text: &str) -> anyhow::Result<i32> {
    signal::from_name(text).with_context(|| format!("signal {text:?}"))
}

//! `caisson events ID`: statistics and out-of-memory events as JSON lines, in runc's shape.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use caisson_cgroup::{Cgroup, OomEvent, OomWatch};
use caisson_sys::{pidfd, socket};
use clap::{ArgMatches, Command};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::Verb;
use crate::cli::{self, Given};
use crate::context::Context;
use crate::store::State;
use crate::{amount, live, report};

pub(super) const VERB: Verb = Verb::new("events", "Show statistics and out-of-memory events", flags, run);

fn flags(command: Command) -> Command {
    command.args([
        cli::switch("stats", "Show the statistics once and leave"),
        cli::text("interval", "DURATION", "Time between statistics, such as 5s").default_value("5s"),
        cli::id(),
    ])
}

fn run(context: &Context, matches: &ArgMatches) -> anyhow::Result<u8> {
    let id = matches.text("id").unwrap_or_default();
    let interval = amount::duration(matches.text("interval").unwrap_or("5s")).context("--interval")?;
    let entry = context.store.open(id)?;
    let state = entry.load()?;
    anyhow::ensure!(!state.cgroup.is_empty(), "events of container {id}: it has no cgroup");
    let cgroup = Cgroup::open(state.cgroup.clone());
    if matches.on("stats") {
        print_stats(id, &cgroup)?;
        return Ok(0);
    }
    live::init_handle(&state)?;
    watch(id, &state, &cgroup, interval)?;
    Ok(0)
}

fn print_stats(id: &str, cgroup: &Cgroup) -> anyhow::Result<()> {
    let stats = cgroup.stats().with_context(|| format!("statistics of container {id}"))?;
    print_event("stats", id, &serde_json::to_value(stats)?)
}

fn print_event(kind: &str, id: &str, data: &Value) -> anyhow::Result<()> {
    let event = match data {
        Value::Null => json!({ "type": kind, "id": id }),
        data => json!({ "type": kind, "id": id, "data": data }),
    };
    report::print(&format!("{event}\n"))
}

/// Statistics at every interval and memory events as they come, until the container ends.
fn watch(id: &str, state: &State, cgroup: &Cgroup, interval: Duration) -> anyhow::Result<()> {
    let init = pidfd::open(Pid::from_raw(state.pid)).context("open the first process")?;
    let mut oom = cgroup.oom_events().with_context(|| format!("memory events of container {id}"))?;
    let mut due = Instant::now() + interval;
    loop {
        let left = due.saturating_duration_since(Instant::now());
        let ready =
            socket::poll_readable(&[init.as_fd(), oom.as_fd()], poll_ms(left)).context("wait for events")?;
        let gone = ready[1] && print_oom(id, &mut oom)?;
        if gone || ready[0] {
            return Ok(());
        }
        if Instant::now() >= due {
            print_stats(id, cgroup)?;
            due += interval;
        }
    }
}

/// Rounded up: waking early would only mean waiting again.
fn poll_ms(left: Duration) -> i32 {
    i32::try_from(left.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX)
}

/// Whether that was the end.
fn print_oom(id: &str, oom: &mut OomWatch) -> anyhow::Result<bool> {
    for event in oom.read().context("read the memory events")? {
        match event {
            OomEvent::Oom => print_event("oom", id, &Value::Null)?,
            OomEvent::OomKill => print_event("oom_kill", id, &Value::Null)?,
            OomEvent::Gone => return Ok(true),
        }
    }
    Ok(false)
}

//! `caisson pause ID` and `caisson resume ID`: freezes and thaws all processes of a container.

use anyhow::Context as _;
use caisson_cgroup::Cgroup;
use clap::ArgMatches;

use super::Verb;
use crate::cli::{self, Given};
use crate::context::Context;
use crate::live;
use crate::status::Event;

pub(super) const PAUSE: Verb =
    Verb::new("pause", "Freeze the processes of a container", |command| command.arg(cli::id()), pause);
pub(super) const RESUME: Verb =
    Verb::new("resume", "Thaw the processes of a paused container", |command| command.arg(cli::id()), resume);

fn pause(context: &Context, matches: &ArgMatches) -> anyhow::Result<u8> {
    let id = matches.text("id").unwrap_or_default();
    let container = live::lock_for(&context.store, id, Event::Pause)?;
    anyhow::ensure!(!container.state.cgroup.is_empty(), "pause container {id}: it has no cgroup");
    Cgroup::open(container.state.cgroup.clone()).freeze().with_context(|| format!("pause container {id}"))?;
    Ok(0)
}

fn resume(context: &Context, matches: &ArgMatches) -> anyhow::Result<u8> {
    let id = matches.text("id").unwrap_or_default();
    let container = live::lock_for(&context.store, id, Event::Resume)?;
    Cgroup::open(container.state.cgroup.clone()).thaw().with_context(|| format!("resume container {id}"))?;
    Ok(0)
}

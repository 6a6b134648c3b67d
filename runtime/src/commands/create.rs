//! `caisson create ID`: makes a container whose program waits for `caisson start`.

use caisson_plan::options::Command as Planned;
use clap::{ArgMatches, Command};

use super::Verb;
use crate::cli::{self, Given};
use crate::context::Context;
use crate::make::{self, Made, Wishes};
use crate::{sockets, timings};

pub(super) const VERB: Verb = Verb::new("create", "Create a container", flags, run).sealed();

fn flags(command: Command) -> Command {
    command.args(make::flags()).arg(cli::id())
}

fn run(context: &Context, matches: &ArgMatches) -> anyhow::Result<u8> {
    let mut clock = timings::Stopwatch::start(context);
    let mut wishes = Wishes::new(matches, Planned::Create, true)?;
    let console = matches.path("console-socket");
    let plan = make::plan(context, &wishes, console.is_some())?;
    clock.lap("read, probe and plan");
    wishes.console = console.map(|path| sockets::connect(path)).transpose()?;
    let made = make::make(context, &plan, wishes)?;
    clock.steps(&plan, made.container.timings());
    let Made { entry, container, lock, .. } = made;
    if let Err(error) = container.commit() {
        // The guard has undone the container; its directory is ours to remove.
        entry.remove(lock)?;
        return Err(error.into());
    }
    clock.finish(context)?;
    Ok(0)
}

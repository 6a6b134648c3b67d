//! `caisson delete [--force] ID`: removes what a stopped container left; with `--force`, whatever there is.

use std::time::Duration;

use anyhow::Context as _;
use clap::{ArgMatches, Command};

use super::Verb;
use crate::cli::{self, Given};
use crate::context::Context;
use crate::status::Event;
use crate::store::{Entry, Lock, StoreError};
use crate::{live, teardown};

/// How long the operation that was interrupted may take to undo its work.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) const VERB: Verb = Verb::new("delete", "Remove a container", flags, run);

fn flags(command: Command) -> Command {
    command.args([cli::switch("force", "Kill it first; succeed when there is none").short('f'), cli::id()])
}

fn run(context: &Context, matches: &ArgMatches) -> anyhow::Result<u8> {
    let id = matches.text("id").unwrap_or_default();
    if matches.on("force") {
        match force(context, id) {
            Err(error) if is_gone(&error) => Ok(0),
            done => done.map(|()| 0).with_context(|| format!("delete container {id}")),
        }
    } else {
        let container = live::lock_for(&context.store, id, Event::Delete)?;
        teardown::whole(context, &container.entry, container.lock, &container.state)
            .with_context(|| format!("delete container {id}"))?;
        Ok(0)
    }
}

fn is_gone(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(StoreError::NotFound(_)))
}

fn force(context: &Context, id: &str) -> anyhow::Result<()> {
    let entry = context.store.open(id)?;
    let lock = lock(&entry)?;
    match entry.load() {
        Ok(state) => teardown::whole(context, &entry, lock, &state),
        Err(_) => teardown::remains(context, &entry, lock),
    }
}

/// Another operation that hangs, a `create` in a hook that never ends, must not keep a container alive.
fn lock(entry: &Entry) -> anyhow::Result<Lock> {
    match entry.lock(Duration::from_millis(500)) {
        Err(StoreError::Busy { .. }) => {
            teardown::interrupt(entry)?;
            Ok(entry.lock(PATIENCE)?)
        }
        taken => Ok(taken?),
    }
}

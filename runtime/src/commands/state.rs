//! `caisson state ID`: the container's state as JSON (runtime.md, "Query State").

use clap::ArgMatches;

use super::Verb;
use crate::context::Context;
use crate::store::Listed;
use crate::{cli, live, report};

pub(super) const VERB: Verb =
    Verb::new("state", "Print the state of a container", |command| command.arg(cli::id()), run);

fn run(context: &Context, matches: &ArgMatches) -> anyhow::Result<u8> {
    let entry = context.store.open(cli::Given::text(matches, "id").unwrap_or_default())?;
    let state = entry.load()?;
    let status = live::status(&state, &entry);
    let owner = live::user_name(state.owner_uid);
    report::print_json(&Listed::new(state, status, owner))?;
    Ok(0)
}

//! `caisson checkpoint` and `caisson restore`: not there yet, and said so before anything is touched.

use clap::{ArgMatches, Command};

use super::Verb;
use crate::cli;
use crate::context::Context;

pub(super) const CHECKPOINT: Verb = Verb::new("checkpoint", "Not supported yet", flags, refuse_checkpoint);
pub(super) const RESTORE: Verb = Verb::new("restore", "Not supported yet", flags, refuse_restore);

/// Whatever is given is taken, so that the answer is about the verb and not about a flag.
fn flags(command: Command) -> Command {
    command.arg(cli::rest("args", "ARGS", "Ignored"))
}

fn refuse_checkpoint(_: &Context, _: &ArgMatches) -> anyhow::Result<u8> {
    anyhow::bail!("checkpoint is not supported yet")
}

fn refuse_restore(_: &Context, _: &ArgMatches) -> anyhow::Result<u8> {
    anyhow::bail!("restore is not supported yet")
}

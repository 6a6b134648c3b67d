//! `caisson completion SHELL`: a completion script.

use clap::{Arg, ArgMatches, Command, value_parser};
use clap_complete::Shell;

use super::Verb;
use crate::context::Context;
use crate::{cli, report};

pub(super) const VERB: Verb = Verb::new("completion", "Print a completion script for a shell", flags, run);

fn flags(command: Command) -> Command {
    command.arg(Arg::new("shell").value_name("SHELL").required(true).value_parser(value_parser!(Shell)))
}

fn run(_: &Context, matches: &ArgMatches) -> anyhow::Result<u8> {
    if let Some(&shell) = matches.get_one::<Shell>("shell") {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut cli::command(), "caisson", &mut script);
        report::print(&String::from_utf8_lossy(&script))?;
    }
    Ok(0)
}

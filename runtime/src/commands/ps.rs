//! `caisson ps ID`: the processes of a container, as JSON or by ps(1) of the host.

use std::process::Command as Program;

use anyhow::Context as _;
use caisson_cgroup::Cgroup;
use clap::{ArgMatches, Command};

use super::Verb;
use crate::cli::{self, Given};
use crate::context::Context;
use crate::report;

pub(super) const VERB: Verb = Verb::new("ps", "Show the processes of a container", flags, run);

fn flags(command: Command) -> Command {
    command.args([
        cli::text("format", "FORMAT", "table or json").short('f').value_parser(["table", "json"]),
        cli::id(),
        cli::rest("ps-options", "PS-OPTIONS", "Options of ps(1) (default: -ef)"),
    ])
}

fn run(context: &Context, matches: &ArgMatches) -> anyhow::Result<u8> {
    let id = matches.text("id").unwrap_or_default();
    let entry = context.store.open(id)?;
    let state = entry.load()?;
    let pids = match state.cgroup.is_empty() {
        true if state.is_alive() => vec![state.pid],
        true => Vec::new(),
        false => Cgroup::open(state.cgroup.clone())
            .pids(true)
            .with_context(|| format!("processes of container {id}"))?,
    };
    if matches.text("format") == Some("json") {
        report::print(&format!("{}\n", serde_json::to_string(&pids)?))?;
        return Ok(0);
    }
    let mut options = matches.rest("ps-options")?;
    if options.is_empty() {
        options.push("-ef".to_owned());
    }
    let output = Program::new("ps").args(&options).output().context("run ps(1): is procps installed?")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "ps {}: {}", options.join(" "), errors.trim());
    report::print(&select(&String::from_utf8_lossy(&output.stdout), &pids)?)?;
    Ok(0)
}

/// The head line and the lines whose PID column names one of `pids`.
fn select(table: &str, pids: &[i32]) -> anyhow::Result<String> {
    let mut lines = table.lines();
    let head = lines.next().context("ps(1) printed nothing")?;
    let column = head
        .split_ascii_whitespace()
        .position(|name| name == "PID")
        .context("ps(1) printed no PID column: choose options that show it")?;
    let of_container = |line: &&str| {
        let pid = line.split_ascii_whitespace().nth(column).and_then(|pid| pid.parse().ok());
        pid.is_some_and(|pid| pids.contains(&pid))
    };
    let chosen: Vec<&str> = std::iter::once(head).chain(lines.filter(of_container)).collect();
    Ok(chosen.join("\n") + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn select_finds_the_pid_column() {
        let table = "UID   PID  PPID CMD\nroot    1     0 init\nroot   42     1 sleep 7\nroot    7    42 x\n";
        assert_eq!(select(table, &[42]).unwrap(), "UID   PID  PPID CMD\nroot   42     1 sleep 7\n");
        assert!(select("CMD\nx\n", &[1]).is_err());
    }
}

//! `caisson doctor`: what this host can do, what is missing, and the command that fixes it.

use clap::{ArgMatches, Command};

use super::Verb;
use crate::cli::{self, Given};
use crate::context::Context;
use crate::doctor::{self, Finding, Level};
use crate::report;

pub(super) const VERB: Verb =
    Verb::new("doctor", "Show what this host can do and how to fix what it cannot", flags, run);

fn flags(command: Command) -> Command {
    command.args([
        cli::switch("json", "Print the findings as JSON"),
        cli::text("try", "WHAT", "Try one thing in this process and leave with 0 if it works").hide(true),
    ])
}

/// Exit code 1 only when containers cannot run at all.
fn run(_: &Context, matches: &ArgMatches) -> anyhow::Result<u8> {
    if let Some(what) = matches.text("try") {
        return doctor::trial::run(what).map(|()| 0);
    }
    let findings = doctor::examine()?;
    if matches.on("json") {
        report::print_json(&findings)?;
    } else {
        report::print(&findings.iter().map(line).collect::<String>())?;
    }
    Ok(u8::from(findings.iter().any(|finding| finding.level == Level::Fatal)))
}

fn line(finding: &Finding) -> String {
    let mark = match finding.level {
        Level::Good => "ok     ",
        Level::Missing => "missing",
        Level::Fatal => "FATAL  ",
    };
    let mut text = format!("{mark}  {:<22} {}\n", finding.what, finding.found);
    if let Some(fix) = &finding.fix {
        text.push_str(&format!("         {:<22} fix: {fix}\n", ""));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_shows_the_fix_below() {
        let finding = Finding::missing("kvm", "/dev/kvm is not there", "modprobe kvm");
        assert!(line(&finding).contains("fix: modprobe kvm"), "{}", line(&finding));
        assert!(line(&finding).starts_with("missing"));
    }
}

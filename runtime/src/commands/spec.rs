//! `caisson spec`: writes a config.json to begin with, with flags for what is changed most often.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{ArgMatches, Command};
use serde_json::{Value, json};

use super::Verb;
use crate::cli::{self, Given};
use crate::context::Context;
use crate::{spec_template, spec_wishes};

pub(super) const VERB: Verb = Verb::new("spec", "Write a config.json to begin with", flags, run);

fn flags(command: Command) -> Command {
    command
        .args([
            cli::path("bundle", "DIR", "Write DIR/config.json (default: the current directory)").short('b'),
            cli::path("file", "FILE", "Write FILE instead; '-' is standard output").short('f'),
            cli::switch("rootless", "For an ordinary user: with a user namespace and without limits"),
        ])
        .args(spec_wishes::flags())
        .arg(
            cli::rest("command", "COMMAND", "The program and its arguments, after --")
                .trailing_var_arg(false)
                .last(true),
        )
}

fn run(_: &Context, matches: &ArgMatches) -> anyhow::Result<u8> {
    let mut config = spec_template::config();
    if matches.on("rootless") {
        let (uid, gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
        spec_template::make_rootless(&mut config, uid, gid);
    }
    spec_wishes::apply(&mut config, matches)?;
    let command = matches.rest("command")?;
    if !command.is_empty() {
        config["process"]["args"] = json!(command);
    }
    write(&config, matches)?;
    Ok(0)
}

fn write(config: &Value, matches: &ArgMatches) -> anyhow::Result<()> {
    let file = match (matches.path("file"), matches.path("bundle")) {
        (Some(file), _) => file.clone(),
        (None, Some(dir)) => dir.join("config.json"),
        (None, None) => PathBuf::from("config.json"),
    };
    if file.as_os_str() == "-" {
        return crate::report::print_json(config);
    }
    let shown = file.display();
    let mut options = OpenOptions::new();
    // Never over an existing one: it may be the only copy of somebody's work.
    options.write(true).create_new(true).mode(0o666);
    let mut out = options.open(&file).with_context(|| format!("write {shown}"))?;
    let mut text = serde_json::to_string_pretty(config)?;
    text.push('\n');
    out.write_all(text.as_bytes()).with_context(|| format!("write {shown}"))
}

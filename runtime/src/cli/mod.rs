//! The command line: global flags here, each verb's own flags in its file under `commands/`.
//!
//! Call-compatible with runc: global flags come before the verb, boolean flags also take `=true`/`=false` as Go's
//! flag package allows, and everything after the container's id belongs to the verb verbatim (`exec ID sh -c …`).
//! A verb's flags are built only when that verb is called (`defer`), so that `state` does not pay for `update`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::ValueParser;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::commands;

/// What `--version` prints after the program's name; runc's layout, which docker and containerd parse.
const VERSION: &str = concat!("version ", env!("CARGO_PKG_VERSION"), "\nspec: 1.3.0");

/// The whole command line.
#[must_use]
pub fn command() -> Command {
    let root = Command::new("caisson")
        .about("Runs OCI containers")
        .version(VERSION)
        .disable_version_flag(true)
        .disable_help_subcommand(true)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .args_override_self(true)
        .args(global_flags());
    commands::VERBS.iter().fold(root, |root, verb| {
        let sub = Command::new(verb.name).about(verb.about).hide(verb.hidden).args_override_self(true);
        root.subcommand(sub.defer(verb.flags))
    })
}

fn global_flags() -> Vec<Arg> {
    vec![
        Arg::new("version").long("version").short('v').action(ArgAction::Version).help("Print the version"),
        path(
            "root",
            "DIR",
            "Where the state of containers is kept (default /run/caisson, or $XDG_RUNTIME_DIR/caisson)",
        ),
        text("log", "FILE", "Write messages to FILE instead of standard error"),
        text("log-format", "FORMAT", "Format of --log: text or json").value_parser(["text", "json"]),
        text("log-level", "LEVEL", "Least important level to log: error, warning, info or debug"),
        switch("debug", "Same as --log-level debug"),
        switch("systemd-cgroup", "Let systemd make the cgroups: same as --cgroup-manager systemd"),
        text("cgroup-manager", "WHO", "Who makes cgroups: cgroupfs, systemd or disabled")
            .value_parser(["cgroupfs", "systemd", "disabled"]),
        text("rootless", "WHEN", "Forgive what an unprivileged user cannot do: auto, true or false"),
        text(
            "timings",
            "FILE",
            "Write the time of every step to FILE as JSON; '-' draws it on standard error",
        ),
        text("criu", "PATH", "Ignored").hide(true),
    ]
}

/// A boolean flag that also takes `=true` and `=false`.
#[must_use]
pub fn switch(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .help(help)
        .num_args(0..=1)
        .require_equals(true)
        .default_missing_value("true")
        .default_value("false")
        .hide_default_value(true)
        .hide_possible_values(true)
        .value_name("BOOL")
        .value_parser(ValueParser::new(parse_bool))
}

/// Go's `strconv.ParseBool`.
fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        other => Err(format!("expected true or false, found {other:?}")),
    }
}

/// A flag with a text value.
#[must_use]
pub fn text(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    // Values such as `-1` (no limit) and hook-like words with a dash are values, not flags.
    Arg::new(name).long(name).value_name(value).help(help).allow_hyphen_values(true)
}

/// A flag with a text value that may be given several times.
#[must_use]
pub fn texts(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    text(name, value, help).action(ArgAction::Append)
}

/// A flag with a path value.
#[must_use]
pub fn path(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value).help(help).value_parser(value_parser!(PathBuf))
}

/// A flag with a number value.
#[must_use]
pub fn number<T>(name: &'static str, value: &'static str, help: &'static str) -> Arg
where
    T: FromStr + Clone + Send + Sync + 'static,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    text(name, value, help).value_parser(ValueParser::new(|text: &str| text.parse::<T>()))
}

/// The container's id, the first word after the flags.
#[must_use]
pub fn id() -> Arg {
    Arg::new("id").value_name("ID").required(true).help("The container's id")
}

/// Everything after the words before it, verbatim.
#[must_use]
pub fn rest(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .value_name(value)
        .help(help)
        .num_args(0..)
        .trailing_var_arg(true)
        .allow_hyphen_values(true)
        .value_parser(value_parser!(OsString))
}

/// Typed access to what was given; a flag that the verb does not have reads as absent.
pub trait Given {
    /// A boolean flag.
    fn on(&self, name: &str) -> bool;
    /// A text value.
    fn text(&self, name: &str) -> Option<&str>;
    /// All values of a repeated flag.
    fn texts(&self, name: &str) -> Vec<String>;
    /// A path.
    fn path(&self, name: &str) -> Option<&PathBuf>;
    /// A number.
    fn number<T: Clone + Send + Sync + 'static>(&self, name: &str) -> Option<T>;
    /// The words of [`rest`].
    ///
    /// # Errors
    /// When a word is not UTF-8: config.json could not hold it.
    fn rest(&self, name: &str) -> anyhow::Result<Vec<String>>;
}

impl Given for ArgMatches {
    fn on(&self, name: &str) -> bool {
        matches!(self.try_get_one::<bool>(name), Ok(Some(true)))
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.try_get_one::<String>(name).ok().flatten().map(String::as_str)
    }

    fn texts(&self, name: &str) -> Vec<String> {
        self.try_get_many::<String>(name).ok().flatten().into_iter().flatten().cloned().collect()
    }

    fn path(&self, name: &str) -> Option<&PathBuf> {
        self.try_get_one::<PathBuf>(name).ok().flatten()
    }

    fn number<T: Clone + Send + Sync + 'static>(&self, name: &str) -> Option<T> {
        self.try_get_one::<T>(name).ok().flatten().cloned()
    }

    fn rest(&self, name: &str) -> anyhow::Result<Vec<String>> {
        let words = self.try_get_many::<OsString>(name).ok().flatten().into_iter().flatten();
        words
            .map(|word| match word.to_str() {
                Some(word) => Ok(word.to_owned()),
                None => anyhow::bail!("argument {word:?} is not UTF-8"),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests;

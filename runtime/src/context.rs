//! What every verb knows: the global flags, parsed, and the few environment variables that mean something.
//!
//! The environment is read here and nowhere else; everything below gets values.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use caisson_plan::options::{CgroupManager, Rootless};
use clap::ArgMatches;

use crate::cli::Given;
use crate::log::{Format, Level, Log};
use crate::store::Store;

/// The global flags and the environment of one call.
#[derive(Debug)]
pub struct Context {
    /// The state directories.
    pub store: Store,
    /// `--log`
    pub log: Log,
    /// `--cgroup-manager`, `--systemd-cgroup`
    pub cgroup_manager: CgroupManager,
    /// `--rootless`
    pub rootless: Rootless,
    /// `--timings`
    pub timings: Option<String>,
    /// What the environment says.
    pub environment: Environment,
    /// The step that fails on purpose: only tests say one.
    pub fail_at: Option<usize>,
}

/// The environment variables that caisson obeys.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// `XDG_RUNTIME_DIR`: state of ordinary users.
    pub runtime_dir: Option<PathBuf>,
    /// `NOTIFY_SOCKET`: systemd's, see sd_notify(3).
    pub notify_socket: Option<PathBuf>,
    /// `LISTEN_FDS`, when `LISTEN_PID` is this process: see sd_listen_fds(3).
    pub listen_fds: u32,
}

impl Environment {
    /// Reads the variables of this process.
    #[must_use]
    pub fn read() -> Self {
        let path = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let number = |name| std::env::var(name).ok().and_then(|value| value.parse::<u32>().ok());
        // engines pass LISTEN_FDS through without LISTEN_PID; one that names another process is not ours.
        let ours = number("LISTEN_PID").is_none_or(|pid| pid == std::process::id());
        Self {
            runtime_dir: path("XDG_RUNTIME_DIR"),
            notify_socket: path("NOTIFY_SOCKET"),
            listen_fds: if ours { number("LISTEN_FDS").unwrap_or(0) } else { 0 },
        }
    }
}

impl Context {
    /// Takes the global flags.
    ///
    /// # Errors
    /// When the log cannot be opened, or a flag has a value that means nothing.
    pub fn new(matches: &ArgMatches, environment: Environment) -> anyhow::Result<Self> {
        let root = match matches.path("root") {
            Some(root) => std::path::absolute(root).with_context(|| format!("--root {}", root.display()))?,
            None => default_root(&environment, nix::unistd::geteuid().is_root())?,
        };
        let manager = match matches.text("cgroup-manager") {
            Some("systemd") => CgroupManager::Systemd,
            Some("disabled") => CgroupManager::Disabled,
            Some(_) => CgroupManager::Cgroupfs,
            None if matches.on("systemd-cgroup") => CgroupManager::Systemd,
            None => CgroupManager::Cgroupfs,
        };
        Ok(Self {
            store: Store::new(root),
            log: open_log(matches)?,
            cgroup_manager: manager,
            rootless: parse_rootless(matches.text("rootless"))?,
            timings: matches.text("timings").map(str::to_owned),
            environment,
            fail_at: None,
        })
    }
}

/// runc's default with our name.
fn default_root(environment: &Environment, root: bool) -> anyhow::Result<PathBuf> {
    match &environment.runtime_dir {
        _ if root => Ok(PathBuf::from("/run/caisson")),
        Some(dir) => Ok(dir.join("caisson")),
        None => {
            anyhow::bail!("no place for the state of containers: set XDG_RUNTIME_DIR, or give --root DIR")
        }
    }
}

/// Opens `--log`; without it messages go to standard error.
///
/// # Errors
/// When the file cannot be opened or the level has no meaning.
pub fn open_log(matches: &ArgMatches) -> anyhow::Result<Log> {
    let level = match matches.text("log-level") {
        _ if matches.on("debug") => Level::Debug,
        None => Level::Info,
        Some(text) => Level::parse(text)
            .with_context(|| format!("--log-level {text}: expected error, warning, info or debug"))?,
    };
    let format = if matches.text("log-format") == Some("json") { Format::Json } else { Format::Text };
    match matches.text("log") {
        // crun's spelling of the same.
        Some(file) => Log::open(Path::new(file.strip_prefix("file:").unwrap_or(file)), format, level),
        None => Ok(Log::stderr(level)),
    }
}

fn parse_rootless(text: Option<&str>) -> anyhow::Result<Rootless> {
    match text {
        None | Some("auto" | "") => Ok(Rootless::Auto),
        Some("true" | "1" | "t" | "TRUE" | "True") => Ok(Rootless::True),
        Some("false" | "0" | "f" | "FALSE" | "False") => Ok(Rootless::False),
        Some(other) => anyhow::bail!("--rootless {other}: expected auto, true or false"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_root_of_a_user_is_the_runtime_directory() {
        let environment = Environment { runtime_dir: Some("/run/user/7".into()), ..Default::default() };
        assert_eq!(default_root(&environment, false).unwrap(), Path::new("/run/user/7/caisson"));
        assert_eq!(default_root(&environment, true).unwrap(), Path::new("/run/caisson"));
        assert!(default_root(&Environment::default(), false).is_err());
    }
}

//! The examinations behind `caisson doctor`: each looks at one thing and says what it found.
//!
//! What can be tried is tried, in a process of its own (`caisson doctor --try WHAT`) that unshares what it needs, so
//! that nothing of the host changes; what cannot be tried is read.

mod cgroups;
mod kernel;
pub mod trial;
mod users;

use serde::Serialize;

use crate::probe;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Works.
    Good,
    /// Some containers cannot be made, or not by this user.
    Missing,
    /// No container can be made.
    Fatal,
}

/// What one examination found.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub what: &'static str,
    /// How bad it is.
    pub level: Level,
    /// What was found.
    pub found: String,
    /// The command that helps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

impl Finding {
    /// Works.
    pub fn good(what: &'static str, found: impl Into<String>) -> Self {
        Self { what, level: Level::Good, found: found.into(), fix: None }
    }

    /// Does not work, and what would help.
    pub fn missing(what: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { what, level: Level::Missing, found: found.into(), fix: Some(fix.into()) }
    }

    /// Does not work, and nothing can be done on this host.
    pub fn absent(what: &'static str, found: impl Into<String>) -> Self {
        Self { what, level: Level::Missing, found: found.into(), fix: None }
    }

    /// Nothing works without it.
    pub fn fatal(what: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { what, level: Level::Fatal, found: found.into(), fix: Some(fix.into()) }
    }
}

/// Looks at everything.
///
/// # Errors
/// When not even the basics can be probed (no /proc).
pub fn examine() -> anyhow::Result<Vec<Finding>> {
    let facts = probe::host_in_full()?;
    let mut findings = kernel::examine(&facts);
    findings.extend(cgroups::examine(&facts));
    findings.extend(users::examine(&facts));
    findings.extend(kernel::machine(&facts));
    Ok(findings)
}

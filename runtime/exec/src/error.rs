//! What went wrong, in which step, on what object: one type for both actors.

use std::fmt;

use caisson_plan::ids::Pointer;
use caisson_plan::step::Actor;
use caisson_sys::Errno;
use serde::{Deserialize, Serialize};

/// A step that could not be done. Travels from init to the runtime as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepError {
    /// Position in the plan, from 1; 0 when it happened outside any step.
    pub step: usize,
    /// Number of steps of the plan.
    pub total: usize,
    /// Who tried.
    pub actor: Actor,
    /// What was tried, on what.
    pub failure: Failure,
    /// The field of config.json that asked for it.
    pub from: Pointer,
}

/// What was tried and why it failed, before it is known which step it belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// `mount proc on /proc`
    pub what: String,
    /// The kernel's answer.
    pub errno: Option<i32>,
    /// More than errno says: the kernel's file system log, what a file contains, which component is missing.
    pub detail: Option<Box<str>>,
    /// What the user can do.
    pub hint: Option<Box<str>>,
    /// The very field, where it is known more exactly than by step.
    #[serde(default)]
    pub from: Option<Box<Pointer>>,
}

/// The result of one step.
pub type Act<T = ()> = Result<T, Failure>;

impl Failure {
    /// A failure that is not the kernel's.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), errno: None, detail: None, hint: None, from: None }
    }

    /// A failed system call.
    pub fn errno(what: impl Into<String>, errno: Errno) -> Self {
        Self { errno: Some(errno as i32), ..Self::new(what) }
    }

    /// Adds what is known beside errno.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<Box<str>>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Adds the way out.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<Box<str>>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says which step it was.
    #[must_use]
    pub fn at(self, step: usize, total: usize, actor: Actor, from: &Pointer) -> StepError {
        let from = self.from.as_deref().unwrap_or(from).clone();
        StepError { step, total, actor, failure: self, from }
    }

    /// Outside any step: opening sockets, reading the answer of init.
    #[must_use]
    pub fn outside(self) -> StepError {
        self.at(0, 0, Actor::Runtime, &Pointer::default())
    }
}

/// Errno's text as C programs and Go's runtime write it: engines look for "no such file or directory".
fn describe(errno: i32) -> String {
    let text = Errno::from_raw(errno).desc();
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => String::new(),
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if let Some(errno) = self.errno {
            write!(f, ": {}", describe(errno))?;
        }
        if let Some(detail) = &self.detail {
            write!(f, ": {detail}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, " ({hint})")?;
        }
        Ok(())
    }
}

impl fmt::Display for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.step > 0 {
            let who = match self.actor {
                Actor::Runtime => "runtime",
                Actor::Init => "init",
            };
            write!(f, "step {}/{}, in {who}: ", self.step, self.total)?;
        }
        write!(f, "{}", self.failure)?;
        if !self.from.as_str().is_empty() {
            write!(f, " (from {})", self.from)?;
        }
        Ok(())
    }
}

impl std::error::Error for StepError {}

/// Names the object of a system call that failed.
pub trait Context<T> {
    /// `on(|| format!("open {path}"))`
    ///
    /// # Errors
    /// The failure with its text.
    fn on<S: Into<String>>(self, what: impl FnOnce() -> S) -> Act<T>;
}

impl<T> Context<T> for caisson_sys::Result<T> {
    fn on<S: Into<String>>(self, what: impl FnOnce() -> S) -> Act<T> {
        self.map_err(|errno| Failure::errno(what(), errno))
    }
}

impl<T> Context<T> for std::io::Result<T> {
    fn on<S: Into<String>>(self, what: impl FnOnce() -> S) -> Act<T> {
        self.map_err(|error| match error.raw_os_error() {
            Some(errno) => Failure::errno(what(), Errno::from_raw(errno)),
            None => Failure::new(what()).detail(error.to_string()),
        })
    }
}

/// Says that a failure here changes nothing: there is an earlier error to report, or nobody left to tell.
pub(crate) fn best_effort<T, E>(_: Result<T, E>) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn step_error_names_step_actor_object_cause_and_field() {
        let error = Failure::errno("mount proc on /proc", Errno::EPERM).at(
            14,
            31,
            Actor::Init,
            &Pointer::new("/mounts/0"),
        );
        assert_eq!(
            error.to_string(),
            "step 14/31, in init: mount proc on /proc: operation not permitted (from /mounts/0)"
        );
    }
}

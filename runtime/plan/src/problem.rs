//! What is wrong with a configuration: every problem at once, each with its place.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::Pointer;

/// Whether the container can be made all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It cannot: `create` refuses.
    Error,
    /// It can, but not all of it means what the user may think.
    Warning,
}

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The field of config.json.
    pub pointer: Pointer,
    /// Error or warning.
    pub severity: Severity,
    /// What was found and what was expected; lower case, no full stop.
    pub message: String,
    /// What the user can do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.pointer, self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

/// Collects problems while planning goes on, so that the user sees all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Problems {
    list: Vec<Problem>,
}

impl Problems {
    /// Records an error at `pointer`.
    pub fn error(&mut self, pointer: &Pointer, message: impl Into<String>) {
        self.push(pointer, Severity::Error, message.into(), None);
    }

    /// Records an error with the way out of it.
    pub fn error_hint(&mut self, pointer: &Pointer, message: impl Into<String>, hint: impl Into<String>) {
        self.push(pointer, Severity::Error, message.into(), Some(hint.into()));
    }

    /// Records a warning at `pointer`.
    pub fn warn(&mut self, pointer: &Pointer, message: impl Into<String>) {
        self.push(pointer, Severity::Warning, message.into(), None);
    }

    fn push(&mut self, pointer: &Pointer, severity: Severity, message: String, hint: Option<String>) {
        self.list.push(Problem { pointer: pointer.clone(), severity, message, hint });
    }

    /// Whether any of them is an error.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.list.iter().any(|p| p.severity == Severity::Error)
    }

    /// All of them, in the order found.
    #[must_use]
    pub fn list(&self) -> &[Problem] {
        &self.list
    }

    /// Errors, and warnings.
    #[must_use]
    pub fn split(self) -> (Problems, Problems) {
        let (errors, warnings) = self.list.into_iter().partition(|p| p.severity == Severity::Error);
        (Problems { list: errors }, Problems { list: warnings })
    }

    /// Takes all of `other`.
    pub fn extend(&mut self, other: Problems) {
        self.list.extend(other.list);
    }
}

impl From<Vec<Problem>> for Problems {
    fn from(list: Vec<Problem>) -> Self {
        Self { list }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let errors: Vec<String> =
            self.list.iter().filter(|p| p.severity == Severity::Error).map(ToString::to_string).collect();
        f.write_str(&errors.join("; "))
    }
}

impl std::error::Error for Problems {}

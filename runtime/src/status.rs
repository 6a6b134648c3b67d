//! The OCI life of a container as a pure state machine: every allowed pair of status and event in one table.
//!
//! ```text
//! creating ──created──▶ created ──start──▶ running ◀──pause/resume──▶ paused
//!     │                    │                  │                          │
//!     └────────exit────────┴───────exit───────┴──────────exit────────────┴──▶ stopped ──delete──▶ (gone)
//! ```
//! What a container's status is comes from the kernel (see `store::Snapshot`), never from a word in a file.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a container is in its life (runtime.md, "State"; `paused` is runc's addition).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Being made.
    Creating,
    /// Made, the user's program not yet executed.
    Created,
    /// The user's program runs.
    Running,
    /// All its processes are frozen.
    Paused,
    /// Its first process has ended.
    Stopped,
}

/// What can happen to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The runtime has finished making it.
    Created,
    /// `caisson start`
    Start,
    /// `caisson exec`
    Exec,
    /// `caisson kill`
    Kill,
    /// `caisson pause`
    Pause,
    /// `caisson resume`
    Resume,
    /// `caisson update`
    Update,
    /// `caisson checkpoint`
    Checkpoint,
    /// The first process ended.
    Exit,
    /// `caisson delete`
    Delete,
}

/// An event that this status does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub struct NotAllowed {
    /// The status it is in.
    pub status: Status,
    /// What was asked.
    pub event: Event,
}

impl fmt::Display for NotAllowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.event {
            // containerd and podman look for these very words to tell "already gone" from a real failure.
            Event::Kill => write!(f, "container not running: it is {}", self.status),
            Event::Delete => write!(
                f,
                "cannot delete it: it is {}, not stopped; kill it first, or delete it with --force",
                self.status
            ),
            event => write!(f, "cannot {event} it: it is {}", self.status),
        }
    }
}

impl Status {
    /// The status after `event`; `None` when the container is gone.
    ///
    /// # Errors
    /// `NotAllowed` when runtime.md forbids the operation in this status.
    pub fn on(self, event: Event) -> Result<Option<Self>, NotAllowed> {
        use Event as E;
        use Status as S;
        match (self, event) {
            (S::Creating, E::Created) => Ok(Some(S::Created)),
            (S::Created, E::Start) => Ok(Some(S::Running)),
            (S::Running, E::Pause) => Ok(Some(S::Paused)),
            (S::Paused, E::Resume) => Ok(Some(S::Running)),
            (status @ (S::Created | S::Running | S::Paused), E::Kill | E::Update) => Ok(Some(status)),
            (status @ (S::Created | S::Running | S::Paused), E::Exec) => Ok(Some(status)),
            (status @ (S::Running | S::Paused), E::Checkpoint) => Ok(Some(status)),
            (_, E::Exit) => Ok(Some(S::Stopped)),
            (S::Stopped, E::Delete) => Ok(None),
            (status, event) => Err(NotAllowed { status, event }),
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        })
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Created => "finish making",
            Self::Start => "start",
            Self::Exec => "execute a program in",
            Self::Kill => "signal",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Update => "update",
            Self::Checkpoint => "checkpoint",
            Self::Exit => "end",
            Self::Delete => "delete",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Status; 5] =
        [Status::Creating, Status::Created, Status::Running, Status::Paused, Status::Stopped];

    fn allowed(event: Event) -> Vec<Status> {
        ALL.into_iter().filter(|status| status.on(event).is_ok()).collect()
    }

    #[test]
    fn start_needs_created() {
        assert_eq!(allowed(Event::Start), [Status::Created]);
    }

    #[test]
    fn kill_needs_created_running_or_paused() {
        assert_eq!(allowed(Event::Kill), [Status::Created, Status::Running, Status::Paused]);
    }

    #[test]
    fn delete_needs_stopped() {
        assert_eq!(allowed(Event::Delete), [Status::Stopped]);
        assert_eq!(Status::Stopped.on(Event::Delete), Ok(None));
    }

    #[test]
    fn stopped_is_left_only_by_delete() {
        for event in [
            Event::Created,
            Event::Start,
            Event::Exec,
            Event::Kill,
            Event::Pause,
            Event::Resume,
            Event::Update,
            Event::Checkpoint,
        ] {
            assert!(Status::Stopped.on(event).is_err(), "{event}");
        }
        assert_eq!(Status::Stopped.on(Event::Exit), Ok(Some(Status::Stopped)));
    }

    #[test]
    fn kill_of_a_stopped_container_uses_the_words_engines_look_for() {
        let refused = Status::Stopped.on(Event::Kill).unwrap_err();
        assert_eq!(refused.to_string(), "container not running: it is stopped");
    }
}

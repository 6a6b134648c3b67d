//! What can go wrong with cgroups: the operation, the file, the value and where it came from, with the errno as source.
//!
//! The kernel answers very different mistakes with the same few numbers; `hint` tells the well-known ones apart.

use std::fmt;
use std::path::{Path, PathBuf};

use caisson_plan::ids::Pointer;
use nix::errno::Errno;

use crate::systemd::SystemdError;

/// The crate's result.
pub type Result<T> = std::result::Result<T, Error>;

/// A cgroup operation that did not succeed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or directory of a cgroup file system refused an operation.
    #[error("{0}")]
    File(Box<FileError>, #[source] Errno),
    /// No hierarchy of this host has the controller a setting needs.
    #[error(
        "no cgroup hierarchy has the {controller} controller, which {file} belongs to (from {from}); \
         this host's controllers: {}", present.join(" ")
    )]
    NoHierarchy {
        /// The controller asked for.
        controller: String,
        /// The file to be written.
        file: String,
        /// Where in config.json.
        from: Pointer,
        /// The controllers there are.
        present: Vec<String>,
    },
    /// cgroup v2: a controller is not enabled for the container's cgroup and could not be.
    #[error(
        "write {file} (from {from}): the {controller} controller is not available in {}: {why}", cgroup.display()
    )]
    ControllerUnavailable {
        /// The controller asked for.
        controller: String,
        /// The file to be written.
        file: String,
        /// Where in config.json.
        from: Pointer,
        /// The cgroup that lacks it.
        cgroup: PathBuf,
        /// Which ancestor stops it, and why.
        why: String,
    },
    /// The new limit is below what is in use, and checkBeforeUpdate asks for a refusal.
    #[error(
        "write {value} to {}: {usage} bytes are in use, and checkBeforeUpdate forbids a limit below (from {from})",
        file.display()
    )]
    BelowUsage {
        /// The limit's file.
        file: PathBuf,
        /// The limit asked for.
        value: String,
        /// What is in use.
        usage: u64,
        /// Where in config.json.
        from: Pointer,
    },
    /// The path is the root of a hierarchy: its processes are the host's.
    #[error("cgroup path /: a container cannot be the root of a hierarchy")]
    IsRoot,
    /// The cgroup exists already and has processes.
    #[error("create cgroup {}: it exists and holds {} processes ({}); another container uses this path",
        path.display(), pids.len(), some_pids(pids))]
    InUse {
        /// The directory.
        path: PathBuf,
        /// Who is in it.
        pids: Vec<i32>,
    },
    /// The cgroup exists already and is frozen: whatever enters would stop.
    #[error("create cgroup {}: it exists and is frozen; thaw it or use another path", path.display())]
    IsFrozen {
        /// The directory.
        path: PathBuf,
    },
    /// cgroup v2: the cgroup cannot hold processes.
    #[error("cgroup {} is {kind:?}: {}", path.display(), type_hint(kind))]
    NotADomain {
        /// The directory.
        path: PathBuf,
        /// Contents of `cgroup.type`.
        kind: String,
    },
    /// The cgroup did not become empty in time.
    #[error("remove cgroup {}: still in use after {waited_ms} ms by {}", path.display(), stragglers(inside))]
    StillInUse {
        /// The directory.
        path: PathBuf,
        /// How long was waited.
        waited_ms: u128,
        /// Who is inside.
        inside: Vec<Straggler>,
    },
    /// Not every process stopped (or went on) in time.
    #[error("{what} cgroup {}: still {state} after {waited_ms} ms{}", path.display(), frozen_hint(inside))]
    FreezeTimeout {
        /// `freeze` or `thaw`.
        what: &'static str,
        /// The directory.
        path: PathBuf,
        /// What the kernel reported last.
        state: String,
        /// How long was waited.
        waited_ms: u128,
        /// Who is inside.
        inside: Vec<Straggler>,
    },
    /// The hierarchy that the operation needs is not there.
    #[error("{what}: the container has no {needs}")]
    Missing {
        /// The operation.
        what: &'static str,
        /// What it needs.
        needs: &'static str,
    },
    /// `exec --cgroup` names a cgroup outside of the container's.
    #[error("sub-cgroup {path:?}: must stay below the container's cgroup")]
    Escapes {
        /// The path given.
        path: String,
    },
    /// The device rules could not be put in force.
    #[error("{what} the device program of {}", cgroup.display())]
    Devices {
        /// `load`, `attach`, `replace`…
        what: &'static str,
        /// The cgroup.
        cgroup: PathBuf,
        /// The kernel's answer.
        #[source]
        source: Errno,
    },
    /// The kernel did not take the device program.
    #[error("device rules of {}", cgroup.display())]
    DeviceProgram {
        /// The cgroup.
        cgroup: PathBuf,
        /// What the verifier said.
        #[source]
        source: caisson_sys::bpf::LoadError,
    },
    /// The systemd driver.
    #[error(transparent)]
    Systemd(#[from] SystemdError),
}

/// One failed file operation.
#[derive(Debug)]
pub struct FileError {
    /// `write`, `read`, `create`, …
    pub action: &'static str,
    /// The file.
    pub path: PathBuf,
    /// What was to be written.
    pub value: Option<String>,
    /// The field of config.json that asked for it.
    pub from: Option<Pointer>,
    /// What usually causes this, and what helps.
    pub hint: Option<String>,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.action)?;
        if let Some(value) = &self.value {
            write!(f, " {value:?} to")?;
        }
        write!(f, " {}", self.path.display())?;
        if let Some(from) = &self.from {
            write!(f, " (from {from})")?;
        }
        match &self.hint {
            Some(hint) => write!(f, "; hint: {hint}"),
            None => Ok(()),
        }
    }
}

impl Error {
    /// An operation on a path that failed.
    pub(crate) fn file(action: &'static str, path: &Path, errno: Errno) -> Self {
        let hint = crate::hint::of(path, None, errno);
        Self::File(
            Box::new(FileError { action, path: path.to_owned(), value: None, from: None, hint }),
            errno,
        )
    }

    /// A write that failed.
    pub(crate) fn write(path: &Path, value: &str, from: Option<&Pointer>, errno: Errno) -> Self {
        let hint = crate::hint::of(path, Some(value), errno);
        let error = FileError {
            action: "write",
            path: path.to_owned(),
            value: Some(value.to_owned()),
            from: from.cloned(),
            hint,
        };
        Self::File(Box::new(error), errno)
    }

    /// The errno behind the error, where there is one.
    #[must_use]
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::File(_, errno) | Self::Devices { source: errno, .. } => Some(*errno),
            Self::DeviceProgram { source, .. } => Some(source.source),
            _ => None,
        }
    }

    /// Whether the caller simply lacks the right (no delegation, read-only mount): what an optional cgroup forgives.
    #[must_use]
    pub fn is_permission(&self) -> bool {
        matches!(self.errno(), Some(Errno::EACCES | Errno::EPERM | Errno::EROFS))
    }
}

/// A process that keeps a cgroup busy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Straggler {
    /// Its pid in the runtime's pid namespace.
    pub pid: i32,
    /// Its name (`/proc/PID/comm`).
    pub name: String,
    /// Its state letter (`D`, `Z`, …).
    pub state: char,
    /// The kernel function it sleeps in (`/proc/PID/wchan`), `0` when it runs.
    pub waits_in: String,
}

impl fmt::Display for Straggler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}, state {}", self.pid, self.name, self.state)?;
        if self.waits_in.is_empty() || self.waits_in == "0" {
            f.write_str(")")
        } else {
            write!(f, ", waits in {})", self.waits_in)
        }
    }
}

fn stragglers(inside: &[Straggler]) -> String {
    if inside.is_empty() {
        return "no process that can be seen (one of another pid namespace, or one still being torn down)"
            .into();
    }
    let shown: Vec<String> = inside.iter().take(8).map(ToString::to_string).collect();
    let more = inside.len().saturating_sub(8);
    if more == 0 { shown.join(", ") } else { format!("{} and {more} more", shown.join(", ")) }
}

fn frozen_hint(inside: &[Straggler]) -> String {
    if inside.is_empty() { String::new() } else { format!("; inside: {}", stragglers(inside)) }
}

fn some_pids(pids: &[i32]) -> String {
    let shown: Vec<String> = pids.iter().take(8).map(ToString::to_string).collect();
    if pids.len() > 8 { format!("{}, …", shown.join(", ")) } else { shown.join(", ") }
}

fn type_hint(kind: &str) -> &'static str {
    match kind {
        "domain invalid" => {
            "its parent is threaded, so it can hold neither processes nor controllers; \
             choose a cgroup whose ancestors are all domains (cgroups(7), \"Thread mode\")"
        }
        "threaded" => {
            "it holds threads of another cgroup's process; choose a path that is not part of a threaded subtree"
        }
        _ => "not a domain",
    }
}

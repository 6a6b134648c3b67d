//! The state store: one directory a container below `--root`, nothing else on disk.
//!
//! ```text
//! ROOT/                 0700
//! ├── web/              one container
//! │   ├── lock          flock(2), held while an operation changes the container
//! │   ├── intent.json   written before anything is made: where the cgroup will be
//! │   ├── state.json    written when init stands; replaced atomically ever after
//! │   ├── config.json   the configuration it was created with (`exec` and `update` read it, never the bundle's)
//! │   ├── notify/       mounted in the container when systemd waits for it (NOTIFY_SOCKET)
//! │   └── start.sock    there while the container is created and not started
//! └── @seccomp/         compiled filters; no container's id can hold '@'
//! ```
//!
//! The order of a `create`, so that a runtime killed between any two steps leaves something that
//! `delete --force` can clean:
//! 1. make the directory (its existence reserves the id), take the lock;
//! 2. write intent.json: from now on the cgroup can be found, whatever happens;
//! 3. act: cgroup, clone, mounts (init dies by itself when the runtime goes before it is told that step 4 is done);
//! 4. write state.json, then tell init.
//!
//! `delete` walks back: processes, cgroup, and the directory last.
//!
//! Readers (`state`, `list`, `kill`) take no lock: state.json is replaced by rename(2), so they see the old one or the
//! new one. Writers take the lock; a directory that vanished while one waited for the lock is "does not exist".
//! There is one lock a container and nobody takes two, so there is no order to get wrong.
//!
//! Nothing is fsynced: ROOT is on a tmpfs, and a power loss ends the containers too. A file that a crash left
//! unreadable is a corrupt entry, which `list` shows and `delete --force` removes.

mod lock;
mod state;

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use caisson_plan::ids::{ContainerId, InvalidId};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use lock::Lock;
pub use state::{Intent, Listed, State, View};

/// A state file is never larger: annotations and hooks of one config.json.
const FILE_LIMIT: u64 = 16 << 20;

/// How often a directory that fills again is emptied: once for everybody who waits for its lock.
const REMOVE_TRIES: usize = 100;

/// What can go wrong with the state of containers.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Not an id at all.
    #[error(transparent)]
    Id(#[from] InvalidId),
    /// No such container. containerd and podman look for "does not exist".
    #[error("container {0} does not exist")]
    NotFound(ContainerId),
    /// The id is taken.
    #[error("container {0} exists already: delete it first, or choose another id")]
    Exists(ContainerId),
    /// The container is there but not yet, or no longer, whole.
    #[error("container {id} has no state: its creation {what}; delete --force cleans it up")]
    Incomplete {
        /// Which one.
        id: ContainerId,
        /// `is under way` or `was broken off`.
        what: &'static str,
    },
    /// A file holds something else than it should.
    #[error("{}: damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        source: serde_json::Error,
    },
    /// Written by a later caisson.
    #[error("{}: version {found} of the state, this caisson knows {known}", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// Somebody else's operation takes too long.
    #[error("container {id} is busy: another caisson has worked on it for {waited_s} s")]
    Busy {
        /// Which one.
        id: ContainerId,
        /// How long was waited.
        waited_s: u64,
    },
    /// The file system said no.
    #[error("{what} {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// The result of an operation of the store.
pub type Result<T> = std::result::Result<T, StoreError>;

fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io { what, path, source }
}

/// The directory of all containers.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
}

impl Store {
    /// The store in `root`, which need not exist yet.
    #[must_use]
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// The directory of a container, made or not.
    #[must_use]
    pub fn dir_of(&self, id: &ContainerId) -> PathBuf {
        self.root.join(id.as_str())
    }

    /// Where compiled seccomp filters are kept.
    #[must_use]
    pub fn seccomp_cache(&self) -> PathBuf {
        self.root.join("@seccomp")
    }

    /// Reserves `id`: makes its directory, locks it and writes the intent. See the module's order.
    ///
    /// # Errors
    /// `Exists` when the id is taken; `Io`.
    pub fn create(&self, id: &ContainerId, intent: &Intent) -> Result<(Entry, Lock)> {
        let mut private = DirBuilder::new();
        private.mode(0o700);
        let dir = self.root.join(id.as_str());
        let made = match private.create(&dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                private.recursive(true).create(&self.root).map_err(io_error("make", &self.root))?;
                private.recursive(false).create(&dir)
            }
            made => made,
        };
        match made {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                return Err(StoreError::Exists(id.clone()));
            }
            Err(error) => return Err(io_error("make", &dir)(error)),
        }
        let entry = Entry { id: id.clone(), dir };
        let lock = entry.lock(Duration::ZERO).inspect_err(|_| {
            // A disk that is full has no room for the lock either. Where another caisson has it, this fails: right so.
            fs::remove_dir(&entry.dir).unwrap_or_default();
        })?;
        if let Err(error) = entry.write("intent.json", intent) {
            entry.remove(lock)?;
            return Err(error);
        }
        Ok((entry, lock))
    }

    /// The container `id`.
    ///
    /// # Errors
    /// `Id` for something that cannot be one, `NotFound`.
    pub fn open(&self, id: &str) -> Result<Entry> {
        let id = ContainerId::parse(id)?;
        let dir = self.root.join(id.as_str());
        match fs::metadata(&dir) {
            Ok(meta) if meta.is_dir() => Ok(Entry { id, dir }),
            Ok(_) => Err(StoreError::NotFound(id)),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(StoreError::NotFound(id)),
            Err(error) => Err(io_error("look at", &dir)(error)),
        }
    }

    /// Every container, in the order of their ids, damaged ones too.
    ///
    /// # Errors
    /// Only when the root itself cannot be read; a missing one holds no containers.
    pub fn list(&self) -> Result<Vec<Entry>> {
        let names = match fs::read_dir(&self.root) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            names => names.map_err(io_error("list", &self.root))?,
        };
        let mut entries: Vec<Entry> = names
            .filter_map(|name| {
                let name = name.ok()?;
                let id = ContainerId::parse(name.file_name().to_str()?).ok()?;
                name.file_type().ok()?.is_dir().then(|| Entry { id, dir: name.path() })
            })
            .collect();
        entries.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(entries)
    }
}

/// One container's directory.
#[derive(Debug)]
pub struct Entry {
    id: ContainerId,
    dir: PathBuf,
}

impl Entry {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> &ContainerId {
        &self.id
    }

    /// Its directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Opens its directory, for the sockets in it.
    ///
    /// # Errors
    /// `Io`
    pub fn dir_fd(&self) -> Result<OwnedFd> {
        fs::File::open(&self.dir).map(OwnedFd::from).map_err(io_error("open", &self.dir))
    }

    /// Takes the lock; waits at most `patience`.
    ///
    /// # Errors
    /// `Busy`; `NotFound` when the container was deleted meanwhile.
    pub fn lock(&self, patience: Duration) -> Result<Lock> {
        lock::take(self, patience)
    }

    /// Reads state.json.
    ///
    /// # Errors
    /// `Incomplete` when there is none, `Damaged`, `Version`, `Io`.
    pub fn load(&self) -> Result<State> {
        let state: State = match self.read("state.json")? {
            Some(state) => state,
            None if !self.dir.exists() => return Err(StoreError::NotFound(self.id.clone())),
            None => {
                let what = if self.is_locked() { "is under way" } else { "was broken off" };
                return Err(StoreError::Incomplete { id: self.id.clone(), what });
            }
        };
        if state.caisson_state != State::VERSION {
            let path = self.dir.join("state.json");
            return Err(StoreError::Version { path, found: state.caisson_state, known: State::VERSION });
        }
        Ok(state)
    }

    /// Writes state.json.
    ///
    /// # Errors
    /// `Io`
    pub fn save(&self, state: &State) -> Result<()> {
        self.write("state.json", state)
    }

    /// Reads intent.json: what a `create` was about to make. `None` when it had not come that far.
    ///
    /// # Errors
    /// `Damaged`, `Io`
    pub fn intent(&self) -> Result<Option<Intent>> {
        self.read("intent.json")
    }

    /// Keeps the configuration.
    ///
    /// # Errors
    /// `Io`
    pub fn save_config(&self, config: &[u8]) -> Result<()> {
        self.replace("config.json", config)
    }

    /// The configuration it was created with.
    ///
    /// # Errors
    /// `Io`
    pub fn config(&self) -> Result<Vec<u8>> {
        let path = self.dir.join("config.json");
        fs::read(&path).map_err(io_error("read", &path))
    }

    /// Whether the user's program has not been started: its start socket is there.
    #[must_use]
    pub fn waits_for_start(&self) -> bool {
        self.dir.join("start.sock").exists()
    }

    /// Notes that it has been started.
    ///
    /// # Errors
    /// `Io`
    pub fn forget_start(&self) -> Result<()> {
        let path = self.dir.join("start.sock");
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(io_error("remove", &path)(error)),
            _ => Ok(()),
        }
    }

    /// Removes the directory. The lock is taken along, so that whoever waits for it finds nothing.
    ///
    /// # Errors
    /// `Io`
    pub fn remove(&self, lock: Lock) -> Result<()> {
        let mut removed = fs::remove_dir_all(&self.dir);
        // Whoever waits for the lock may have made its file anew in between: `run` does, when its container is
        // checkpointed.
        for _ in 0..REMOVE_TRIES {
            match &removed {
                Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => {
                    removed = fs::remove_dir_all(&self.dir);
                }
                _ => break,
            }
        }
        drop(lock);
        match removed {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(io_error("remove", &self.dir)(error)),
            _ => Ok(()),
        }
    }

    fn is_locked(&self) -> bool {
        matches!(self.lock(Duration::ZERO), Err(StoreError::Busy { .. }))
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        let path = self.dir.join(name);
        let bytes = match fs::metadata(&path) {
            Ok(meta) if meta.len() > FILE_LIMIT => {
                return Err(io_error("read", &path)(ErrorKind::FileTooLarge.into()));
            }
            Ok(_) => fs::read(&path).map_err(io_error("read", &path))?,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error("read", &path)(error)),
        };
        serde_json::from_slice(&bytes).map(Some).map_err(|source| StoreError::Damaged { path, source })
    }

    fn write<T: Serialize>(&self, name: &str, value: &T) -> Result<()> {
        let path = self.dir.join(name);
        let bytes = serde_json::to_vec(value).map_err(|source| StoreError::Damaged { path, source })?;
        self.replace(name, &bytes)
    }

    /// Readers see the old file or the new one, never a part: a file beside it, then rename(2).
    fn replace(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.dir.join(name);
        replace_file(&path, bytes, 0o600).map_err(io_error("write", &path))
    }
}

/// Writes a file atomically: under another name in the same directory, then rename(2).
///
/// # Errors
/// Any of open, write and rename.
pub fn replace_file(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}", std::process::id()));
    let beside = path.with_file_name(name);
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(mode);
    let written = options.open(&beside).and_then(|mut file| file.write_all(bytes));
    let moved = written.and_then(|()| fs::rename(&beside, path));
    if moved.is_err() {
        drop(fs::remove_file(&beside)); // the first error is the one to report
    }
    moved
}

#[cfg(test)]
mod tests;

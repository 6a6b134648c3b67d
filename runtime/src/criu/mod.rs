//! Checkpoint and restore: a container's processes written to files and made again from them, by criu(8).
//!
//! ```text
//! checkpoint: state ─▶ outside (what lies outside of the container) ─▶ criu dump ─▶ images ─▶ the container is removed
//! restore:    bundle ─▶ plan ─▶ store, cgroup ─▶ criu restore ─▶ hooks, state.json ─▶ a container like a created one
//! ```
//! The images hold processes, memory and the container's own mounts. The root file system, bind mounts, limits and joined
//! namespaces are the bundle's: a restore plans it as `run` does, takes from the plan what criu needs to be told, and
//! does none of init's steps.

pub mod dump;
pub mod flags;
pub mod inherit;
pub mod outside;
pub mod process;
pub mod restore;
pub mod rpc;
pub mod sources;
pub mod wire;

use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use caisson_plan::step::namespaces::IdMapsPlan;

/// A directory that criu works in, open: criu inherits it.
#[derive(Debug)]
pub struct Dir {
    /// Its path, absolute.
    pub path: PathBuf,
    file: File,
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Dir {
    /// Opens it.
    ///
    /// # Errors
    /// When it is missing.
    pub fn open(flag: &str, path: &Path) -> anyhow::Result<Self> {
        let path = std::path::absolute(path).with_context(|| format!("{flag} {}", path.display()))?;
        let file = File::open(&path).with_context(|| format!("{flag}: open {}", path.display()))?;
        Ok(Self { path, file })
    }

    /// Opens it; made when missing. Nobody else may list it: images hold the memory of processes.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn make(flag: &str, path: &Path) -> anyhow::Result<Self> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .with_context(|| format!("{flag}: make {}", path.display()))?;
        Self::open(flag, path)
    }

    /// The descriptor's number.
    #[must_use]
    pub fn number(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// Lets the root of a container's user namespace through: its processes open their images themselves. Nobody but
    /// that group gets in, and it still cannot list the directory.
    ///
    /// # Errors
    /// When the directory is not ours to change.
    pub fn let_in(&self, maps: Option<&IdMapsPlan>) -> anyhow::Result<()> {
        let root = maps.and_then(|maps| maps.gid.iter().find(|map| map.container == 0)).map(|map| map.host);
        let Some(gid) = root else { return Ok(()) };
        let what = || format!("let group {gid} search {}", self.path.display());
        let meta = self.file.metadata().with_context(what)?;
        let mode = meta.permissions().mode();
        if mode & 0o001 != 0 || (meta.gid() == gid && mode & 0o010 != 0) {
            return Ok(());
        }
        std::os::unix::fs::fchown(&self.file, None, Some(gid)).with_context(what)?;
        self.file.set_permissions(fs::Permissions::from_mode(mode & 0o700 | 0o010)).with_context(what)
    }

    /// Opens it again, under the same number: in a new mount namespace the descriptor still is of the old one, where
    /// nothing can be mounted any more (criu mounts below its work directory).
    ///
    /// # Errors
    /// What was tried and the kernel's answer.
    pub fn open_again(&self) -> Result<(), String> {
        let what = || format!("open {} in criu's mount namespace", self.path.display());
        let file = File::open(&self.path).map_err(|error| format!("{}: {error}", what()))?;
        // Only a descriptor that is handed on may be replaced.
        caisson_sys::fd::set_cloexec(self, false)
            .and_then(|()| caisson_sys::fd::dup_onto(&file, self.number()))
            .map_err(|errno| format!("{}: {errno}", what()))
    }
}

//! The cheap way into v1 cgroups: opened by the runtime before the clone, entered by the child itself.
//!
//! Moving another process, by pid, makes the kernel take `cgroup_threadgroup_rwsem` for writing, and the first to do
//! so after a pause waits for an RCU grace period: 4 to 15 ms on a two-core machine, more than all else a container's
//! start costs. A thread that moves only itself (`0` to `tasks`) is exempt from that lock (cgroup_procs_write_start in
//! the kernel's kernel/cgroup/cgroup.c). A process of one thread has moved completely when its thread has. The numbers
//! are in docs/decisions/0003-cgroups-rs.md.
//!
//! The kernel checks the rights of whoever opened the file, so a child in a user namespace may use what its parent
//! opened; and it needs no path in a mount namespace that is about to change.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

use nix::errno::Errno;
use nix::unistd::write;

use crate::error::{Error, Result};
use crate::files;
use crate::location::Location;

/// Open doors to every cgroup of a container.
#[derive(Debug)]
pub struct Entries {
    doors: Vec<(File, PathBuf)>,
}

/// A door that stayed shut: small and without allocation, to be sent from the child to the runtime, which makes
/// the words ([`Entries::error`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shut {
    /// Which door.
    pub door: usize,
    /// The kernel's answer.
    pub errno: Errno,
}

impl Entries {
    pub(crate) fn open(location: &Location) -> Result<Self> {
        // v2 knows no way to move a single thread out of its domain: where the child was not cloned into its cgroup,
        // the slow file has to do.
        let v2 = location.v2.iter().map(|dir| dir.join("cgroup.procs"));
        let paths = location.v1.iter().map(|dir| dir.dir.join("tasks")).chain(v2);
        let doors = paths
            .map(|path| match files::open_write(&path) {
                Ok(file) => Ok((file, path)),
                Err(errno) => Err(Error::file("open", &path, errno)),
            })
            .collect::<Result<_>>()?;
        Ok(Self { doors })
    }

    /// Moves the calling process into every cgroup. It must have one thread; nothing is allocated and no lock is
    /// taken, so that a child may call this right after clone3.
    ///
    /// # Errors
    /// The first door that stayed shut.
    pub fn enter(&self) -> std::result::Result<(), Shut> {
        for (door, (file, _)) in self.doors.iter().enumerate() {
            loop {
                match write(file, b"0") {
                    Ok(_) => break,
                    Err(Errno::EINTR) => {}
                    Err(errno) => return Err(Shut { door, errno }),
                }
            }
        }
        Ok(())
    }

    /// The open files, for a child that closes all others.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.doors.iter().map(|(file, _)| file.as_fd())
    }

    /// Whether there is nothing to enter.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.doors.is_empty()
    }

    /// The words for what a child reported.
    #[must_use]
    pub fn error(&self, shut: Shut) -> Error {
        let path =
            self.doors.get(shut.door).map(|(_, path)| path.as_path()).unwrap_or(std::path::Path::new("?"));
        Error::write(path, "0", None, shut.errno)
    }
}

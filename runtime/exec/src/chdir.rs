//! The working directory: made when missing, entered as root or, failing that, as the user.

use std::path::{Path, PathBuf};

use caisson_plan::ids::ContainerPath;
use caisson_sys::path::{self, OFlag};
use caisson_sys::{Errno, creds};

use crate::error::{Act, Context, Failure};

/// Enters the directory. When root may not (NFS with root_squash, a home of mode 0700 in a user namespace), the
/// path is given back to be tried as the user.
pub(crate) fn as_root(directory: &ContainerPath) -> Act<Option<PathBuf>> {
    let target = directory.as_path();
    let what = || format!("enter working directory {directory}");
    match enter(target) {
        Err(Errno::ENOENT) => {
            make(target).on(|| format!("make working directory {directory}"))?;
            enter(target).on(what)?;
        }
        // A magic link such as /proc/self/fd/7 may lead anywhere (CVE-2024-21626).
        Err(errno @ Errno::ELOOP) => {
            return Err(
                Failure::errno(what(), errno).detail("it leads through a link of /proc, or in a circle")
            );
        }
        Err(Errno::EACCES) if creds::geteuid() == 0 => return Ok(Some(target.to_owned())),
        other => other.on(what)?,
    }
    verify().map(|()| None)
}

/// Enters the directory with the user's rights.
pub(crate) fn as_user(directory: &Path) -> Act {
    enter(directory).on(|| format!("enter working directory {}", directory.display()))?;
    verify()
}

fn enter(target: &Path) -> caisson_sys::Result<()> {
    let root = path::open(Path::new("/"), OFlag::O_PATH | OFlag::O_DIRECTORY)?;
    let directory = path::open_in_root(&root, target, OFlag::O_PATH | OFlag::O_DIRECTORY)?;
    path::fchdir(&directory)
}

fn make(target: &Path) -> caisson_sys::Result<()> {
    let root = path::open(Path::new("/"), OFlag::O_PATH | OFlag::O_DIRECTORY)?;
    path::mkdir_all_in_root(&root, target.strip_prefix("/").unwrap_or(target), 0o755).map(drop)
}

/// A working directory that /proc/self/fd leads to lies outside the container (CVE-2024-21626).
fn verify() -> Act {
    match path::cwd_is_reachable() {
        Ok(true) => Ok(()),
        Ok(false) => {
            Err(Failure::new("enter the working directory").detail("it lies outside the container's root"))
        }
        Err(errno) => Err(Failure::errno("check the working directory", errno)),
    }
}

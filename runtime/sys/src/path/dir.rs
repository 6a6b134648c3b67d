//! Entries of one directory, reached by a single name or listed.

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::fcntl::OFlag;

use super::{Resolve, openat2};
use crate::{Errno, Result};

/// [`openat2`] with `RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS`: what the runtime itself made.
pub fn open_beneath(dir: impl AsFd, name: &Path, flags: OFlag) -> Result<OwnedFd> {
    openat2(dir, name, flags, 0, Resolve::BENEATH | Resolve::NO_SYMLINKS | Resolve::NO_MAGICLINKS)
}

/// [`open_beneath`] with `O_PATH | O_DIRECTORY`.
pub fn dir_beneath(dir: impl AsFd, name: &Path) -> Result<OwnedFd> {
    open_beneath(dir, name, OFlag::O_PATH | OFlag::O_DIRECTORY)
}

/// A readable handle of the directory that an `O_PATH` descriptor stands for.
pub fn readable_dir(dir: impl AsFd) -> Result<OwnedFd> {
    open_beneath(dir, Path::new("."), OFlag::O_RDONLY | OFlag::O_DIRECTORY)
}

/// `openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode)`
///
/// # Errors
/// `EEXIST` when the name is taken.
pub fn create_at(dir: impl AsFd, name: &Path, mode: u32) -> Result<OwnedFd> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW;
    super::openat(dir, name, flags, mode)
}

/// The names in a directory, without `.` and `..`.
///
/// # References
/// - [readdir(3)](https://man7.org/linux/man-pages/man3/readdir.3.html)
pub fn list(dir: impl AsFd) -> Result<Vec<OsString>> {
    let handle = readable_dir(dir)?;
    let mut stream = nix::dir::Dir::from_fd(handle)?;
    let mut names = Vec::new();
    for entry in stream.iter() {
        let name = std::ffi::OsStr::from_bytes(entry?.file_name().to_bytes()).to_owned();
        if name != "." && name != ".." {
            names.push(name);
        }
    }
    Ok(names)
}

/// Whether the mount a descriptor lies on forbids execution (`ST_NOEXEC`).
///
/// # References
/// - [fstatvfs(3)](https://man7.org/linux/man-pages/man3/fstatvfs.3.html)
pub fn is_noexec(fd: impl AsFd) -> Result<bool> {
    let stat = nix::sys::statvfs::fstatvfs(fd)?;
    Ok(stat.flags().contains(nix::sys::statvfs::FsFlags::ST_NOEXEC))
}

/// Device number from major and minor (makedev(3)).
#[must_use]
pub fn makedev(major: u32, minor: u32) -> u64 {
    libc::makedev(major, minor)
}

/// Major number of a device (major(3)).
#[must_use]
pub fn major(device: u64) -> u32 {
    libc::major(device)
}

/// Minor number of a device (minor(3)).
#[must_use]
pub fn minor(device: u64) -> u32 {
    libc::minor(device)
}

/// Whether an error only says that there is nothing of that name.
#[must_use]
pub fn is_absent(errno: Errno) -> bool {
    matches!(errno, Errno::ENOENT | Errno::ENOTDIR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_names_what_create_at_made() {
        let dir = std::env::temp_dir().join(format!("caisson-dir-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        let handle = super::super::open(&dir, OFlag::O_PATH | OFlag::O_DIRECTORY).unwrap();
        create_at(&handle, Path::new("a"), 0o600).unwrap();
        assert_eq!(create_at(&handle, Path::new("a"), 0o600).unwrap_err(), Errno::EEXIST);
        assert_eq!(list(&handle).unwrap(), ["a"]);
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn noexec_is_seen_on_proc() {
        let proc = super::super::open("/proc", OFlag::O_PATH).unwrap();
        let root = super::super::open("/", OFlag::O_PATH).unwrap();
        assert!(!is_noexec(&root).unwrap() || is_noexec(&proc).unwrap());
    }
}

//! The few file operations cgroups need, with the fewest system calls: open, one write, close.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;

/// The errno in a std error; the few that std makes up itself become EIO.
pub(crate) fn errno(error: &std::io::Error) -> Errno {
    match (error.raw_os_error(), error.kind()) {
        (Some(raw), _) => Errno::from_raw(raw),
        (None, ErrorKind::InvalidInput) => Errno::EINVAL,
        (None, _) => Errno::EIO,
    }
}

/// Makes one directory; whether it is new.
pub(crate) fn mkdir(path: &Path) -> Result<bool, Errno> {
    match DirBuilder::new().mode(0o755).create(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(errno(&error)),
    }
}

/// Removes one directory; whether it was there. (In cgroup file systems the control files do not count.)
pub(crate) fn rmdir(path: &Path) -> Result<bool, Errno> {
    match std::fs::remove_dir(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(errno(&error)),
    }
}

/// Opens a control file for writing; never creates one.
pub(crate) fn open_write(path: &Path) -> Result<File, Errno> {
    OpenOptions::new()
        .write(true)
        .custom_flags(nix::fcntl::OFlag::O_NOFOLLOW.bits())
        .open(path)
        .map_err(|e| errno(&e))
}

/// Writes a control file in one write(2): the kernel takes each write for a complete value.
pub(crate) fn write(path: &Path, value: &str) -> Result<(), Errno> {
    write_to(&open_write(path)?, value)
}

/// The same for a file already open.
pub(crate) fn write_to(mut file: &File, value: &str) -> Result<(), Errno> {
    loop {
        match file.write(value.as_bytes()) {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(errno(&error)),
        }
    }
}

/// Reads a whole control file.
pub(crate) fn read(path: &Path) -> Result<String, Errno> {
    let mut file = File::open(path).map_err(|e| errno(&e))?;
    let mut text = Vec::with_capacity(1024);
    file.read_to_end(&mut text).map_err(|e| errno(&e))?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Reads a control file that holds one short value: one read(2).
pub(crate) fn read_value(path: &Path) -> Result<String, Errno> {
    let mut file = File::open(path).map_err(|e| errno(&e))?;
    let mut buffer = [0; 4096];
    let length = file.read(&mut buffer).map_err(|e| errno(&e))?;
    Ok(String::from_utf8_lossy(&buffer[..length]).trim().to_owned())
}

/// The sub-directories of a cgroup.
pub(crate) fn children(path: &Path) -> Result<Vec<PathBuf>, Errno> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).map_err(|e| errno(&e))? {
        let entry = entry.map_err(|e| errno(&e))?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// The pids in a `cgroup.procs`; a cgroup that is gone has none. Processes the reader's pid namespace cannot see
/// are listed as 0 on v2 and left out here.
pub(crate) fn pids(dir: &Path) -> Result<Vec<i32>, Errno> {
    let text = match read(&dir.join("cgroup.procs")) {
        // ENODEV: the cgroup was removed while its file was open.
        Err(Errno::ENOENT | Errno::ENODEV) => return Ok(Vec::new()),
        // A threaded cgroup has no cgroup.procs that can be read.
        Err(Errno::EOPNOTSUPP) => read(&dir.join("cgroup.threads"))?,
        other => other?,
    };
    Ok(text.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 0).collect())
}

/// Makes `path` and what of its parents below `root` is missing; the directories made, in the order they were made.
///
/// Another runtime may remove an empty parent between two of our calls (it made it, and its last container has just
/// gone), so a parent found missing is made again, a bounded number of times.
pub(crate) fn mkdir_below(
    root: &Path,
    path: &Path,
    made: &mut Vec<PathBuf>,
) -> Result<bool, (PathBuf, Errno)> {
    let mut tries = 16;
    loop {
        match mkdir(path) {
            Ok(new) => {
                if new {
                    made.push(path.to_owned());
                }
                return Ok(new);
            }
            Err(Errno::ENOENT) if tries > 0 => tries -= 1,
            Err(errno) => return Err((path.to_owned(), errno)),
        }
        match path.parent() {
            Some(parent) if parent != root && parent.starts_with(root) => {
                mkdir_below(root, parent, made)?;
            }
            _ => return Err((path.to_owned(), Errno::ENOENT)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mkdir_below_reports_what_it_made() {
        let root = crate::testing::Scratch::new("mkdir");
        let mut made = Vec::new();
        let leaf = root.path().join("a/b/c");
        assert_eq!(mkdir_below(root.path(), &leaf, &mut made), Ok(true));
        assert_eq!(made, [root.path().join("a"), root.path().join("a/b"), leaf.clone()]);
        assert_eq!(mkdir_below(root.path(), &leaf, &mut made), Ok(false));
        assert_eq!(made.len(), 3);
    }

    #[test]
    fn mkdir_below_never_makes_the_hierarchy_itself() {
        let root = crate::testing::Scratch::new("mkdir-root");
        let gone = root.path().join("hierarchy");
        let mut made = Vec::new();
        assert_eq!(mkdir_below(&gone, &gone.join("x"), &mut made), Err((gone.join("x"), Errno::ENOENT)));
        assert!(made.is_empty());
    }
}

//! The host's cgroup hierarchies, as far as tests look into them.

use std::fs;
use std::path::{Path, PathBuf};

use crate::os;
use crate::wait::eventually;

const CGROUP2_MAGIC: i64 = 0x6367_7270;
const MOUNT: &str = "/sys/fs/cgroup";

/// True on a host with the one v2 hierarchy at /sys/fs/cgroup; false for v1 and hybrid.
pub fn is_v2() -> bool {
    os::filesystem_magic(c"/sys/fs/cgroup").is_ok_and(|magic| magic == CGROUP2_MAGIC)
}

/// The directory of every mounted hierarchy.
pub fn hierarchies() -> Vec<PathBuf> {
    if is_v2() {
        return vec![PathBuf::from(MOUNT)];
    }
    let Ok(entries) = fs::read_dir(MOUNT) else { return Vec::new() };
    let paths = entries.filter_map(Result::ok).map(|entry| entry.path());
    paths.filter(|path| !path.is_symlink() && path.join("cgroup.procs").exists()).collect()
}

/// True if `controller` can be used on this host.
pub fn has_controller(controller: &str) -> bool {
    if is_v2() {
        let all = fs::read_to_string(Path::new(MOUNT).join("cgroup.controllers")).unwrap_or_default();
        return all.split_whitespace().any(|word| word == controller);
    }
    Path::new(MOUNT).join(controller).join("cgroup.procs").exists()
}

/// A file of a cgroup; the controller matters on v1 only.
pub fn file(controller: &str, cgroup: &str, name: &str) -> PathBuf {
    let hierarchy = if is_v2() { PathBuf::from(MOUNT) } else { Path::new(MOUNT).join(controller) };
    hierarchy.join(cgroup.trim_start_matches('/')).join(name)
}

/// All directories named like `cgroup` and below it, in every hierarchy.
pub fn directories(cgroup: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for hierarchy in hierarchies() {
        collect(&hierarchy.join(cgroup.trim_start_matches('/')), &mut found);
    }
    found.sort();
    found
}

fn collect(directory: &Path, found: &mut Vec<PathBuf>) {
    if !directory.is_dir() {
        return;
    }
    found.push(directory.to_owned());
    for entry in fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok) {
        if entry.path().is_dir() {
            collect(&entry.path(), found);
        }
    }
}

/// Removes `cgroup` with all below it, in every hierarchy. Waits for dying processes to leave.
pub fn remove_tree(cgroup: &str) {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(2);
    // Deepest first: a cgroup with children cannot be removed (cgroups(7)).
    for directory in directories(cgroup).into_iter().rev() {
        eventually("a cgroup of the test to become empty", || {
            let gone = fs::remove_dir(&directory).is_ok() || !directory.exists();
            (gone || std::time::Instant::now() > end).then_some(())
        });
    }
}

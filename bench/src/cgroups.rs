//! Where the containers of a comparison live: `/caisson-bench` in every hierarchy.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

const NAME: &str = "caisson-bench";

/// Who makes a container's cgroup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// The runtime.
    Cgroupfs,
    /// systemd: a scope unit.
    Systemd,
}

impl Driver {
    /// The value for a bundle's `cgroupsPath`.
    pub fn path_of(self, id: &str) -> String {
        match self {
            Self::Cgroupfs => format!("/{NAME}/{id}"),
            Self::Systemd => format!("system.slice:{NAME}:{id}"),
        }
    }

    /// The runtimes' global flags.
    pub fn flags(self) -> &'static [&'static str] {
        match self {
            Self::Cgroupfs => &[],
            Self::Systemd => &["--systemd-cgroup"],
        }
    }
}

/// The directories of ours in the host's hierarchies.
#[derive(Debug)]
pub struct Cgroups {
    /// One in each v1 hierarchy, or the one of cgroup2 where there is no v1.
    pub dirs: Vec<PathBuf>,
    pub unified: bool,
}

impl Cgroups {
    /// Makes `/caisson-bench` in every hierarchy mounted beneath /sys/fs/cgroup.
    pub fn make() -> Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mounts").context("read /proc/self/mounts")?;
        let v1 = mounted(&mounts, "cgroup");
        let unified = v1.is_empty();
        let roots = if unified { mounted(&mounts, "cgroup2") } else { v1 };
        let dirs: Vec<_> = roots.into_iter().map(|root| root.join(NAME)).collect();
        for dir in &dirs {
            fs::create_dir_all(dir).with_context(|| format!("mkdir {}", dir.display()))?;
            // A cpuset without CPUs admits nobody: ours copies its parent's, and its children copy ours.
            if dir.join("cpuset.cpus").exists() && !unified {
                for file in ["cpuset.cpus", "cpuset.mems"] {
                    let root = dir.parent().context("a cgroup has a root")?;
                    let value = fs::read(root.join(file)).with_context(|| format!("read {file}"))?;
                    fs::write(dir.join(file), value).with_context(|| format!("write {file}"))?;
                }
                fs::write(dir.join("cgroup.clone_children"), "1").context("write cgroup.clone_children")?;
            }
        }
        Ok(Self { dirs, unified })
    }

    /// The directories of the container `id`.
    pub fn of(&self, id: &str) -> Vec<PathBuf> {
        self.dirs.iter().map(|dir| dir.join(id)).collect()
    }

    /// Removes what is left, deepest first; the processes must have ended.
    pub fn remove(&self) {
        for dir in &self.dirs {
            remove_tree(dir);
        }
    }
}

fn mounted(mounts: &str, fstype: &str) -> Vec<PathBuf> {
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let mut points: Vec<PathBuf> = fields
        .filter(|f| f.get(2) == Some(&fstype))
        .filter_map(|f| f.get(1).map(PathBuf::from))
        .filter(|point| point.starts_with("/sys/fs/cgroup"))
        .collect();
    points.sort();
    points.dedup();
    points
}

fn remove_tree(dir: &Path) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    if let Err(error) = fs::remove_dir(dir) {
        eprintln!("caisson-bench: rmdir {}: {error}", dir.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounted_lists_only_the_type_beneath_sys_fs_cgroup() {
        let mounts = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\n\
                      cgroup /sys/fs/cgroup/pids cgroup rw,pids 0 0\n\
                      cgroup /mnt/pids cgroup rw,pids 0 0\n\
                      cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        assert_eq!(mounted(mounts, "cgroup"), [PathBuf::from("/sys/fs/cgroup/pids")]);
        assert_eq!(mounted(mounts, "cgroup2"), [PathBuf::from("/sys/fs/cgroup/unified")]);
    }
}

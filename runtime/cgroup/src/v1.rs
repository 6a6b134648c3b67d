//! cgroup v1: one directory for each hierarchy.

use std::path::{Path, PathBuf};

use caisson_plan::facts::V1Hierarchy;
use caisson_plan::step::cgroup::{CgroupDriver, CgroupPlan};

use crate::error::{Error, Result};
use crate::files;
use crate::location::V1Dir;

/// Makes the container's directory in every hierarchy.
///
/// With an optional plan, a hierarchy this user may not write is left out.
pub(crate) fn make(
    plan: &CgroupPlan,
    hierarchies: &[V1Hierarchy],
    dirs: &[V1Dir],
    made: &mut Vec<PathBuf>,
) -> Result<Vec<V1Dir>> {
    let mut kept = Vec::with_capacity(dirs.len());
    for (hierarchy, dir) in hierarchies.iter().zip(dirs) {
        match make_one(plan, hierarchy.mount.as_path(), dir, made) {
            Ok(()) => kept.push(dir.clone()),
            Err(error) if plan.optional && error.is_permission() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(kept)
}

fn make_one(plan: &CgroupPlan, mount: &Path, dir: &V1Dir, made: &mut Vec<PathBuf>) -> Result<()> {
    let new = files::mkdir_below(mount, &dir.dir, made)
        .map_err(|(path, errno)| Error::file("create", &path, errno))?;
    // systemd has made and entered some of them before us.
    if !new && plan.driver == CgroupDriver::Cgroupfs {
        refuse_used(&dir.dir)?;
    }
    if dir.has("cpuset") {
        for file in ["cpuset.cpus", "cpuset.mems"] {
            // A cpuset without CPUs or without memory nodes takes no process (ENOSPC): each level is filled in from
            // the one above. A file the plan sets itself only needs its parent filled.
            let set_by_plan = plan.settings.iter().any(|setting| setting.file == file);
            let from = if set_by_plan { dir.dir.parent().unwrap_or(mount) } else { &dir.dir };
            inherit(from, mount, file, new && !set_by_plan)?;
        }
    }
    Ok(())
}

/// The value of a cpuset file, after filling it in from the parents when it is empty. `empty` says that it is
/// known to be, so that it need not be read.
fn inherit(dir: &Path, mount: &Path, file: &str, empty: bool) -> Result<String> {
    let path = dir.join(file);
    if !empty {
        let value = files::read_value(&path).map_err(|errno| Error::file("read", &path, errno))?;
        if !value.is_empty() || dir == mount {
            return Ok(value);
        }
    }
    let value = inherit(dir.parent().unwrap_or(mount), mount, file, false)?;
    files::write(&path, &value).map_err(|errno| Error::write(&path, &value, None, errno))?;
    Ok(value)
}

/// A directory found instead of made may belong to a running container, or be frozen, in which case the new init
/// would hang without a word.
fn refuse_used(dir: &Path) -> Result<()> {
    let pids = files::pids(dir).map_err(|errno| Error::file("read", &dir.join("cgroup.procs"), errno))?;
    if !pids.is_empty() {
        return Err(Error::InUse { path: dir.to_owned(), pids });
    }
    match files::read_value(&dir.join("freezer.state")) {
        Ok(state) if state != "THAWED" => Err(Error::IsFrozen { path: dir.to_owned() }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Scratch;

    #[test]
    fn cpuset_is_inherited_through_every_empty_level() {
        let root = Scratch::new("cpuset");
        root.file("cpuset.cpus", "0-3\n").file("a/cpuset.cpus", "\n").file("a/b/cpuset.cpus", "");
        assert_eq!(inherit(&root.path().join("a/b"), root.path(), "cpuset.cpus", false).unwrap(), "0-3");
        assert_eq!(root.read("a/cpuset.cpus"), "0-3");
        assert_eq!(root.read("a/b/cpuset.cpus"), "0-3");
    }

    #[test]
    fn cpuset_of_a_parent_is_kept() {
        let root = Scratch::new("cpuset-kept");
        root.file("cpuset.cpus", "0-3\n").file("a/cpuset.cpus", "1\n").file("a/b/cpuset.cpus", "");
        assert_eq!(inherit(&root.path().join("a/b"), root.path(), "cpuset.cpus", true).unwrap(), "1");
        assert_eq!(root.read("a/cpuset.cpus"), "1\n");
    }

    #[test]
    fn a_used_directory_is_refused() {
        let root = Scratch::new("used");
        root.file("cgroup.procs", "7\n8\n");
        assert!(matches!(refuse_used(root.path()), Err(Error::InUse { pids, .. }) if pids == [7, 8]));
        let root = Scratch::new("frozen");
        root.file("cgroup.procs", "").file("freezer.state", "FROZEN\n");
        assert!(matches!(refuse_used(root.path()), Err(Error::IsFrozen { .. })));
    }
}

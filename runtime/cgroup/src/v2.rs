//! cgroup v2: one directory, whose controllers have to be handed down from the root.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use caisson_plan::facts::V2Tree;
use caisson_plan::step::cgroup::{CgroupPlan, Setting, SettingMode};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use crate::error::{Error, Result};
use crate::files;

/// What delegation hands over when the kernel does not say (`/sys/kernel/cgroup/delegate`, cgroups(7)).
const DELEGATED: &[&str] = &["cgroup.procs", "cgroup.threads", "cgroup.subtree_control", "memory.oom.group"];

/// Makes the container's directory and hands it the controllers of the tree.
pub(crate) fn make(plan: &CgroupPlan, tree: &V2Tree, dir: &Path, made: &mut Vec<PathBuf>) -> Result<()> {
    let mount = tree.mount.as_path();
    let new =
        files::mkdir_below(mount, dir, made).map_err(|(path, errno)| Error::file("create", &path, errno))?;
    if !new {
        refuse_used(dir)?;
    }
    refuse_threaded(dir)?;
    let obstacle = hand_down(mount, dir, &tree.controllers)?;
    require(dir, &plan.settings, obstacle.as_deref())
}

fn refuse_used(dir: &Path) -> Result<()> {
    // With processes in sub-cgroups only, cgroup.procs is empty: cgroup.events knows of all.
    let events = files::read(&dir.join("cgroup.events")).unwrap_or_default();
    if events.lines().any(|line| line == "populated 1") {
        let pids = crate::kill::pids_below(dir)?;
        return Err(Error::InUse { path: dir.to_owned(), pids });
    }
    if events.lines().any(|line| line == "frozen 1") {
        return Err(Error::IsFrozen { path: dir.to_owned() });
    }
    Ok(())
}

fn refuse_threaded(dir: &Path) -> Result<()> {
    // The file is missing in the root only, and in fake trees of tests.
    let kind = files::read_value(&dir.join("cgroup.type")).unwrap_or_default();
    match kind.as_str() {
        "domain invalid" | "threaded" => Err(Error::NotADomain { path: dir.to_owned(), kind }),
        _ => Ok(()),
    }
}

/// Enables `wanted` in `cgroup.subtree_control` of each ancestor of `dir` from the root down, as far as each has them.
/// What stopped a controller is returned as text: whether it matters depends on the settings.
fn hand_down(mount: &Path, dir: &Path, wanted: &[String]) -> Result<Option<String>> {
    let have = words(dir, "cgroup.controllers")?;
    if wanted.iter().all(|controller| have.contains(controller)) {
        return Ok(None);
    }
    let mut ancestors: Vec<&Path> = dir.ancestors().skip(1).take_while(|a| a.starts_with(mount)).collect();
    ancestors.reverse();
    let mut obstacle = None;
    for ancestor in ancestors {
        let available = words(ancestor, "cgroup.controllers")?;
        let enabled = words(ancestor, "cgroup.subtree_control")?;
        let missing: Vec<&String> =
            wanted.iter().filter(|c| available.contains(c) && !enabled.contains(c)).collect();
        if let Some(why) = enable(ancestor, &missing) {
            obstacle.get_or_insert(why);
        }
    }
    Ok(obstacle)
}

/// Enables controllers for the children of a cgroup: all in one write, one by one when that fails.
fn enable(dir: &Path, controllers: &[&String]) -> Option<String> {
    if controllers.is_empty() {
        return None;
    }
    let path = dir.join("cgroup.subtree_control");
    let all: Vec<String> = controllers.iter().map(|c| format!("+{c}")).collect();
    let refused = |value: &str, errno| Some(format!("{}: {errno}", Error::write(&path, value, None, errno)));
    match files::write(&path, &all.join(" ")) {
        Ok(()) => return None,
        // Processes are in the cgroup. The kernel would still take controllers that work on threads (cpu, cpuset, pids),
        // one by one, and make this the root of a threaded tree, whose children can hold no container.
        Err(errno @ Errno::EBUSY) => return refused(&all.join(" "), errno),
        Err(_) => {}
    }
    let mut obstacle = None;
    for one in &all {
        if let Err(errno) = files::write(&path, one) {
            obstacle = obstacle.or_else(|| refused(one, errno));
        }
    }
    obstacle
}

/// Fails when a setting needs a controller that `dir` does not have.
fn require(dir: &Path, settings: &[Setting], obstacle: Option<&str>) -> Result<()> {
    if settings.is_empty() {
        return Ok(());
    }
    let have = words(dir, "cgroup.controllers")?;
    for setting in settings {
        // Files of the core (`cgroup.*`) are always there.
        let needed = setting.mode != SettingMode::IfPresent && setting.controller != "cgroup";
        if needed && !have.contains(&setting.controller) {
            return Err(Error::ControllerUnavailable {
                controller: setting.controller.clone(),
                file: setting.file.clone(),
                from: setting.from.clone(),
                cgroup: dir.to_owned(),
                why: obstacle.map_or_else(|| lacking(dir, &setting.controller), str::to_owned),
            });
        }
    }
    Ok(())
}

/// The topmost ancestor which does not have or does not hand down `controller`, in words.
pub(crate) fn lacking(dir: &Path, controller: &str) -> String {
    let mut ancestors: Vec<&Path> = dir.ancestors().skip(1).collect();
    ancestors.reverse();
    for ancestor in ancestors {
        let Ok(available) = words(ancestor, "cgroup.controllers") else { continue };
        if !available.iter().any(|name| name == controller) {
            return format!(
                "{} does not have it (cgroup.controllers: {}); the kernel may lack it, or a v1 hierarchy holds it",
                ancestor.display(),
                available.join(" ")
            );
        }
        let handed = words(ancestor, "cgroup.subtree_control").unwrap_or_default();
        if !handed.iter().any(|name| name == controller) {
            return format!("{} does not hand it down (cgroup.subtree_control)", ancestor.display());
        }
    }
    "it was taken away".into()
}

/// The cgroup below `dir` that `init` is in, when `dir` itself can take no processes ("no internal processes",
/// cgroups(7)).
pub(crate) fn refuge(dir: &Path, init: i32) -> Option<PathBuf> {
    if files::read_value(&dir.join("cgroup.subtree_control")).ok()?.is_empty() {
        return None;
    }
    let text = files::read(&Path::new("/proc").join(init.to_string()).join("cgroup")).ok()?;
    let place = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    // The path starts at the mount, wherever that is.
    let mut places = dir.ancestors().map(|mount| mount.join(place));
    places.find(|place| place.starts_with(dir) && place.join("cgroup.procs").exists())
}

fn words(dir: &Path, file: &str) -> Result<Vec<String>> {
    let path = dir.join(file);
    let text = files::read_value(&path).map_err(|errno| Error::file("read", &path, errno))?;
    Ok(text.split_whitespace().map(str::to_owned).collect())
}

/// Gives the cgroup to a user, as cgroups(7) "Delegation" says: the directory and the files named by the kernel.
pub(crate) fn delegate(dir: &Path, uid: u32) -> Result<()> {
    let listed = files::read(Path::new("/sys/kernel/cgroup/delegate")).unwrap_or_default();
    let mut names: Vec<&str> = listed.split_whitespace().collect();
    if names.is_empty() {
        names = DELEGATED.to_vec();
    }
    let paths = std::iter::once(dir.to_owned()).chain(names.iter().map(|name| dir.join(name)));
    for path in paths {
        match std::os::unix::fs::chown(&path, Some(uid), None).map_err(|error| files::errno(&error)) {
            // Files of controllers that are not enabled here.
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => return Err(Error::file("chown", &path, errno)),
        }
    }
    Ok(())
}

/// The directory for `CLONE_INTO_CGROUP`.
pub(crate) fn open_dir(dir: &Path) -> Result<OwnedFd> {
    open(dir, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
        .map_err(|errno| Error::file("open", dir, errno))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Scratch, setting};

    fn tree(root: &Scratch) -> (PathBuf, Vec<String>) {
        root.file("cgroup.controllers", "cpu memory pids\n")
            .file("cgroup.subtree_control", "cpu\n")
            .file("a/cgroup.controllers", "cpu\n")
            .file("a/cgroup.subtree_control", "\n")
            .file("a/b/cgroup.controllers", "\n");
        (root.path().join("a/b"), vec!["cpu".into(), "memory".into(), "pids".into()])
    }

    #[test]
    fn controllers_are_handed_down_from_the_root() {
        let root = Scratch::new("hand-down");
        let (dir, wanted) = tree(&root);
        assert_eq!(hand_down(root.path(), &dir, &wanted).unwrap(), None);
        assert_eq!(root.read("cgroup.subtree_control"), "+memory +pids");
        // A plain file does not hand on what was written; a real one would offer memory and pids here too.
        assert_eq!(root.read("a/cgroup.subtree_control"), "+cpu");
    }

    #[test]
    fn a_missing_controller_names_the_ancestor_that_lacks_it() {
        let root = Scratch::new("lacking");
        let (dir, _) = tree(&root);
        let wish = setting("memory", "memory.max", "1", SettingMode::Required);
        let text = require(&dir, std::slice::from_ref(&wish), None).unwrap_err().to_string();
        assert!(text.contains("memory controller is not available in"), "{text}");
        assert!(text.contains(&format!("{} does not hand it down", root.path().display())), "{text}");
        let lenient = Setting { mode: SettingMode::IfPresent, ..wish };
        assert!(require(&dir, &[lenient], None).is_ok());
    }

    #[test]
    fn threaded_cgroups_are_refused_with_the_reason() {
        let root = Scratch::new("threaded");
        root.file("cgroup.type", "domain invalid\n");
        let text = refuse_threaded(root.path()).unwrap_err().to_string();
        assert!(text.contains("its parent is threaded"), "{text}");
        root.file("cgroup.type", "domain\n");
        assert!(refuse_threaded(root.path()).is_ok());
    }
}

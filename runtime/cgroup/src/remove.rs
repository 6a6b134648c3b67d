//! Taking cgroups away: children first, waiting for processes that are still on their way out.

use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;

use crate::error::{Error, Result};
use crate::location::Location;
use crate::wait::{self, Deadline};
use crate::{files, kill};

/// Removes every directory of the container, then the parents made for it that are empty now. What is gone already
/// is no error.
pub(crate) fn all(location: &Location, limit: Duration) -> Result<()> {
    let deadline = Deadline::after(limit);
    let mut first = Ok(());
    for dir in location.dirs() {
        // One hierarchy that does not empty must not keep the others: all are tried, the first error is told.
        let result = tree(dir, deadline);
        if first.is_ok() {
            first = result;
        }
    }
    parents(&location.parents);
    first
}

/// Removes empty directories made earlier, deepest first; one in use by others stays.
pub(crate) fn parents(made: &[std::path::PathBuf]) {
    for dir in made.iter().rev() {
        // EBUSY: another container lives there by now. Nothing else can be done about any error here, and an empty
        // directory left behind harms nobody.
        files::rmdir(dir).ok();
    }
}

/// Removes one directory with all below it.
pub(crate) fn tree(dir: &Path, deadline: Deadline) -> Result<()> {
    let mut attempt: u32 = 0;
    loop {
        match files::rmdir(dir) {
            Ok(_) => return Ok(()),
            Err(Errno::EBUSY | Errno::ENOTEMPTY) => {}
            Err(errno) => return Err(Error::file("remove", dir, errno)),
        }
        for child in children(dir)? {
            tree(&child, deadline)?;
        }
        // Most often it was the children.
        if files::rmdir(dir).is_ok() {
            return Ok(());
        }
        let pids = kill::pids_of(dir)?;
        if deadline.is_over() {
            let (path, waited_ms) = (dir.to_owned(), deadline.waited_ms());
            return Err(Error::StillInUse { path, waited_ms, inside: wait::look_at(&pids) });
        }
        attempt += 1;
        until_it_may_be_empty(dir, &pids, attempt, deadline);
    }
}

fn children(dir: &Path) -> Result<Vec<std::path::PathBuf>> {
    match files::children(dir) {
        Ok(found) => Ok(found),
        Err(Errno::ENOENT | Errno::ENODEV) => Ok(Vec::new()),
        Err(errno) => Err(Error::file("list", dir, errno)),
    }
}

/// Waits for what can end the wait: on v2 a change of `populated`, else the exit of a process.
fn until_it_may_be_empty(dir: &Path, pids: &[i32], attempt: u32, deadline: Deadline) {
    if let Ok(events) = wait::Events::open(dir)
        && matches!(events.get("populated"), Ok(Some(1)))
    {
        // An error ends the wait; the caller looks again, until its deadline.
        events.wait(deadline.left()).ok();
        return;
    }
    if !pids.is_empty() {
        wait::for_any_exit(pids, deadline.left());
    }
    // Between a process's exit (or its disappearance from cgroup.procs) and the moment when the kernel counts it out
    // of its v1 cgroup lies a short while which nothing announces: 1 ms, up to 20 ms when it lasts.
    wait::pause(Duration::from_millis(u64::from(attempt.min(20))).min(deadline.left()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Scratch;

    #[test]
    fn what_is_gone_is_no_error() {
        let root = Scratch::new("gone");
        assert!(tree(&root.path().join("never"), Deadline::after(Duration::ZERO)).is_ok());
    }

    #[test]
    fn children_go_first_and_used_parents_stay() {
        let root = Scratch::new("remove");
        let (parent, leaf) = (root.path().join("p"), root.path().join("p/c"));
        std::fs::create_dir_all(leaf.join("x/y")).unwrap();
        std::fs::create_dir_all(leaf.join("z")).unwrap();
        std::fs::create_dir(root.path().join("p/other")).unwrap();
        let location =
            Location { v2: Some(leaf.clone()), parents: vec![parent.clone()], ..Location::default() };
        all(&location, Duration::ZERO).unwrap();
        assert!(!leaf.exists() && parent.exists());
        std::fs::remove_dir(root.path().join("p/other")).unwrap();
        all(&location, Duration::ZERO).unwrap();
        assert!(!parent.exists());
    }
}

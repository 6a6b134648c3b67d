//! What a container may leave behind on the host, and the demand that it leaves nothing.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::container::Container;
use crate::scratch::Scratch;
use crate::{cgroup, os};

/// The host as far as one test's containers could have changed it.
#[derive(Debug, PartialEq, Eq)]
pub struct HostSnapshot {
    mounts: BTreeSet<String>,
    cgroups: Vec<PathBuf>,
    processes: BTreeSet<i32>,
    state: BTreeSet<String>,
}

impl HostSnapshot {
    /// Looks at the host now. The first look gives the calling thread its own mount namespace, so that the whole mount
    /// table is compared although other tests run beside this one.
    pub fn take(container: &Container) -> Self {
        if os::effective_uid() == 0 {
            own_mount_namespace();
        }
        Self::look(container)
    }

    fn look(container: &Container) -> Self {
        Self {
            mounts: mount_table(),
            cgroups: cgroup::directories(&container.cgroup()),
            processes: processes_of(container.scratch()),
            state: names_in(&container.runtime().state_dir()),
        }
    }

    /// Demands that the host is as it was.
    #[track_caller]
    pub fn assert_unchanged(&self, container: &Container) {
        // A killed process keeps its place for a moment after `delete` returned: wait, then compare.
        let end = std::time::Instant::now() + std::time::Duration::from_secs(3);
        let mut now = Self::look(container);
        while now != *self && std::time::Instant::now() < end {
            std::thread::sleep(std::time::Duration::from_millis(10));
            now = Self::look(container);
        }
        assert_eq!(now.mounts, self.mounts, "the mount table changed");
        assert_eq!(now.cgroups, self.cgroups, "cgroups were left behind");
        assert_eq!(now.processes, self.processes, "processes were left behind");
        assert_eq!(now.state, self.state, "the state directory changed");
    }
}

/// Gives the calling thread its own mount namespace, once: what it starts from then on shares that one.
pub fn own_mount_namespace() {
    thread_local!(static DONE: std::cell::Cell<bool> = const { std::cell::Cell::new(false) });
    if !DONE.get() {
        os::private_mount_namespace().expect("unshare the mount namespace");
        DONE.set(true);
    }
}

/// The mount table of the calling thread, without mount ids.
fn mount_table() -> BTreeSet<String> {
    let table = fs::read_to_string("/proc/thread-self/mountinfo").expect("read our own mount table");
    table.lines().map(|line| line.splitn(3, ' ').nth(2).unwrap_or_default().to_owned()).collect()
}

/// Processes which belong to the test: that mention its directory, or have it in their mount table as root.
pub fn processes_of(scratch: &Scratch) -> BTreeSet<i32> {
    let own = std::process::id().cast_signed();
    let entries = fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| *pid != own && belongs_to(*pid, scratch)).collect()
}

fn belongs_to(pid: i32, scratch: &Scratch) -> bool {
    let read = |file: &str| {
        fs::read(format!("/proc/{pid}/{file}")).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    };
    // A path ends or goes on with a slash: test 1 is not test 12.
    let path = scratch.path().display().to_string();
    let mentions = |text: &str| {
        text.match_indices(&path)
            .any(|(at, _)| !text[at + path.len()..].starts_with(|c: char| c.is_ascii_digit()))
    };
    if read("cmdline").is_ok_and(|line| mentions(&line)) {
        return true;
    }
    // Field 4 (the mount's root) and 5 (its place): in a container the root file system's mount has the host's path.
    read("mountinfo").is_ok_and(|table| {
        table
            .lines()
            .any(|line| line.split(' ').skip(3).take(2).any(|field| mentions(field) && is_root_of(line)))
    })
}

/// True for the line of the mount on `/`: only a container has a test's directory there.
fn is_root_of(line: &str) -> bool {
    line.split(' ').nth(4) == Some("/")
}

fn names_in(directory: &std::path::Path) -> BTreeSet<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok);
    // Runtimes may keep a cache or a lock of the whole directory under a name with a dot.
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|n| !n.starts_with('.'))
        .collect()
}

/// Unmounts what a test has mounted below its directory in the calling thread's mount namespace.
pub fn unmount_below(scratch: &Scratch) {
    let prefix = format!("{}/", scratch.path().display());
    let table = fs::read_to_string("/proc/thread-self/mountinfo").unwrap_or_default();
    for line in table.lines().rev() {
        let place = line.split(' ').nth(4).unwrap_or_default();
        if place.starts_with(&prefix) {
            drop(Command::new("umount").args(["--lazy", place]).output());
        }
    }
}

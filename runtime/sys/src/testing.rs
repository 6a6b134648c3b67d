//! What the tests of this crate share.

use crate::clone::{CloneArgs, clone3};
use crate::pidfd::{self, ExitStatus};

/// Leaves the test, saying why, when it does not run as root.
macro_rules! require_root {
    () => {
        if $crate::creds::geteuid() != 0 {
            println!("skipped: needs root");
            return;
        }
    };
}

/// Runs a test's body in a process of its own, so that what it does to itself ends with it.
///
/// The test harness has threads; what could stay locked is the panic output, so a failing body may hang
/// rather than print. The wait is bounded for that.
#[track_caller]
pub(crate) fn in_child(body: impl FnOnce()) {
    in_namespaces(crate::namespace::Namespaces::empty(), body);
}

/// [`in_child`] in new namespaces; new mount namespaces get private propagation.
#[track_caller]
pub(crate) fn in_namespaces(namespaces: crate::namespace::Namespaces, body: impl FnOnce()) {
    let child = clone3(CloneArgs { namespaces, ..CloneArgs::default() }, || {
        if namespaces.contains(crate::namespace::Namespaces::MNT) {
            crate::mount::set_propagation("/", crate::mount::Propagation::Private, true).unwrap();
        }
        body();
        0
    })
    .unwrap();
    if !pidfd::poll_exit(&child.pidfd, 20_000).unwrap() {
        pidfd::send_signal(&child.pidfd, libc::SIGKILL).unwrap();
    }
    assert_eq!(pidfd::wait(&child.pidfd).unwrap(), ExitStatus::Exited(0));
}

/// A line of `/proc/self/status`.
pub(crate) fn status_field(name: &str) -> String {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap().trim().to_owned()
}

/// A new cgroup of the cgroup2 hierarchy, removed when dropped; `None`, with the reason printed, where there
/// is none.
pub(crate) struct Cgroup {
    path: String,
    pub(crate) fd: std::os::fd::OwnedFd,
}

impl Cgroup {
    pub(crate) fn new(name: &str) -> Option<Self> {
        use crate::path;
        let is_v2 = |dir: &&str| {
            let fd = path::open(*dir, crate::OFlag::O_PATH);
            fd.and_then(path::fs_magic).is_ok_and(|magic| magic == libc::CGROUP2_SUPER_MAGIC)
        };
        let Some(base) = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].into_iter().find(is_v2) else {
            println!("skipped: no cgroup2 hierarchy mounted");
            return None;
        };
        let path = format!("{base}/caisson-sys-{name}-{}", std::process::id());
        if let Err(errno) = path::mkdirat(nix::fcntl::AT_FDCWD, path.as_str(), 0o755) {
            println!("skipped: no cgroup can be made: {errno}");
            return None;
        }
        let fd = path::open(path.as_str(), crate::OFlag::O_RDONLY | crate::OFlag::O_DIRECTORY).unwrap();
        Some(Self { path, fd })
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if let Err(errno) = crate::path::rmdirat(nix::fcntl::AT_FDCWD, self.path.as_str()) {
            println!("left behind: {}: {errno}", self.path);
        }
    }
}

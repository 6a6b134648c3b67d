//! Device rules on cgroup v2: an eBPF program attached to the cgroup.

use std::os::fd::OwnedFd;
use std::path::Path;

use caisson_plan::step::cgroup::DeviceRule;
use caisson_sys::bpf;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use crate::device_filter;
use crate::error::{Error, Result};

/// Puts the rules in force, in place of those that were.
pub(crate) fn put(dir: &Path, rules: &[DeviceRule]) -> Result<()> {
    let failed = |what| move |source| Error::Devices { what, cgroup: dir.to_owned(), source };
    // bpf(2) does not take an O_PATH descriptor.
    let cgroup = open(dir, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
        .map_err(|errno| Error::file("open", dir, errno))?;
    let new = bpf::load_cgroup_device(&device_filter::program(rules), "caisson_devices")
        .map_err(|source| Error::DeviceProgram { cgroup: dir.to_owned(), source })?;
    let old: Vec<OwnedFd> = bpf::query_cgroup_device(&cgroup)
        .map_err(failed("query"))?
        .into_iter()
        // One that went away meanwhile needs no replacing.
        .filter_map(|id| bpf::prog_fd_by_id(id).ok())
        .collect();
    if let [only] = old.as_slice() {
        match bpf::replace_cgroup(&cgroup, only, &new) {
            Ok(()) => return Ok(()),
            // Before Linux 5.6, or a program attached without ALLOW_MULTI.
            Err(Errno::EINVAL | Errno::EPERM | Errno::ENOENT) => {}
            Err(errno) => return Err(failed("replace")(errno)),
        }
    }
    // All programs must allow: the new one first, so that there is no moment without rules.
    bpf::attach_cgroup(&cgroup, &new, bpf::ALLOW_MULTI).map_err(failed("attach"))?;
    old.iter().try_for_each(|old| bpf::detach(&cgroup, old)).map_err(failed("detach"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Process, real_v2};
    use caisson_plan::step::cgroup::DeviceKind;

    fn rule(allow: bool, kind: DeviceKind, major: Option<u32>, minor: Option<u32>) -> DeviceRule {
        DeviceRule { allow, kind, major, minor, read: true, write: true, mknod: true }
    }

    /// Runs a shell that waits for a line, puts it in the cgroup, and tells whether it could then read the file.
    fn can_read(dir: &Path, file: &str) -> bool {
        let script = format!("read _; : < {file}");
        let (gate, mut process) = Process::gated(&script);
        std::fs::write(dir.join("cgroup.procs"), process.pid().to_string()).unwrap();
        drop(gate);
        process.wait().success()
    }

    #[test]
    fn rules_hold_and_are_replaced() {
        let Some(dir) = real_v2("devices") else { return };
        let deny = rule(false, DeviceKind::All, None, None);
        let zero = rule(true, DeviceKind::Char, Some(1), Some(5));
        let null = rule(true, DeviceKind::Char, Some(1), Some(3));
        assert!(can_read(dir.path(), "/dev/zero") && can_read(dir.path(), "/dev/null"));
        put(dir.path(), &[deny.clone(), zero]).unwrap();
        assert!(can_read(dir.path(), "/dev/zero") && !can_read(dir.path(), "/dev/null"));
        put(dir.path(), &[deny, null]).unwrap();
        assert!(!can_read(dir.path(), "/dev/zero") && can_read(dir.path(), "/dev/null"));
        let fd = open(dir.path(), OFlag::O_RDONLY, Mode::empty()).unwrap();
        assert_eq!(bpf::query_cgroup_device(&fd).unwrap().len(), 1);
    }
}

//! The well-known traps of cgroups: the kernel has few error numbers for many mistakes.

use std::path::Path;

use nix::errno::Errno;

const NOT_OWNED: &str = "this user does not own the cgroup; run as root, use the systemd cgroup manager, or have the \
                         subtree delegated (systemd: Delegate=yes)";
const DEVICES: &str = "device rules can only be changed with CAP_SYS_ADMIN in the initial user namespace, only to what \
                       the parent cgroup allows, and as a whole only while there are no sub-cgroups";
const THREADED: &str = "the cgroup or its parent is threaded (\"domain invalid\" in cgroup.type); use a path outside of \
                        the threaded subtree";
const HAS_PROCESSES: &str = "processes are in this cgroup itself: a cgroup with processes cannot hand controllers to its \
                             children (\"no internal processes\", cgroups(7)); move them to a child first";
const HANDS_DOWN: &str = "the cgroup hands controllers to its children, so processes can only be in these (\"no internal \
                          processes\", cgroups(7))";
const CPUSET_USED: &str =
    "a child cgroup or a running process still uses CPUs or nodes that would be removed";
const CPUSET_PARENT: &str =
    "the parent cgroup does not have all of these CPUs or nodes, or the host does not";
const CPUSET_EMPTY: &str =
    "the cpuset of this cgroup has no CPUs or no memory nodes (cpuset.cpus, cpuset.mems)";
const REALTIME: &str =
    "the parent cgroup has no realtime budget left to give (cpu.rt_runtime_us is set from the root down)";
const MEMORY_AND_SWAP: &str = "memory and swap together (memory.memsw) can never be less than memory alone";
const SUBTREE: &str = "the kernel does not know the controller, or (cpu) realtime processes run below";
const NO_SWAP: &str = "the kernel does not account swap (boot with swapaccount=1, CONFIG_SWAP)";
const NO_FILE: &str = "this kernel has no such file for this cgroup";
const NO_DEVICE: &str = "no block device has this number, or its I/O scheduler does not support the setting";
const TOO_MANY: &str = "the number or depth of cgroups is limited (cgroup.max.descendants, cgroup.max.depth), or too many \
                        are still being released by the kernel";

/// What usually causes `errno` for this file, and what helps; `value` is what was to be written, if anything.
pub(crate) fn of(path: &Path, value: Option<&str>, errno: Errno) -> Option<String> {
    let file = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let is_procs = matches!(file, "cgroup.procs" | "tasks");
    let text = match errno {
        Errno::EACCES | Errno::EPERM if file.starts_with("devices.") => DEVICES,
        Errno::EINVAL if file.starts_with("devices.") => DEVICES,
        Errno::EACCES | Errno::EPERM => NOT_OWNED,
        Errno::EROFS => "the cgroup file system is mounted read-only here",
        Errno::EOPNOTSUPP if is_procs || file == "cgroup.subtree_control" => THREADED,
        Errno::EBUSY if file == "cgroup.subtree_control" => HAS_PROCESSES,
        Errno::EBUSY if is_procs => HANDS_DOWN,
        Errno::EBUSY if file.starts_with("memory.") => return Some(memory_in_use(path)),
        Errno::EBUSY if file.starts_with("cpuset.") => CPUSET_USED,
        Errno::ENOSPC if is_procs => CPUSET_EMPTY,
        Errno::EINVAL if file.starts_with("cpu.rt_") => REALTIME,
        Errno::EINVAL if file.starts_with("memory.") => MEMORY_AND_SWAP,
        Errno::EINVAL if file == "cgroup.subtree_control" => SUBTREE,
        Errno::EINVAL | Errno::ERANGE if file.starts_with("cpuset.") => CPUSET_PARENT,
        Errno::EINVAL if is_procs => {
            "a kernel thread, or a realtime process without a realtime budget in this cgroup"
        }
        Errno::ESRCH if is_procs => "the process has exited",
        Errno::ENOENT if file.starts_with("memory.memsw.") || file.starts_with("memory.swap.") => NO_SWAP,
        Errno::ENOENT if value.is_some() && path.parent().is_some_and(Path::exists) => NO_FILE,
        Errno::ENODEV if file.starts_with("io.") || file.starts_with("blkio.") => NO_DEVICE,
        Errno::ENOSPC | Errno::EAGAIN if value.is_none() => TOO_MANY,
        _ => return None,
    };
    Some(text.to_owned())
}

fn memory_in_use(path: &Path) -> String {
    let usage = |file: &str| crate::files::read_value(&path.with_file_name(file)).ok();
    match usage("memory.current").or_else(|| usage("memory.usage_in_bytes")) {
        Some(bytes) => format!("more than that is in use ({bytes} bytes) and could not be reclaimed"),
        None => "more than that is in use and could not be reclaimed".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_errno_means_different_things() {
        let of = |file: &str, errno| of(&Path::new("/cg").join(file), Some("1"), errno).unwrap_or_default();
        assert_eq!(of("cgroup.procs", Errno::EBUSY), HANDS_DOWN);
        assert_eq!(of("cgroup.subtree_control", Errno::EBUSY), HAS_PROCESSES);
        assert_eq!(of("tasks", Errno::ENOSPC), CPUSET_EMPTY);
        assert_eq!(of("cgroup.procs", Errno::EOPNOTSUPP), THREADED);
        assert_eq!(of("pids.max", Errno::EACCES), NOT_OWNED);
        assert_eq!(of("pids.max", Errno::EINVAL), "");
    }

    #[test]
    fn a_memory_limit_below_the_usage_says_how_much_is_used() {
        let root = crate::testing::Scratch::new("hint");
        root.file("memory.usage_in_bytes", "8192\n");
        let text = of(&root.path().join("memory.limit_in_bytes"), Some("4096"), Errno::EBUSY);
        assert_eq!(
            text.unwrap_or_default(),
            "more than that is in use (8192 bytes) and could not be reclaimed"
        );
    }
}

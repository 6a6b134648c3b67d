//! What a test needs of the host or of the runtime. A need that is not met skips the test and says why.

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use crate::runtime_under_test::{Kind, kind};
use crate::{cgroup, os};

/// Met, or the reason why not.
pub type Need = Result<(), String>;

/// Skips the calling test unless the host (or the runtime) has everything named: `needs!(root, cgroup_v1);`. The names
/// are the functions of [`host_needs`](crate::host_needs).
#[macro_export]
macro_rules! needs {
    ($($need:ident $(($($argument:expr),*))?),+ $(,)?) => {{
        fn here() {}
        $(if let Err(reason) = $crate::host_needs::$need($($($argument),*)?) {
            $crate::host_needs::skip(std::any::type_name_of_val(&here), &reason);
            return;
        })+
    }};
}

/// Skips the calling test when the runtime under test is a peer known to lack the feature (in the version of Debian 12,
/// runc 1.1.5 and crun 1.8.1): `peer_lacks!(Runc, Crun: "no landlock");`. With `CAISSON_ALL=1` it runs all the same: to
/// see what a later version of a peer can do.
#[macro_export]
macro_rules! peer_lacks {
    ($($peer:ident),+ : $reason:expr) => {{
        fn here() {}
        use $crate::runtime_under_test::{Kind, kind};
        if [$(Kind::$peer),+].contains(&kind()) && std::env::var_os("CAISSON_ALL").is_none() {
            $crate::host_needs::skip(std::any::type_name_of_val(&here), &format!("{:?}: {}", kind(), $reason));
            return;
        }
    }};
}

/// Reports a skip on standard error past the capture of the test harness, and to the file named by `CAISSON_SKIPS`.
pub fn skip(test: &str, reason: &str) {
    let name = test.trim_end_matches("::here");
    let name = name.split_once("::").map_or(name, |(_, rest)| rest);
    let line = format!("SKIP {name}: {reason}\n");
    // One write, so that lines of parallel tests do not mix. A closed stderr is no reason to fail.
    drop(std::io::stderr().write_all(line.as_bytes()));
    if let Some(path) = std::env::var_os("CAISSON_SKIPS") {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&path);
        let written = file.and_then(|mut file| file.write_all(line.as_bytes()));
        written.unwrap_or_else(|error| panic!("append to {}: {error}", Path::new(&path).display()));
    }
}

fn need(met: bool, reason: &str) -> Need {
    if met { Ok(()) } else { Err(reason.to_owned()) }
}

/// The tests run as root.
pub fn root() -> Need {
    need(os::effective_uid() == 0, "needs root")
}

/// The one cgroup v2 hierarchy is at /sys/fs/cgroup.
pub fn cgroup_v2() -> Need {
    need(cgroup::is_v2(), "needs cgroup v2; this host has v1 or hybrid")
}

/// v1 controllers are mounted below /sys/fs/cgroup.
pub fn cgroup_v1() -> Need {
    need(!cgroup::is_v2() && cgroup::has_controller("memory"), "needs cgroup v1 controllers")
}

/// A cgroup controller of either version.
pub fn controller(name: &str) -> Need {
    need(cgroup::has_controller(name), &format!("needs the cgroup controller {name}"))
}

/// systemd is process 1.
pub fn systemd() -> Need {
    need(Path::new("/run/systemd/system").is_dir(), "needs systemd as process 1")
}

/// systemd is not process 1.
pub fn no_systemd() -> Need {
    need(systemd().is_err(), "needs a host without systemd")
}

/// The lab's ordinary user, whose systemd manager runs, and the program that becomes that user.
pub fn user_manager() -> Need {
    let running = Path::new("/run/user/1000/systemd").exists();
    need(running && program("as-tester").is_ok(), "needs the user `tester` with a systemd user manager")
}

/// Mounts of the host propagate to other mount namespaces, as systemd has it.
pub fn shared_mounts() -> Need {
    let table = std::fs::read_to_string("/proc/1/mountinfo").unwrap_or_default();
    let shared = table.lines().any(|line| line.contains(" / / ") && line.contains(" shared:"));
    need(shared, "needs a host whose mounts are shared")
}

/// A kernel from this version on.
pub fn kernel(major: u32, minor: u32) -> Need {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|word| word.parse::<u32>().ok());
    let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    need(found >= (major, minor), &format!("needs Linux {major}.{minor}"))
}

/// The kernel enforces AppArmor.
pub fn apparmor() -> Need {
    need(file_says("/sys/module/apparmor/parameters/enabled", "Y"), "needs a kernel with AppArmor enabled")
}

/// The kernel has no AppArmor enabled.
pub fn no_apparmor() -> Need {
    need(apparmor().is_err(), "needs a kernel without AppArmor")
}

/// The kernel enforces SELinux.
pub fn selinux() -> Need {
    need(Path::new("/sys/fs/selinux/enforce").exists(), "needs a kernel with SELinux enabled")
}

/// The kernel has no SELinux enabled.
pub fn no_selinux() -> Need {
    need(selinux().is_err(), "needs a kernel without SELinux")
}

/// /dev/kvm is there.
pub fn kvm() -> Need {
    need(Path::new("/dev/kvm").exists(), "needs /dev/kvm")
}

/// An ordinary user may make a user namespace.
pub fn userns() -> Need {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "unshare", "-Urm", "true"]);
    if os::effective_uid() != 0 {
        command = Command::new("unshare");
        command.args(["-Urm", "true"]);
    }
    need(command.output().is_ok_and(|out| out.status.success()), "needs user namespaces for ordinary users")
}

/// The kernel has the namespace kind, by its file's name in /proc/self/ns.
pub fn namespace(kind: &str) -> Need {
    need(Path::new("/proc/self/ns").join(kind).exists(), &format!("needs {kind} namespaces in the kernel"))
}

/// The kernel has seccomp filters.
pub fn seccomp() -> Need {
    need(Path::new("/proc/sys/kernel/seccomp/actions_avail").exists(), "needs seccomp filters in the kernel")
}

/// The tests hold CAP_SYS_RESOURCE (raise limits, lower oom_score_adj).
pub fn cap_sys_resource() -> Need {
    need(has_capability(24), "needs CAP_SYS_RESOURCE")
}

/// The tests hold CAP_SYS_NICE (real-time policies, negative nice values).
pub fn cap_sys_nice() -> Need {
    need(has_capability(23), "needs CAP_SYS_NICE")
}

/// A process in a new cgroup may have a real-time policy.
pub fn real_time() -> Need {
    // With CONFIG_RT_GROUP_SCHED a new v1 cpu cgroup has no real-time budget at all (sched-rt-group.rst).
    let grouped = Path::new("/sys/fs/cgroup/cpu/cpu.rt_runtime_us").exists();
    need(!grouped, "needs a kernel without real-time group scheduling")
}

/// A file of the host.
pub fn file(path: &str) -> Need {
    if std::path::Path::new(path).exists() { Ok(()) } else { Err(format!("needs {path}")) }
}

/// A program of the host is installed.
pub fn program(name: &str) -> Need {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let mut dirs: Vec<_> = std::env::split_paths(&paths).collect();
    dirs.extend(["/usr/sbin".into(), "/sbin".into()]);
    need(dirs.iter().any(|dir| dir.join(name).exists()), &format!("needs the program {name}"))
}

/// A criu in PATH that works with this kernel.
pub fn criu() -> Need {
    static MET: OnceLock<Need> = OnceLock::new();
    let check = || {
        let output = Command::new("criu").arg("check").output();
        let output = output.map_err(|error| format!("needs the program criu: {error}"))?;
        need(output.status.success(), "needs a criu that works with this kernel: criu check fails")
    };
    MET.get_or_init(check).clone()
}

/// criu and the kernel can copy memory when it is used (userfaultfd).
pub fn lazy_pages() -> Need {
    let output = Command::new("criu").args(["check", "--feature", "uffd-noncoop"]).output();
    need(
        output.is_ok_and(|out| out.status.success()),
        "needs a criu and a kernel with lazy pages (userfaultfd)",
    )
}

/// The kernel remembers which memory was written to (CONFIG_MEM_SOFT_DIRTY), and criu uses it.
pub fn memory_tracking() -> Need {
    let output = Command::new("criu").args(["check", "--feature", "mem_dirty_track"]).output();
    need(output.is_ok_and(|out| out.status.success()), "needs memory tracking (CONFIG_MEM_SOFT_DIRTY)")
}

/// The file system of the temporary directory can be mounted with mapped ids.
pub fn idmapped_mounts() -> Need {
    let kinds = ["ext4", "xfs", "btrfs", "tmpfs", "overlay", "f2fs"];
    let output = Command::new("stat").args(["-f", "-c", "%T"]).arg(std::env::temp_dir()).output();
    let kind = output.map(|out| String::from_utf8_lossy(&out.stdout).trim().to_owned()).unwrap_or_default();
    let known = kinds.contains(&kind.as_str()) || kind == "ext2/ext3" || kind == "overlayfs";
    need(known, &format!("needs a temporary directory that can be idmapped; it is {kind}"))
}

/// The kernel has Landlock.
pub fn landlock() -> Need {
    let list = std::fs::read_to_string("/sys/kernel/security/lsm").unwrap_or_default();
    // securityfs may not be mounted: then the kernel's symbol says it.
    let symbols =
        || std::fs::read_to_string("/proc/kallsyms").unwrap_or_default().contains("landlock_restrict_self");
    need(list.contains("landlock") || symbols(), "needs a kernel with Landlock")
}

/// The kernel has NUMA memory policies.
pub fn numa() -> Need {
    need(Path::new("/proc/self/numa_maps").exists(), "needs a kernel with NUMA memory policies")
}

/// The root file system is on a whole block device (throttling wants one, not a partition).
pub fn whole_disk_root() -> Need {
    let (major, minor) = root_device();
    let device = format!("/sys/dev/block/{major}:{minor}");
    let whole = Path::new(&device).exists() && !Path::new(&device).join("partition").exists();
    need(whole, "needs a root file system on a whole block device")
}

/// Major and minor number of the device of the root file system.
pub fn root_device() -> (u32, u32) {
    let device =
        std::fs::metadata("/").map(|root| std::os::unix::fs::MetadataExt::dev(&root)).unwrap_or_default();
    (libc::major(device), libc::minor(device))
}

/// The tests run in the lab's virtual machine.
pub fn lab() -> Need {
    need(std::env::var_os("CAISSON_LAB").is_some(), "needs the lab's virtual machine")
}

/// The program under test is caisson.
pub fn runtime_caisson() -> Need {
    need(kind() == Kind::Caisson, "only caisson has this")
}

fn has_capability(number: u32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let mask = line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    mask & (1 << number) != 0
}

fn file_says(path: &str, text: &str) -> bool {
    std::fs::read_to_string(path).is_ok_and(|content| content.trim() == text)
}

//! The host as planning needs to know it: the only reader of the host for the plan.
//!
//! On the path of every `create`, so it is a handful of system calls: cgroups by statfs(2) and /proc/self/cgroup,
//! mountinfo only where the usual places are empty. What only some configurations need is left out
//! (`filesystems`) and read by `validate` and `features`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use caisson_plan::facts::{CgroupFacts, HostFacts, V1Hierarchy, V2Tree};
use caisson_plan::ids::{CgroupPath, HostPath};
use nix::sys::statfs::{CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, FsType, statfs};

/// `RDTGROUP_SUPER_MAGIC` of linux/magic.h.
const RESCTRL_MAGIC: FsType = FsType(0x0765_5821);
/// Inode of the initial user namespace (`PROC_USER_INIT_INO`): a constant of the kernel.
const INITIAL_USER_NAMESPACE: u64 = 0xEFFF_FFFD;
/// Where cgroups are mounted (systemd's layout, which every distribution follows).
const CGROUP_ROOT: &str = "/sys/fs/cgroup";

/// Probes what a `create` needs.
///
/// # Errors
/// When /proc is not there: nothing works without it.
pub fn host() -> anyhow::Result<HostFacts> {
    let euid = nix::unistd::geteuid().as_raw();
    let in_userns = in_user_namespace().context("look at /proc/self/ns/user: is /proc mounted?")?;
    let rootless = euid != 0 || in_userns;
    Ok(HostFacts {
        kernel: kernel()?,
        euid,
        egid: nix::unistd::getegid().as_raw(),
        in_userns,
        capabilities: caisson_sys::caps::capget().context("read own capabilities")?.effective.0,
        last_cap: caisson_sys::caps::last_cap(),
        cgroups: cgroups().context("find the cgroups")?,
        systemd: Path::new("/run/systemd/system").is_dir(),
        apparmor: fs::read("/sys/module/apparmor/parameters/enabled")
            .is_ok_and(|text| text.starts_with(b"Y")),
        selinux: Path::new("/sys/fs/selinux/enforce").exists(),
        landlock_abi: caisson_sys::landlock::abi().unwrap_or(0),
        resctrl: is_on("/sys/fs/resctrl", RESCTRL_MAGIC).then(|| HostPath::new("/sys/fs/resctrl")),
        newuidmap: if rootless { find_program("newuidmap") } else { None },
        newgidmap: if rootless { find_program("newgidmap") } else { None },
        filesystems: Vec::new(),
    })
}

/// Probes everything: for `validate`, `explain` and `features`, where time does not matter.
///
/// # Errors
/// See [`host`].
pub fn host_in_full() -> anyhow::Result<HostFacts> {
    let mut facts = host()?;
    facts.filesystems = filesystems();
    facts.newuidmap = find_program("newuidmap");
    facts.newgidmap = find_program("newgidmap");
    Ok(facts)
}

/// Names of /proc/filesystems.
#[must_use]
pub fn filesystems() -> Vec<String> {
    let text = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    text.lines().filter_map(|line| line.split_ascii_whitespace().last()).map(str::to_owned).collect()
}

/// The kernel's release as (major, minor).
///
/// # Errors
/// When uname(2) fails or the release does not start with two numbers.
pub fn kernel() -> anyhow::Result<(u32, u32)> {
    let name = nix::sys::utsname::uname().context("uname")?;
    let release = name.release().to_string_lossy();
    parse_release(&release).with_context(|| format!("kernel release {release:?}"))
}

fn parse_release(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn in_user_namespace() -> std::io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    Ok(fs::metadata("/proc/self/ns/user")?.ino() != INITIAL_USER_NAMESPACE)
}

/// A program in the usual directories: PATH of the caller must not decide which setuid program is run.
#[must_use]
pub fn find_program(name: &str) -> Option<HostPath> {
    let dirs = ["/usr/bin", "/usr/local/bin", "/bin", "/usr/sbin", "/sbin", "/run/wrappers/bin"];
    dirs.iter().map(|dir| Path::new(dir).join(name)).find(|path| path.is_file()).map(HostPath::new)
}

fn is_on(path: impl AsRef<Path>, magic: FsType) -> bool {
    statfs(path.as_ref()).is_ok_and(|found| found.filesystem_type() == magic)
}

/// Which cgroup hierarchies there are.
fn cgroups() -> std::io::Result<CgroupFacts> {
    let own = fs::read_to_string("/proc/self/cgroup")?;
    if is_on(CGROUP_ROOT, CGROUP2_SUPER_MAGIC) {
        return Ok(CgroupFacts::V2(v2_tree(PathBuf::from(CGROUP_ROOT), &own)));
    }
    let hierarchies: Vec<V1Hierarchy> = own.lines().filter_map(v1_hierarchy).collect();
    let unified = Path::new(CGROUP_ROOT).join("unified");
    let unified = is_on(&unified, CGROUP2_SUPER_MAGIC).then(|| v2_tree(unified, &own));
    Ok(match (hierarchies.is_empty(), unified) {
        (true, None) => CgroupFacts::None,
        (true, Some(tree)) => CgroupFacts::V2(tree),
        (false, unified) => CgroupFacts::V1 { hierarchies, unified },
    })
}

fn v2_tree(mount: PathBuf, own: &str) -> V2Tree {
    let controllers = fs::read_to_string(mount.join("cgroup.controllers")).unwrap_or_default();
    let path = own.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
    V2Tree {
        mount: HostPath::new(mount),
        own: CgroupPath::new(path),
        controllers: controllers.split_ascii_whitespace().map(str::to_owned).collect(),
    }
}

/// One line of /proc/self/cgroup, `4:cpu,cpuacct:/path`, if that hierarchy is mounted.
fn v1_hierarchy(line: &str) -> Option<V1Hierarchy> {
    let (controllers, own) = parse_v1_line(line)?;
    let dir = controllers.strip_prefix("name=").unwrap_or(controllers);
    let usual = Path::new(CGROUP_ROOT).join(dir);
    let mount = if is_on(&usual, CGROUP_SUPER_MAGIC) { usual } else { mount_of(controllers)? };
    Some(V1Hierarchy {
        controllers: controllers.split(',').map(str::to_owned).collect(),
        mount: HostPath::new(mount),
        own: CgroupPath::new(own),
    })
}

fn parse_v1_line(line: &str) -> Option<(&str, &str)> {
    let mut fields = line.splitn(3, ':');
    let (_number, controllers, own) = (fields.next()?, fields.next()?, fields.next()?);
    (!controllers.is_empty()).then_some((controllers, own))
}

/// Where a v1 hierarchy is mounted, when it is not in the usual place.
fn mount_of(controllers: &str) -> Option<PathBuf> {
    find_in_mountinfo(&fs::read_to_string("/proc/self/mountinfo").ok()?, controllers)
}

fn find_in_mountinfo(mountinfo: &str, controllers: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let (mount, filesystem) = line.split_once(" - ")?;
        let mut filesystem = filesystem.split(' ');
        if filesystem.next()? != "cgroup" {
            return None;
        }
        let options: Vec<&str> = filesystem.nth(1)?.split(',').collect();
        let found = controllers.split(',').all(|controller| options.contains(&controller));
        found.then(|| mount.split(' ').nth(4).map(PathBuf::from)).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn release_takes_the_first_two_numbers() {
        assert_eq!(parse_release("6.18.0-cloud-amd64"), Some((6, 18)));
        assert_eq!(parse_release("5.10-rc1"), Some((5, 10)));
        assert_eq!(parse_release("next"), None);
    }

    #[test]
    fn v1_line_keeps_colons_of_the_path() {
        assert_eq!(parse_v1_line("4:cpu,cpuacct:/a:b"), Some(("cpu,cpuacct", "/a:b")));
        assert_eq!(parse_v1_line("0::/unified"), None);
    }

    #[test]
    fn mountinfo_finds_a_hierarchy_by_all_its_controllers() {
        let mountinfo = "30 25 0:26 / /cg/cpu rw - cgroup cgroup rw,cpuset\n\
                         31 25 0:27 / /cg/both rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct\n";
        assert_eq!(find_in_mountinfo(mountinfo, "cpuacct,cpu"), Some(PathBuf::from("/cg/both")));
        assert_eq!(find_in_mountinfo(mountinfo, "memory"), None);
    }

    #[test]
    fn this_host_can_be_probed() {
        let facts = host_in_full().unwrap();
        assert!(facts.kernel >= (5, 10), "{:?}", facts.kernel);
        assert!(facts.filesystems.iter().any(|name| name == "proc"));
    }
}

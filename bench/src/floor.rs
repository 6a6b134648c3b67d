//! The floor: what the kernel needs for `run /bin/true`, and nothing else.
//!
//! It makes the namespaces, mounts, device nodes and cgroups that the default bundle asks for, runs `/bin/true` and
//! removes the cgroups. No JSON, no state, no seccomp, no capabilities, no masked paths: whatever a runtime takes
//! above this is its own doing.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::kernel::{self, FsOption};

const NOSUID: u64 = libc::MOUNT_ATTR_NOSUID;
const NODEV: u64 = libc::MOUNT_ATTR_NODEV;
const NOEXEC: u64 = libc::MOUNT_ATTR_NOEXEC;
const RDONLY: u64 = libc::MOUNT_ATTR_RDONLY;

/// What the floor is asked to make.
#[derive(Debug)]
pub struct Floor {
    pub rootfs: PathBuf,
    /// The directories of this one container: one in each v1 hierarchy, or one of cgroup2. Their parents exist.
    pub cgroups: Vec<PathBuf>,
    /// Whether the directory is one of cgroup2 and the child is born in it.
    pub unified: bool,
    /// Whether to make a cgroup namespace as well.
    pub cgroup_namespace: bool,
}

/// A cgroup directory by the paths that the floor needs of it.
struct Cgroup {
    dir: CString,
    procs: CString,
    mount_point: CString,
}

/// Runs `/bin/true` in a new container and waits for it.
pub fn run(floor: &Floor) -> Result<()> {
    let cgroups = floor.cgroups.iter().map(|dir| cgroup_paths(dir)).collect::<Result<Vec<_>>>()?;
    let rootfs = c_string(floor.rootfs.as_os_str().as_encoded_bytes())?;
    for cgroup in &cgroups {
        kernel::make_dir(&cgroup.dir).with_context(|| format!("mkdir {}", cgroup.dir.to_string_lossy()))?;
    }
    let outcome = start_and_wait(floor, &cgroups, &rootfs);
    for cgroup in &cgroups {
        kernel::remove_dir(&cgroup.dir).with_context(|| format!("rmdir {}", cgroup.dir.to_string_lossy()))?;
    }
    outcome
}

fn start_and_wait(floor: &Floor, cgroups: &[Cgroup], rootfs: &CStr) -> Result<()> {
    let mut flags =
        libc::CLONE_NEWPID | libc::CLONE_NEWNS | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS | libc::CLONE_NEWNET;
    if floor.cgroup_namespace {
        flags |= libc::CLONE_NEWCGROUP;
    }
    let born_in: Option<OwnedFd> = match floor.cgroups.first() {
        Some(dir) if floor.unified => Some(std::fs::File::open(dir).context("open cgroup")?.into()),
        _ => None,
    };
    let flags = flags.unsigned_abs().into();
    match kernel::clone_process(flags, born_in.as_ref().map(AsFd::as_fd)).context("clone3")? {
        Some(pid) => match kernel::wait(pid).context("wait")?.success {
            true => Ok(()),
            false => bail!("the container's process failed"),
        },
        None => {
            let error = match enter(floor, cgroups, rootfs) {
                Ok(()) => anyhow::Error::from(kernel::execute(c"/bin/true")).context("execve /bin/true"),
                Err(error) => error,
            };
            eprintln!("floor: {error:#}");
            kernel::exit_now(125)
        }
    }
}

fn cgroup_paths(dir: &Path) -> Result<Cgroup> {
    // /sys/fs/cgroup/NAME/…: the container sees its own directory as /sys/fs/cgroup/NAME.
    let name = dir.components().nth(4).context("a cgroup directory is beneath /sys/fs/cgroup")?;
    let name = name.as_os_str().as_encoded_bytes();
    let bytes = dir.as_os_str().as_encoded_bytes();
    Ok(Cgroup {
        dir: c_string(bytes)?,
        procs: c_string(&[bytes, b"/cgroup.procs"].concat())?,
        mount_point: c_string(&[b"sys/fs/cgroup/", name].concat())?,
    })
}

fn c_string(bytes: &[u8]) -> Result<CString> {
    Ok(CString::new(bytes)?)
}

/// In the child: cgroups, mounts, devices, the new root.
fn enter(floor: &Floor, cgroups: &[Cgroup], rootfs: &CStr) -> Result<()> {
    if !floor.unified {
        for cgroup in cgroups {
            kernel::write_file(&cgroup.procs, "0")
                .with_context(|| format!("join {}", cgroup.dir.to_string_lossy()))?;
        }
    }
    kernel::make_root_private().context("make / private")?;
    let root =
        kernel::clone_mount(rootfs).with_context(|| format!("open_tree {}", rootfs.to_string_lossy()))?;
    kernel::attach(root.as_fd(), rootfs).context("attach the root file system")?;
    kernel::change_dir(rootfs).context("chdir to the root file system")?;
    mount_all(floor, cgroups)?;
    kernel::set_attributes(root.as_fd(), RDONLY).context("make the root read-only")?;
    kernel::pivot_here().context("pivot_root")
}

fn mount_new(at: &CStr, fstype: &CStr, options: &[FsOption], attributes: u64) -> Result<OwnedFd> {
    let make = || -> io::Result<OwnedFd> {
        let mount = kernel::new_mount(fstype, options, attributes)?;
        kernel::attach(mount.as_fd(), at)?;
        Ok(mount)
    };
    make().with_context(|| format!("mount {} on {}", fstype.to_string_lossy(), at.to_string_lossy()))
}

fn mount_all(floor: &Floor, cgroups: &[Cgroup]) -> Result<()> {
    use FsOption::{Flag, Value};
    let all = NOSUID | NODEV | NOEXEC;
    mount_new(c"proc", c"proc", &[], 0)?;
    mount_new(c"dev", c"tmpfs", &[Value(c"mode", c"755"), Value(c"size", c"65536k")], NOSUID)?;
    make_devices().context("make /dev")?;
    let pts =
        [Flag(c"newinstance"), Value(c"ptmxmode", c"0666"), Value(c"mode", c"0620"), Value(c"gid", c"5")];
    mount_new(c"dev/pts", c"devpts", &pts, NOSUID | NOEXEC)?;
    mount_new(c"dev/shm", c"tmpfs", &[Value(c"mode", c"1777"), Value(c"size", c"65536k")], all)?;
    mount_new(c"dev/mqueue", c"mqueue", &[], all)?;
    mount_new(c"sys", c"sysfs", &[], all | RDONLY)?;
    if floor.unified {
        mount_new(c"sys/fs/cgroup", c"cgroup2", &[], all | RDONLY)?;
        return Ok(());
    }
    let dir = mount_new(c"sys/fs/cgroup", c"tmpfs", &[Value(c"mode", c"755")], all)?;
    for cgroup in cgroups {
        bind_cgroup(cgroup, all | RDONLY)
            .with_context(|| format!("bind {}", cgroup.dir.to_string_lossy()))?;
    }
    kernel::set_attributes(dir.as_fd(), RDONLY).context("make /sys/fs/cgroup read-only")
}

fn bind_cgroup(cgroup: &Cgroup, attributes: u64) -> io::Result<()> {
    kernel::make_dir(&cgroup.mount_point)?;
    let mount = kernel::clone_mount(&cgroup.dir)?;
    kernel::set_attributes(mount.as_fd(), attributes)?;
    kernel::attach(mount.as_fd(), &cgroup.mount_point)
}

fn make_devices() -> io::Result<()> {
    for dir in [c"dev/pts", c"dev/shm", c"dev/mqueue"] {
        kernel::make_dir(dir)?;
    }
    let nodes =
        [(c"dev/null", 3), (c"dev/zero", 5), (c"dev/full", 7), (c"dev/random", 8), (c"dev/urandom", 9)];
    for (path, minor) in nodes {
        kernel::make_device(path, 1, minor)?;
    }
    kernel::make_device(c"dev/tty", 5, 0)?;
    kernel::make_link(c"/proc/self/fd", c"dev/fd")?;
    kernel::make_link(c"/proc/self/fd/0", c"dev/stdin")?;
    kernel::make_link(c"/proc/self/fd/1", c"dev/stdout")?;
    kernel::make_link(c"/proc/self/fd/2", c"dev/stderr")?;
    kernel::make_link(c"pts/ptmx", c"dev/ptmx")
}

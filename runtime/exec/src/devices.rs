//! Device nodes and the links in `/dev`, all relative to directories opened in the root (CVE-2026-41579).

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use caisson_plan::step::mounts::DevicePlan;
use caisson_sys::mount::OpenTree;
use caisson_sys::path::{self, NodeKind, OFlag};
use caisson_sys::{Errno, mount};

use crate::error::{Act, Context, Failure};
use crate::mounts::parent_and_name;

const S_IFBLK: u32 = 0o060_000;
const S_IFIFO: u32 = 0o010_000;

/// Makes every node, or binds the host's.
pub(crate) fn make_all(root: &OwnedFd, devices: &[DevicePlan]) -> Act {
    devices.iter().try_for_each(|device| if device.bind { bind(root, device) } else { make(root, device) })
}

fn make(root: &OwnedFd, device: &DevicePlan) -> Act {
    let what = || format!("make device {}", device.path);
    let (parent, name) = parent_and_name(root, device.path.beneath())?;
    let name = Path::new(&name);
    let kind = match device.node_type {
        S_IFBLK => NodeKind::Block,
        S_IFIFO => NodeKind::Fifo,
        _ => NodeKind::Char,
    };
    let number = if kind == NodeKind::Fifo { 0 } else { path::makedev(device.major, device.minor) };
    // The umask of the caller must not thin out the mode: it is set explicitly below.
    match path::mknodat(parent.as_fd(), name, kind, device.mode, number) {
        Ok(()) => {}
        Err(Errno::EEXIST) => return same_node(&parent, name, kind, number).on(what),
        Err(Errno::EPERM) => return bind(root, device),
        Err(errno) => return Err(Failure::errno(what(), errno)),
    }
    let node = path::open_beneath(parent.as_fd(), name, OFlag::O_PATH | OFlag::O_NOFOLLOW).on(what)?;
    path::fchmod(node.as_fd(), device.mode & 0o7777).on(what)?;
    path::fchown(node.as_fd(), Some(device.uid), Some(device.gid)).on(what)
}

/// An image may bring its nodes along; another thing of that name is an error, never silently used.
fn same_node(parent: &OwnedFd, name: &Path, kind: NodeKind, number: u64) -> caisson_sys::Result<()> {
    let stat = path::fstatat(parent.as_fd(), name, false)?;
    let same_kind = match kind {
        NodeKind::Block => stat.is_block(),
        NodeKind::Char => stat.is_char(),
        NodeKind::Fifo => return if stat.is_fifo() { Ok(()) } else { Err(Errno::EEXIST) },
        _ => false,
    };
    if same_kind && stat.rdev == number { Ok(()) } else { Err(Errno::EEXIST) }
}

/// mknod(2) is not for user namespaces: the host's own node is mounted onto an empty file.
fn bind(root: &OwnedFd, device: &DevicePlan) -> Act {
    let what = || format!("bind the host's {} for device {}", device.path, device.path);
    let node = mount::open_tree(None, device.path.as_path(), OpenTree::CLONE).on(what)?;
    let stat = path::fstat(node.as_fd()).on(what)?;
    if device.node_type != S_IFIFO && stat.rdev != path::makedev(device.major, device.minor) {
        let found = format!("the host's node is {}:{}", path::major(stat.rdev), path::minor(stat.rdev));
        return Err(
            Failure::new(what()).detail(format!("expected {}:{}, {found}", device.major, device.minor))
        );
    }
    let target = path::create_file_in_root(root.as_fd(), device.path.beneath(), 0o666).on(what)?;
    mount::move_mount(node.as_fd(), target.as_fd()).on(what)
}

/// The links that programs expect in `/dev`; those an image brings stay.
pub(crate) fn links(root: &OwnedFd) -> Act {
    let dev = path::open_dir_nofollow_in_root(root.as_fd(), Path::new("dev")).map_err(|errno| {
        let failure = Failure::errno("open /dev in the root file system", errno);
        match errno {
            Errno::ENOTDIR | Errno::ELOOP => failure.detail("it is a symbolic link or a file"),
            _ => failure,
        }
    })?;
    let links = [
        ("/proc/self/fd", "fd"),
        ("/proc/self/fd/0", "stdin"),
        ("/proc/self/fd/1", "stdout"),
        ("/proc/self/fd/2", "stderr"),
    ];
    for (target, name) in links {
        link(&dev, target, name)?;
    }
    if path::fstatat(root.as_fd(), Path::new("proc/kcore"), false).is_ok() {
        link(&dev, "/proc/kcore", "core")?;
    }
    // A ptmx of an image would lead to the host's terminals; only the container's own devpts will do.
    match path::unlinkat(dev.as_fd(), Path::new("ptmx")) {
        Ok(()) | Err(Errno::ENOENT | Errno::EISDIR | Errno::EBUSY | Errno::EPERM) => {}
        Err(errno) => return Err(Failure::errno("replace /dev/ptmx", errno)),
    }
    link(&dev, "pts/ptmx", "ptmx")
}

fn link(dev: &OwnedFd, target: &str, name: &str) -> Act {
    match path::symlinkat(Path::new(target), dev.as_fd(), Path::new(name)) {
        Ok(()) | Err(Errno::EEXIST) => Ok(()),
        Err(errno) => Err(Failure::errno(format!("link /dev/{name} to {target}"), errno)),
    }
}

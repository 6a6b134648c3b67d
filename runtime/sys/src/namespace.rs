//! Namespaces: entering, leaving, naming.

use std::os::fd::{AsFd, OwnedFd};

use nix::fcntl::OFlag;
use nix::unistd::Pid;

use crate::raw::num;
use crate::{Errno, Result, path};

bitflags::bitflags! {
    /// A set of namespaces (`CLONE_NEW*`).
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct Namespaces: u64 {
        /// Mounts.
        const MNT = libc::CLONE_NEWNS as u64;
        /// Host and domain name.
        const UTS = libc::CLONE_NEWUTS as u64;
        /// System V IPC and POSIX message queues.
        const IPC = libc::CLONE_NEWIPC as u64;
        /// User and group ids, capabilities.
        const USER = libc::CLONE_NEWUSER as u64;
        /// Process ids.
        const PID = libc::CLONE_NEWPID as u64;
        /// Network.
        const NET = libc::CLONE_NEWNET as u64;
        /// View of the cgroup hierarchy.
        const CGROUP = libc::CLONE_NEWCGROUP as u64;
        /// Monotonic and boot-time clocks.
        const TIME = libc::CLONE_NEWTIME as u64;
    }
}

impl Namespaces {
    /// The name under `/proc/PID/ns` when exactly one namespace is in the set.
    pub fn proc_name(self) -> Option<&'static str> {
        Some(match self {
            Self::MNT => "mnt",
            Self::UTS => "uts",
            Self::IPC => "ipc",
            Self::USER => "user",
            Self::PID => "pid",
            Self::NET => "net",
            Self::CGROUP => "cgroup",
            Self::TIME => "time",
            _ => return None,
        })
    }
}

/// `setns(fd, kind)`: enters the namespace `fd` stands for; with an empty set, of whatever kind it is.
///
/// # Errors
/// `EINVAL` when it is of another kind, or for user and mount namespaces when this process has several
/// threads.
///
/// # References
/// - [setns(2)](https://man7.org/linux/man-pages/man2/setns.2.html)
pub fn setns(fd: impl AsFd, kind: Namespaces) -> Result<()> {
    // SAFETY: no pointers.
    unsafe { sys!(SYS_setns, num(&fd), kind.bits()) }.map(drop)
}

/// `setns(pidfd, kinds)`: enters several namespaces of a process at once, all or none (Linux 5.8).
///
/// # References
/// - [setns(2)](https://man7.org/linux/man-pages/man2/setns.2.html)
pub fn setns_pidfd(pidfd: impl AsFd, kinds: Namespaces) -> Result<()> {
    setns(pidfd, kinds)
}

/// `unshare(kinds)`
///
/// # References
/// - [unshare(2)](https://man7.org/linux/man-pages/man2/unshare.2.html)
pub fn unshare(kinds: Namespaces) -> Result<()> {
    // SAFETY: no pointers; CLONE_FILES and CLONE_VM cannot be asked for, so memory and descriptors stay as
    // they are.
    unsafe { sys!(SYS_unshare, kinds.bits()) }.map(drop)
}

/// `open("/proc/PID/ns/KIND")`; pid 0 is the calling thread. Host side only.
///
/// # Errors
/// `EINVAL` when `kind` is not exactly one namespace; `ENOENT` when the kernel lacks it; `EXDEV` when what is
/// there is no namespace.
///
/// # References
/// - [namespaces(7)](https://man7.org/linux/man-pages/man7/namespaces.7.html)
pub fn open_ns(pid: Pid, kind: Namespaces) -> Result<OwnedFd> {
    let name = kind.proc_name().ok_or(Errno::EINVAL)?;
    let path = match pid.as_raw() {
        0 => format!("/proc/thread-self/ns/{name}"),
        pid => format!("/proc/{pid}/ns/{name}"),
    };
    let fd = path::open(path.as_str(), OFlag::O_RDONLY)?;
    if path::fs_magic(&fd)? == libc::NSFS_MAGIC { Ok(fd) } else { Err(Errno::EXDEV) }
}

// linux/nsfs.h
const NS_GET_USERNS: u32 = 0xb701;
const NS_GET_NSTYPE: u32 = 0xb703;
const NS_GET_OWNER_UID: u32 = 0xb704;

/// `ioctl(fd, NS_GET_NSTYPE)`: the kind of a namespace.
///
/// # Errors
/// `ENOTTY` when `fd` is no namespace: a container's path may name any file.
///
/// # References
/// - [ioctl_nsfs(2)](https://man7.org/linux/man-pages/man2/ioctl_nsfs.2.html)
pub fn ns_type(fd: impl AsFd) -> Result<Namespaces> {
    // A descriptor of another kind might know this number as a request of its own; nsfs is checked first.
    if path::fs_magic(&fd)? != libc::NSFS_MAGIC {
        return Err(Errno::ENOTTY);
    }
    // SAFETY: the request has no argument.
    let kind = unsafe { sys!(SYS_ioctl, num(&fd), NS_GET_NSTYPE, 0) }?;
    Namespaces::from_bits(kind as u64).ok_or(Errno::EINVAL)
}

/// `ioctl(fd, NS_GET_OWNER_UID, &uid)`: who made the user namespace, as the caller sees the id.
///
/// # References
/// - [ioctl_nsfs(2)](https://man7.org/linux/man-pages/man2/ioctl_nsfs.2.html)
pub fn ns_owner_uid(userns: impl AsFd) -> Result<u32> {
    if ns_type(&userns)? != Namespaces::USER {
        return Err(Errno::EINVAL);
    }
    let mut uid: libc::uid_t = 0;
    // SAFETY: the descriptor is a user namespace (checked), for which the request stores a uid_t at the
    // address given.
    unsafe { sys!(SYS_ioctl, num(&userns), NS_GET_OWNER_UID, &raw mut uid) }?;
    Ok(uid)
}

/// `ioctl(fd, NS_GET_USERNS)`: the user namespace that owns a namespace.
///
/// # References
/// - [ioctl_nsfs(2)](https://man7.org/linux/man-pages/man2/ioctl_nsfs.2.html)
pub fn ns_userns(fd: impl AsFd) -> Result<OwnedFd> {
    ns_type(&fd)?;
    // SAFETY: a namespace (checked); the request has no argument and returns a new descriptor, close-on-exec.
    unsafe { sys_fd!(SYS_ioctl, num(&fd), NS_GET_USERNS, 0) }
}

/// Whether two descriptors stand for one namespace: equal device and inode.
///
/// # References
/// - [namespaces(7)](https://man7.org/linux/man-pages/man7/namespaces.7.html)
pub fn is_same_ns(a: impl AsFd, b: impl AsFd) -> Result<bool> {
    let (a, b) = (path::fstat(a)?, path::fstat(b)?);
    Ok((a.dev, a.ino) == (b.dev, b.ino))
}

/// `sethostname(name)`
///
/// # References
/// - [sethostname(2)](https://man7.org/linux/man-pages/man2/sethostname.2.html)
pub fn set_hostname(name: &str) -> Result<()> {
    // SAFETY: the name is valid for its length.
    unsafe { sys!(SYS_sethostname, name.as_ptr(), name.len()) }.map(drop)
}

/// `setdomainname(name)`
///
/// # References
/// - [setdomainname(2)](https://man7.org/linux/man-pages/man2/setdomainname.2.html)
pub fn set_domainname(name: &str) -> Result<()> {
    // SAFETY: the name is valid for its length.
    unsafe { sys!(SYS_setdomainname, name.as_ptr(), name.len()) }.map(drop)
}

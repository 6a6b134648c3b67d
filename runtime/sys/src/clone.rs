//! Process creation by clone3(2).

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use nix::unistd::Pid;

use crate::Result;
use crate::namespace::Namespaces;

/// What the child shares, and where it starts.
#[derive(Debug, Default, Clone, Copy)]
pub struct CloneArgs<'fd> {
    /// New namespaces for the child.
    pub namespaces: Namespaces,
    /// The cgroup v2 directory the child is born in (`CLONE_INTO_CGROUP`, Linux 5.7): no migration, no race.
    pub into_cgroup: Option<BorrowedFd<'fd>>,
    /// The child's parent is this process's parent (`CLONE_PARENT`); it then is not ours to wait for.
    pub parent: bool,
}

/// A process made by [`clone3`].
#[derive(Debug)]
pub struct Child {
    /// Its id in the PID namespace of the caller.
    pub pid: Pid,
    /// Its process descriptor: stays the same process's however pids are used again.
    pub pidfd: OwnedFd,
}

/// `CLONE_INTO_CGROUP`; libc's constant overflows its type.
const INTO_CGROUP: u64 = 0x2_0000_0000;

/// The exit status of a child whose closure panicked: what a Rust program's panic gives.
const PANIC_STATUS: i32 = 101;

/// `clone3({flags | CLONE_PIDFD, SIGCHLD, cgroup})` without a new stack, as fork(2) does it.
///
/// The child has a copy of the caller's memory and descriptors, runs `child` and ends with its value by
/// `_exit`: no destructor of the caller's frames, no `atexit` handler, no buffered output of the parent runs
/// there. A panic ends it with status 101, or by SIGABRT in a program built with `panic = "abort"`.
///
/// The caller must have one thread. With more, a lock held by another thread (the allocator's, stdout's)
/// stays locked for ever in the child: that is a deadlock, not unsoundness, and the closure must then keep to
/// what is safe in a signal handler. libc's fork handlers do not run.
///
/// # Errors
/// `ENOSYS` before Linux 5.3, `EBADF`/`EOPNOTSUPP` for a cgroup directory that is none or is a domain whose
/// children are not allowed processes (`EBUSY`), `EPERM` without the rights for the namespaces, `ENOSPC` at a
/// limit of namespaces, `EAGAIN` at a limit of processes.
///
/// # References
/// - [clone(2)](https://man7.org/linux/man-pages/man2/clone.2.html)
pub fn clone3(args: CloneArgs<'_>, child: impl FnOnce() -> i32) -> Result<Child> {
    let mut pidfd: i32 = -1;
    // SAFETY: clone_args is plain integers, for which zero means "not given".
    let mut raw: libc::clone_args = unsafe { std::mem::zeroed() };
    raw.flags = libc::CLONE_PIDFD as u64 | args.namespaces.bits();
    raw.pidfd = (&raw mut pidfd) as u64;
    // With CLONE_PARENT the kernel takes the caller's own exit signal and refuses one given here.
    if args.parent {
        raw.flags |= libc::CLONE_PARENT as u64;
    } else {
        raw.exit_signal = libc::SIGCHLD as u64;
    }
    if let Some(cgroup) = args.into_cgroup {
        raw.flags |= INTO_CGROUP;
        raw.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: the structure and `pidfd` live through the call. Without CLONE_VM the child has its own copy of
    // all memory, and without a stack given it goes on on its copy of this one, like after fork; descriptors
    // are copied, so closing them in the child does not close the parent's.
    let pid = unsafe { sys!(SYS_clone3, &raw const raw, size_of::<libc::clone_args>()) }?;
    if pid == 0 {
        let status = catch_unwind(AssertUnwindSafe(child)).unwrap_or(PANIC_STATUS);
        crate::exec::exit_now(status);
    }
    // SAFETY: clone3 succeeded, so the kernel stored a new descriptor in `pidfd`.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Child { pid: Pid::from_raw(pid as i32), pidfd })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pidfd::{self, ExitStatus};
    use crate::{Errno, creds, namespace, path};

    #[test]
    fn the_child_ends_with_the_closures_value_a_panic_or_a_signal() {
        let status =
            |child: fn() -> i32| pidfd::wait(clone3(CloneArgs::default(), child).unwrap().pidfd).unwrap();
        assert_eq!(status(|| 42), ExitStatus::Exited(42));
        assert_eq!(status(|| std::panic::resume_unwind(Box::new(()))), ExitStatus::Exited(101));
        let killed = status(|| {
            let this = pidfd::open(nix::unistd::getpid()).unwrap();
            pidfd::send_signal(this, libc::SIGKILL).map_or(1, |()| 2)
        });
        assert_eq!(killed, ExitStatus::Signaled { signal: libc::SIGKILL, core: false });
        assert_eq!(killed.code(), 137);
    }

    #[test]
    fn descriptors_of_the_parent_survive_the_child() {
        let (a, b) = crate::socket::pair_seqpacket().unwrap();
        let child = clone3(CloneArgs::default(), || {
            crate::socket::send(&b, b"from the child", &[]).unwrap();
            drop(b);
            0
        })
        .unwrap();
        assert_eq!(crate::socket::recv(&a, &mut [0; 64]).unwrap().0, 14);
        assert!(pidfd::poll_exit(&child.pidfd, 10_000).unwrap());
        assert_eq!(pidfd::try_wait(&child.pidfd).unwrap(), Some(ExitStatus::Exited(0)));
        assert_eq!(pidfd::try_wait(&child.pidfd), Err(Errno::ECHILD));
    }

    #[test]
    fn new_namespaces_are_new_and_can_be_joined() {
        require_root!();
        let kinds = [Namespaces::MNT, Namespaces::UTS, Namespaces::IPC, Namespaces::PID, Namespaces::NET];
        let all = kinds.iter().fold(Namespaces::CGROUP, |set, kind| set | *kind);
        let child = clone3(CloneArgs { namespaces: all, ..CloneArgs::default() }, || {
            creds::set_parent_death_signal(libc::SIGKILL).unwrap();
            namespace::set_hostname("caisson-test").unwrap();
            namespace::set_domainname("example").unwrap();
            crate::socket::poll_readable(&[], -1).unwrap();
            i32::from(nix::unistd::getpid().as_raw() != 1)
        })
        .unwrap();
        assert_eq!(pidfd::try_wait(&child.pidfd).unwrap(), None);
        assert!(!pidfd::poll_exit(&child.pidfd, 50).unwrap());
        for kind in kinds {
            let (own, new) =
                (namespace::open_ns(Pid::from_raw(0), kind), namespace::open_ns(child.pid, kind));
            let (own, new) = (own.unwrap(), new.unwrap());
            assert_eq!(namespace::ns_type(&new).unwrap(), kind);
            assert!(!namespace::is_same_ns(&own, &new).unwrap());
            assert_eq!(namespace::ns_owner_uid(&new), Err(Errno::EINVAL));
            assert_eq!(namespace::ns_owner_uid(namespace::ns_userns(&new).unwrap()), Ok(0));
        }
        crate::testing::in_child(|| {
            namespace::setns_pidfd(&child.pidfd, Namespaces::UTS | Namespaces::NET).unwrap();
            assert_eq!(nix::unistd::gethostname().unwrap(), "caisson-test");
        });
        pidfd::send_signal(&child.pidfd, libc::SIGKILL).unwrap();
        assert_eq!(pidfd::wait(&child.pidfd).unwrap().code(), 137);
        assert_eq!(namespace::ns_type(path::open("/", crate::OFlag::O_RDONLY).unwrap()), Err(Errno::ENOTTY));
    }

    #[test]
    fn a_child_is_born_in_its_cgroup() {
        require_root!();
        let Some(cgroup) = crate::testing::Cgroup::new("birth") else { return };
        let args =
            CloneArgs { into_cgroup: Some(std::os::fd::AsFd::as_fd(&cgroup.fd)), ..CloneArgs::default() };
        let child = clone3(args, || {
            let own = std::fs::read_to_string("/proc/self/cgroup").unwrap();
            i32::from(!own.lines().any(|line| line.starts_with("0::") && line.contains("caisson-sys-birth")))
        })
        .unwrap();
        assert_eq!(pidfd::wait(&child.pidfd).unwrap(), ExitStatus::Exited(0));
    }

    #[test]
    fn ids_and_attributes_are_those_of_proc_status() {
        require_root!();
        crate::testing::in_child(|| {
            creds::set_keep_caps(true).unwrap();
            creds::setgroups(&[5, 6]).unwrap();
            creds::setresgid(7).unwrap();
            creds::setresuid(8).unwrap();
            assert_eq!(crate::testing::status_field("Uid"), "8\t8\t8\t8");
            assert_eq!(crate::testing::status_field("Gid"), "7\t7\t7\t7");
            assert_eq!(crate::testing::status_field("Groups"), "5 6");
            assert_ne!(crate::caps::capget().unwrap().permitted, crate::caps::CapSet::EMPTY);
            creds::set_no_new_privs().unwrap();
            assert_eq!(crate::testing::status_field("NoNewPrivs"), "1");
            assert_eq!((creds::geteuid(), creds::getegid(), creds::getuid(), creds::getgid()), (8, 7, 8, 7));
            creds::umask(0o27);
            assert_eq!(creds::umask(0), 0o27);
        });
    }

    #[test]
    fn a_program_runs_by_path_and_by_descriptor() {
        let text = |text: &str| std::ffi::CString::new(text).unwrap();
        let (argv, envp) = ([text("sh"), text("-c"), text("exit $CODE")], [text("CODE=7")]);
        let (ready_argv, ready_envp) =
            (crate::exec::StringArray::new(argv.to_vec()), crate::exec::StringArray::new(envp.to_vec()));
        let shell = path::open("/bin/sh", crate::OFlag::O_PATH).unwrap();
        for way in 0..3 {
            let child = clone3(CloneArgs::default(), || match way {
                0 => crate::exec::execve(c"/bin/sh", &argv, &envp) as i32,
                1 => crate::exec::execveat(&shell, &argv, &envp) as i32,
                _ => crate::exec::execve_prepared(c"/bin/sh", &ready_argv, &ready_envp) as i32,
            });
            assert_eq!(pidfd::wait(child.unwrap().pidfd).unwrap(), ExitStatus::Exited(7), "way {way}");
        }
        assert_eq!(crate::exec::execve(c"/nonexistent", &argv, &envp), Errno::ENOENT);
    }

    #[test]
    fn a_child_can_be_given_to_the_parent() {
        let (a, b) = crate::socket::pair_seqpacket().unwrap();
        let middle = clone3(CloneArgs::default(), || {
            let child = clone3(CloneArgs { parent: true, ..CloneArgs::default() }, || 5).unwrap();
            crate::socket::send(&b, b"x", &[std::os::fd::AsFd::as_fd(&child.pidfd)]).unwrap();
            i32::from(pidfd::try_wait(&child.pidfd) != Err(Errno::ECHILD))
        })
        .unwrap();
        let (_, fds) = crate::socket::recv(&a, &mut [0; 4]).unwrap();
        assert_eq!(pidfd::wait(&middle.pidfd).unwrap(), ExitStatus::Exited(0));
        assert_eq!(pidfd::wait(&fds[0]).unwrap(), ExitStatus::Exited(5));
    }

    #[test]
    fn a_descriptor_is_fetched_from_another_process() {
        require_root!();
        let null = crate::fd::dev_null(crate::OFlag::O_RDONLY).unwrap();
        let number = null.as_raw_fd();
        let child = clone3(CloneArgs::default(), || {
            creds::set_parent_death_signal(libc::SIGKILL).unwrap();
            crate::socket::poll_readable(&[], -1).map_or(1, |_| 0)
        })
        .unwrap();
        let copy = pidfd::getfd(&child.pidfd, number).unwrap();
        assert_eq!(path::fstat(copy).unwrap(), path::fstat(&null).unwrap());
        pidfd::send_signal(&child.pidfd, libc::SIGKILL).unwrap();
        pidfd::wait(&child.pidfd).unwrap();
        assert_eq!(pidfd::send_signal(&child.pidfd, 0), Err(Errno::ESRCH));
    }
}

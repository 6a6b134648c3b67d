//! The system calls that the floor and the stopwatch need, each wrapped once; all of this crate's `unsafe` is here.
//!
//! Deliberately not `caisson-sys`: the floor is the yardstick, and must not change when the runtime's own layer does.
#![allow(unsafe_code, reason = "the measuring program issues system calls directly")]

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

const FSCONFIG_SET_FLAG: u64 = 0;
const FSCONFIG_SET_STRING: u64 = 1;
const FSCONFIG_CMD_CREATE: u64 = 6;
const OPEN_TREE_CLONE: u64 = 1;
const MOVE_MOUNT_F_EMPTY_PATH: u64 = 4;

/// Makes a `[long; 6]` argument list's call and turns -1 into the errno.
///
/// # Safety
/// The arguments must be what the call `number` asks for; pointers among them must be valid for the call's duration.
unsafe fn call(number: libc::c_long, args: [u64; 6]) -> io::Result<u64> {
    // SAFETY: the caller vouches for the arguments; six registers are read whatever the call's arity.
    let result = unsafe { libc::syscall(number, args[0], args[1], args[2], args[3], args[4], args[5]) };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result.unsigned_abs()) }
}

fn address(text: &CStr) -> u64 {
    text.as_ptr() as u64
}

fn number(fd: BorrowedFd<'_>) -> u64 {
    u64::from(fd.as_raw_fd().unsigned_abs())
}

fn at_cwd() -> u64 {
    libc::AT_FDCWD as u64
}

fn owned(fd: u64) -> io::Result<OwnedFd> {
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel has just returned this number as a new descriptor, and nothing else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// One option of a new file system: a flag, or a key with its value.
#[derive(Debug, Clone, Copy)]
pub enum FsOption {
    Flag(&'static CStr),
    Value(&'static CStr, &'static CStr),
}

/// Makes a detached mount of a new file system. See fsopen(2), fsconfig(2), fsmount(2).
pub fn new_mount(fstype: &CStr, options: &[FsOption], attributes: u64) -> io::Result<OwnedFd> {
    use std::os::fd::AsFd;
    // SAFETY: fsopen reads the NUL-terminated name only.
    let context = owned(unsafe { call(libc::SYS_fsopen, [address(fstype), 1, 0, 0, 0, 0]) }?)?;
    let fd = number(context.as_fd());
    for option in options {
        let args = match option {
            FsOption::Flag(key) => [fd, FSCONFIG_SET_FLAG, address(key), 0, 0, 0],
            FsOption::Value(key, value) => [fd, FSCONFIG_SET_STRING, address(key), address(value), 0, 0],
        };
        // SAFETY: key and value are NUL-terminated statics; a flag takes a null value.
        unsafe { call(libc::SYS_fsconfig, args) }?;
    }
    // SAFETY: the create command takes no key and no value.
    unsafe { call(libc::SYS_fsconfig, [fd, FSCONFIG_CMD_CREATE, 0, 0, 0, 0]) }?;
    // SAFETY: fsmount takes numbers only.
    owned(unsafe { call(libc::SYS_fsmount, [fd, 1, attributes, 0, 0, 0]) }?)
}

/// Makes a detached copy of the mount at `path`. See open_tree(2).
pub fn clone_mount(path: &CStr) -> io::Result<OwnedFd> {
    let flags = OPEN_TREE_CLONE | libc::O_CLOEXEC.unsigned_abs() as u64;
    // SAFETY: open_tree reads the NUL-terminated path only.
    owned(unsafe { call(libc::SYS_open_tree, [at_cwd(), address(path), flags, 0, 0, 0]) }?)
}

/// Sets attributes on the mount behind `mount`. See mount_setattr(2).
pub fn set_attributes(mount: BorrowedFd<'_>, set: u64) -> io::Result<()> {
    let attr = libc::mount_attr { attr_set: set, attr_clr: 0, propagation: 0, userns_fd: 0 };
    let args = [
        number(mount),
        address(c""),
        libc::AT_EMPTY_PATH.unsigned_abs().into(),
        (&raw const attr) as u64,
        size_of::<libc::mount_attr>() as u64,
        0,
    ];
    // SAFETY: `attr` lives until the end of this function and its true size is passed.
    unsafe { call(libc::SYS_mount_setattr, args) }.map(drop)
}

/// Attaches a detached mount at `path`. See move_mount(2).
pub fn attach(mount: BorrowedFd<'_>, path: &CStr) -> io::Result<()> {
    let args = [number(mount), address(c""), at_cwd(), address(path), MOVE_MOUNT_F_EMPTY_PATH, 0];
    // SAFETY: both paths are NUL-terminated and only read.
    unsafe { call(libc::SYS_move_mount, args) }.map(drop)
}

/// Cuts this mount namespace's propagation to the one it was copied from.
pub fn make_root_private() -> io::Result<()> {
    let args = [0, address(c"/"), 0, libc::MS_REC | libc::MS_PRIVATE, 0, 0];
    // SAFETY: with MS_PRIVATE mount(2) reads the target only; source, type and data may be null.
    unsafe { call(libc::SYS_mount, args) }.map(drop)
}

/// Changes to `path`.
pub fn change_dir(path: &CStr) -> io::Result<()> {
    // SAFETY: chdir reads the NUL-terminated path only.
    unsafe { call(libc::SYS_chdir, [address(path), 0, 0, 0, 0, 0]) }.map(drop)
}

/// Makes the current directory the root and lets go of the old one, which pivot_root(2) has stacked upon it.
pub fn pivot_here() -> io::Result<()> {
    // SAFETY: pivot_root reads two NUL-terminated paths.
    unsafe { call(libc::SYS_pivot_root, [address(c"."), address(c"."), 0, 0, 0, 0]) }?;
    let detach = libc::MNT_DETACH.unsigned_abs().into();
    // SAFETY: umount2 reads the NUL-terminated path only.
    unsafe { call(libc::SYS_umount2, [address(c"."), detach, 0, 0, 0, 0]) }?;
    change_dir(c"/")
}

/// Makes a directory with mode 0755.
pub fn make_dir(path: &CStr) -> io::Result<()> {
    // SAFETY: mkdir reads the NUL-terminated path only.
    unsafe { call(libc::SYS_mkdir, [address(path), 0o755, 0, 0, 0, 0]) }.map(drop)
}

/// Removes an empty directory.
pub fn remove_dir(path: &CStr) -> io::Result<()> {
    // SAFETY: rmdir reads the NUL-terminated path only.
    unsafe { call(libc::SYS_rmdir, [address(path), 0, 0, 0, 0, 0]) }.map(drop)
}

/// Makes a character device node with mode 0666.
pub fn make_device(path: &CStr, major: u32, minor: u32) -> io::Result<()> {
    let device = libc::makedev(major, minor);
    // SAFETY: mknod reads the NUL-terminated path only.
    unsafe { call(libc::SYS_mknod, [address(path), u64::from(libc::S_IFCHR | 0o666), device, 0, 0, 0]) }
        .map(drop)
}

/// Makes a symbolic link.
pub fn make_link(target: &CStr, path: &CStr) -> io::Result<()> {
    // SAFETY: symlink reads two NUL-terminated paths.
    unsafe { call(libc::SYS_symlink, [address(target), address(path), 0, 0, 0, 0]) }.map(drop)
}

/// Writes `text` to an existing file in one write.
pub fn write_file(path: &CStr, text: &str) -> io::Result<()> {
    use std::os::fd::AsFd;
    let flags = (libc::O_WRONLY | libc::O_CLOEXEC).unsigned_abs().into();
    // SAFETY: open reads the NUL-terminated path only.
    let file = owned(unsafe { call(libc::SYS_open, [address(path), flags, 0, 0, 0, 0]) }?)?;
    let args = [number(file.as_fd()), text.as_ptr() as u64, text.len() as u64, 0, 0, 0];
    // SAFETY: the pointer and the length are those of `text`.
    unsafe { call(libc::SYS_write, args) }.map(drop)
}

/// Clones this process with the namespaces in `flags`, into the cgroup v2 directory `cgroup` if one is given.
/// Returns the child's pid, or `None` in the child. This program has one thread, so the child may do as it likes.
pub fn clone_process(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Option<libc::pid_t>> {
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    // SAFETY: clone_args is plain numbers, for which zero is the documented "not used".
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = flags;
    args.exit_signal = libc::SIGCHLD.unsigned_abs().into();
    if let Some(fd) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = number(fd);
    }
    let size = size_of::<libc::clone_args>() as u64;
    // SAFETY: without CLONE_VM the child has its own copy of the stack; `args` and its true size are passed.
    match unsafe { call(libc::SYS_clone3, [(&raw mut args) as u64, size, 0, 0, 0, 0]) }? {
        0 => Ok(None),
        pid => Ok(Some(libc::pid_t::try_from(pid).map_err(io::Error::other)?)),
    }
}

/// Replaces this process by `program`, without arguments and environment. Returns only when that fails.
pub fn execute(program: &CStr) -> io::Error {
    let argv = [program.as_ptr(), std::ptr::null()];
    let envp = [std::ptr::null::<libc::c_char>()];
    // SAFETY: both arrays end with a null pointer and outlive the call.
    unsafe { libc::execve(program.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    io::Error::last_os_error()
}

/// Ends a cloned child at once, without the parent's exit handlers.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: _exit(2) takes a number and does not return.
    unsafe { libc::_exit(status) }
}

/// What a finished process used.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// Whether it exited with status 0.
    pub success: bool,
    /// The largest resident set of it and the descendants it waited for, in KiB.
    pub peak_rss_kib: u64,
    /// User and system time of it and the descendants it waited for.
    pub cpu: Duration,
}

/// Waits for the child `pid`. See wait4(2), getrusage(2).
pub fn wait(pid: libc::pid_t) -> io::Result<Usage> {
    let mut status = 0;
    // SAFETY: rusage is plain numbers, for which zero is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: both pointers are to live locals of the right types.
        if unsafe { libc::wait4(pid, &raw mut status, 0, &raw mut usage) } >= 0 {
            break;
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    let time = |t: libc::timeval| {
        Duration::from_secs(t.tv_sec.unsigned_abs()) + Duration::from_micros(t.tv_usec.unsigned_abs())
    };
    Ok(Usage {
        success: libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0,
        peak_rss_kib: usage.ru_maxrss.unsigned_abs(),
        cpu: time(usage.ru_utime) + time(usage.ru_stime),
    })
}

/// Makes orphaned descendants ours to wait for: the init of a created container, once its `create` has exited.
pub fn become_subreaper() -> io::Result<()> {
    // SAFETY: this prctl takes numbers only.
    match unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Kills a process that we started.
pub fn kill(pid: libc::pid_t) {
    // SAFETY: kill takes numbers only; that the process may be gone is fine.
    unsafe { libc::kill(pid, libc::SIGKILL) };
}

//! The few system calls of the harness which std has no safe form of. The only file here with `unsafe`.
#![expect(unsafe_code, reason = "raw system calls: pidfd, SCM_RIGHTS, pty, unshare, seccomp notify")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// Opens a pidfd for `pid`; see pidfd_open(2).
///
/// # Errors
/// `ESRCH` if there is no such process.
pub fn pidfd_open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: pidfd_open takes two integers and touches no memory of ours.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    owned(fd as RawFd)
}

/// Takes ownership of a descriptor which a system call has just returned.
fn owned(fd: RawFd) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us and nobody else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Waits until `fd` is readable (or at its end); false when `timeout` passes first. See poll(2).
pub fn poll_readable(fd: BorrowedFd<'_>, timeout: Duration) -> bool {
    let mut entry = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let millis = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: `entry` is one live pollfd, and the count says one.
    let ready = unsafe { libc::poll(&raw mut entry, 1, millis) };
    ready > 0
}

/// Reads what is there, at most `buffer.len()` bytes; see read(2). The end of a pty (`EIO`) is an end of file.
///
/// # Errors
/// Those of read(2) but for `EIO`.
pub fn read(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: pointer and length are those of one live exclusive slice.
    let count = unsafe { libc::read(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) };
    match usize::try_from(count) {
        Ok(count) => Ok(count),
        Err(_) if io::Error::last_os_error().raw_os_error() == Some(libc::EIO) => Ok(0),
        Err(_) => Err(io::Error::last_os_error()),
    }
}

/// Sends `signal` (0 only asks) to `pid`; see kill(2).
///
/// # Errors
/// Those of kill(2).
pub fn kill(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: two integers; no memory of ours.
    check(unsafe { libc::kill(pid, signal) })
}

/// The effective user id of this process.
pub fn effective_uid() -> u32 {
    // SAFETY: geteuid takes nothing and cannot fail.
    unsafe { libc::geteuid() }
}

/// Gives the calling thread (and what it starts) its own mount namespace, from which nothing propagates back.
///
/// # Errors
/// `EPERM` without CAP_SYS_ADMIN.
pub fn private_mount_namespace() -> io::Result<()> {
    // SAFETY: unshare takes an integer; with CLONE_FS only this thread's cwd and root cease to be shared.
    check(unsafe { libc::unshare(libc::CLONE_FS | libc::CLONE_NEWNS) })?;
    // SAFETY: the target is a C string; the other pointers may be null for a change of propagation (mount(2)).
    check(unsafe {
        libc::mount(
            std::ptr::null(),
            c"/".as_ptr(),
            std::ptr::null(),
            libc::MS_REC | libc::MS_PRIVATE,
            std::ptr::null(),
        )
    })
}

/// Opens a new pseudo-terminal: the engine's end, and the end for the process.
///
/// # Errors
/// Those of openpty(3).
pub fn open_pty() -> io::Result<(OwnedFd, OwnedFd)> {
    let (mut engine, mut process) = (-1, -1);
    // SAFETY: the two integers live through the call; name, termios and winsize may be null (openpty(3)).
    check(unsafe {
        libc::openpty(
            &raw mut engine,
            &raw mut process,
            std::ptr::null_mut(),
            std::ptr::null(),
            std::ptr::null(),
        )
    })?;
    Ok((owned(engine)?, owned(process)?))
}

/// Rows and columns of the terminal `fd`; see ioctl_tty(2).
///
/// # Errors
/// `ENOTTY` if it is none.
pub fn window_size(fd: BorrowedFd<'_>) -> io::Result<(u16, u16)> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ writes one winsize, and `size` is one.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) })?;
    Ok((size.ws_row, size.ws_col))
}

/// Receives one message and the descriptors with it; see unix(7), "SCM_RIGHTS".
///
/// # Errors
/// Those of recvmsg(2).
pub fn receive_with_fds(socket: BorrowedFd<'_>) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let mut payload = vec![0_u8; 65536];
    let mut control = [0_u64; 64];
    let mut part = libc::iovec { iov_base: payload.as_mut_ptr().cast(), iov_len: payload.len() };
    // SAFETY: all-zero is a valid msghdr (null pointers, zero lengths).
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = std::mem::size_of_val(&control);
    // SAFETY: every pointer in `message` is to a live buffer of the length given beside it.
    let count = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC) };
    let Ok(count) = usize::try_from(count) else { return Err(io::Error::last_os_error()) };
    payload.truncate(count);
    let mut fds = Vec::new();
    // SAFETY: the kernel has filled msg_control and msg_controllen; CMSG_FIRSTHDR stays inside them.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
    while !header.is_null() {
        // SAFETY: a non-null header from CMSG_FIRSTHDR/NXTHDR points into `control`, which is aligned for it.
        let (level, kind, length) =
            unsafe { ((*header).cmsg_level, (*header).cmsg_type, (*header).cmsg_len) };
        if level == libc::SOL_SOCKET && kind == libc::SCM_RIGHTS {
            // SAFETY: CMSG_LEN only computes a length.
            let head = unsafe { libc::CMSG_LEN(0) } as usize;
            let bytes = length - head;
            for index in 0..bytes / size_of::<RawFd>() {
                // SAFETY: the header's length covers `index`; the data may be unaligned, hence read_unaligned.
                let fd = unsafe {
                    libc::CMSG_DATA(header).add(index * size_of::<RawFd>()).cast::<RawFd>().read_unaligned()
                };
                fds.push(owned(fd)?);
            }
        }
        // SAFETY: `header` came from this very message.
        header = unsafe { libc::CMSG_NXTHDR(&raw const message, header) };
    }
    Ok((payload, fds))
}

/// Waits for one notification on a seccomp listener and answers it with `errno`; returns the system call's number and
/// the pid it was made by. See seccomp_unotify(2).
///
/// # Errors
/// Those of the two ioctls; `UnexpectedEof` when no process is left under the filter, which before Linux 6.11 the ioctl
/// itself would wait out for ever.
pub fn answer_seccomp_notification(listener: BorrowedFd<'_>, errno: i32) -> io::Result<(i32, u32)> {
    let mut entry = libc::pollfd { fd: listener.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: poll is given one live pollfd.
    check(unsafe { libc::poll(&raw mut entry, 1, -1) })?;
    if entry.revents & libc::POLLIN == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    // SAFETY: all-zero is a valid seccomp_notif; the kernel demands zeroes.
    let mut request: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: the ioctl writes one seccomp_notif, and `request` is one.
    check(unsafe { libc::ioctl(listener.as_raw_fd(), NOTIF_RECV, &raw mut request) })?;
    let mut answer = libc::seccomp_notif_resp { id: request.id, val: 0, error: -errno, flags: 0 };
    // SAFETY: the ioctl reads one seccomp_notif_resp, and `answer` is one.
    check(unsafe { libc::ioctl(listener.as_raw_fd(), NOTIF_SEND, &raw mut answer) })?;
    Ok((request.data.nr, request.pid))
}

/// `SECCOMP_IOCTL_NOTIF_RECV`: _IOWR('!', 0, struct seccomp_notif), 80 bytes.
const NOTIF_RECV: libc::c_ulong = 0xc050_2100;
/// `SECCOMP_IOCTL_NOTIF_SEND`: _IOWR('!', 1, struct seccomp_notif_resp), 24 bytes.
const NOTIF_SEND: libc::c_ulong = 0xc018_2101;

/// The magic number of the file system at `path`; see statfs(2).
///
/// # Errors
/// Those of statfs(2).
pub fn filesystem_magic(path: &std::ffi::CStr) -> io::Result<i64> {
    // SAFETY: all-zero is a valid statfs.
    let mut found: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: the path is a C string, and `found` is one live statfs.
    check(unsafe { libc::statfs(path.as_ptr(), &raw mut found) })?;
    Ok(found.f_type)
}

fn check(result: i32) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

//! Unix sockets with descriptor passing, and poll(2).

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::fcntl::OFlag;
use nix::sys::socket::{self, AddressFamily, Backlog, SockFlag, SockType, UnixAddr, sockopt};

use crate::raw::num;
use crate::{Errno, Result, clock, path, procfs};

/// The most descriptors one message carries (`SCM_MAX_FD`).
pub const MAX_FDS: usize = 253;
/// Room for a control message with `MAX_FDS` descriptors and one with credentials, in 8-byte units for
/// alignment.
const CONTROL: usize = 160;

/// `socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)`
///
/// # References
/// - [socketpair(2)](https://man7.org/linux/man-pages/man2/socketpair.2.html)
pub fn pair_seqpacket() -> Result<(OwnedFd, OwnedFd)> {
    socket::socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
}

/// `sendmsg(fd, {data, SCM_RIGHTS fds}, MSG_NOSIGNAL)`
///
/// A stream socket gets the rest of a partly taken message by further calls; the descriptors go with the
/// first byte.
///
/// # Errors
/// `EINVAL` for more than [`MAX_FDS`] descriptors, or descriptors without data (a stream would lose them).
///
/// # References
/// - [sendmsg(2)](https://man7.org/linux/man-pages/man2/sendmsg.2.html), [unix(7)](https://man7.org/linux/man-pages/man7/unix.7.html)
pub fn send(fd: impl AsFd, data: &[u8], fds: &[BorrowedFd<'_>]) -> Result<()> {
    if fds.len() > MAX_FDS || (data.is_empty() && !fds.is_empty()) {
        return Err(Errno::EINVAL);
    }
    let mut sent = send_once(&fd, data, fds)?;
    while sent < data.len() {
        sent += send_once(&fd, &data[sent..], &[])?;
    }
    Ok(())
}

fn send_once(fd: &impl AsFd, data: &[u8], fds: &[BorrowedFd<'_>]) -> Result<usize> {
    let mut iov = libc::iovec { iov_base: data.as_ptr().cast_mut().cast(), iov_len: data.len() };
    let mut control = [0_u64; CONTROL];
    let mut msg = empty_message(&mut iov);
    if !fds.is_empty() {
        let bytes = size_of_val(fds) as u32;
        msg.msg_control = control.as_mut_ptr().cast();
        // SAFETY: these two only compute sizes.
        let (space, len) = unsafe { (libc::CMSG_SPACE(bytes), libc::CMSG_LEN(bytes)) };
        msg.msg_controllen = space as _;
        // SAFETY: `control` is aligned for a cmsghdr and, with at most MAX_FDS descriptors, has room for
        // `space` bytes: the header is not null and the data after it holds `fds.len()` numbers. BorrowedFd
        // is a transparent i32.
        unsafe {
            let header = libc::CMSG_FIRSTHDR(&raw const msg);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = len as _;
            let to = libc::CMSG_DATA(header);
            std::ptr::copy_nonoverlapping(fds.as_ptr().cast::<u8>(), to, size_of_val(fds));
        }
    }
    // SAFETY: message, data and control buffer live through the call and have the lengths given.
    unsafe { sys!(SYS_sendmsg, num(fd), &raw const msg, libc::MSG_NOSIGNAL) }
}

fn empty_message(iov: &mut libc::iovec) -> libc::msghdr {
    // SAFETY: msghdr is integers and pointers, for which zero is valid.
    let mut msg: libc::msghdr = unsafe { std::mem::zeroed() };
    msg.msg_iov = iov;
    msg.msg_iovlen = 1;
    msg
}

/// `recvmsg(fd, …, MSG_CMSG_CLOEXEC)`: the length of the data and the descriptors that came with it; 0 at the
/// end.
///
/// # Errors
/// `EMSGSIZE` when data or descriptors did not fit; what came is closed.
///
/// # References
/// - [recvmsg(2)](https://man7.org/linux/man-pages/man2/recvmsg.2.html)
pub fn recv(fd: impl AsFd, data: &mut [u8]) -> Result<(usize, Vec<OwnedFd>)> {
    let mut iov = libc::iovec { iov_base: data.as_mut_ptr().cast(), iov_len: data.len() };
    let mut control = [0_u64; CONTROL];
    let mut msg = empty_message(&mut iov);
    msg.msg_control = control.as_mut_ptr().cast();
    msg.msg_controllen = size_of_val(&control) as _;
    // SAFETY: message, data and control buffer are valid for writes of the lengths given.
    let n = unsafe { sys!(SYS_recvmsg, num(&fd), &raw mut msg, libc::MSG_CMSG_CLOEXEC) }?;
    let fds = received_fds(&msg);
    if msg.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0 {
        return Err(Errno::EMSGSIZE);
    }
    Ok((n, fds))
}

/// Takes the descriptors out of a message recvmsg(2) has just filled; to be called once for it.
fn received_fds(msg: &libc::msghdr) -> Vec<OwnedFd> {
    let mut fds = Vec::new();
    // SAFETY: the kernel filled the control buffer and its length, so the headers and their lengths are well
    // formed; each number in an SCM_RIGHTS message is a new descriptor this process owns. The data may be
    // unaligned.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(msg);
        while !header.is_null() {
            if (*header).cmsg_level == libc::SOL_SOCKET && (*header).cmsg_type == libc::SCM_RIGHTS {
                let bytes = (*header).cmsg_len as usize - libc::CMSG_LEN(0) as usize;
                let numbers = libc::CMSG_DATA(header).cast::<i32>();
                let new = (0..bytes / size_of::<i32>())
                    .map(|i| OwnedFd::from_raw_fd(numbers.add(i).read_unaligned()));
                fds.extend(new);
            }
            header = libc::CMSG_NXTHDR(msg, header);
        }
    }
    fds
}

/// The address of `name` in `dir`: through the descriptor, so that the 108 bytes of an address always
/// suffice.
fn address_in(dir: &impl AsFd, name: &str) -> Result<UnixAddr> {
    if name.is_empty() || name.contains('/') {
        return Err(Errno::EINVAL);
    }
    UnixAddr::new(format!("{}/{name}", procfs::fd_path(dir)).as_str())
}

fn new_socket(kind: SockType) -> Result<OwnedFd> {
    socket::socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC, None)
}

/// `bind(socket, "/proc/self/fd/DIR/name")`, `listen`: a `SOCK_SEQPACKET` socket file in `dir`. Host side
/// only.
///
/// # Errors
/// `EADDRINUSE` when the name exists; `EINVAL` when it is no single component.
///
/// # References
/// - [unix(7)](https://man7.org/linux/man-pages/man7/unix.7.html)
pub fn listen_unix(dir: impl AsFd, name: &str) -> Result<OwnedFd> {
    let listener = new_socket(SockType::SeqPacket)?;
    socket::bind(num(&listener) as i32, &address_in(&dir, name)?)?;
    socket::listen(&listener, Backlog::new(16)?)?;
    Ok(listener)
}

/// `accept4(listener, SOCK_CLOEXEC)`
///
/// # References
/// - [accept(2)](https://man7.org/linux/man-pages/man2/accept.2.html)
pub fn accept(listener: impl AsFd) -> Result<OwnedFd> {
    // SAFETY: the peer's address may be null.
    unsafe { sys_fd!(SYS_accept4, num(&listener), 0, 0, libc::SOCK_CLOEXEC) }
}

/// `connect(socket, "/proc/self/fd/DIR/name")`: to a `SOCK_SEQPACKET` socket file in `dir`. Host side only.
///
/// # Errors
/// `ECONNREFUSED` when nobody listens any more.
///
/// # References
/// - [unix(7)](https://man7.org/linux/man-pages/man7/unix.7.html)
pub fn connect_unix(dir: impl AsFd, name: &str) -> Result<OwnedFd> {
    let stream = new_socket(SockType::SeqPacket)?;
    socket::connect(stream.as_raw_fd(), &address_in(&dir, name)?)?;
    Ok(stream)
}

/// `connect(socket, path)`: to a `SOCK_STREAM` socket file of the host; a path too long for an address is
/// opened first.
///
/// # References
/// - [unix(7)](https://man7.org/linux/man-pages/man7/unix.7.html)
pub fn connect_stream(path: &Path) -> Result<OwnedFd> {
    let stream = new_socket(SockType::Stream)?;
    let file;
    // sun_path has 108 bytes and ends with a NUL.
    let address = if path.as_os_str().as_bytes().len() < 108 {
        UnixAddr::new(path)?
    } else {
        file = path::open(path, OFlag::O_PATH)?;
        UnixAddr::new(procfs::fd_path(&file).as_str())?
    };
    socket::connect(stream.as_raw_fd(), &address)?;
    Ok(stream)
}

/// Who connected, or listened, as the kernel noted it then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerCred {
    /// Process.
    pub pid: i32,
    /// Effective user.
    pub uid: u32,
    /// Effective group.
    pub gid: u32,
}

/// `getsockopt(fd, SOL_SOCKET, SO_PEERCRED)`
///
/// # References
/// - [unix(7)](https://man7.org/linux/man-pages/man7/unix.7.html)
pub fn peer_cred(fd: impl AsFd) -> Result<PeerCred> {
    let cred = socket::getsockopt(&fd, sockopt::PeerCredentials)?;
    Ok(PeerCred { pid: cred.pid(), uid: cred.uid(), gid: cred.gid() })
}

/// `poll(fds, POLLIN, timeout)`: which descriptors can be read, are at their end or in error. All `false`
/// after `timeout_ms` (-1: no limit). An interruption does not prolong the wait.
///
/// # References
/// - [poll(2)](https://man7.org/linux/man-pages/man2/poll.2.html)
pub fn poll_readable(fds: &[BorrowedFd<'_>], timeout_ms: i32) -> Result<Vec<bool>> {
    let entry = |fd: &BorrowedFd<'_>| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let mut entries: Vec<libc::pollfd> = fds.iter().map(entry).collect();
    let deadline = clock::monotonic_ns().saturating_add(timeout_ms.max(0) as u64 * 1_000_000);
    loop {
        let left = match timeout_ms {
            ..0 => -1,
            _ => deadline.saturating_sub(clock::monotonic_ns()).div_ceil(1_000_000) as i32,
        };
        // SAFETY: the entries are valid for writes of the number given.
        let ready = unsafe { libc::poll(entries.as_mut_ptr(), entries.len() as libc::nfds_t, left) };
        match ready {
            -1 if Errno::last() == Errno::EINTR => {}
            -1 => return Err(Errno::last()),
            _ => return Ok(entries.iter().map(|entry| entry.revents != 0).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mount::{FsContext, MountAttrs};

    #[test]
    fn descriptors_travel_and_a_short_buffer_is_an_error() {
        let (a, b) = pair_seqpacket().unwrap();
        let null = crate::fd::dev_null(OFlag::O_RDONLY).unwrap();
        let many = vec![null.as_fd(); MAX_FDS];
        send(&a, b"hello", &many).unwrap();
        let mut buf = [0; 8];
        let (n, fds) = recv(&b, &mut buf).unwrap();
        assert_eq!((&buf[..n], fds.len()), (&b"hello"[..], MAX_FDS));
        assert_eq!(path::fstat(&fds[252]).unwrap(), path::fstat(&null).unwrap());
        send(&a, b"too long for it", &[null.as_fd()]).unwrap();
        assert_eq!(recv(&b, &mut buf).unwrap_err(), Errno::EMSGSIZE);
        assert_eq!(send(&a, b"", &[null.as_fd()]), Err(Errno::EINVAL));
        assert_eq!(poll_readable(&[b.as_fd()], 0).unwrap(), [false]);
        drop(a);
        assert_eq!(poll_readable(&[b.as_fd(), null.as_fd()], -1).unwrap(), [true, true]);
        assert_eq!(recv(&b, &mut buf).unwrap().0, 0);
    }

    #[test]
    fn socket_files_are_reached_below_long_paths() {
        require_root!();
        let fs = FsContext::open("tmpfs").unwrap();
        fs.create().unwrap();
        let mut dir = fs.mount(MountAttrs::empty()).unwrap();
        for _ in 0..3 {
            let name = "d".repeat(100);
            path::mkdirat(&dir, name.as_str(), 0o700).unwrap();
            dir = path::openat(&dir, name.as_str(), OFlag::O_PATH, 0).unwrap();
        }
        let listener = listen_unix(&dir, "control").unwrap();
        let client = connect_unix(&dir, "control").unwrap();
        let server = accept(&listener).unwrap();
        send(&client, b"x", &[]).unwrap();
        assert_eq!(recv(&server, &mut [0; 4]).unwrap().0, 1);
        assert_eq!(peer_cred(&server).unwrap().pid, std::process::id() as i32);
        assert_eq!(listen_unix(&dir, "a/b").unwrap_err(), Errno::EINVAL);
        let stream = new_socket(SockType::Stream).unwrap();
        socket::bind(stream.as_raw_fd(), &address_in(&dir, "stream").unwrap()).unwrap();
        socket::listen(&stream, Backlog::new(1).unwrap()).unwrap();
        let long = format!("{}/{}stream", procfs::fd_path(&dir), "./".repeat(100));
        connect_stream(Path::new(&long)).unwrap();
    }
}

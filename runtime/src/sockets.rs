//! Unix sockets of the caller: the terminal's master and pidfds go through them (SCM_RIGHTS).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use anyhow::Context as _;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

/// Connects to a socket of the caller.
///
/// # Errors
/// When nobody listens there.
pub fn connect(path: &Path) -> anyhow::Result<OwnedFd> {
    caisson_sys::socket::connect_stream(path).with_context(|| format!("connect to {}", path.display()))
}

/// Two connected sockets: the runtime is its own console socket when it runs in the foreground.
///
/// # Errors
/// When no more file descriptors are to be had.
pub fn pair() -> anyhow::Result<(OwnedFd, OwnedFd)> {
    socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC)
        .context("make a socket pair")
}

/// Takes the file descriptor that came with a message.
///
/// # Errors
/// When the message has none.
pub fn receive_fd(socket: &OwnedFd) -> anyhow::Result<OwnedFd> {
    let mut buffer = [0; 4096];
    let (_, fds) = caisson_sys::socket::recv(socket.as_fd(), &mut buffer).context("receive the terminal")?;
    fds.into_iter().next().context("the container sent no terminal")
}

/// Sends a file descriptor; the message's one byte is there because a message cannot be empty.
///
/// # Errors
/// When the other end is gone.
pub fn send_fd(socket: &OwnedFd, fd: BorrowedFd<'_>) -> anyhow::Result<()> {
    caisson_sys::socket::send(socket.as_fd(), b"0", &[fd]).context("send a file descriptor")?;
    Ok(())
}

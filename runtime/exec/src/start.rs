//! `start`: one connection to the socket on which init waits.

use std::os::fd::{AsFd, BorrowedFd};

use caisson_sys::{Errno, socket};

use crate::error::{Failure, StepError};

/// Name of the socket in the container's state directory.
pub const SOCKET: &str = "start.sock";

/// Lets init execute the user's program and waits until it has.
///
/// # Errors
/// What init says when it could not (a `startContainer` hook, a missing interpreter, …), or that init is gone.
pub fn start(state_dir: BorrowedFd<'_>) -> Result<(), StepError> {
    let connection = socket::connect_unix(state_dir, SOCKET).map_err(|errno| {
        let failure = Failure::errno("start the container", errno);
        let failure = match errno {
            Errno::ECONNREFUSED | Errno::ENOENT => failure.detail("its init is gone, or was started before"),
            _ => failure,
        };
        failure.outside()
    })?;
    let mut buffer = vec![0; 32 * 1024];
    match socket::recv(connection.as_fd(), &mut buffer) {
        // execve(2) closed the other end.
        Ok((0, _)) => Ok(()),
        Ok((n, _)) => Err(serde_json::from_slice(&buffer[..n]).unwrap_or_else(|error| {
            Failure::new("understand init's answer").detail(error.to_string()).outside()
        })),
        Err(Errno::ECONNRESET) => Err(Failure::new("start the container").detail("its init died").outside()),
        Err(errno) => Err(Failure::errno("wait for init", errno).outside()),
    }
}

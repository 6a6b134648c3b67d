//! The lock of one container: flock(2) on a file in its directory.
//!
//! flock rather than a pid file: the kernel drops it with the process, so a runtime killed with -9 leaves no stale lock.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::poll::{PollTimeout, poll};

use super::{Entry, Result, StoreError, io_error};

/// How often a taken lock is tried again: flock(2) has no timeout, and a signal would disturb the program's own.
const RETRY_MS: u8 = 5;

/// The lock, held until dropped.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "held for its Drop")] Flock<std::fs::File>);

pub(super) fn take(entry: &Entry, patience: Duration) -> Result<Lock> {
    let path = entry.dir.join("lock");
    let deadline = Instant::now() + patience;
    loop {
        let mut options = OpenOptions::new();
        let file = match options.write(true).create(true).truncate(false).mode(0o600).open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(StoreError::NotFound(entry.id.clone()));
            }
            file => file.map_err(io_error("open", &path))?,
        };
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            // Deleted between open and flock: the name, if there is one, is another file by now.
            Ok(lock) if lock.metadata().is_ok_and(|meta| meta.nlink() == 0) => continue,
            Ok(lock) => return Ok(Lock(lock)),
            Err((_, Errno::EWOULDBLOCK)) if Instant::now() < deadline => {
                poll(&mut [], PollTimeout::from(RETRY_MS))
                    .map_err(|errno| io_error("lock", &path)(errno.into()))?;
            }
            Err((_, Errno::EWOULDBLOCK)) => {
                return Err(StoreError::Busy { id: entry.id.clone(), waited_s: patience.as_secs() });
            }
            Err((_, errno)) => return Err(io_error("lock", &path)(errno.into())),
        }
    }
}

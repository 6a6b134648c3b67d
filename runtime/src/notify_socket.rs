//! systemd's `NOTIFY_SOCKET` for containers: a proxy, because systemd takes messages only from the unit's own cgroup.
//!
//! ```text
//! program ─▶ /run/notify/notify.sock (bind of STATE/notify) ─▶ this process ─▶ $NOTIFY_SOCKET with MAINPID=
//! ```
//! `start` and `run --detach` stay until the program is ready or has ended; `run` in the foreground passes on what
//! comes as long as it stays.

use std::fs::{self, DirBuilder, Permissions};
use std::io::ErrorKind;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// Directory of the container's side, below the state directory. The plan says where it is in the container.
const DIR: &str = "notify";
/// A message is short: sd_notify(3) says 4 KiB are enough for everything.
const LIMIT: usize = 4096;

/// The directory of the container's side, in the container's state directory.
#[must_use]
pub fn dir(state_dir: &Path) -> PathBuf {
    state_dir.join(DIR)
}

/// Makes the directory that is mounted.
///
/// # Errors
/// When it cannot be made.
pub fn prepare(state_dir: &Path) -> anyhow::Result<()> {
    let dir = state_dir.join(DIR);
    DirBuilder::new().mode(0o755).create(&dir).with_context(|| format!("make {}", dir.display()))
}

/// The listening end, and where to.
#[derive(Debug)]
pub struct Proxy {
    socket: UnixDatagram,
    host: SocketAddr,
    pid: i32,
}

impl Proxy {
    /// Listens on the container's socket; `None` for a container that was made without one.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn bind(state_dir: &Path, host: &Path, pid: i32) -> anyhow::Result<Option<Self>> {
        let dir = match fs::File::open(state_dir.join(DIR)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            dir => dir.context("open the notify directory")?,
        };
        // By the descriptor: a socket's path may have 107 bytes, the state directory's may be longer.
        let path = format!("/proc/self/fd/{}/notify.sock", dir.as_raw_fd());
        let socket = UnixDatagram::bind(&path).context("listen on the notify socket")?;
        // The program may be any user of the container.
        fs::set_permissions(&path, Permissions::from_mode(0o777))
            .context("open the notify socket to everybody")?;
        socket.set_nonblocking(true).context("set up the notify socket")?;
        let host = address(host).with_context(|| format!("NOTIFY_SOCKET {}", host.display()))?;
        Ok(Some(Self { socket, host, pid }))
    }

    /// Passes on what has come; whether the program is ready by now.
    ///
    /// # Errors
    /// When the socket fails.
    pub fn pass_on(&self) -> anyhow::Result<bool> {
        let mut ready = false;
        let mut buffer = [0; LIMIT];
        loop {
            let length = match self.socket.recv(&mut buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(ready),
                length => length.context("read the notify socket")?,
            };
            let Some(message) = translate(&buffer[..length], self.pid) else { continue };
            ready |= message.starts_with("READY=1");
            let out = UnixDatagram::unbound().context("make a socket")?;
            out.send_to_addr(message.as_bytes(), &self.host).context("write to NOTIFY_SOCKET")?;
        }
    }

    /// Stays until the program is ready or `process` has ended.
    ///
    /// # Errors
    /// When a socket fails.
    pub fn until_ready(&self, process: &OwnedFd) -> anyhow::Result<()> {
        loop {
            let ready = caisson_sys::socket::poll_readable(&[process.as_fd(), self.as_fd()], -1)
                .context("wait for the program to be ready")?;
            if (ready[1] && self.pass_on()?) || ready[0] {
                return Ok(());
            }
        }
    }
}

impl AsFd for Proxy {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// What systemd is told: that the program is ready, and that its first process is the one to watch. Everything else
/// a container says (its own MAINPID, file descriptors, watchdogs) stays in the container.
fn translate(message: &[u8], pid: i32) -> Option<String> {
    let ready = message.split(|byte| *byte == b'\n').any(|line| line == b"READY=1");
    ready.then(|| format!("READY=1\nMAINPID={pid}\n"))
}

/// A path, or with a leading `@` a name in the abstract namespace.
fn address(path: &Path) -> std::io::Result<SocketAddr> {
    match path.as_os_str().as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_readiness_leaves_the_container() {
        assert_eq!(translate(b"STATUS=up\nREADY=1\nMAINPID=1", 42), Some("READY=1\nMAINPID=42\n".into()));
        assert_eq!(translate(b"MAINPID=1\nSTATUS=READY=1", 42), None);
    }

    #[test]
    fn readiness_is_passed_on_to_the_host() {
        let dir = std::env::temp_dir().join(format!("caisson-notify-{}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        let host = UnixDatagram::bind(dir.join("host.sock")).unwrap();
        prepare(&dir).unwrap();
        let proxy = Proxy::bind(&dir, &dir.join("host.sock"), 7).unwrap().unwrap();
        let program = UnixDatagram::unbound().unwrap();
        program.send_to(b"READY=1", dir.join("notify/notify.sock")).unwrap();
        assert!(proxy.pass_on().unwrap());
        let mut buffer = [0; 64];
        let length = host.recv(&mut buffer).unwrap();
        fs::remove_dir_all(&dir).unwrap();
        assert_eq!(&buffer[..length], b"READY=1\nMAINPID=7\n");
    }
}

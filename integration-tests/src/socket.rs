//! The engine's ends: Unix sockets on which a runtime hands descriptors over, and pseudo-terminals.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::os;
use crate::wait::{LIMIT, deadline};

/// A listening socket on which a runtime sends descriptors: of a console, a pidfd, a seccomp listener.
#[derive(Debug)]
pub struct FdSocket {
    path: PathBuf,
    listener: UnixListener,
}

impl FdSocket {
    /// Listens on a new socket at `path`.
    pub fn bind(path: &Path) -> Self {
        let listener =
            UnixListener::bind(path).unwrap_or_else(|error| panic!("bind {}: {error}", path.display()));
        Self { path: path.to_owned(), listener }
    }

    /// Its path as a word for a command line.
    pub fn arg(&self) -> &str {
        self.path.to_str().expect("our own paths are UTF-8")
    }

    /// Accepts one connection and its first message with descriptors.
    #[track_caller]
    pub fn receive(&self) -> (Vec<u8>, Vec<OwnedFd>) {
        assert!(
            os::poll_readable(self.listener.as_fd(), LIMIT),
            "nobody connected to {}",
            self.path.display()
        );
        let (stream, _) = self.listener.accept().expect("accept a waiting connection");
        assert!(os::poll_readable(stream.as_fd(), LIMIT), "nothing came on {}", self.path.display());
        os::receive_with_fds(stream.as_fd()).expect("receive a message")
    }

    /// Accepts the one descriptor of a message.
    #[track_caller]
    pub fn receive_fd(&self) -> OwnedFd {
        let (_, mut fds) = self.receive();
        assert_eq!(fds.len(), 1, "one descriptor was wanted");
        fds.remove(0)
    }

    /// Accepts a terminal.
    #[track_caller]
    pub fn receive_terminal(&self) -> Pty {
        Pty { engine: self.receive_fd().into(), process: None, seen: String::new() }
    }
}

/// The engine's end of a pseudo-terminal.
#[derive(Debug)]
pub struct Pty {
    engine: File,
    process: Option<OwnedFd>,
    seen: String,
}

impl Pty {
    /// A new pseudo-terminal.
    pub fn open() -> Self {
        let (engine, process) = os::open_pty().expect("open a pseudo-terminal");
        Self { engine: engine.into(), process: Some(process), seen: String::new() }
    }

    /// The process's end as a stream of a child.
    pub fn stream(&self) -> Stdio {
        let process = self.process.as_ref().expect("a pty of our own");
        Stdio::from(process.try_clone().expect("duplicate a descriptor"))
    }

    /// Closes the process's end, so that reading ends when the last child has closed it.
    pub fn close_process_end(&mut self) {
        self.process = None;
    }

    /// Rows and columns.
    pub fn size(&self) -> (u16, u16) {
        os::window_size(self.engine.as_fd()).expect("a terminal")
    }

    /// Types `text`.
    pub fn type_in(&mut self, text: &str) {
        self.engine.write_all(text.as_bytes()).expect("write to a terminal");
    }

    /// Reads until `needle` has come; panics with all that came instead.
    #[track_caller]
    pub fn read_until(&mut self, needle: &str) -> &str {
        let end = deadline();
        while !self.seen.contains(needle) {
            let left = end.saturating_duration_since(std::time::Instant::now());
            let ready = os::poll_readable(self.engine.as_fd(), left);
            let mut buffer = [0; 4096];
            let count =
                if ready { os::read(self.engine.as_fd(), &mut buffer).expect("read a terminal") } else { 0 };
            assert_ne!(count, 0, "the terminal ended without {needle:?}: {:?}", self.seen);
            self.seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
        &self.seen
    }
}

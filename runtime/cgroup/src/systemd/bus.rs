//! A connection to a bus, or straight to systemd: authentication, calls, signals, each under one deadline.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::SystemdError;
use super::message::{self, FIXED, Incoming, Method};
use super::wire::Writer;
use crate::wait::Deadline;

type Result<T> = std::result::Result<T, SystemdError>;

/// Authentication by the credentials of the socket, without naming a uid (which would be wrong in a user namespace),
/// then straight on: the answers come in order.
const AUTH: &[u8] = b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n";

/// Who listens at a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// A bus: says hello, filters signals.
    Bus,
    /// systemd itself: neither.
    Systemd,
}

/// An open connection.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: UnixStream,
    serial: u32,
    deadline: Deadline,
    /// Signals that came while a reply was awaited.
    signals: Vec<Incoming>,
}

impl Connection {
    /// Connects to the first socket that somebody listens at.
    pub(crate) fn open(sockets: &[(PathBuf, Peer)], limit: Duration) -> Result<(Self, Peer)> {
        let mut tried = Vec::new();
        for (socket, peer) in sockets {
            match UnixStream::connect(socket) {
                Ok(stream) => return Self::over(stream, *peer, limit).map(|connection| (connection, *peer)),
                Err(error) => tried.push(format!("{} ({error})", socket.display())),
            }
        }
        Err(SystemdError::NoBus { tried: tried.join(", ") })
    }

    /// Authenticates, and registers with a bus.
    pub(crate) fn over(stream: UnixStream, peer: Peer, limit: Duration) -> Result<Self> {
        let deadline = Deadline::after(limit);
        let mut connection = Self { stream, serial: 0, deadline, signals: Vec::new() };
        connection.send(AUTH, "authenticate")?;
        connection.expect_line("DATA")?;
        connection.expect_line("OK")?;
        if peer == Peer::Bus {
            connection.call(&bus_method("Hello", ""), &[])?;
        }
        Ok(connection)
    }

    fn expect_line(&mut self, word: &'static str) -> Result<()> {
        let mut line = Vec::new();
        // Byte by byte: what follows the last line is a message already.
        while !line.ends_with(b"\r\n") && line.len() < 512 {
            let mut byte = [0];
            self.receive(&mut byte, "authenticate")?;
            line.push(byte[0]);
        }
        if line.starts_with(word.as_bytes()) {
            return Ok(());
        }
        Err(SystemdError::Auth { reply: String::from_utf8_lossy(&line).trim().to_owned() })
    }

    /// Asks a bus for the signals of systemd's manager.
    pub(crate) fn match_signals(&mut self, interface: &str, member: &str) -> Result<()> {
        let mut body = Writer::default();
        body.text(&format!("type='signal',interface='{interface}',member='{member}'"));
        self.call(&bus_method("AddMatch", "s"), &body.0).map(drop)
    }

    /// Calls a method and waits for its answer.
    pub(crate) fn call(&mut self, method: &Method, body: &[u8]) -> Result<Vec<u8>> {
        self.serial += 1;
        let serial = self.serial;
        self.send(&message::call(serial, method, body), method.name)?;
        loop {
            match self.next(method.name)? {
                Incoming::Return { serial: to, body } if to == serial => return Ok(body),
                Incoming::Error { serial: to, name, text } if to == serial => {
                    return Err(SystemdError::Call { method: method.name, name, text });
                }
                signal @ Incoming::Signal { .. } => self.signals.push(signal),
                _ => {}
            }
        }
    }

    /// Waits for a signal that `wanted` accepts.
    pub(crate) fn signal<T>(
        &mut self,
        what: &'static str,
        mut wanted: impl FnMut(&Incoming) -> Option<T>,
    ) -> Result<T> {
        for signal in std::mem::take(&mut self.signals) {
            if let Some(found) = wanted(&signal) {
                return Ok(found);
            }
        }
        loop {
            if let Some(found) = wanted(&self.next(what)?) {
                return Ok(found);
            }
        }
    }

    fn next(&mut self, what: &'static str) -> Result<Incoming> {
        let mut fixed = [0; FIXED];
        self.receive(&mut fixed, what)?;
        let malformed = || SystemdError::Malformed { what };
        let length = message::length(&fixed).ok_or_else(malformed)?;
        let mut whole = vec![0; length];
        whole[..FIXED].copy_from_slice(&fixed);
        self.receive(&mut whole[FIXED..], what)?;
        message::parse(&whole).ok_or_else(malformed)
    }

    fn receive(&mut self, mut buffer: &mut [u8], what: &'static str) -> Result<()> {
        while !buffer.is_empty() {
            self.stream.set_read_timeout(Some(self.left(what)?)).map_err(|source| io(what, source))?;
            match self.stream.read(buffer) {
                Ok(0) => return Err(SystemdError::Closed { what }),
                Ok(length) => buffer = &mut buffer[length..],
                Err(error) if is_temporary(&error) => {}
                Err(source) => return Err(io(what, source)),
            }
        }
        Ok(())
    }

    fn send(&mut self, mut bytes: &[u8], what: &'static str) -> Result<()> {
        while !bytes.is_empty() {
            self.stream.set_write_timeout(Some(self.left(what)?)).map_err(|source| io(what, source))?;
            match self.stream.write(bytes) {
                Ok(length) => bytes = &bytes[length..],
                Err(error) if is_temporary(&error) => {}
                Err(source) => return Err(io(what, source)),
            }
        }
        Ok(())
    }

    fn left(&self, what: &'static str) -> Result<Duration> {
        if self.deadline.is_over() {
            return Err(SystemdError::Timeout { what, waited_ms: self.deadline.waited_ms() });
        }
        // A timeout below a microsecond would be taken for none at all.
        Ok(self.deadline.left().max(Duration::from_millis(1)))
    }
}

fn bus_method(name: &'static str, signature: &'static str) -> Method {
    Method {
        destination: "org.freedesktop.DBus",
        path: "/org/freedesktop/DBus",
        interface: "org.freedesktop.DBus",
        name,
        signature,
    }
}

/// The deadline is looked at before the next attempt.
fn is_temporary(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

fn io(what: &'static str, source: std::io::Error) -> SystemdError {
    SystemdError::Io { what, source }
}

/// The sockets to try, best first.
pub(crate) fn sockets(user: Option<&Path>) -> Vec<(PathBuf, Peer)> {
    match user {
        Some(runtime_dir) => {
            vec![(runtime_dir.join("systemd/private"), Peer::Systemd), (runtime_dir.join("bus"), Peer::Bus)]
        }
        // systemd's own socket is root's only; it spares the bus's two extra hops and works before the bus does.
        None => vec![
            ("/run/systemd/private".into(), Peer::Systemd),
            ("/run/dbus/system_bus_socket".into(), Peer::Bus),
        ],
    }
}

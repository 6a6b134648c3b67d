//! Netlink messages: building, sending, reading the answers.

use std::os::fd::OwnedFd;

use nix::sys::socket::{self, AddressFamily, SockFlag, SockProtocol, SockType};

use crate::raw::num;
use crate::{Errno, Result};

/// Length of a `struct nlmsghdr`.
const HEADER: usize = 16;
/// More than the kernel puts in one datagram of a dump.
const BUFFER: usize = 64 * 1024;
/// More datagrams than any dump of one machine's addresses takes: a bound, not a limit anybody meets.
const MAX_DATAGRAMS: usize = 65_536;

/// A request being built: header, family structure, attributes.
pub(super) struct Request(Vec<u8>);

impl Request {
    /// A request of type `kind` with the family's own structure as `body`.
    pub(super) fn new(kind: u16, flags: i32, body: &[u8]) -> Self {
        let flags = (flags | libc::NLM_F_REQUEST) as u16;
        let mut bytes = Vec::with_capacity(128);
        bytes.extend([0; 4]);
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        // Sequence number 1 (one request a socket), port 0 (the kernel's).
        bytes.extend(1_u32.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend_from_slice(body);
        Self(bytes)
    }

    /// Appends an attribute, padded to 4 bytes.
    pub(super) fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        self.0.extend((value.len() as u16 + 4).to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    fn finish(mut self) -> Vec<u8> {
        let length = self.0.len() as u32;
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
        self.0
    }
}

/// An rtnetlink socket of the network namespace it was made in.
pub(super) struct Route(OwnedFd);

impl Route {
    /// `socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE)`
    pub(super) fn new() -> Result<Self> {
        let protocol = SockProtocol::NetlinkRoute;
        socket::socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol).map(Self)
    }

    /// Sends a change and waits for the kernel's acknowledgement.
    pub(super) fn change(&self, request: Request) -> Result<()> {
        self.send(request)?;
        self.answers(|_, _| {})
    }

    /// Sends a question; `each` gets type and body of every message of the answer.
    pub(super) fn ask(&self, request: Request, each: impl FnMut(u16, &[u8])) -> Result<()> {
        self.send(request)?;
        self.answers(each)
    }

    fn send(&self, request: Request) -> Result<()> {
        let bytes = request.finish();
        // SAFETY: the message is valid for its length; without an address the kernel is the receiver.
        unsafe { sys!(SYS_sendto, num(&self.0), bytes.as_ptr(), bytes.len(), 0, 0, 0) }.map(drop)
    }

    /// Reads to the acknowledgement (all requests ask for one) or the end of the dump.
    fn answers(&self, mut each: impl FnMut(u16, &[u8])) -> Result<()> {
        let mut buffer = vec![0_u8; BUFFER];
        for _ in 0..MAX_DATAGRAMS {
            let (pointer, length) = (buffer.as_mut_ptr(), buffer.len());
            // SAFETY: the buffer is valid for writes of its length; no address is asked for. MSG_TRUNC gives
            // the datagram's real length.
            let n = unsafe { sys!(SYS_recvfrom, num(&self.0), pointer, length, libc::MSG_TRUNC, 0, 0) }?;
            let mut rest = buffer.get(..n).ok_or(Errno::EMSGSIZE)?;
            while rest.len() >= HEADER {
                let length = u32_at(rest, 0)? as usize;
                let kind = u16_at(rest, 4)?;
                let body = rest.get(HEADER..length).ok_or(Errno::EBADMSG)?;
                match i32::from(kind) {
                    libc::NLMSG_DONE => return Ok(()),
                    libc::NLMSG_ERROR => return acknowledgement(body),
                    _ => each(kind, body),
                }
                rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
            }
        }
        Err(Errno::EBADMSG)
    }
}

/// The error number in a `struct nlmsgerr`; 0 is success.
fn acknowledgement(body: &[u8]) -> Result<()> {
    match u32_at(body, 0)? as i32 {
        0 => Ok(()),
        negative => Err(Errno::from_raw(negative.wrapping_neg())),
    }
}

/// The attributes in `bytes`: type without flag bits, and value.
pub(super) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        const TYPE_MASK: u16 = 0x3fff;
        let length = usize::from(u16_at(bytes, 0).ok()?);
        let kind = u16_at(bytes, 2).ok()? & TYPE_MASK;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Result<u16> {
    let part = bytes.get(at..at + 2).and_then(|b| b.try_into().ok()).ok_or(Errno::EBADMSG)?;
    Ok(u16::from_ne_bytes(part))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Result<u32> {
    let part = bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).ok_or(Errno::EBADMSG)?;
    Ok(u32::from_ne_bytes(part))
}

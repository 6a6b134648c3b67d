//! Links and addresses.

use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::unistd::Pid;

use super::message::{Request, Route, attributes, u32_at};
use crate::namespace::{self, Namespaces};
use crate::{Errno, Result};

/// Longest name of a device, with its NUL (`IFNAMSIZ`).
const NAME_SIZE: usize = 16;
/// Length of a `struct ifinfomsg`.
const LINK_BODY: usize = 16;
/// Length of a `struct ifaddrmsg`.
const ADDRESS_BODY: usize = 8;
const ACK: i32 = libc::NLM_F_ACK;

/// An address of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// The device's own address.
    pub local: IpAddr,
    /// The other end's, for point-to-point devices.
    pub peer: Option<IpAddr>,
    /// Length of the network's prefix.
    pub prefix: u8,
    /// Broadcast address.
    pub broadcast: Option<IpAddr>,
}

/// What [`move_link`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MovedLink {
    /// The device's name in the target.
    pub name: String,
    /// Its index in the target.
    pub index: u32,
    /// The addresses it got back there.
    pub addresses: Vec<Address>,
    /// Whether it was on before.
    pub was_up: bool,
}

/// `struct ifinfomsg`.
fn link_body(index: u32, flags: u32, change: u32) -> [u8; LINK_BODY] {
    let mut body = [0; LINK_BODY];
    body[4..8].copy_from_slice(&index.to_ne_bytes());
    body[8..12].copy_from_slice(&flags.to_ne_bytes());
    body[12..16].copy_from_slice(&change.to_ne_bytes());
    body
}

/// A device name with its NUL, checked.
fn name_bytes(name: &str) -> Result<Vec<u8>> {
    let bad = |b: u8| b == b'/' || b == b':' || b == 0 || b.is_ascii_whitespace();
    if name.is_empty() || name.len() >= NAME_SIZE || matches!(name, "." | "..") || name.bytes().any(bad) {
        return Err(Errno::EINVAL);
    }
    let mut bytes = name.as_bytes().to_vec();
    bytes.push(0);
    Ok(bytes)
}

/// `RTM_GETLINK` by name: the device's index in the current network namespace.
///
/// # Errors
/// `ENODEV` when there is none; `EINVAL` for a name no device can have.
///
/// # References
/// - [rtnetlink(7)](https://man7.org/linux/man-pages/man7/rtnetlink.7.html)
pub fn link_index(name: &str) -> Result<u32> {
    index_of(&Route::new()?, name)
}

fn index_of(route: &Route, name: &str) -> Result<u32> {
    index_and_flags(route, name).map(|(index, _)| index)
}

fn index_and_flags(route: &Route, name: &str) -> Result<(u32, u32)> {
    let request = Request::new(libc::RTM_GETLINK, ACK, &link_body(0, 0, 0));
    let mut found = None;
    route.ask(request.attribute(libc::IFLA_IFNAME, &name_bytes(name)?), |kind, body| {
        if kind == libc::RTM_NEWLINK
            && let (Ok(index), Ok(flags)) = (u32_at(body, 4), u32_at(body, 8))
        {
            found = Some((index, flags));
        }
    })?;
    found.ok_or(Errno::ENODEV)
}

/// `RTM_NEWLINK` with `IFF_UP`: turns a device of the current network namespace on.
///
/// # References
/// - [rtnetlink(7)](https://man7.org/linux/man-pages/man7/rtnetlink.7.html)
pub fn link_up(name: &str) -> Result<()> {
    let route = Route::new()?;
    let index = index_of(&route, name)?;
    set_up(&route, index)
}

/// [`link_up`] of "lo", which is index 1 in every network namespace.
///
/// # References
/// - [rtnetlink(7)](https://man7.org/linux/man-pages/man7/rtnetlink.7.html)
pub fn loopback_up() -> Result<()> {
    const LOOPBACK: u32 = 1;
    set_up(&Route::new()?, LOOPBACK)
}

fn set_up(route: &Route, index: u32) -> Result<()> {
    let up = libc::IFF_UP as u32;
    route.change(Request::new(libc::RTM_NEWLINK, ACK, &link_body(index, up, up)))
}

/// `RTM_GETADDR`: the permanent addresses of global scope a device has, which the runtime specification asks
/// to keep.
///
/// # References
/// - [rtnetlink(7)](https://man7.org/linux/man-pages/man7/rtnetlink.7.html), runtime-spec config-linux.md "Network Devices"
pub fn global_addresses(index: u32) -> Result<Vec<Address>> {
    addresses_of(&Route::new()?, index)
}

fn addresses_of(route: &Route, index: u32) -> Result<Vec<Address>> {
    let mut found = Vec::new();
    // No NLM_F_ACK: a dump ends by itself, and two ends would leave one unread.
    let request = Request::new(libc::RTM_GETADDR, libc::NLM_F_DUMP, &[0; ADDRESS_BODY]);
    route.ask(request, |kind, body| {
        if kind == libc::RTM_NEWADDR && u32_at(body, 4) == Ok(index) {
            found.extend(global_address(body));
        }
    })?;
    Ok(found)
}

/// The address in a `struct ifaddrmsg` with attributes, when it is permanent and global.
fn global_address(body: &[u8]) -> Option<Address> {
    let (&[family, prefix, short_flags, scope, ..], rest) = body.split_first_chunk::<ADDRESS_BODY>()?;
    let (mut local, mut address, mut broadcast) = (None, None, None);
    let mut flags = u32::from(short_flags);
    for (kind, value) in attributes(rest) {
        match kind {
            libc::IFA_LOCAL => local = ip(family, value),
            libc::IFA_ADDRESS => address = ip(family, value),
            libc::IFA_BROADCAST => broadcast = ip(family, value),
            libc::IFA_FLAGS => flags = u32_at(value, 0).unwrap_or(flags),
            _ => {}
        }
    }
    if scope != libc::RT_SCOPE_UNIVERSE || flags & libc::IFA_F_PERMANENT == 0 {
        return None;
    }
    // Without IFA_LOCAL (IPv6), IFA_ADDRESS is the device's own; with both and different, it is the other
    // end's.
    let own = local.or(address)?;
    Some(Address { local: own, peer: address.filter(|a| *a != own), prefix, broadcast })
}

fn ip(family: u8, bytes: &[u8]) -> Option<IpAddr> {
    match i32::from(family) {
        libc::AF_INET => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        libc::AF_INET6 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

pub(super) fn add_address(route: &Route, index: u32, address: &Address) -> Result<()> {
    let family = if address.local.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let mut body =
        [family as u8, address.prefix, libc::IFA_F_PERMANENT as u8, libc::RT_SCOPE_UNIVERSE, 0, 0, 0, 0];
    body[4..].copy_from_slice(&index.to_ne_bytes());
    let flags = ACK | libc::NLM_F_CREATE | libc::NLM_F_EXCL;
    let mut request = Request::new(libc::RTM_NEWADDR, flags, &body)
        .attribute(libc::IFA_LOCAL, &octets(address.local))
        .attribute(libc::IFA_ADDRESS, &octets(address.peer.unwrap_or(address.local)));
    if let Some(broadcast) = address.broadcast {
        request = request.attribute(libc::IFA_BROADCAST, &octets(broadcast));
    }
    match route.change(request) {
        // Kept by the kernel across the move.
        Err(Errno::EEXIST) => Ok(()),
        other => other,
    }
}

/// `RTM_NEWLINK` with `IFLA_NET_NS_FD`: moves a device of the current network namespace into another one,
/// under `new_name` if given, gives it its permanent global addresses back, which the move takes away, and
/// turns it on.
///
/// The calling thread visits the target for a moment.
///
/// # Errors
/// `ENODEV` without the device, `EEXIST` when the target has the name already (the device then stays),
/// `EINVAL` for a device that cannot move ("lo", bridges and others local to a namespace).
///
/// # References
/// - [rtnetlink(7)](https://man7.org/linux/man-pages/man7/rtnetlink.7.html), runtime-spec config-linux.md "Network Devices"
pub fn move_link(name: &str, target_netns: BorrowedFd<'_>, new_name: Option<&str>) -> Result<MovedLink> {
    let (here, there) = (Route::new()?, route_in(target_netns)?);
    let moved = move_between(&here, &there, name, target_netns, new_name.unwrap_or(name))?;
    set_up(&there, moved.index)?;
    Ok(moved)
}

/// Undoes [`move_link`]: the device comes back from `source_netns` into the current network namespace, under its
/// old name, with its addresses, and on if it was. Routes through it are gone.
///
/// # Errors
/// As of [`move_link`].
///
/// # References
/// - [rtnetlink(7)](https://man7.org/linux/man-pages/man7/rtnetlink.7.html)
pub fn move_link_back(moved: &MovedLink, source_netns: BorrowedFd<'_>, old_name: &str) -> Result<()> {
    let home: OwnedFd = namespace::open_ns(Pid::from_raw(0), Namespaces::NET)?;
    let (there, here) = (route_in(source_netns)?, Route::new()?);
    let back = move_between(&there, &here, &moved.name, home.as_fd(), old_name)?;
    if moved.was_up { set_up(&here, back.index) } else { Ok(()) }
}

fn move_between(
    from: &Route,
    to: &Route,
    name: &str,
    target_netns: BorrowedFd<'_>,
    final_name: &str,
) -> Result<MovedLink> {
    let (index, flags) = index_and_flags(from, name)?;
    let addresses = addresses_of(from, index)?;
    if index_of(to, final_name).is_ok() {
        return Err(Errno::EEXIST);
    }
    let request = Request::new(libc::RTM_NEWLINK, ACK, &link_body(index, 0, libc::IFF_UP as u32))
        .attribute(libc::IFLA_NET_NS_FD, &target_netns.as_raw_fd().to_ne_bytes())
        .attribute(libc::IFLA_IFNAME, &name_bytes(final_name)?);
    from.change(request)?;
    // The index may be another one there.
    let index = index_of(to, final_name)?;
    for address in &addresses {
        add_address(to, index, address)?;
    }
    let was_up = flags & libc::IFF_UP as u32 != 0;
    Ok(MovedLink { name: final_name.to_owned(), index, addresses, was_up })
}

/// A socket of another network namespace: it belongs to where it was made.
fn route_in(netns: BorrowedFd<'_>) -> Result<Route> {
    let home: OwnedFd = namespace::open_ns(Pid::from_raw(0), Namespaces::NET)?;
    namespace::setns(netns, Namespaces::NET)?;
    let route = Route::new();
    // A failure here would leave the thread in the container's network: it must not be taken for success.
    namespace::setns(&home, Namespaces::NET)?;
    route
}

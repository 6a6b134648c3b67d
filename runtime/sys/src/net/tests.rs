//! Tests of the network functions, in network namespaces of their own.

use std::net::IpAddr;
use std::os::fd::AsFd;

use nix::unistd::Pid;

use super::message::{Request, Route};
use super::*;
use crate::Errno;
use crate::namespace::{Namespaces, open_ns, unshare};
use crate::testing::in_namespaces;

/// A veth pair "one" and "two" in the current namespace.
fn make_veth() {
    let peer = [[0; 16].as_slice(), &attribute(libc::IFLA_IFNAME, b"two\0")].concat();
    let data = attribute(1, &peer);
    let info = [attribute(libc::IFLA_INFO_KIND, b"veth\0"), attribute(libc::IFLA_INFO_DATA, &data)].concat();
    let request = Request::new(libc::RTM_NEWLINK, libc::NLM_F_ACK | libc::NLM_F_CREATE, &[0; 16])
        .attribute(libc::IFLA_IFNAME, b"one\0")
        .attribute(libc::IFLA_LINKINFO, &info);
    Route::new().unwrap().change(request).unwrap();
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = (value.len() as u16 + 4).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn is_up(name: &str) -> bool {
    let flags = std::fs::read_to_string(format!("/sys/class/net/{name}/flags")).unwrap();
    u32::from_str_radix(flags.trim().trim_start_matches("0x"), 16).unwrap() & libc::IFF_UP as u32 != 0
}

/// The flags come from the sysfs of the namespace the process is in.
fn fresh_sysfs() {
    let fs = crate::mount::FsContext::open("sysfs").unwrap();
    fs.create().unwrap();
    let mount = fs.mount(crate::mount::MountAttrs::RDONLY).unwrap();
    crate::mount::move_mount_at(mount.as_fd(), nix::fcntl::AT_FDCWD, "/sys").unwrap();
}

#[test]
fn loopback_goes_up() {
    require_root!();
    in_namespaces(Namespaces::NET | Namespaces::MNT, || {
        fresh_sysfs();
        assert!(!is_up("lo"));
        loopback_up().unwrap();
        assert!(is_up("lo"));
        link_up("lo").unwrap();
        assert_eq!(link_up("nosuch"), Err(Errno::ENODEV));
        for name in ["", "..", "a/b", "sixteen-letters!"] {
            assert_eq!(link_up(name), Err(Errno::EINVAL), "{name:?}");
        }
    });
}

#[test]
fn a_moved_device_keeps_its_global_addresses_and_is_up() {
    require_root!();
    in_namespaces(Namespaces::NET | Namespaces::MNT, || {
        let here = open_ns(Pid::from_raw(0), Namespaces::NET).unwrap();
        unshare(Namespaces::NET).unwrap();
        fresh_sysfs();
        make_veth();
        let index = link_index("one").unwrap();
        let address = |local: &str, prefix, broadcast: Option<&str>| Address {
            local: local.parse().unwrap(),
            peer: None,
            prefix,
            broadcast: broadcast.map(|b| b.parse::<IpAddr>().unwrap()),
        };
        let v4 = address("192.0.2.7", 24, Some("192.0.2.255"));
        let v6 = address("2001:db8::7", 64, None);
        for one in [v4, v6] {
            super::route::add_address(&Route::new().unwrap(), index, &one).unwrap();
        }
        link_up("one").unwrap();
        assert_eq!(global_addresses(index).unwrap(), [v4, v6]);
        let home = open_ns(Pid::from_raw(0), Namespaces::NET).unwrap();
        let moved = move_link("one", here.as_fd(), Some("eth0")).unwrap();
        assert!(
            crate::namespace::is_same_ns(&home, open_ns(Pid::from_raw(0), Namespaces::NET).unwrap()).unwrap()
        );
        assert_eq!((moved.name.as_str(), moved.addresses.as_slice()), ("eth0", [v4, v6].as_slice()));
        assert_eq!(link_index("one"), Err(Errno::ENODEV));
        // The name is taken now: the second device stays where it is.
        assert_eq!(move_link("two", here.as_fd(), Some("eth0")).unwrap_err(), Errno::EEXIST);
        link_index("two").unwrap();
        // There and back again.
        move_link_back(&moved, here.as_fd(), "one").unwrap();
        assert_eq!(global_addresses(link_index("one").unwrap()).unwrap(), [v4, v6]);
        assert!(is_up("one"));
        let moved = move_link("one", here.as_fd(), Some("eth0")).unwrap();
        crate::namespace::setns(&here, Namespaces::NET).unwrap();
        fresh_sysfs();
        assert!(is_up("eth0"));
        assert_eq!(global_addresses(moved.index).unwrap(), [v4, v6]);
    });
}

//! `linux.netDevices`: a device of the host moved into the container.

use std::process::Command;

use caisson_integration_tests::prelude::*;

/// A pair of connected devices, removed with the value.
struct Pair {
    name: String,
}

impl Pair {
    fn new(scratch: &Scratch) -> Self {
        // At most 15 characters: the end of the scratch name is unique.
        let unique = scratch.name().trim_start_matches("caisson-test-").replace('-', "x");
        let name = format!("ct{unique}");
        let pair = Self { name };
        ip(&["link", "add", &pair.name, "type", "veth", "peer", "name", &format!("{}p", pair.name)]);
        pair
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        // Gone already when the container's network namespace went with its other end.
        drop(Command::new("ip").args(["link", "del", &format!("{}p", self.name)]).output());
    }
}

#[track_caller]
fn ip(args: &[&str]) {
    let out = Command::new("ip").args(args).output().expect("run ip");
    assert!(out.status.success(), "ip {args:?}: {}", String::from_utf8_lossy(&out.stderr));
}

#[test]
fn a_device_is_moved_and_renamed_with_its_address() {
    needs!(root, program("ip"));
    peer_lacks!(Runc, Crun: "netDevices came later");
    let bundle = Bundle::sh("ip -o link show eth0; ip -o addr show eth0");
    let pair = Pair::new(bundle.scratch());
    ip(&["addr", "add", "192.0.2.7/24", "dev", &pair.name]);
    let c = bundle.set("/linux/netDevices", json!({(pair.name.as_str()): {"name": "eth0"}})).container();
    let out = c.run().ok();
    assert!(out.stdout.contains("eth0") && out.stdout.contains("192.0.2.7/24"), "{out}");
}

#[test]
fn a_device_keeps_its_name_when_none_is_given() {
    needs!(root, program("ip"));
    peer_lacks!(Runc, Crun: "netDevices came later");
    let bundle = Bundle::sh("ip -o link");
    let pair = Pair::new(bundle.scratch());
    let out = bundle.set("/linux/netDevices", json!({(pair.name.as_str()): {}})).container().run().ok();
    assert!(out.stdout.contains(&format!("{}@", pair.name)), "{out}");
}

#[test]
fn a_missing_device_is_an_error_that_names_it() {
    needs!(root);
    peer_lacks!(Runc, Crun: "netDevices came later");
    let c = Bundle::sh("true").set("/linux/netDevices", json!({"nosuchdev0": {}})).container();
    let before = HostSnapshot::take(&c);
    c.run().fails().says("nosuchdev0");
    before.assert_unchanged(&c);
}

#[test]
fn a_device_without_a_network_namespace_is_an_error() {
    needs!(root, program("ip"));
    peer_lacks!(Runc, Crun: "netDevices came later");
    let bundle = Bundle::sh("true").without_namespace("network");
    let pair = Pair::new(bundle.scratch());
    bundle.set("/linux/netDevices", json!({(pair.name.as_str()): {}})).container().run().fails();
    ip(&["link", "show", &pair.name]);
}

//! User namespaces made by root: mappings, owners, what still works inside.

use caisson_integration_tests::prelude::*;

#[test]
fn the_mappings_are_the_configs() {
    needs!(root);
    let out = Bundle::sh("cat /proc/self/uid_map /proc/self/gid_map").user_namespace().container().run().ok();
    let words: Vec<_> = out.stdout.split_whitespace().collect();
    assert_eq!(words, ["0", "100000", "65536", "0", "100000", "65536"]);
}

#[test]
fn several_ranges_are_mapped() {
    needs!(root);
    let ids = json!([
        {"containerID": 0, "hostID": 100_000, "size": 10}, {"containerID": 1000, "hostID": 200_000, "size": 5}
    ]);
    let bundle = Bundle::sh("cat /proc/self/uid_map").user_namespace();
    let out = bundle.set("/linux/uidMappings", ids).container().run().ok();
    assert_eq!(
        out.stdout.split_whitespace().collect::<Vec<_>>(),
        ["0", "100000", "10", "1000", "200000", "5"]
    );
}

#[test]
fn files_of_the_container_belong_to_the_mapped_id_on_the_host() {
    needs!(root);
    use std::os::unix::fs::MetadataExt;
    let c = Bundle::sh("touch /new; id -u").user_namespace().container();
    assert_eq!(c.run().ok().text(), "0");
    assert_eq!(std::fs::metadata(c.rootfs("/new")).expect("the new file").uid(), 100_000);
}

#[test]
fn the_process_has_the_mapped_id_on_the_host() {
    needs!(root);
    let c = Bundle::sleeper().user_namespace().set("/process/user/uid", json!(7)).container().up();
    let status = std::fs::read_to_string(format!("/proc/{}/status", c.pid())).expect("init's status");
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:")).expect("a uid");
    assert_eq!(uid.split_whitespace().collect::<Vec<_>>(), ["100007"; 4]);
}

#[test]
fn devices_are_bound_from_the_host() {
    needs!(root);
    let out = Bundle::sh("echo x >/dev/null && stat -c %t:%T /dev/null /dev/urandom").user_namespace();
    assert_eq!(out.container().run().ok().lines(), ["1:3", "1:9"]);
}

#[test]
fn a_device_of_the_config_is_bound_from_the_host() {
    needs!(root, kvm);
    let device = json!({"path": "/dev/kvm", "type": "c", "major": 10, "minor": 232, "fileMode": 0o666});
    let bundle = Bundle::sh("stat -c %t:%T /dev/kvm").user_namespace().set("/linux/devices/-", device);
    assert_eq!(bundle.container().run().ok().text(), "a:e8");
}

#[test]
fn kernel_file_systems_are_mounted_inside() {
    needs!(root);
    let out = Bundle::sh("test -e /proc/1/status && test -d /sys/kernel && ls /dev/pts").user_namespace();
    assert_eq!(out.container().run().ok().text(), "ptmx");
}

#[test]
fn a_bind_source_that_only_the_hosts_root_can_reach_is_bound() {
    needs!(root);
    use std::os::unix::fs::PermissionsExt;
    let bundle = Bundle::sh("cat /mnt/file").user_namespace();
    let private = bundle.scratch().dir("private");
    let data = bundle.scratch().dir("private/data");
    bundle.scratch().file("private/data/file", "reached");
    std::fs::set_permissions(&private, std::fs::Permissions::from_mode(0o700))
        .expect("chmod our own directory");
    assert_eq!(bundle.bind(&data, "/mnt", &[]).container().run().ok().stdout, "reached");
}

#[test]
fn exec_is_in_the_same_user_namespace() {
    needs!(root);
    let c = Bundle::sleeper().user_namespace().container().up();
    assert_eq!(c.exec_sh("id -u; cut -c1-30 /proc/self/uid_map").ok().lines()[0], "0");
    let init = std::fs::read_link(format!("/proc/{}/ns/user", c.pid())).expect("init's namespace");
    assert_eq!(c.exec(&["readlink", "/proc/self/ns/user"]).ok().text(), init.display().to_string());
}

#[test]
fn a_user_that_is_not_mapped_is_an_error() {
    needs!(root);
    Bundle::sh("true").user_namespace().set("/process/user/uid", json!(70_000)).container().run().fails();
}

#[test]
fn mappings_without_a_user_namespace_are_an_error() {
    needs!(root);
    peer_lacks!(Runc, Crun: "ignores them");
    let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    let bundle = Bundle::sh("true").set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
    bundle.container().run().fails();
}

#[test]
fn a_user_namespace_without_mappings_is_an_error_or_the_overflow_user() {
    needs!(root);
    peer_lacks!(Crun: "makes mappings of its own");
    let out = Bundle::sh("id -u").namespace("user", None).container().run();
    assert!(out.code != 0 || out.text() == "65534", "{out}");
}

#[test]
fn capabilities_hold_inside_only() {
    needs!(root);
    let all = json!(["CAP_SYS_ADMIN", "CAP_MKNOD"]);
    let caps = json!({"bounding": all, "permitted": all, "effective": all});
    let bundle = Bundle::sh("hostname inside && hostname; mknod /x b 1 1 2>/dev/null || echo no device");
    let out = bundle.user_namespace().set("/process/capabilities", caps).container().run().ok();
    assert_eq!(out.lines(), ["inside", "no device"]);
}

#[test]
fn a_life_with_a_user_namespace_leaves_the_host_as_it_was() {
    needs!(root);
    let c = Bundle::sleeper().user_namespace().container();
    let before = HostSnapshot::take(&c);
    c.create().ok();
    c.start().ok();
    c.kill_and_wait();
    c.delete().ok();
    before.assert_unchanged(&c);
}

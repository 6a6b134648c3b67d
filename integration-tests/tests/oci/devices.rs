//! `linux.devices` and the device rules of the cgroup.

use caisson_integration_tests::prelude::*;

fn stat(path: &str) -> Bundle {
    Bundle::sh(&format!("stat -c '%F %t:%T %a %u:%g' {path}"))
}

#[test]
fn a_character_device_is_made_with_mode_and_owner() {
    needs!(root);
    let device = json!({"path": "/dev/mine", "type": "c", "major": 10, "minor": 229, "fileMode": 0o640,
        "uid": 3, "gid": 4});
    let out = stat("/dev/mine").set("/linux/devices/-", device).container().run().ok();
    assert_eq!(out.text(), "character special file a:e5 640 3:4");
}

#[test]
fn a_block_device_is_made() {
    needs!(root);
    let device = json!({"path": "/dev/disk", "type": "b", "major": 7, "minor": 9, "fileMode": 0o600});
    let out = stat("/dev/disk").set("/linux/devices/-", device).container().run().ok();
    assert_eq!(out.text(), "block special file 7:9 600 0:0");
}

#[test]
fn a_pipe_is_made() {
    needs!(root);
    let device = json!({"path": "/dev/pipe", "type": "p", "fileMode": 0o622});
    assert_eq!(
        stat("/dev/pipe").set("/linux/devices/-", device).container().run().ok().text(),
        "fifo 0:0 622 0:0"
    );
}

#[test]
fn a_device_is_made_in_a_missing_directory_outside_dev() {
    needs!(root);
    let device = json!({"path": "/opt/deep/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o666});
    let out = stat("/opt/deep/null").set("/linux/devices/-", device).container().run().ok();
    assert_eq!(out.text(), "character special file 1:3 666 0:0");
}

#[test]
fn a_device_of_an_unknown_type_is_an_error() {
    needs!(root);
    peer_lacks!(Crun: "1.8.1 makes a character device of it");
    let device = json!({"path": "/dev/x", "type": "z", "major": 1, "minor": 3});
    stat("/dev/x").set("/linux/devices/-", device).container().run().fails();
}

/// /dev/kmsg is 1:11, which no default rule allows.
fn kmsg(script: &str) -> Bundle {
    let device = json!({"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11, "fileMode": 0o666});
    // Opening it wants CAP_SYSLOG where kernel.dmesg_restrict is set.
    let all = json!(["CAP_SYSLOG"]);
    let caps = json!({"bounding": all, "permitted": all, "effective": all});
    Bundle::sh(script).set("/linux/devices/-", device).set("/process/capabilities", caps)
}

#[test]
fn a_device_which_no_rule_allows_cannot_be_opened() {
    needs!(root);
    let out = kmsg("exec 3<>/dev/kmsg").container().run().fails();
    assert!(out.stderr.to_lowercase().contains("not permitted"), "{out}");
}

#[test]
fn a_device_which_a_rule_allows_can_be_opened() {
    needs!(root);
    let rule = json!({"allow": true, "type": "c", "major": 1, "minor": 11, "access": "rw"});
    kmsg("exec 3<>/dev/kmsg && echo open").set("/linux/resources/devices/-", rule).container().run().ok();
}

#[test]
fn access_is_told_apart() {
    needs!(root);
    let rule = json!({"allow": true, "type": "c", "major": 1, "minor": 11, "access": "r"});
    let script = "exec 3</dev/kmsg && echo reads; (exec 4>/dev/kmsg) 2>/dev/null || echo writes not";
    let out = kmsg(script).set("/linux/resources/devices/-", rule).container().run().ok();
    assert_eq!(out.lines(), ["reads", "writes not"]);
}

#[test]
fn a_wildcard_minor_covers_the_major() {
    needs!(root);
    let rule = json!({"allow": true, "type": "c", "major": 1, "access": "rwm"});
    kmsg("exec 3<>/dev/kmsg").set("/linux/resources/devices/-", rule).container().run().ok();
}

#[test]
fn a_later_rule_wins() {
    needs!(root);
    let deny = json!({"allow": false, "type": "c", "major": 1, "minor": 11, "access": "rwm"});
    let bundle =
        kmsg("exec 3<>/dev/kmsg").set("/linux/resources/devices/-", json!({"allow": true, "access": "rwm"}));
    // v1's default-allow with an exception, and v2's program, must both refuse.
    bundle.set("/linux/resources/devices/-", deny).container().run().fails();
}

#[test]
fn allow_all_allows_all() {
    needs!(root);
    kmsg("exec 3<>/dev/kmsg")
        .set("/linux/resources/devices", json!([{"allow": true, "access": "rwm"}]))
        .container()
        .run()
        .ok();
}

#[test]
fn mknod_is_a_right_of_its_own() {
    needs!(root);
    let all = json!(["CAP_MKNOD"]);
    let caps = json!({"bounding": all, "permitted": all, "effective": all});
    // Nodes may be made of anything, as runc's default rules have it; opening is what the rules are about.
    let bundle = Bundle::sh("mknod /kmsg c 1 11 && ! (exec 3</kmsg) 2>/dev/null && echo made but shut");
    assert_eq!(bundle.set("/process/capabilities", caps).container().run().ok().text(), "made but shut");
}

#[test]
fn the_default_devices_need_no_rule() {
    needs!(root);
    let script =
        "exec 3<>/dev/null 4<>/dev/zero 5<>/dev/full 6</dev/random 7</dev/urandom && test -c /dev/ptmx";
    Bundle::sh(script)
        .set("/linux/resources/devices", json!([{"allow": false, "access": "rwm"}]))
        .container()
        .run()
        .ok();
}

#[test]
fn an_exec_is_under_the_same_rules() {
    needs!(root);
    let c = kmsg("exec sleep 1000").container().up();
    c.exec_sh("exec 3</dev/kmsg").fails();
    let rule = json!({"allow": true, "type": "c", "major": 1, "minor": 11, "access": "rw"});
    let c = kmsg("exec sleep 1000").set("/linux/resources/devices/-", rule).container().up();
    c.exec_sh("exec 3</dev/kmsg").ok();
}

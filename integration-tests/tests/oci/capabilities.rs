//! `process.capabilities`: all five sets, by /proc/self/status.

use caisson_integration_tests::prelude::*;

/// CAP_CHOWN is bit 0, CAP_KILL bit 5, CAP_NET_BIND_SERVICE bit 10, CAP_NET_RAW bit 13.
const STATUS: &str = "grep ^Cap /proc/self/status";

fn sets(text: &str) -> Vec<(String, u64)> {
    let pairs = text.lines().filter_map(|line| line.split_once(":\t"));
    pairs.map(|(name, mask)| (name.to_owned(), u64::from_str_radix(mask, 16).expect("a mask"))).collect()
}

fn expect(
    inheritable: u64,
    permitted: u64,
    effective: u64,
    bounding: u64,
    ambient: u64,
) -> Vec<(String, u64)> {
    let names = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];
    let masks = [inheritable, permitted, effective, bounding, ambient];
    names.into_iter().map(str::to_owned).zip(masks).collect()
}

#[test]
fn root_has_the_bounding_set_and_no_inheritable_one() {
    needs!(root);
    let caps = json!({"bounding": ["CAP_CHOWN", "CAP_KILL"], "permitted": ["CAP_CHOWN", "CAP_KILL"],
        "effective": ["CAP_CHOWN", "CAP_KILL"]});
    let out = Bundle::sh(STATUS).set("/process/capabilities", caps).container().run().ok();
    assert_eq!(sets(&out.stdout), expect(0, 0x21, 0x21, 0x21, 0));
}

#[test]
fn no_capabilities_in_the_config_are_none_in_the_container() {
    needs!(root);
    let out = Bundle::sh(STATUS).set("/process/capabilities", json!({})).container().run().ok();
    assert_eq!(sets(&out.stdout), expect(0, 0, 0, 0, 0));
}

#[test]
fn an_ordinary_user_has_the_ambient_set() {
    needs!(root);
    let all = json!(["CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    let caps = json!({"bounding": all, "permitted": all, "effective": all, "inheritable": all,
        "ambient": ["CAP_NET_BIND_SERVICE"]});
    let bundle = Bundle::sh(STATUS).set("/process/capabilities", caps).set("/process/user/uid", json!(1000));
    let out = bundle.container().run().ok();
    assert_eq!(sets(&out.stdout), expect(0x420, 0x400, 0x400, 0x420, 0x400));
}

#[test]
fn an_ordinary_user_without_ambient_has_none_effective() {
    needs!(root);
    let all = json!(["CAP_KILL"]);
    let caps = json!({"bounding": all, "permitted": all, "effective": all});
    let bundle = Bundle::sh(STATUS).set("/process/capabilities", caps).set("/process/user/uid", json!(1000));
    assert_eq!(sets(&bundle.container().run().ok().stdout), expect(0, 0, 0, 0x20, 0));
}

#[test]
fn a_dropped_capability_cannot_be_used() {
    needs!(root);
    let bundle = Bundle::sh("touch /f; chown 1 /f 2>/dev/null; echo $?");
    assert_eq!(bundle.container().run().ok().text(), "1");
    let all = json!(["CAP_CHOWN"]);
    let with = Bundle::sh("touch /f; chown 1 /f; echo $?")
        .set("/process/capabilities", json!({"bounding": all, "permitted": all, "effective": all}));
    assert_eq!(with.container().run().ok().text(), "0");
}

#[test]
fn an_unknown_capability_does_not_give_another() {
    needs!(root);
    // The spec demands an error or a warning; engines send names that the kernel is too old for.
    let all = json!(["CAP_KILL", "CAP_FUTURE"]);
    let bundle = Bundle::sh(STATUS)
        .set("/process/capabilities", json!({"bounding": all, "permitted": all, "effective": all}));
    let out = bundle.container().run();
    let seen = sets(&out.stdout);
    assert!(out.code != 0 || seen == expect(0, 0x20, 0x20, 0x20, 0), "{out}");
}

#[test]
fn exec_has_the_same_sets_as_init() {
    needs!(root);
    let c = Bundle::sh(&format!("{STATUS}; exec sleep 1000")).container().up();
    eventually("init's sets", || c.stdout().contains("CapAmb").then_some(()));
    assert_eq!(sets(&c.exec_sh(STATUS).ok().stdout), sets(&c.stdout()));
}

#[test]
fn exec_with_cap_adds_to_the_sets_but_never_to_inheritable() {
    needs!(root);
    peer_lacks!(Crun: "1.8.1 replaces the sets");
    // CVE-2022-29162: a non-empty inheritable set gives capabilities to programs with file capabilities.
    let c = Bundle::sleeper().container().up();
    let out = c.verb_then("exec", &["--cap", "CAP_NET_RAW"], &["sh", "-c", STATUS]).ok();
    let seen = sets(&out.stdout);
    assert_eq!(seen[0], ("CapInh".to_owned(), 0), "{out}");
    assert_ne!(seen[2].1 & 0x2000, 0, "NET_RAW is effective: {out}");
    assert_ne!(seen[2].1 & 0x20, 0, "KILL of the config stays: {out}");
}

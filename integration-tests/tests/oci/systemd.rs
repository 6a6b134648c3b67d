//! The systemd cgroup driver: scopes, slices, properties.

use std::process::Command;

use caisson_integration_tests::cgroup;
use caisson_integration_tests::prelude::*;

const DRIVER: &[&str] = &["--systemd-cgroup"];

/// A container in `SLICE:caisson:NAME`.
fn scoped(bundle: Bundle, slice: &str) -> Container {
    let path = format!("{slice}:caisson:{}", bundle.scratch().name());
    bundle.set("/linux/cgroupsPath", json!(path)).container().with(|runtime| runtime.global(DRIVER))
}

fn unit(c: &Container) -> String {
    format!("caisson-{}.scope", c.id())
}

/// What systemd thinks of a unit.
fn property(unit: &str, name: &str) -> String {
    let out = Command::new("systemctl")
        .args(["show", "--value", "-p", name, unit])
        .output()
        .expect("run systemctl");
    String::from_utf8_lossy(&out.stdout).trim().to_owned()
}

fn systemctl(args: &[&str]) {
    let done = Command::new("systemctl").args(args).status().expect("run systemctl");
    assert!(done.success(), "systemctl {args:?}");
}

fn cgroup_of(c: &Container) -> String {
    let text = std::fs::read_to_string(format!("/proc/{}/cgroup", c.pid())).expect("init's cgroup");
    text.trim().trim_start_matches("0::").to_owned()
}

/// A file of the scope in system.slice.
fn file(c: &Container, name: &str) -> String {
    let path = cgroup::file("", &format!("/system.slice/{}", unit(c)), name);
    std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        .trim()
        .to_owned()
}

#[test]
fn a_missing_cgroups_path_is_a_scope_with_the_id() {
    needs!(root, systemd, cgroup_v2);
    let c =
        Bundle::sleeper().unset("/linux/cgroupsPath").container().with(|runtime| runtime.global(DRIVER)).up();
    let path = cgroup_of(&c);
    assert!(path.starts_with("/system.slice/") && path.ends_with(&format!("-{}.scope", c.id())), "{path}");
}

#[test]
fn a_nested_slice_is_made() {
    needs!(root, systemd, cgroup_v2);
    let c = scoped(Bundle::sleeper(), "caissontest-deep.slice").up();
    assert_eq!(cgroup_of(&c), format!("/caissontest.slice/caissontest-deep.slice/{}", unit(&c)));
    assert_eq!(property(&unit(&c), "Slice"), "caissontest-deep.slice");
    c.verb("delete", &["--force"]).ok();
    systemctl(&["stop", "caissontest.slice"]);
}

#[test]
fn resources_are_properties_of_the_unit() {
    needs!(root, systemd, cgroup_v2);
    let resources = json!({"devices": [{"allow": false, "access": "rwm"}], "memory": {"limit": 67_108_864, "reservation": 33_554_432, "swap": 100_663_296},
        "cpu": {"shares": 1024, "quota": 50_000, "period": 100_000, "cpus": "0", "mems": "0"}, "pids": {"limit": 55}});
    let c = scoped(Bundle::sleeper().set("/linux/resources", resources), "system.slice").up();
    let unit = unit(&c);
    for (name, value) in [
        ("MemoryMax", "67108864"),
        ("MemoryLow", "33554432"),
        ("MemorySwapMax", "33554432"),
        ("TasksMax", "55"),
        ("CPUQuotaPerSecUSec", "500ms"),
        ("AllowedCPUs", "0"),
        ("Delegate", "yes"),
    ] {
        assert_eq!(property(&unit, name), value, "{name}");
    }
    for (name, value) in [
        ("memory.max", "67108864"),
        ("memory.low", "33554432"),
        ("memory.swap.max", "33554432"),
        ("pids.max", "55"),
        ("cpu.max", "50000 100000"),
        ("cpuset.cpus", "0"),
    ] {
        assert_eq!(file(&c, name), value, "{name}");
    }
    assert_eq!(property(&unit, "CPUWeight"), file(&c, "cpu.weight"));
}

#[test]
fn annotations_are_properties_of_the_unit() {
    needs!(root, systemd, cgroup_v2);
    let annotations = json!({"org.systemd.property.TimeoutStopUSec": "uint64 123000000",
        "org.systemd.property.CollectMode": "'inactive-or-failed'", "org.systemd.property.Description": "'a test of caisson'"});
    let c = scoped(Bundle::sleeper().set("/annotations", annotations), "system.slice").up();
    assert_eq!(property(&unit(&c), "TimeoutStopUSec"), "2min 3s");
    assert_eq!(property(&unit(&c), "CollectMode"), "inactive-or-failed");
    assert_eq!(property(&unit(&c), "Description"), "a test of caisson");
}

#[test]
fn a_property_that_systemd_does_not_know_is_an_error_that_names_it() {
    needs!(root, systemd, cgroup_v2);
    let annotations = json!({"org.systemd.property.NoSuchProperty": "true"});
    let c = scoped(Bundle::sleeper().set("/annotations", annotations), "system.slice");
    let before = HostSnapshot::take(&c);
    c.create().fails().says("NoSuchProperty");
    before.assert_unchanged(&c);
    assert!(!cgroup::file("", &format!("/system.slice/{}", unit(&c)), "").exists());
}

#[test]
fn update_changes_property_and_file_and_a_reload_keeps_them() {
    needs!(root, systemd, cgroup_v2);
    let c = scoped(Bundle::sleeper(), "system.slice").up();
    c.verb(
        "update",
        &["--memory", "67108864", "--pids-limit", "31", "--cpu-quota", "20000", "--cpu-period", "100000"],
    )
    .ok();
    let seen = || {
        [
            file(&c, "memory.max"),
            file(&c, "pids.max"),
            file(&c, "cpu.max"),
            property(&unit(&c), "MemoryMax"),
            property(&unit(&c), "TasksMax"),
        ]
    };
    let wanted = ["67108864", "31", "20000 100000", "67108864", "31"];
    assert_eq!(seen(), wanted);
    systemctl(&["daemon-reload"]);
    assert_eq!(seen(), wanted);
}

#[test]
fn unified_keys_outlive_a_reload_of_systemd() {
    needs!(root, systemd, cgroup_v2);
    let unified = json!({"memory.high": "50331648", "memory.min": "1048576", "pids.max": "77"});
    let c = scoped(Bundle::sleeper().set("/linux/resources/unified", unified), "system.slice").up();
    systemctl(&["daemon-reload"]);
    let files = ["memory.high", "memory.min", "pids.max"].map(|name| file(&c, name));
    assert_eq!(files, ["50331648", "1048576", "77"]);
    assert_eq!(property(&unit(&c), "MemoryHigh"), "50331648");
}

#[test]
fn device_rules_hold_before_and_after_a_reload_of_systemd() {
    needs!(root, systemd, cgroup_v2);
    let caps = json!({"bounding": ["CAP_SYSLOG"], "permitted": ["CAP_SYSLOG"], "effective": ["CAP_SYSLOG"]});
    let node = |minor: u32, path: &str| json!({"path": path, "type": "c", "major": 1, "minor": minor, "fileMode": 0o666});
    let bundle = Bundle::sleeper()
        .set("/process/capabilities", caps)
        .set("/linux/devices", json!([node(11, "/dev/kmsg"), node(4, "/dev/port")]))
        .set(
            "/linux/resources/devices/-",
            json!({"allow": true, "type": "c", "major": 1, "minor": 11, "access": "r"}),
        );
    let c = scoped(bundle, "system.slice").up();
    let check = || {
        c.exec_sh("exec 3</dev/kmsg").ok();
        c.exec_sh("exec 3>/dev/kmsg").fails();
        c.exec_sh("exec 3</dev/port").fails();
        c.exec_sh("exec 3<>/dev/null 4<>/dev/ptmx").ok();
    };
    check();
    systemctl(&["daemon-reload"]);
    check();
}

#[test]
fn exec_pause_and_stats_work_in_a_scope() {
    needs!(root, systemd, cgroup_v2);
    let c = scoped(Bundle::sleeper(), "system.slice").up();
    assert_eq!(c.exec_sh("echo $PPID").ok().code, 0);
    c.verb_then("exec", &["--detach"], &["sleep", "1008"]).ok();
    assert_eq!(file(&c, "cgroup.procs").lines().count(), 2);
    c.verb("pause", &[]).ok();
    assert_eq!((c.status().as_str(), file(&c, "cgroup.freeze").as_str()), ("paused", "1"));
    c.verb("resume", &[]).ok();
    assert_eq!(c.status(), "running");
}

#[test]
fn a_cgroup_namespace_starts_at_the_scope() {
    needs!(root, systemd, cgroup_v2);
    let bundle = Bundle::sh("cat /proc/self/cgroup; test -e /sys/fs/cgroup/memory.max && echo own")
        .namespace("cgroup", None);
    assert_eq!(scoped(bundle, "system.slice").run().ok().lines(), ["0::/", "own"]);
}

#[test]
fn a_user_namespace_with_a_writable_cgroup_mount_owns_its_scope() {
    needs!(root, systemd, cgroup_v2);
    let bundle = Bundle::sh(
        "mkdir /sys/fs/cgroup/own && echo 0 >/sys/fs/cgroup/own/cgroup.procs && cat /proc/self/cgroup",
    )
    .user_namespace()
    .namespace("cgroup", None)
    .without_mount("/sys/fs/cgroup")
    .mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "rw"]);
    assert_eq!(scoped(bundle, "system.slice").run().ok().text(), "0::/own");
}

#[test]
fn the_unit_goes_with_the_container_however_it_ends() {
    needs!(root, systemd, cgroup_v2);
    let loaded = |c: &Container| property(&unit(c), "LoadState");
    let c = scoped(Bundle::sh("exit 3"), "system.slice");
    let before = HostSnapshot::take(&c);
    assert_eq!(c.run().code, 3);
    eventually("the scope to go", || (loaded(&c) == "not-found").then_some(()));
    c.create().ok();
    c.start().ok();
    c.wait();
    c.delete().ok();
    eventually("the scope to go", || (loaded(&c) == "not-found").then_some(()));
    let c2 = scoped(Bundle::sleeper(), "system.slice").up();
    c2.kill_and_wait();
    c2.delete().ok();
    eventually("the scope to go", || (loaded(&c2) == "not-found").then_some(()));
    before.assert_unchanged(&c);
}

#[test]
fn a_failed_create_leaves_no_unit() {
    needs!(root, systemd, cgroup_v2);
    let c = scoped(Bundle::of(&["/no/such/program"]), "system.slice");
    let before = HostSnapshot::take(&c);
    c.run().fails().says("/no/such/program");
    before.assert_unchanged(&c);
    eventually("the scope to go", || (property(&unit(&c), "LoadState") == "not-found").then_some(()));
}

#[test]
fn a_unit_that_is_in_use_is_an_error_that_names_it() {
    needs!(root, systemd, cgroup_v2);
    let first = scoped(Bundle::sleeper(), "system.slice").up();
    let path = format!("system.slice:caisson:{}", first.id());
    let second = Bundle::sleeper().set("/linux/cgroupsPath", json!(path)).container();
    let second = second.with(|runtime| runtime.global(DRIVER));
    second.create().fails().says(&unit(&first));
    assert_eq!(first.status(), "running");
    assert_eq!(file(&first, "cgroup.procs").lines().count(), 1);
}

#[test]
fn a_cgroups_path_that_is_no_unit_is_an_error() {
    needs!(root, systemd);
    for (path, word) in [
        ("/a/b", "slice:prefix:name"),
        ("no-slice:caisson:x", "no-slice"),
        ("a--b.slice:caisson:x", "a--b.slice"),
    ] {
        let c = Bundle::sleeper().set("/linux/cgroupsPath", json!(path)).container();
        c.with(|runtime| runtime.global(DRIVER)).create().fails().says(word);
    }
}

#[test]
fn without_systemd_the_driver_is_refused_with_the_way_out() {
    needs!(root, no_systemd, runtime_caisson);
    scoped(Bundle::sleeper(), "system.slice").create().fails().says("cgroupfs");
}

#[test]
fn rlimits_and_an_oom_score_below_the_runtimes_hold_in_a_scope() {
    needs!(root, systemd, cgroup_v2, cap_sys_resource);
    let limits = json!([{"type": "RLIMIT_NOFILE", "soft": 1_048_570, "hard": 1_048_572}]);
    let bundle = Bundle::sh("ulimit -Hn; cat /proc/self/oom_score_adj").set("/process/rlimits", limits);
    let c = scoped(bundle.set("/process/oomScoreAdj", json!(-500)), "system.slice");
    assert_eq!(c.run().ok().lines(), ["1048572", "-500"]);
}

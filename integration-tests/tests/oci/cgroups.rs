//! Resources in both cgroup versions: limits, `update`, `pause`, `resume`, `events`, and what is left after `delete`.

use caisson_integration_tests::cgroup;
use caisson_integration_tests::prelude::*;

fn up(resources: Value) -> Container {
    Bundle::sleeper()
        .edit(|config| {
            let all = config["linux"]["resources"].as_object_mut().expect("resources");
            all.extend(resources.as_object().expect("an object").clone());
        })
        .container()
        .up()
}

fn mib(count: u64) -> u64 {
    count << 20
}

/// Asserts a v1 file or a v2 file of the container's cgroup, whichever version the host has.
#[track_caller]
fn assert_limit(c: &Container, v1: (&str, &str, &str), v2: (&str, &str)) {
    let (got, wanted) =
        if cgroup::is_v2() { (c.cgroup_file("", v2.0), v2.1) } else { (c.cgroup_file(v1.0, v1.1), v1.2) };
    assert_eq!(got, wanted, "{v1:?} {v2:?}");
}

#[test]
fn the_container_is_in_the_cgroup_of_its_path() {
    needs!(root, controller("memory"));
    let c = up(json!({}));
    let text = std::fs::read_to_string(format!("/proc/{}/cgroup", c.pid())).expect("init's cgroups");
    let path = c.cgroup();
    let lines: Vec<_> =
        text.lines().filter(|line| line.contains(":memory:") || line.starts_with("0::")).collect();
    let wanted = if cgroup::is_v2() { "0::" } else { ":memory:" };
    assert!(lines.iter().any(|line| line.contains(wanted) && line.ends_with(&path)), "{text}");
}

#[test]
fn a_missing_cgroups_path_gets_one_with_the_id() {
    needs!(root, controller("memory"));
    let c = Bundle::sleeper().unset("/linux/cgroupsPath").container().up();
    let text = std::fs::read_to_string(format!("/proc/{}/cgroup", c.pid())).expect("init's cgroups");
    assert!(text.lines().any(|line| line.contains(c.id())), "{text}");
    c.verb("delete", &["--force"]).ok();
    assert_eq!(cgroup::directories(c.id()), Vec::<std::path::PathBuf>::new());
}

#[test]
fn the_memory_limit_is_set() {
    needs!(root, controller("memory"));
    let c = up(json!({"memory": {"limit": mib(32), "reservation": mib(16)}}));
    assert_limit(&c, ("memory", "memory.limit_in_bytes", "33554432"), ("memory.max", "33554432"));
    assert_limit(&c, ("memory", "memory.soft_limit_in_bytes", "16777216"), ("memory.low", "16777216"));
}

#[test]
fn v1_swappiness_and_oom_killer_are_set() {
    needs!(root, cgroup_v1, controller("memory"));
    let c = up(json!({"memory": {"limit": mib(32), "swappiness": 30, "disableOOMKiller": true}}));
    assert_eq!(c.cgroup_file("memory", "memory.swappiness"), "30");
    assert!(c.cgroup_file("memory", "memory.oom_control").starts_with("oom_kill_disable 1"));
}

#[test]
fn v2_swap_is_what_is_above_memory() {
    needs!(root, cgroup_v2, controller("memory"));
    let c = up(json!({"memory": {"limit": mib(32), "swap": mib(48)}}));
    assert_eq!(c.cgroup_file("", "memory.swap.max"), "16777216");
}

#[test]
fn the_pids_limit_is_set_and_holds() {
    needs!(root, controller("pids"));
    let c = up(json!({"pids": {"limit": 17}}));
    assert_limit(&c, ("pids", "pids.max", "17"), ("pids.max", "17"));
    let out = c.exec_sh("for i in $(seq 40); do sleep 2 & done; wait");
    assert!(out.stderr.contains("fork") || out.code != 0, "{out}");
}

#[test]
fn an_unlimited_pids_limit_is_max() {
    needs!(root, controller("pids"));
    peer_lacks!(Crun: "1.8.1 writes the -1 as it is");
    let c = up(json!({"pids": {"limit": -1}}));
    assert_limit(&c, ("pids", "pids.max", "max"), ("pids.max", "max"));
}

#[test]
fn cpu_quota_period_and_shares_are_set() {
    needs!(root, controller("cpu"));
    let c = up(json!({"cpu": {"quota": 50_000, "period": 200_000, "shares": 2048}}));
    assert_limit(&c, ("cpu", "cpu.cfs_quota_us", "50000"), ("cpu.max", "50000 200000"));
    if !cgroup::is_v2() {
        assert_eq!(c.cgroup_file("cpu", "cpu.cfs_period_us"), "200000");
        assert_eq!(c.cgroup_file("cpu", "cpu.shares"), "2048");
    }
}

#[test]
fn v2_cpu_weight_comes_from_shares() {
    needs!(root, cgroup_v2, controller("cpu"));
    // The least shares are the least weight.
    assert_eq!(up(json!({"cpu": {"shares": 2}})).cgroup_file("", "cpu.weight"), "1");
    assert_eq!(up(json!({"cpu": {"shares": 262_144}})).cgroup_file("", "cpu.weight"), "10000");
}

#[test]
fn cpu_burst_and_idle_are_set() {
    needs!(root, controller("cpu"));
    peer_lacks!(Runc, Crun: "burst came later");
    let c = up(json!({"cpu": {"quota": 50_000, "period": 200_000, "burst": 10_000}}));
    assert_limit(&c, ("cpu", "cpu.cfs_burst_us", "10000"), ("cpu.max.burst", "10000"));
    let c = up(json!({"cpu": {"idle": 1}}));
    assert_limit(&c, ("cpu", "cpu.idle", "1"), ("cpu.idle", "1"));
}

#[test]
fn the_cpuset_is_set() {
    needs!(root, controller("cpuset"));
    let c = up(json!({"cpu": {"cpus": "0", "mems": "0"}}));
    assert_eq!(c.cgroup_file("cpuset", "cpuset.cpus"), "0");
    assert_eq!(c.cgroup_file("cpuset", "cpuset.mems"), "0");
    assert_eq!(c.exec_sh("grep Cpus_allowed_list /proc/self/status").ok().text(), "Cpus_allowed_list:\t0");
}

#[test]
fn v2_unified_keys_are_written() {
    needs!(root, cgroup_v2, controller("memory"));
    let c = up(json!({"unified": {"memory.high": "50331648", "pids.max": "99"}}));
    assert_eq!(c.cgroup_file("", "memory.high"), "50331648");
    assert_eq!(c.cgroup_file("", "pids.max"), "99");
}

#[test]
fn an_unknown_unified_key_is_an_error() {
    needs!(root, cgroup_v2);
    let bundle = Bundle::sleeper().set("/linux/resources/unified", json!({"nonsense.max": "1"}));
    bundle.container().create().fails().says("nonsense");
}

#[test]
fn unified_on_v1_is_an_error() {
    needs!(root, cgroup_v1);
    let bundle = Bundle::sleeper().set("/linux/resources/unified", json!({"memory.high": "1048576"}));
    bundle.container().create().fails();
}

#[test]
fn unified_keys_cannot_leave_the_cgroup() {
    needs!(root, cgroup_v2);
    let bundle = Bundle::sleeper().set("/linux/resources/unified", json!({"../cgroup.procs": "1"}));
    bundle.container().create().fails();
}

#[test]
fn a_limit_too_small_is_an_error_and_nothing_is_left() {
    needs!(root, controller("memory"));
    peer_lacks!(Crun: "1.8.1 leaves the cgroup behind");
    let bundle = Bundle::sleeper().set("/linux/resources/cpu", json!({"quota": 1, "period": 1}));
    let c = bundle.container();
    let before = HostSnapshot::take(&c);
    c.create().fails();
    before.assert_unchanged(&c);
}

#[test]
fn a_process_beyond_the_memory_limit_is_killed() {
    needs!(root, controller("memory"));
    // tail must hold what has no line end: 64 MiB do not fit into 16.
    let bundle = Bundle::sh("tail /dev/zero")
        .set("/linux/resources/memory", json!({"limit": mib(16), "swap": mib(16)}));
    let bundle = if cgroup::is_v2()
        || std::path::Path::new("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes").exists()
    {
        bundle
    } else {
        bundle.set("/linux/resources/memory", json!({"limit": mib(16)}))
    };
    assert_eq!(bundle.container().run().code, 137);
}

#[test]
fn update_changes_each_limit_by_its_flag() {
    needs!(root, controller("memory"), controller("cpu"), controller("pids"));
    let c = up(json!({"memory": {"limit": mib(32)}}));
    c.verb("update", &["--memory", "67108864", "--memory-reservation", "33554432"]).ok();
    assert_limit(&c, ("memory", "memory.limit_in_bytes", "67108864"), ("memory.max", "67108864"));
    assert_limit(&c, ("memory", "memory.soft_limit_in_bytes", "33554432"), ("memory.low", "33554432"));
    c.verb("update", &["--pids-limit", "21"]).ok();
    assert_limit(&c, ("pids", "pids.max", "21"), ("pids.max", "21"));
    c.verb("update", &["--cpu-period", "100000", "--cpu-quota", "60000"]).ok();
    assert_limit(&c, ("cpu", "cpu.cfs_quota_us", "60000"), ("cpu.max", "60000 100000"));
    assert_limit(&c, ("memory", "memory.limit_in_bytes", "67108864"), ("memory.max", "67108864"));
}

#[test]
fn update_changes_shares_and_cpuset() {
    needs!(root, controller("cpu"), controller("cpuset"));
    let c = up(json!({}));
    c.verb("update", &["--cpu-share", "2", "--cpuset-cpus", "0", "--cpuset-mems", "0"]).ok();
    assert_limit(&c, ("cpu", "cpu.shares", "2"), ("cpu.weight", "1"));
    assert_eq!(c.cgroup_file("cpuset", "cpuset.cpus"), "0");
}

#[test]
fn update_reads_resources_from_a_file_or_standard_input() {
    needs!(root, controller("pids"));
    let c = up(json!({}));
    let path = c.scratch().file("resources.json", r#"{"pids": {"limit": 31}}"#);
    c.verb("update", &["--resources", path.to_str().expect("UTF-8")]).ok();
    assert_limit(&c, ("pids", "pids.max", "31"), ("pids.max", "31"));
    let input = std::fs::File::open(c.scratch().file("more.json", r#"{"pids": {"limit": 32}}"#))
        .expect("our own file");
    c.runtime().call_with(&["update", "-r", "-", c.id()], input.into()).ok();
    assert_limit(&c, ("pids", "pids.max", "32"), ("pids.max", "32"));
}

#[test]
fn update_of_the_memory_limit_keeps_the_device_rules() {
    needs!(root, controller("memory"));
    let c = up(json!({}));
    c.verb("update", &["--memory", "67108864"]).ok();
    c.exec_sh("exec 3<>/dev/null").ok();
    let nodes = c.exec_sh("mknod /tmp/kmsg c 1 11 2>/dev/null; exec 3</tmp/kmsg");
    nodes.fails();
}

#[test]
fn a_broken_resources_file_is_an_error_and_changes_nothing() {
    needs!(root, controller("pids"));
    let c = up(json!({"pids": {"limit": 31}}));
    let path = c.scratch().file("resources.json", r#"{"pids": {"limit": "many"#);
    c.verb("update", &["--resources", path.to_str().expect("UTF-8")]).fails();
    assert_limit(&c, ("pids", "pids.max", "31"), ("pids.max", "31"));
}

#[test]
fn pause_stops_the_processes_and_resume_lets_them_go_on() {
    needs!(root);
    let script = "i=0; while :; do i=$((i+1)); echo $i >/count.new; mv /count.new /count; done";
    let c = Bundle::sh(script).container().up();
    let count = || std::fs::read_to_string(c.rootfs("/count")).unwrap_or_default();
    eventually("the first count", || (!count().is_empty()).then_some(()));
    c.verb("pause", &[]).ok();
    assert_eq!(c.status(), "paused");
    let paused = count();
    assert_eq!(c.runtime().call(&["list", "-f", "json"]).ok().json()[0]["status"], "paused");
    assert_eq!(count(), paused);
    c.verb("resume", &[]).ok();
    assert_eq!(c.status(), "running");
    eventually("a higher count", || (count() != paused).then_some(()));
}

#[test]
fn a_paused_container_can_be_killed_and_deleted() {
    needs!(root);
    let c = up(json!({}));
    c.verb("pause", &[]).ok();
    c.verb("delete", &["--force"]).ok();
    c.verb("state", &[]).fails();
    assert_eq!(cgroup::directories(&c.cgroup()), Vec::<std::path::PathBuf>::new());
}

#[test]
fn resume_of_a_running_container_fails() {
    needs!(root);
    peer_lacks!(Crun: "takes it as done");
    up(json!({})).verb("resume", &[]).fails();
}

#[test]
fn pause_of_a_stopped_container_fails() {
    needs!(root);
    let c = Bundle::of(&["true"]).container();
    c.create().ok();
    c.finish();
    c.verb("pause", &[]).fails();
}

#[test]
fn events_with_stats_prints_one_object_of_runcs_shape() {
    needs!(root, controller("memory"), controller("pids"));
    peer_lacks!(Crun: "no events");
    let c = up(json!({"memory": {"limit": mib(64)}, "pids": {"limit": 55}}));
    let stats = c.verb("events", &["--stats"]).ok().json();
    assert_eq!(stats["type"], "stats");
    assert_eq!(stats["id"], c.id());
    let data = &stats["data"];
    assert!(data["cpu"]["usage"]["total"].as_u64().is_some_and(|total| total > 0), "{stats}");
    assert!(data["memory"]["usage"]["usage"].as_u64().is_some_and(|bytes| bytes > 0), "{stats}");
    assert_eq!(data["memory"]["usage"]["limit"], mib(64));
    assert!(data["pids"]["current"].as_u64().is_some_and(|count| count > 0), "{stats}");
    assert_eq!(data["pids"]["limit"], 55);
    assert!(data["memory"]["raw"].is_object(), "{stats}");
}

#[test]
fn events_prints_stats_at_its_interval_and_ends_with_the_container() {
    needs!(root);
    peer_lacks!(Crun: "no events");
    let c = up(json!({}));
    let id = c.id().to_owned();
    let running = c.runtime().spawn(&["events", "--interval", "50ms", &id], std::process::Stdio::null());
    eventually("two lines of stats", || (running.stdout().matches("\"stats\"").count() >= 2).then_some(()));
    // The stream ends with the cgroup, which delete removes.
    c.verb("delete", &["--force"]).ok();
    running.wait();
}

#[test]
fn events_reports_an_oom_kill() {
    needs!(root, controller("memory"));
    peer_lacks!(Crun: "no events");
    let c = up(json!({"memory": {"limit": mib(16)}}));
    let id = c.id().to_owned();
    let running = c.runtime().spawn(&["events", "--interval", "50ms", &id], std::process::Stdio::null());
    eventually("the stream to begin", || running.stdout().contains("stats").then_some(()));
    c.exec_sh("tail /dev/zero").fails();
    eventually("the oom event", || running.stdout().contains("\"oom\"").then_some(()));
    // The stream ends with the cgroup, which delete removes.
    c.verb("delete", &["--force"]).ok();
    running.wait();
}

#[test]
fn a_cgroup_made_by_the_container_goes_with_it() {
    needs!(root, cgroup_v1);
    let c = up(json!({}));
    std::fs::create_dir(cgroup::file("memory", &c.cgroup(), "below")).expect("make a cgroup below");
    c.verb("delete", &["--force"]).ok();
    assert_eq!(cgroup::directories(&c.cgroup()), Vec::<std::path::PathBuf>::new());
}

#[test]
fn kill_reaches_processes_in_cgroups_below() {
    needs!(root, cgroup_v2);
    let c = up(json!({}));
    c.verb_then("exec", &["--detach"], &["sleep", "1006"]).ok();
    std::fs::create_dir(cgroup::file("", &c.cgroup(), "below")).expect("make a cgroup below");
    let init = c.pid();
    let procs = c.cgroup_file("", "cgroup.procs");
    let other = procs.lines().find(|pid| *pid != init.to_string()).expect("the second process");
    std::fs::write(cgroup::file("", &c.cgroup(), "below/cgroup.procs"), other).expect("move it below");
    c.verb("delete", &["--force"]).ok();
    assert_eq!(cgroup::directories(&c.cgroup()), Vec::<std::path::PathBuf>::new());
}

#[test]
fn systemd_makes_a_scope_with_the_limits() {
    needs!(root, systemd, cgroup_v2);
    let bundle = Bundle::sleeper();
    let name = bundle.scratch().name().to_owned();
    let bundle = bundle
        .set("/linux/cgroupsPath", json!(format!("system.slice:caisson:{name}")))
        .set("/linux/resources/memory", json!({"limit": mib(32)}))
        .set("/linux/resources/pids", json!({"limit": 44}));
    let c = bundle.container().with(|runtime| runtime.global(&["--systemd-cgroup"])).up();
    let path = format!("/system.slice/caisson-{name}.scope");
    let text = std::fs::read_to_string(format!("/proc/{}/cgroup", c.pid())).expect("init's cgroup");
    assert!(text.trim().ends_with(&path) || text.contains(&format!("{path}/")), "{text}");
    let file = |name: &str| std::fs::read_to_string(cgroup::file("", &path, name)).expect("a limit");
    assert_eq!((file("memory.max").trim(), file("pids.max").trim()), ("33554432", "44"));
    c.verb("update", &["--pids-limit", "45"]).ok();
    assert_eq!(file("pids.max").trim(), "45");
    c.verb("delete", &["--force"]).ok();
    eventually("the scope to go", || (!cgroup::file("", &path, "").exists()).then_some(()));
}

#[test]
fn cgroup_manager_disabled_makes_no_cgroup() {
    needs!(root);
    peer_lacks!(Runc: "no --cgroup-manager");
    let c = Bundle::sleeper().unset("/linux/resources").without_mount("/sys/fs/cgroup").container();
    let c = c.with(|runtime| runtime.global(&["--cgroup-manager", "disabled"]));
    c.create().ok();
    assert_eq!(cgroup::directories(&c.cgroup()), Vec::<std::path::PathBuf>::new());
    c.start().ok();
    c.kill_and_wait();
    c.delete().ok();
}

#[test]
fn block_device_throttling_is_set() {
    needs!(root, whole_disk_root);
    let controller = if cgroup::is_v2() { "io" } else { "blkio" };
    needs!(controller(controller));
    let (major, minor) = caisson_integration_tests::host_needs::root_device();
    let rate = json!([{"major": major, "minor": minor, "rate": 1_048_576}]);
    let c = up(json!({"blockIO": {"throttleReadBpsDevice": rate, "throttleWriteIOPSDevice": rate}}));
    let wanted = format!("{major}:{minor} 1048576");
    if cgroup::is_v2() {
        assert_eq!(
            c.cgroup_file("", "io.max"),
            format!("{major}:{minor} rbps=1048576 wbps=max riops=max wiops=1048576")
        );
    } else {
        assert_eq!(c.cgroup_file("blkio", "blkio.throttle.read_bps_device"), wanted);
        assert_eq!(c.cgroup_file("blkio", "blkio.throttle.write_iops_device"), wanted);
    }
}

#[test]
fn update_of_a_stopped_container_is_refused_or_harmless() {
    needs!(root, controller("pids"));
    let c = Bundle::of(&["true"]).container();
    c.create().ok();
    c.finish();
    let before = HostSnapshot::take(&c);
    c.verb("update", &["--pids-limit", "5"]);
    before.assert_unchanged(&c);
}

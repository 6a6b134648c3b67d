//! What only cgroup v2 has: birth in the cgroup, eBPF device rules that are replaced, whole-group OOM kills, pressure,
//! delegation, and the shapes of the tree that cannot take a container.

use std::fs;
use std::path::PathBuf;

use caisson_integration_tests::cgroup;
use caisson_integration_tests::prelude::*;

fn resources(bundle: Bundle, resources: Value) -> Bundle {
    bundle.edit(|config| {
        let all = config["linux"]["resources"].as_object_mut().expect("resources");
        all.extend(resources.as_object().expect("an object").clone());
    })
}

fn up(wanted: Value) -> Container {
    resources(Bundle::sleeper(), wanted).container().up()
}

#[test]
fn init_and_exec_are_born_in_the_cgroup() {
    needs!(root, cgroup_v2, runtime_caisson, program("strace"));
    let c = Bundle::sleeper().container();
    let trace = c.scratch().join("trace");
    let script =
        format!("set -- \"$0\" \"$@\"; exec strace -qq -o {} -e trace=clone3 \"$@\"", trace.display());
    let c = c.with(|runtime| runtime.after_shell(&script));
    c.create().ok();
    assert!(fs::read_to_string(&trace).expect("the trace").contains("CLONE_INTO_CGROUP"));
    c.start().ok();
    c.exec(&["true"]).ok();
    assert!(fs::read_to_string(&trace).expect("the trace").contains("CLONE_INTO_CGROUP"));
}

#[test]
fn memory_swap_and_hugepages_are_limited() {
    needs!(root, cgroup_v2, controller("memory"), controller("hugetlb"));
    let c = up(json!({"memory": {"limit": 33_554_432, "swap": -1},
        "hugepageLimits": [{"pageSize": "2MB", "limit": 4_194_304}]}));
    assert_eq!(c.cgroup_file("", "memory.swap.max"), "max");
    assert_eq!(c.cgroup_file("", "hugetlb.2MB.max"), "4194304");
    assert_eq!(c.cgroup_file("", "hugetlb.2MB.rsvd.max"), "4194304");
}

#[test]
fn memory_swap_below_the_limit_is_an_error() {
    needs!(root, cgroup_v2, controller("memory"));
    let bundle = resources(Bundle::sleeper(), json!({"memory": {"limit": 33_554_432, "swap": 1_048_576}}));
    bundle.container().create().fails().says("swap");
}

#[test]
fn an_rdma_device_that_is_not_there_is_an_error_that_names_the_limit() {
    needs!(root, cgroup_v2, controller("rdma"));
    let bundle =
        resources(Bundle::sleeper(), json!({"rdma": {"nosuch0": {"hcaHandles": 3, "hcaObjects": 10_000}}}));
    let c = bundle.container();
    let before = HostSnapshot::take(&c);
    c.create().fails().says("rdma");
    before.assert_unchanged(&c);
}

#[test]
fn a_misc_resource_that_is_not_there_is_an_error_that_names_the_limit() {
    needs!(root, cgroup_v2, controller("misc"));
    resources(Bundle::sleeper(), json!({"unified": {"misc.max": "nosuch 5"}}))
        .container()
        .create()
        .fails()
        .says("misc.max");
}

#[test]
fn several_lines_of_a_unified_key_are_all_written() {
    needs!(root, cgroup_v2, controller("io"), whole_disk_root);
    let (major, minor) = caisson_integration_tests::host_needs::root_device();
    let lines = format!("{major}:{minor} rbps=1048576\n{major}:{minor} wiops=77");
    let c = up(json!({"unified": {"io.max": lines}}));
    assert_eq!(
        c.cgroup_file("", "io.max"),
        format!("{major}:{minor} rbps=1048576 wbps=max riops=max wiops=77")
    );
}

#[test]
fn cpu_max_takes_a_period_alone() {
    needs!(root, cgroup_v2, controller("cpu"));
    assert_eq!(up(json!({"cpu": {"period": 50_000}})).cgroup_file("", "cpu.max"), "max 50000");
}

#[test]
fn an_idle_cgroup_has_no_weight() {
    needs!(root, cgroup_v2, controller("cpu"), runtime_caisson);
    let c = up(json!({"cpu": {"idle": 1, "shares": 512}}));
    assert_eq!(c.cgroup_file("", "cpu.idle"), "1");
}

#[test]
fn a_process_alone_is_killed_for_memory_and_the_whole_group_when_asked() {
    needs!(root, cgroup_v2, controller("memory"));
    let script = "tail /dev/zero & wait; echo survived";
    let limits = |group: &str| {
        let memory = json!({"limit": 16_777_216, "swap": 16_777_216});
        resources(Bundle::sh(script), json!({"memory": memory, "unified": {"memory.oom.group": group}}))
    };
    assert_eq!(limits("0").container().run().ok().text(), "survived");
    assert_eq!(limits("1").container().run().code, 137);
}

#[test]
fn stats_have_pressure_and_the_peak_of_memory() {
    needs!(root, cgroup_v2, controller("memory"), runtime_caisson);
    let c = up(json!({}));
    let data = c.verb("events", &["--stats"]).ok().json()["data"].clone();
    for controller in ["cpu", "memory", "blkio"] {
        assert!(data[controller]["psi"]["some"]["avg10"].is_number(), "{controller}: {data}");
    }
    let peak = data["memory"]["usage"]["max"].as_u64().expect("a peak");
    assert!(peak > 0 && peak >= data["memory"]["usage"]["usage"].as_u64().expect("a usage"), "{data}");
    assert!(data["cpu"]["throttling"].is_object() && data["hugetlb"].is_object(), "{data}");
}

#[test]
fn pause_freezes_the_cgroup() {
    needs!(root, cgroup_v2);
    let c = up(json!({}));
    c.verb("pause", &[]).ok();
    assert_eq!(c.cgroup_file("", "cgroup.freeze"), "1");
    assert!(c.cgroup_file("", "cgroup.events").contains("frozen 1"));
    c.verb("resume", &[]).ok();
    assert!(c.cgroup_file("", "cgroup.events").contains("frozen 0"));
}

#[test]
fn kill_all_reaches_every_process_below() {
    needs!(root, cgroup_v2);
    let c = Bundle::sleeper().without_namespace("pid").container().up();
    c.verb_then("exec", &["--detach"], &["sleep", "1007"]).ok();
    let below = cgroup::file("", &c.cgroup(), "below");
    fs::create_dir(&below).expect("make a cgroup below");
    let init = c.pid().to_string();
    let procs = c.cgroup_file("", "cgroup.procs");
    let other = procs.lines().find(|pid| *pid != init).expect("the second process");
    fs::write(below.join("cgroup.procs"), other).expect("move it below");
    c.verb_then("kill", &["--all"], &["KILL"]).ok();
    eventually("the cgroup to be empty", || {
        c.cgroup_file("", "cgroup.events").contains("populated 0").then_some(())
    });
}

/// Opens /dev/kmsg (1:11), which no default rule allows.
fn kmsg() -> Container {
    let caps = json!(["CAP_SYSLOG", "CAP_MKNOD"]);
    let caps = json!({"bounding": caps, "permitted": caps, "effective": caps});
    let device = json!({"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11, "fileMode": 0o666});
    Bundle::sleeper().set("/linux/devices/-", device).set("/process/capabilities", caps).container().up()
}

#[test]
fn update_replaces_the_device_rules() {
    needs!(root, cgroup_v2, runtime_caisson);
    let c = kmsg();
    c.exec_sh("exec 3</dev/kmsg").fails();
    let update = |allow: bool| {
        let rule = json!({"allow": allow, "type": "c", "major": 1, "minor": 11, "access": "rw"});
        let all = json!({"devices": [{"allow": false, "access": "rwm"}, rule]});
        let file = c.scratch().file("devices.json", &all.to_string());
        c.verb("update", &["--resources", file.to_str().expect("UTF-8")]).ok();
    };
    update(true);
    c.exec_sh("exec 3</dev/kmsg").ok();
    c.exec_sh("exec 3<>/dev/null").ok();
    update(false);
    c.exec_sh("exec 3</dev/kmsg").fails();
}

/// A container whose root owns its cgroup.
fn delegated(script: &str, option: &str) -> Bundle {
    Bundle::sh(script).user_namespace().namespace("cgroup", None).without_mount("/sys/fs/cgroup").mount(
        "/sys/fs/cgroup",
        "cgroup",
        "cgroup",
        &["nosuid", "noexec", "nodev", option],
    )
}

#[test]
fn a_writable_cgroup_mount_is_delegated_to_the_containers_root() {
    needs!(root, cgroup_v2);
    let script = "cd /sys/fs/cgroup && mkdir own && echo 0 >own/cgroup.procs && echo +pids >cgroup.subtree_control \
                  && cat /proc/self/cgroup";
    assert_eq!(delegated(script, "rw").container().run().ok().text(), "0::/own");
    delegated("echo 5 >/sys/fs/cgroup/pids.max", "rw").container().run().fails();
    delegated("mkdir /sys/fs/cgroup/own", "ro").container().run().fails();
}

#[test]
fn exec_goes_where_init_is_when_the_cgroup_has_handed_controllers_down() {
    needs!(root, cgroup_v2);
    let script = "cd /sys/fs/cgroup && mkdir own && echo 1 >own/cgroup.procs && echo +pids >cgroup.subtree_control \
                  && echo done && exec sleep 1000";
    let c = delegated(script, "rw").container().up();
    eventually("the controllers to be handed down", || c.stdout().contains("done").then_some(()));
    assert_eq!(c.exec(&["cat", "/proc/self/cgroup"]).ok().text(), "0::/own");
    c.verb("delete", &["--force"]).ok();
    assert_eq!(cgroup::directories(&c.cgroup()), Vec::<PathBuf>::new());
}

/// A cgroup of the test's, in which the container's is to be made; goes with the container.
fn parent(bundle: &Bundle) -> PathBuf {
    let dir = cgroup::file("", &format!("/{}", bundle.scratch().name()), "");
    fs::create_dir(&dir).expect("make a cgroup");
    dir
}

#[test]
fn a_threaded_parent_is_an_error_that_says_so() {
    needs!(root, cgroup_v2, runtime_caisson);
    let bundle = Bundle::sleeper();
    let dir = parent(&bundle);
    fs::create_dir(dir.join("thread")).expect("make a cgroup");
    fs::write(dir.join("thread/cgroup.type"), "threaded").expect("make it threaded");
    let c = bundle.container();
    c.create().fails().says("threaded");
    assert!(!cgroup::file("", &c.cgroup(), "").exists());
}

#[test]
fn a_parent_with_processes_cannot_hand_limits_down_and_the_error_says_so() {
    needs!(root, cgroup_v2, controller("pids"), runtime_caisson);
    let bundle = resources(Bundle::sleeper(), json!({"pids": {"limit": 5}}));
    let dir = parent(&bundle);
    let mut busy = std::process::Command::new("sleep").arg("1000").spawn().expect("start sleep");
    fs::write(dir.join("cgroup.procs"), busy.id().to_string()).expect("move it");
    let out = bundle.container().create();
    busy.kill().and_then(|()| busy.wait()).expect("end our own child");
    out.fails().says("pids").says("processes");
}

#[test]
fn a_cgroup_in_use_is_refused() {
    needs!(root, cgroup_v2, runtime_caisson);
    let c = up(json!({}));
    let second = Bundle::sleeper().set("/linux/cgroupsPath", json!(c.cgroup())).container();
    second.create().fails().says("processes");
    assert_eq!(c.status(), "running");
}

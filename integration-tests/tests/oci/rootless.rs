//! Containers of an ordinary user: no root anywhere.

use caisson_integration_tests::bundle::give_away;
use caisson_integration_tests::prelude::*;

/// An ordinary user whom no passwd or subuid line knows.
pub(crate) const USER: u32 = 54_321;

/// The changes which `spec --rootless` makes.
pub(crate) fn rootless(bundle: Bundle) -> Bundle {
    rootless_of(bundle, USER)
}

fn rootless_of(bundle: Bundle, user: u32) -> Bundle {
    let map = json!([{"containerID": 0, "hostID": user, "size": 1}]);
    bundle
        .without_namespace("network")
        .namespace("user", None)
        .set("/linux/uidMappings", map.clone())
        .set("/linux/gidMappings", map)
        .unset("/linux/resources")
        .unset("/linux/cgroupsPath")
        .without_mount("/sys")
        .without_mount("/sys/fs/cgroup")
        .without_mount("/dev/pts")
        .bind("/sys", "/sys", &["rbind", "nosuid", "noexec", "nodev", "ro"])
        .mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"],
        )
}

/// A container of an ordinary user, in a directory of the user's.
fn container(bundle: Bundle) -> Container {
    bundle.scratch().dir("run");
    let c = bundle.container();
    give_away(c.scratch().path(), USER);
    c.with(|runtime| runtime.as_user(USER, USER))
}

#[test]
fn an_ordinary_user_runs_a_container_as_its_root() {
    needs!(root, userns, program("setpriv"));
    let out =
        container(rootless(Bundle::sh("id -u; hostname; echo $$; touch /new && echo wrote"))).run().ok();
    assert_eq!(out.lines(), ["0", "caisson-test", "1", "wrote"]);
}

#[test]
fn an_ordinary_users_container_has_the_whole_life() {
    needs!(root, userns, program("setpriv"));
    let c = container(rootless(Bundle::sleeper()));
    let before = HostSnapshot::take(&c);
    c.create().ok();
    c.start().ok();
    assert_eq!(c.status(), "running");
    assert_eq!(c.exec(&["id", "-u"]).ok().text(), "0");
    c.kill_and_wait();
    c.delete().ok();
    before.assert_unchanged(&c);
}

#[test]
fn an_ordinary_users_files_belong_to_the_user() {
    needs!(root, userns, program("setpriv"));
    use std::os::unix::fs::MetadataExt;
    let c = container(rootless(Bundle::sh("touch /new")));
    c.run().ok();
    assert_eq!(std::fs::metadata(c.rootfs("/new")).expect("the new file").uid(), USER);
}

#[test]
fn an_ordinary_user_without_a_user_namespace_gets_a_clear_error() {
    needs!(root, userns, program("setpriv"));
    let c = container(Bundle::sh("true"));
    let out = c.run().fails();
    assert!(!out.stderr.trim().is_empty(), "{out}");
}

#[test]
fn an_ordinary_users_devices_are_the_hosts() {
    needs!(root, userns, program("setpriv"));
    let out = container(rootless(Bundle::sh("echo x >/dev/null && stat -c %t:%T /dev/null"))).run().ok();
    assert_eq!(out.text(), "1:3");
}

#[test]
fn an_ordinary_users_terminal_works() {
    needs!(root, userns, program("setpriv"));
    let bundle = rootless(Bundle::sh("tty; echo ready")).set("/process/terminal", json!(true));
    let socket = FdSocket::bind(&bundle.scratch().join("console.sock"));
    let c = container(bundle);
    c.create_with(&["--console-socket", socket.arg()]).ok();
    let mut terminal = socket.receive_terminal();
    c.start().ok();
    terminal.read_until("ready");
}

#[test]
fn an_ordinary_user_with_limits_but_no_cgroup_is_told_or_served() {
    needs!(root, userns, program("setpriv"));
    // Without a delegated cgroup a limit cannot hold: an error that says so, never silence with the limit lost.
    peer_lacks!(Runc, Crun: "ignores the limit");
    let bundle = rootless(Bundle::sh("true")).set("/linux/resources", json!({"pids": {"limit": 5}}));
    let out = container(bundle).run();
    assert!(out.code != 0 || !out.stderr.trim().is_empty(), "neither error nor warning: {out}");
}

#[test]
fn the_generated_rootless_config_runs() {
    needs!(root, userns, program("setpriv"));
    let c = container(Bundle::sh("true"));
    std::fs::remove_file(c.scratch().join("bundle/config.json")).expect("remove our own file");
    c.runtime().call(&["spec", "--rootless", "--bundle", &c.bundle()]).ok();
    let text = c.scratch().read("bundle/config.json");
    let mut config: Value = serde_json::from_str(&text).expect("the generated config is JSON");
    config["process"]["terminal"] = json!(false);
    config["process"]["args"] = json!(["id", "-u"]);
    c.scratch().file("bundle/config.json", &config.to_string());
    assert_eq!(c.run().ok().text(), "0");
}

/// The lab's ordinary user, with a systemd manager and delegated controllers.
const TESTER: u32 = 1000;

fn testers(bundle: Bundle, resources: Value, globals: &[&str]) -> Container {
    let c = rootless_of(bundle, TESTER).set("/linux/resources", resources).container();
    give_away(c.scratch().path(), TESTER);
    c.with(|runtime| runtime.as_tester().global(globals))
}

/// A file of the cgroup of the container's init, as the host sees it.
fn cgroup_file(c: &Container, file: &str) -> String {
    let text = std::fs::read_to_string(format!("/proc/{}/cgroup", c.pid())).expect("init's cgroup");
    let path = format!("/sys/fs/cgroup{}/{file}", text.trim().trim_start_matches("0::"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}")).trim().to_owned()
}

fn limits() -> Value {
    json!({"pids": {"limit": 33}, "memory": {"limit": 67_108_864}, "cpu": {"quota": 50_000, "period": 100_000}})
}

#[track_caller]
fn assert_limits(c: &Container) {
    let files = ["pids.max", "memory.max", "cpu.max"].map(|file| cgroup_file(c, file));
    assert_eq!(files, ["33", "67108864", "50000 100000"]);
}

#[test]
fn delegated_controllers_limit_an_ordinary_users_container() {
    needs!(root, cgroup_v2, userns, user_manager);
    // Read inside, in one call: beside its scopes systemd takes back what none of its own units needs (cpu).
    let script = "cd /sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup) && cat pids.max memory.max cpu.max";
    let out = testers(Bundle::sh(script), limits(), &[]).run().ok();
    assert_eq!(out.lines(), ["33", "67108864", "50000 100000"]);
}

#[test]
fn an_ordinary_users_container_is_updated_paused_and_deleted_by_its_own_cgroup() {
    needs!(root, cgroup_v2, userns, user_manager);
    let c = testers(Bundle::sleeper(), json!({"pids": {"limit": 33}}), &[]).up();
    assert_eq!(cgroup_file(&c, "pids.max"), "33");
    c.verb("update", &["--pids-limit", "34"]).ok();
    assert_eq!(cgroup_file(&c, "pids.max"), "34");
    let own = std::fs::read_to_string(format!("/proc/{}/cgroup", c.pid())).expect("init's cgroup");
    assert_eq!(c.exec(&["cat", "/proc/self/cgroup"]).ok().text(), own.trim());
    c.verb("pause", &[]).ok();
    assert_eq!(c.status(), "paused");
    c.verb("resume", &[]).ok();
    c.verb("delete", &["--force"]).ok();
    assert!(
        !std::path::Path::new(&format!("/sys/fs/cgroup{}", own.trim().trim_start_matches("0::"))).exists()
    );
}

#[test]
fn the_users_systemd_makes_a_scope_with_limits() {
    needs!(root, cgroup_v2, systemd, userns, user_manager);
    let c = testers(Bundle::sleeper(), limits(), &["--systemd-cgroup"]).up();
    let text = std::fs::read_to_string(format!("/proc/{}/cgroup", c.pid())).expect("init's cgroup");
    let wanted =
        format!("/user.slice/user-{TESTER}.slice/user@{TESTER}.service/user.slice/caisson-{}.scope", c.id());
    assert_eq!(text.trim(), format!("0::{wanted}"));
    assert_limits(&c);
    c.verb("update", &["--pids-limit", "34"]).ok();
    assert_eq!(cgroup_file(&c, "pids.max"), "34");
    assert_eq!(c.exec(&["cat", "/proc/self/cgroup"]).ok().text(), text.trim());
    c.verb("delete", &["--force"]).ok();
    let gone = || !std::path::Path::new("/sys/fs/cgroup").join(&wanted[1..]).exists();
    eventually("the scope to go", || gone().then_some(()));
}

#[test]
fn an_ordinary_user_runs_in_a_scope_and_nothing_stays() {
    needs!(root, cgroup_v2, systemd, userns, user_manager);
    let c = testers(Bundle::sh("id -u; cat /proc/self/cgroup"), limits(), &["--systemd-cgroup"]);
    let out = c.run().ok();
    assert_eq!(out.lines()[0], "0");
    assert!(out.lines()[1].ends_with(&format!("caisson-{}.scope", c.id())), "{out}");
}

/// Gives the thread's processes an /etc with one more user, who owns the ids from 300000 on.
fn with_subordinate_ids(scratch: &Scratch) {
    caisson_integration_tests::leak::own_mount_namespace();
    let files = [
        ("passwd", format!("caisson-tester:x:{USER}:{USER}::/:/bin/sh\n")),
        ("subuid", "caisson-tester:300000:65536\n".to_owned()),
        ("subgid", "caisson-tester:300000:65536\n".to_owned()),
    ];
    for (name, line) in files {
        let host = format!("/etc/{name}");
        let text = std::fs::read_to_string(&host).unwrap_or_default();
        let ours = scratch.file(&format!("etc/{name}"), &format!("{text}{line}"));
        let mounted = std::process::Command::new("mount").arg("--bind").arg(ours).arg(host).status();
        assert!(mounted.expect("run mount").success(), "bind /etc/{name}");
    }
}

/// A whole range of ids, which newuidmap(1) and newgidmap(1) write.
fn ranged(bundle: Bundle) -> Bundle {
    let map = json!([{"containerID": 0, "hostID": USER, "size": 1}, {"containerID": 1, "hostID": 300_000, "size": 65536}]);
    rootless(bundle).set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map)
}

#[test]
fn an_ordinary_users_subordinate_ids_are_mapped_by_the_helpers() {
    needs!(root, userns, program("setpriv"), program("newuidmap"), file("/etc/subuid"), file("/etc/subgid"));
    let chown = json!(["CAP_CHOWN"]);
    let bundle = Bundle::sh("touch /new && chown 5:6 /new && stat -c %u:%g /new")
        .set("/process/capabilities", json!({"bounding": chown, "effective": chown, "permitted": chown}));
    let c = container(ranged(bundle));
    with_subordinate_ids(c.scratch());
    let before = HostSnapshot::take(&c);
    assert_eq!(c.run().ok().text(), "5:6");
    use std::os::unix::fs::MetadataExt;
    let meta = std::fs::metadata(c.rootfs("/new")).expect("the new file");
    assert_eq!((meta.uid(), meta.gid()), (300_004, 300_005));
    before.assert_unchanged(&c);
}

#[test]
fn ids_that_are_not_the_users_are_an_error_that_names_the_file() {
    needs!(root, userns, program("setpriv"), program("newuidmap"));
    peer_lacks!(Runc, Crun: "names the helper only");
    let out = container(ranged(Bundle::sh("true"))).run().fails();
    out.says("/etc/subuid").says("/linux/uidMappings");
}

#[test]
fn limits_without_a_cgroup_of_the_users_say_what_to_do() {
    needs!(root, cgroup_v1, userns, program("setpriv"), runtime_caisson);
    let bundle = rootless(Bundle::sh("true")).set("/linux/resources", json!({"pids": {"limit": 5}}));
    container(bundle).run().fails().says("permission denied").says("/linux/resources").says("delegate");
}

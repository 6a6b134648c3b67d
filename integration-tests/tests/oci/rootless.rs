//! Containers of an ordinary user: no root anywhere.

use caisson_integration_tests::bundle::give_away;
use caisson_integration_tests::prelude::*;

/// An ordinary user whom no passwd or subuid line knows.
pub(crate) const USER: u32 = 54_321;

/// The changes which `spec --rootless` makes.
pub(crate) fn rootless(bundle: Bundle) -> Bundle {
    let map = json!([{"containerID": 0, "hostID": USER, "size": 1}]);
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

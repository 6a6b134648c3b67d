//! `linux.namespaces`: each of the eight made new, left out, and joined by path; host names and time offsets.

use std::process::{Child, Command};

use caisson_integration_tests::prelude::*;

const KINDS: [(&str, &str); 5] =
    [("pid", "pid"), ("network", "net"), ("ipc", "ipc"), ("uts", "uts"), ("mount", "mnt")];

fn host_ns(file: &str) -> String {
    let link = std::fs::read_link(format!("/proc/thread-self/ns/{file}")).expect("our own namespace");
    link.display().to_string()
}

fn print_ns(file: &str) -> Vec<String> {
    ["readlink".to_owned(), format!("/proc/self/ns/{file}")].to_vec()
}

#[test]
fn listed_namespaces_are_new() {
    needs!(root);
    let c = Bundle::sleeper().container().up();
    for (_, file) in KINDS {
        let link = std::fs::read_link(format!("/proc/{}/ns/{file}", c.pid())).expect("init's namespace");
        assert_ne!(link.display().to_string(), host_ns(file));
    }
}

#[test]
fn a_namespace_left_out_is_the_runtimes() {
    needs!(root);
    for (kind, file) in [("network", "net"), ("ipc", "ipc"), ("uts", "uts")] {
        let words = print_ns(file);
        let bundle = Bundle::of(&[&words[0], &words[1]]).without_namespace(kind).unset("/hostname");
        // Without a network namespace of its own a new sysfs shows the host's: allowed for root.
        assert_eq!(
            bundle.without_mount("/dev/mqueue").container().run().ok().text(),
            host_ns(file),
            "{kind}"
        );
    }
}

#[test]
fn without_a_pid_namespace_the_container_sees_the_hosts_pids() {
    needs!(root);
    let c = Bundle::sh("echo $$; exec sleep 1000").without_namespace("pid").container().up();
    eventually("its pid", || (c.stdout().trim() == c.pid().to_string()).then_some(()));
}

#[test]
fn a_cgroup_namespace_shows_the_containers_cgroup_as_root() {
    needs!(root, namespace("cgroup"));
    let bundle = Bundle::sh("cat /proc/self/cgroup").namespace("cgroup", None);
    let out = bundle.container().run().ok();
    assert!(out.lines().iter().any(|line| line.ends_with(":memory:/") || *line == "0::/"), "{out}");
    assert!(!out.stdout.contains("caisson-test"), "{out}");
}

#[test]
fn a_time_namespace_has_its_offsets() {
    needs!(root, namespace("time"));
    peer_lacks!(Crun: "1.8.1 fails on this kernel");
    peer_lacks!(Runc: "time namespaces came later");
    let bundle =
        Bundle::sh("cut -d. -f1 /proc/uptime; cat /proc/self/timens_offsets").namespace("time", None).set(
            "/linux/timeOffsets",
            json!({"boottime": {"secs": 1_000_000}, "monotonic": {"secs": 7, "nanosecs": 5}}),
        );
    let out = bundle.container().run().ok();
    assert!(out.lines()[0].parse::<i64>().is_ok_and(|seconds| seconds >= 1_000_000), "{out}");
    let offsets = out.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(offsets.contains("monotonic 7 5") && offsets.contains("boottime 1000000 0"), "{out}");
}

#[test]
fn time_offsets_without_a_time_namespace_are_an_error() {
    needs!(root);
    peer_lacks!(Crun: "ignores them");
    peer_lacks!(Runc: "time namespaces came later");
    let offsets = json!({"boottime": {"secs": 5}});
    Bundle::sh("true").set("/linux/timeOffsets", offsets).container().run().fails();
}

#[test]
fn the_hostname_is_the_configs_and_the_hosts_unchanged() {
    needs!(root);
    let before = std::fs::read_to_string("/proc/sys/kernel/hostname").expect("the host's name");
    let out = Bundle::of(&["hostname"]).set("/hostname", json!("box.example")).container().run().ok();
    assert_eq!(out.text(), "box.example");
    assert_eq!(std::fs::read_to_string("/proc/sys/kernel/hostname").expect("the host's name"), before);
}

#[test]
fn the_domainname_is_the_configs() {
    needs!(root);
    peer_lacks!(Runc: "domainname came later");
    let bundle = Bundle::sh("cat /proc/sys/kernel/domainname").set("/domainname", json!("example.org"));
    assert_eq!(bundle.container().run().ok().text(), "example.org");
}

#[test]
fn a_hostname_without_a_uts_namespace_is_an_error() {
    needs!(root);
    let before = std::fs::read_to_string("/proc/sys/kernel/hostname").expect("the host's name");
    Bundle::sh("true").without_namespace("uts").container().run().fails();
    assert_eq!(std::fs::read_to_string("/proc/sys/kernel/hostname").expect("the host's name"), before);
}

#[test]
fn a_namespace_listed_twice_is_an_error() {
    needs!(root);
    peer_lacks!(Crun: "takes it as one");
    Bundle::sh("true").set("/linux/namespaces/-", json!({"type": "ipc"})).container().run().fails();
}

#[test]
fn an_unknown_namespace_is_an_error() {
    needs!(root);
    Bundle::sh("true").set("/linux/namespaces/-", json!({"type": "nonsense"})).container().run().fails();
}

/// A process that holds new namespaces open, ended with the value.
struct Holder(Child);

impl Holder {
    fn new(flags: &[&str]) -> Self {
        let child =
            Command::new("unshare").args(flags).args(["sleep", "1005"]).spawn().expect("start unshare");
        let holder = Self(child);
        eventually("unshare to become sleep", || {
            std::fs::read(format!("/proc/{}/cmdline", holder.0.id()))
                .is_ok_and(|l| l.starts_with(b"sleep"))
                .then_some(())
        });
        holder
    }

    fn path(&self, file: &str) -> String {
        format!("/proc/{}/ns/{file}", self.0.id())
    }

    fn link(&self, file: &str) -> String {
        std::fs::read_link(self.path(file)).expect("the holder's namespace").display().to_string()
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.0.kill().and_then(|()| self.0.wait()).expect("end our own child");
    }
}

#[test]
fn network_ipc_and_uts_namespaces_are_joined_by_path() {
    needs!(root);
    let holder = Holder::new(&["--net", "--ipc", "--uts"]);
    for (kind, file) in [("network", "net"), ("ipc", "ipc"), ("uts", "uts")] {
        let words = print_ns(file);
        let bundle = Bundle::of(&[&words[0], &words[1]]).namespace(kind, Some(&holder.path(file)));
        assert_eq!(bundle.container().run().ok().text(), holder.link(file), "{kind}");
    }
}

#[test]
fn a_pid_namespace_is_joined_by_path() {
    needs!(root);
    let first = Bundle::sleeper().container().up();
    let path = format!("/proc/{}/ns/pid", first.pid());
    let out = Bundle::sh("readlink /proc/self/ns/pid; echo $$")
        .namespace("pid", Some(&path))
        .container()
        .run()
        .ok();
    let link = std::fs::read_link(&path).expect("its namespace").display().to_string();
    assert_eq!(out.lines()[0], link);
    assert_ne!(out.lines()[1], "1");
}

#[test]
fn a_cgroup_namespace_is_joined_by_path() {
    needs!(root, namespace("cgroup"));
    let holder = Holder::new(&["--cgroup"]);
    let bundle =
        Bundle::of(&["readlink", "/proc/self/ns/cgroup"]).namespace("cgroup", Some(&holder.path("cgroup")));
    assert_eq!(bundle.container().run().ok().text(), holder.link("cgroup"));
}

#[test]
fn a_time_namespace_is_joined_by_path() {
    needs!(root, namespace("time"));
    peer_lacks!(Runc: "time namespaces came later");
    peer_lacks!(Crun: "1.8.1 joins it for its children only");
    let first = Bundle::sleeper().namespace("time", None).container().up();
    let path = format!("/proc/{}/ns/time", first.pid());
    let bundle = Bundle::of(&["readlink", "/proc/self/ns/time"]).namespace("time", Some(&path));
    let link = std::fs::read_link(&path).expect("its namespace").display().to_string();
    assert_eq!(bundle.container().run().ok().text(), link);
}

#[test]
fn a_user_namespace_is_joined_by_path() {
    needs!(root);
    peer_lacks!(Runc: "1.1 wants mappings beside the path");
    let first = Bundle::sleeper().user_namespace().container().up();
    let path = format!("/proc/{}/ns/user", first.pid());
    let second = Bundle::sh("readlink /proc/self/ns/user; id -u");
    caisson_integration_tests::bundle::give_away(&second.rootfs(), 100_000);
    let out = second.namespace("user", Some(&path)).container().run().ok();
    let link = std::fs::read_link(&path).expect("its namespace").display().to_string();
    assert_eq!(out.lines(), [link.as_str(), "0"]);
}

#[test]
fn a_namespace_path_that_is_missing_or_of_another_kind_is_an_error() {
    needs!(root);
    Bundle::sh("true").namespace("network", Some("/no/such/ns")).container().run().fails();
    Bundle::sh("true").namespace("network", Some("/proc/self/ns/ipc")).container().run().fails();
}

#[test]
fn a_new_network_has_its_loopback_up() {
    needs!(root);
    let out = Bundle::sh("ip -o link; ip -o addr show dev lo").container().run().ok();
    assert!(out.stdout.contains("127.0.0.1/8") && out.stdout.contains("LOOPBACK,UP"), "{out}");
    assert!(out.lines()[0].starts_with("1: lo"), "{out}");
}

#[test]
fn the_hosts_own_network_can_be_joined_by_path() {
    needs!(root);
    let path = format!("/proc/{}/ns/net", std::process::id());
    let out = Bundle::of(&["readlink", "/proc/self/ns/net"])
        .namespace("network", Some(&path))
        .container()
        .run()
        .ok();
    assert_eq!(out.text(), host_ns("net"));
}

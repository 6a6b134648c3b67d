//! `hooks`: six kinds, their order, where they run, the state on their standard input, failures and timeouts.

use caisson_integration_tests::prelude::*;

const EARLY: [&str; 3] = ["prestart", "createRuntime", "createContainer"];
const ALL: [&str; 6] =
    ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// Adds a hook which appends its name to `log` of the test's directory; startContainer's writes inside the container.
fn logging(bundle: Bundle, kind: &str, name: &str) -> Bundle {
    let log = bundle.scratch().join("log").display().to_string();
    if kind == "startContainer" {
        // Resolved in the container: its program and its log are there.
        let hook = json!({"path": "/bin/sh", "args": ["sh", "-c", format!("echo {name} >>/shared/log")]});
        return bundle.set("/hooks/startContainer/-", hook);
    }
    bundle.hook(kind, name, &format!("echo {name} >>{log}"))
}

fn all_logging() -> Bundle {
    let bundle = Bundle::sh("echo process >>/shared/log");
    let shared = bundle.scratch().path().to_owned();
    let bundle = bundle.bind(shared, "/shared", &[]);
    ALL.iter().fold(bundle, |bundle, kind| logging(bundle, kind, kind))
}

#[test]
fn all_six_kinds_run_in_the_order_of_the_specification() {
    needs!(root);
    peer_lacks!(Crun: "1.8.1 dies of SIGPIPE when a hook does not read the state");
    peer_lacks!(Runc: "1.1 runs poststart in create");
    let c = all_logging().container();
    c.create().ok();
    assert_eq!(c.scratch().read("log"), "prestart\ncreateRuntime\ncreateContainer\n");
    c.finish();
    c.delete().ok();
    let log = c.scratch().read("log");
    let lines: Vec<_> = log.lines().collect();
    // poststart runs beside the process: only its place after startContainer and before poststop is fixed.
    let without: Vec<_> = lines.iter().copied().filter(|line| *line != "poststart").collect();
    assert_eq!(
        without,
        ["prestart", "createRuntime", "createContainer", "startContainer", "process", "poststop"]
    );
    assert!(lines.contains(&"poststart"), "{lines:?}");
}

#[test]
fn hooks_of_a_kind_run_in_the_order_of_the_config() {
    needs!(root);
    let bundle = ["one", "two", "three"]
        .iter()
        .fold(Bundle::of(&["true"]), |b, name| logging(b, "createRuntime", name));
    let c = bundle.container();
    c.run().ok();
    assert_eq!(c.scratch().read("log"), "one\ntwo\nthree\n");
}

#[test]
fn each_hook_gets_the_state_on_standard_input() {
    needs!(root);
    let mut bundle = Bundle::of(&["true"]).set("/annotations", json!({"key": "value"}));
    for kind in EARLY.iter().chain(&["poststart", "poststop"]) {
        let file = bundle.scratch().join(format!("state-{kind}")).display().to_string();
        bundle = bundle.hook(kind, kind, &format!("cat >{file}"));
    }
    let c = bundle.container();
    c.create().ok();
    let pid = c.pid();
    c.finish();
    c.delete().ok();
    for kind in EARLY.iter().chain(&["poststart", "poststop"]) {
        let state: Value =
            serde_json::from_str(&c.scratch().read(&format!("state-{kind}"))).expect("state is JSON");
        assert_eq!(state["id"], c.id(), "{kind}");
        assert_eq!(state["bundle"], c.bundle(), "{kind}");
        assert_eq!(state["annotations"]["key"], "value", "{kind}");
        assert!(state["ociVersion"].is_string(), "{kind}");
        // createContainer hooks see the container's pid namespace, so their pid may be the one in there.
        if ["prestart", "createRuntime"].contains(kind) {
            assert_eq!(state["pid"], pid, "{kind}");
        }
    }
}

#[test]
fn the_status_in_the_hooks_state_fits_the_moment() {
    needs!(root);
    peer_lacks!(Runc: "1.1 runs poststart in create");
    let mut bundle = Bundle::sleeper();
    for kind in ["createRuntime", "poststart", "poststop"] {
        let file = bundle.scratch().join(format!("state-{kind}")).display().to_string();
        bundle = bundle.hook(kind, kind, &format!("cat >{file}"));
    }
    let c = bundle.container().up();
    c.kill_and_wait();
    c.delete().ok();
    let status = |kind: &str| {
        let state: Value =
            serde_json::from_str(&c.scratch().read(&format!("state-{kind}"))).expect("state is JSON");
        state["status"].as_str().unwrap_or_default().to_owned()
    };
    assert!(["creating", "created"].contains(&status("createRuntime").as_str()));
    assert_eq!(status("poststart"), "running");
    assert_eq!(status("poststop"), "stopped");
}

#[test]
fn args_and_env_are_the_configs_and_nothing_else() {
    needs!(root);
    let bundle = Bundle::of(&["true"]);
    let out = bundle.scratch().join("seen").display().to_string();
    let path = bundle
        .scratch()
        .script("show", &format!("echo \"$0 $*\" >{out}; tr '\\0' '\\n' </proc/$$/environ >>{out}"));
    let hook = json!({"path": path, "args": ["zero", "one", "two"], "env": ["A=1", "B=two words"]});
    let c = bundle.set("/hooks/createRuntime/-", hook).container();
    c.run().ok();
    let seen = c.scratch().read("seen");
    let lines: Vec<_> = seen.lines().collect();
    assert!(lines[0].ends_with(" one two"), "{seen}");
    assert_eq!(&lines[1..], ["A=1", "B=two words"]);
}

#[test]
fn create_container_hooks_run_in_the_containers_mount_namespace() {
    needs!(root);
    let bundle = Bundle::of(&["true"]);
    let out = bundle.scratch().join("ns").display().to_string();
    let hook = format!("readlink /proc/self/ns/mnt >{out}");
    let c = bundle.hook("createContainer", "ns", &hook).container();
    c.run().ok();
    let host = std::fs::read_link("/proc/thread-self/ns/mnt").expect("our own namespace");
    assert_ne!(c.scratch().read("ns").trim(), host.display().to_string());
    assert!(c.scratch().read("ns").starts_with("mnt:"));
}

#[test]
fn create_runtime_hooks_run_in_the_runtimes_namespaces_with_the_containers_made() {
    needs!(root);
    let bundle = Bundle::of(&["true"]);
    let out = bundle.scratch().join("ns").display().to_string();
    let hook = format!(
        "readlink /proc/self/ns/net >{out}; pid=$(sed -n 's/.*\"pid\": *\\([0-9]*\\).*/\\1/p'); readlink /proc/$pid/ns/net >>{out}"
    );
    let c = bundle.hook("createRuntime", "ns", &hook).container();
    c.run().ok();
    let host =
        std::fs::read_link("/proc/thread-self/ns/net").expect("our own namespace").display().to_string();
    let seen = c.scratch().read("ns");
    let lines: Vec<_> = seen.lines().collect();
    assert_eq!(lines[0], host);
    assert!(lines.len() == 2 && lines[1].starts_with("net:") && lines[1] != host, "{seen}");
}

#[test]
fn start_container_hooks_run_in_the_container() {
    needs!(root);
    let hook = json!({"path": "/bin/sh", "args": ["sh", "-c", "hostname >/hook"]});
    let c = Bundle::of(&["cat", "/hook"]).set("/hooks/startContainer/-", hook).container();
    assert_eq!(c.run().ok().text(), "caisson-test");
}

#[test]
fn a_failing_early_hook_fails_create_and_leaves_nothing() {
    needs!(root);
    for kind in EARLY {
        let c = Bundle::sh("echo ran").hook(kind, "fail", "echo reason of the hook >&2; exit 3").container();
        let before = HostSnapshot::take(&c);
        let out = c.create().fails();
        assert!(out.stderr.to_lowercase().contains("hook"), "{kind}: {out}");
        c.verb("state", &[]).fails();
        before.assert_unchanged(&c);
    }
}

#[test]
fn a_failing_early_hook_runs_the_poststop_hooks() {
    needs!(root);
    peer_lacks!(Crun: "leaves them out");
    let bundle =
        logging(Bundle::of(&["true"]).hook("createRuntime", "fail", "exit 1"), "poststop", "poststop");
    let c = bundle.container();
    c.create().fails();
    assert_eq!(c.scratch().read("log"), "poststop\n");
}

#[test]
fn a_failing_start_container_hook_keeps_the_process_from_starting() {
    needs!(root);
    let hook = json!({"path": "/bin/false", "args": ["false"]});
    let c = Bundle::sh("echo ran").set("/hooks/startContainer/-", hook).container();
    c.create().ok();
    let pid = c.pid();
    c.start();
    assert!(caisson_integration_tests::wait::process_end(pid));
    assert_eq!(c.stdout(), "");
}

#[test]
fn a_failing_poststop_hook_does_not_keep_the_container() {
    needs!(root);
    peer_lacks!(Runc: "1.1 leaves the remaining hooks out");
    let bundle = Bundle::of(&["true"]).hook("poststop", "fail", "exit 1");
    let c = logging(bundle, "poststop", "second").container();
    c.create().ok();
    c.finish();
    c.delete();
    c.verb("state", &[]).fails();
    // The spec: log a warning, but the remaining hooks and the life go on.
    assert_eq!(c.scratch().read("log"), "second\n");
}

#[test]
fn a_missing_hook_is_an_error_that_names_it() {
    needs!(root);
    let c = Bundle::sh("true").set("/hooks/createRuntime/-", json!({"path": "/no/such/hook"})).container();
    c.create().fails().says("/no/such/hook");
}

#[test]
fn a_relative_hook_path_is_an_error() {
    needs!(root);
    peer_lacks!(Runc, Crun: "looks it up somewhere");
    let c =
        Bundle::sh("true").set("/hooks/createRuntime/-", json!({"path": "sh", "args": ["sh", "-c", "true"]}));
    c.container().create().fails();
}

#[test]
fn a_hook_beyond_its_timeout_is_killed_and_create_fails() {
    needs!(root);
    let bundle = Bundle::sh("true");
    let path = bundle.scratch().script("slow", "exec sleep 1007");
    let c = bundle.set("/hooks/createRuntime/-", json!({"path": path, "timeout": 1})).container();
    let before = HostSnapshot::take(&c);
    let begin = std::time::Instant::now();
    c.create().fails();
    assert!(begin.elapsed().as_secs() < 20);
    before.assert_unchanged(&c);
}

#[test]
fn a_timeout_that_is_not_positive_is_an_error() {
    needs!(root);
    peer_lacks!(Runc, Crun: "takes it as none");
    let bundle = Bundle::sh("true");
    let path = bundle.scratch().script("fine", "true");
    bundle.set("/hooks/createRuntime/-", json!({"path": path, "timeout": 0})).container().create().fails();
}

//! `features` and `spec`: what the runtime says of itself, and the config it proposes.

use caisson_integration_tests::prelude::*;

fn features() -> Value {
    let scratch = Scratch::new();
    Runtime::new(scratch.path()).call(&["features"]).ok().json()
}

fn has(list: &Value, wanted: &str) -> bool {
    list.as_array().is_some_and(|items| items.iter().any(|item| item == wanted))
}

#[test]
fn features_has_the_versions_hooks_and_mount_options() {
    peer_lacks!(Crun: "1.8.1 has no features");
    let all = features();
    assert!(all["ociVersionMin"].as_str().is_some_and(|version| version.starts_with("1.0")), "{all}");
    assert!(all["ociVersionMax"].as_str().is_some_and(|version| version.starts_with("1.")), "{all}");
    for hook in ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"] {
        assert!(has(&all["hooks"], hook), "{hook}: {all}");
    }
    for option in ["ro", "rbind", "nosuid", "noexec", "rprivate", "rro", "tmpcopyup"] {
        assert!(has(&all["mountOptions"], option), "{option}: {all}");
    }
}

#[test]
fn features_has_namespaces_and_capabilities() {
    peer_lacks!(Crun: "1.8.1 has no features");
    let linux = &features()["linux"];
    for namespace in ["cgroup", "ipc", "mount", "network", "pid", "user", "uts"] {
        assert!(has(&linux["namespaces"], namespace), "{namespace}: {linux}");
    }
    assert!(has(&linux["capabilities"], "CAP_SYS_ADMIN"), "{linux}");
    assert!(linux["cgroup"]["v1"].is_boolean() && linux["cgroup"]["v2"].is_boolean(), "{linux}");
}

#[test]
fn features_has_a_complete_seccomp_block() {
    peer_lacks!(Crun: "1.8.1 has no features");
    let all = features();
    let seccomp = &all["linux"]["seccomp"];
    assert_eq!(seccomp["enabled"], true, "{seccomp}");
    for action in
        ["SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_NOTIFY", "SCMP_ACT_LOG"]
    {
        assert!(has(&seccomp["actions"], action), "{action}: {seccomp}");
    }
    for operator in ["SCMP_CMP_EQ", "SCMP_CMP_MASKED_EQ"] {
        assert!(has(&seccomp["operators"], operator), "{operator}: {seccomp}");
    }
    assert!(has(&seccomp["archs"], "SCMP_ARCH_X86_64"), "{seccomp}");
}

#[test]
fn features_says_what_came_with_the_later_specifications() {
    needs!(runtime_caisson);
    let all = features();
    let linux = &all["linux"];
    assert_eq!(linux["mountExtensions"]["idmap"]["enabled"], true, "{linux}");
    assert_eq!(linux["netDevices"]["enabled"], true, "{linux}");
    assert!(linux["intelRdt"]["enabled"].is_boolean(), "{linux}");
    assert!(linux["apparmor"]["enabled"].is_boolean() && linux["selinux"]["enabled"].is_boolean(), "{linux}");
    assert!(has(&linux["namespaces"], "time"), "{linux}");
    assert!(has(&linux["seccomp"]["supportedFlags"], "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"), "{linux}");
    assert!(all["potentiallyUnsafeConfigAnnotations"].is_array(), "{all}");
}

#[test]
fn the_generated_config_runs() {
    needs!(root);
    let c = Bundle::sh("true").container();
    std::fs::remove_file(c.scratch().join("bundle/config.json")).expect("remove our own file");
    c.runtime().call(&["spec", "--bundle", &c.bundle()]).ok();
    let mut config: Value = serde_json::from_str(&c.scratch().read("bundle/config.json")).expect("JSON");
    assert_eq!(config["process"]["args"], json!(["sh"]));
    assert_eq!(config["process"]["terminal"], true);
    config["process"]["terminal"] = json!(false);
    config["process"]["args"] = json!(["echo", "generated"]);
    config["linux"]["cgroupsPath"] = json!(c.cgroup());
    c.scratch().file("bundle/config.json", &config.to_string());
    assert_eq!(c.run().ok().text(), "generated");
}

#[test]
fn spec_does_not_overwrite_a_config() {
    needs!(root);
    let c = Bundle::sh("true").container();
    let before = c.scratch().read("bundle/config.json");
    c.runtime().call(&["spec", "--bundle", &c.bundle()]).fails();
    assert_eq!(c.scratch().read("bundle/config.json"), before);
}

#[test]
fn spec_takes_common_wishes_as_flags() {
    needs!(root, runtime_caisson);
    let c = Bundle::sh("true").container();
    std::fs::remove_file(c.scratch().join("bundle/config.json")).expect("remove our own file");
    let bundle = c.bundle();
    let words = [
        "spec",
        "--bundle",
        &bundle,
        "--memory",
        "64M",
        "--cpus",
        "0.5",
        "--cap-drop",
        "CAP_KILL",
        "--tty=false",
        "--",
        "echo",
        "hello",
    ];
    c.runtime().call(&words).ok();
    let config: Value = serde_json::from_str(&c.scratch().read("bundle/config.json")).expect("JSON");
    assert_eq!(config["process"]["args"], json!(["echo", "hello"]));
    assert_eq!(config["process"]["terminal"], false);
    assert_eq!(config["linux"]["resources"]["memory"]["limit"], 64 << 20);
    let cpu = &config["linux"]["resources"]["cpu"];
    assert_eq!(cpu["quota"].as_f64().expect("a quota") / cpu["period"].as_f64().expect("a period"), 0.5);
    assert!(!has(&config["process"]["capabilities"]["bounding"], "CAP_KILL"));
}

#[test]
fn version_names_the_runtime_and_the_specification() {
    let scratch = Scratch::new();
    let out = Runtime::new(scratch.path()).call(&["--version"]).ok();
    assert!(out.stdout.contains("version") && out.stdout.contains("spec: 1."), "{out}");
}

#[test]
fn help_lists_the_verbs() {
    let scratch = Scratch::new();
    let out = Runtime::new(scratch.path()).call(&["--help"]).ok();
    for verb in ["create", "start", "state", "kill", "delete", "exec", "list", "update", "pause", "resume"] {
        assert!(out.stdout.contains(verb), "{verb}: {out}");
    }
}

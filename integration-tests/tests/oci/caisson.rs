//! What only caisson has: union root file systems, Landlock, explain, validate, doctor, timings.

use caisson_integration_tests::prelude::*;

use crate::rootless::{USER, rootless};

#[test]
fn explain_prints_the_plan_and_runs_nothing() {
    needs!(root, runtime_caisson);
    let c = Bundle::sh("echo ran").container();
    let before = HostSnapshot::take(&c);
    let out = c.runtime().call(&["explain", "--bundle", &c.bundle()]).ok();
    for word in ["mount", "/proc", "/mounts/0", "execve", "/process/args"] {
        assert!(out.stdout.contains(word), "{word}: {out}");
    }
    assert!(!out.stdout.contains("ran\n"));
    before.assert_unchanged(&c);
}

#[test]
fn explain_needs_no_root() {
    needs!(root, runtime_caisson, program("setpriv"));
    let c = rootless(Bundle::sh("true")).container().with(|runtime| runtime.as_user(USER, USER));
    c.runtime().call(&["explain", "--bundle", &c.bundle()]).ok();
}

#[test]
fn validate_names_every_problem_by_its_pointer_at_once() {
    needs!(root, runtime_caisson);
    let bundle = Bundle::sh("true")
        .set("/process/cwd", json!("relative"))
        .set("/linux/namespaces/-", json!({"type": "ipc"}))
        .set("/mystery", json!(1));
    let out = bundle.container();
    let out = out.runtime().call(&["validate", "--bundle", &out.bundle()]).fails();
    let all = format!("{}{}", out.stdout, out.stderr);
    for pointer in ["/process/cwd", "/linux/namespaces/5", "/mystery"] {
        assert!(all.contains(pointer), "{pointer}: {out}");
    }
}

#[test]
fn validate_accepts_a_good_config() {
    needs!(root, runtime_caisson);
    let c = Bundle::sh("true").container();
    c.runtime().call(&["validate", "--bundle", &c.bundle()]).ok();
}

#[test]
fn doctor_reports_the_host() {
    needs!(runtime_caisson);
    let scratch = Scratch::new();
    let out = Runtime::new(scratch.path()).call(&["doctor"]);
    for word in ["cgroup", "user namespace", "overlay", "seccomp", "kvm"] {
        assert!(out.stdout.to_lowercase().contains(word), "{word}: {out}");
    }
}

#[test]
fn timings_has_a_line_for_every_step() {
    needs!(root, runtime_caisson);
    let c = Bundle::sh("true").container();
    let file = c.scratch().join("timings");
    let runtime = c.runtime().clone().global(&["--timings", file.to_str().expect("UTF-8")]);
    runtime.call(&["run", "--bundle", &c.bundle(), c.id()]).ok();
    let text = c.scratch().read("timings");
    assert!(text.contains("mount") && text.lines().count() > 10, "{text}");
}

#[test]
fn landlock_by_annotation_closes_what_is_not_listed() {
    needs!(root, runtime_caisson, landlock);
    let rules = json!({"read": ["/bin", "/etc"], "write": ["/tmp", "/dev/null"]}).to_string();
    let bundle = Bundle::sh("cat /etc/passwd >/dev/null && echo reads; echo x >/tmp/x && echo writes; echo x 2>/dev/null >/root/x || echo shut")
        .set("/annotations", json!({"dev.caisson.landlock": rules}));
    assert_eq!(bundle.container().run().ok().lines(), ["reads", "writes", "shut"]);
}

/// A bundle whose root is composed of two lower directories of the host.
fn union(script: &str, annotations: Value) -> Bundle {
    let bundle = Bundle::sh(script);
    let (base, top) = (bundle.scratch().dir("base"), bundle.scratch().dir("top"));
    caisson_integration_tests::bundle::make_rootfs(&base);
    bundle.scratch().file("base/both", "of the base\n");
    bundle.scratch().file("top/both", "of the top\n");
    let mut all = json!({"dev.caisson.rootfs.lower": format!("{}:{}", top.display(), base.display())});
    all.as_object_mut().expect("an object").extend(annotations.as_object().expect("an object").clone());
    bundle.set("/annotations", all)
}

#[test]
fn lower_directories_are_one_root() {
    needs!(root, runtime_caisson);
    let c = union("cat /both; touch /new && echo wrote", json!({"dev.caisson.rootfs.ephemeral": "true"}))
        .container();
    let before = HostSnapshot::take(&c);
    assert_eq!(c.run().ok().lines(), ["of the top", "wrote"]);
    assert!(!c.scratch().join("base/new").exists() && !c.scratch().join("top/new").exists());
    before.assert_unchanged(&c);
}

#[test]
fn an_upper_directory_keeps_what_is_written() {
    needs!(root, runtime_caisson);
    let bundle = union("echo kept >/new", json!({}));
    let (upper, work) = (bundle.scratch().dir("layer/upper"), bundle.scratch().dir("layer/work"));
    let bundle = bundle
        .edit(|config| config["annotations"]["dev.caisson.rootfs.upper"] = json!(upper))
        .edit(|config| config["annotations"]["dev.caisson.rootfs.work"] = json!(work));
    let c = bundle.container();
    c.run().ok();
    assert_eq!(c.scratch().read("layer/upper/new"), "kept\n");
}

#[test]
fn lower_directories_can_be_flags() {
    needs!(root, runtime_caisson);
    let c = union("cat /both", json!({})).container();
    let (base, top) = (c.scratch().join("base"), c.scratch().join("top"));
    let lowers = [top.to_str().expect("UTF-8"), base.to_str().expect("UTF-8")];
    let out = c.run_with(&["--lower", lowers[0], "--lower", lowers[1], "--ephemeral"]).ok();
    assert_eq!(out.text(), "of the top");
}

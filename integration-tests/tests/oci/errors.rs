//! Bad input: each a clear message and an exit code as runc's, with the host unchanged.

use caisson_integration_tests::prelude::*;

/// Runs what cannot run; demands exit code 1 as of runc, no trace on the host, and returns the message.
#[track_caller]
fn message(c: &Container) -> String {
    let before = HostSnapshot::take(c);
    let out = c.run().fails();
    c.verb("state", &[]).fails();
    before.assert_unchanged(c);
    assert!(!out.stderr.trim().is_empty(), "no message: {out}");
    out.stderr
}

#[track_caller]
fn assert_says(message: &str, needles: &[&str]) {
    for needle in needles {
        assert!(
            message.to_lowercase().contains(&needle.to_lowercase()),
            "message lacks {needle:?}: {message}"
        );
    }
}

#[test]
fn a_missing_config_is_named() {
    needs!(root);
    let c = Bundle::sh("true").container();
    std::fs::remove_file(c.scratch().join("bundle/config.json")).expect("remove our own file");
    assert_says(&message(&c), &["config.json"]);
}

#[test]
fn a_missing_bundle_is_named() {
    needs!(root);
    let c = Bundle::sh("true").container();
    let out = c.runtime().call(&["run", "--bundle", "/no/such/bundle", c.id()]).fails();
    assert_says(&out.stderr, &["/no/such/bundle"]);
}

#[test]
fn a_config_that_is_no_json_is_an_error() {
    needs!(root);
    let c = Bundle::sh("true").container();
    for text in ["", "{", "[]", "null", "{\"ociVersion\": \"1.0.2\", \"process\": 3}", "\u{feff}{}"] {
        c.scratch().file("bundle/config.json", text);
        message(&c);
    }
}

#[test]
fn a_wrong_type_is_an_error_with_the_json_pointer() {
    needs!(root, runtime_caisson);
    let c = Bundle::sh("true").set("/process/user/uid", json!("zero")).container();
    assert_says(&message(&c), &["/process/user/uid"]);
}

#[test]
fn a_config_without_root_or_args_is_an_error() {
    needs!(root);
    message(&Bundle::sh("true").unset("/root").container());
    message(&Bundle::sh("true").set("/process/args", json!([])).container());
}

#[test]
fn a_wrong_oci_version_is_an_error() {
    needs!(root);
    peer_lacks!(Crun: "takes any");
    peer_lacks!(Runc: "takes any");
    message(&Bundle::sh("true").set("/ociVersion", json!("2.0.0")).container());
    message(&Bundle::sh("true").set("/ociVersion", json!("nonsense")).container());
}

#[test]
fn unknown_fields_are_passed_over() {
    needs!(root);
    Bundle::sh("true")
        .set("/org.example", json!({"x": 1}))
        .set("/process/future", json!(1))
        .container()
        .run()
        .ok();
}

#[test]
fn a_missing_rootfs_is_named() {
    needs!(root);
    let c = Bundle::sh("true").set("/root/path", json!("nowhere")).container();
    assert_says(&message(&c), &["nowhere"]);
}

#[test]
fn a_rootfs_that_is_a_file_is_an_error() {
    needs!(root);
    let bundle = Bundle::sh("true").set("/root/path", json!("a-file"));
    bundle.scratch().file("bundle/a-file", "");
    message(&bundle.container());
}

#[test]
fn a_missing_program_is_named() {
    needs!(root);
    assert_says(
        &message(&Bundle::of(&["/no/such/program"]).container()),
        &["/no/such/program", "no such file"],
    );
    assert_says(&message(&Bundle::of(&["nosuchprogram"]).container()), &["nosuchprogram"]);
}

#[test]
fn a_program_that_may_not_be_executed_is_named() {
    needs!(root);
    peer_lacks!(Crun: "does not name it");
    let c = Bundle::of(&["/data"]).file("/data", "no program").container();
    assert_says(&message(&c), &["/data", "permission denied"]);
}

#[test]
fn a_directory_as_program_is_an_error() {
    needs!(root);
    peer_lacks!(Crun: "does not name it");
    assert_says(&message(&Bundle::of(&["/etc"]).container()), &["/etc"]);
}

#[test]
fn a_missing_shebang_interpreter_is_named() {
    needs!(root);
    let c = Bundle::of(&["/tool"]).program("/tool", "#!/no/such/interpreter\n").container();
    let said = message(&c);
    assert_says(&said, &["/tool"]);
    peer_lacks!(Runc, Crun: "names the script only");
    assert_says(&said, &["/no/such/interpreter"]);
}

#[test]
fn a_shebang_with_a_carriage_return_is_explained() {
    needs!(root, runtime_caisson);
    let c = Bundle::of(&["/tool"]).program("/tool", "#!/bin/sh\r\necho\r\n").container();
    assert_says(&message(&c), &["/tool", "/bin/sh\\r"]);
}

#[test]
fn a_missing_elf_interpreter_is_named() {
    needs!(root);
    let bundle = Bundle::of(&["/dynamic"]);
    // Any dynamic program of the host: its interpreter is not in the root file system.
    let Some(program) = dynamic_program() else {
        caisson_integration_tests::host_needs::skip("errors::elf::here", "no dynamic program on this host");
        return;
    };
    std::fs::copy(program, bundle.rootfs().join("dynamic")).expect("copy a program");
    let said = message(&bundle.container());
    assert_says(&said, &["/dynamic"]);
    peer_lacks!(Runc, Crun: "names the program only");
    assert_says(&said, &["ld-linux"]);
}

fn dynamic_program() -> Option<&'static str> {
    ["/usr/bin/env", "/usr/bin/true", "/bin/true"].into_iter().find(|path| {
        std::fs::read(path).is_ok_and(|bytes| bytes.windows(9).any(|window| window == b"/ld-linux"))
    })
}

#[test]
fn a_program_on_a_noexec_mount_is_explained() {
    needs!(root);
    peer_lacks!(Crun: "does not name it");
    let bundle = Bundle::of(&["/mnt/tool"]);
    let host = bundle.scratch().dir("data");
    bundle.scratch().script("data/tool", "echo ran");
    let said = message(&bundle.bind(&host, "/mnt", &["noexec"]).container());
    assert_says(&said, &["/mnt/tool", "permission denied"]);
    peer_lacks!(Runc, Crun: "does not say noexec");
    assert_says(&said, &["noexec"]);
}

#[test]
fn a_program_of_another_format_is_an_error() {
    needs!(root);
    let c = Bundle::of(&["/tool"]).program("/tool", "\u{1}\u{2} no format at all\n").container();
    assert_says(&message(&c), &["exec format"]);
}

#[test]
fn a_bind_of_a_directory_onto_a_file_is_an_error_that_names_it() {
    needs!(root);
    let bundle = Bundle::sh("true").file("/target", "");
    let host = bundle.scratch().dir("data");
    assert_says(&message(&bundle.bind(&host, "/target", &[]).container()), &["target"]);
}

#[test]
fn a_mount_error_has_the_json_pointer_of_the_mount() {
    needs!(root, runtime_caisson);
    let c = Bundle::sh("true").bind("/no/such/source", "/mnt", &[]).container();
    assert_says(&message(&c), &["/mounts/7", "/no/such/source"]);
}

#[test]
fn apparmor_asked_for_and_absent_is_an_error() {
    needs!(root, no_apparmor);
    message(&Bundle::sh("true").set("/process/apparmorProfile", json!("some-profile")).container());
}

#[test]
fn selinux_asked_for_and_absent_is_an_error() {
    needs!(root, no_selinux);
    let label = json!("system_u:system_r:container_t:s0:c1,c2");
    message(&Bundle::sh("true").set("/process/selinuxLabel", label).container());
}

#[test]
fn intel_rdt_asked_for_and_absent_is_an_error() {
    needs!(root);
    if std::path::Path::new("/sys/fs/resctrl/schemata").exists() {
        return;
    }
    peer_lacks!(Runc, Crun: "ignores it");
    message(
        &Bundle::sh("true")
            .set("/linux/intelRdt", json!({"closID": "x", "l3CacheSchema": "L3:0=f"}))
            .container(),
    );
}

#[test]
fn an_unknown_command_or_flag_is_an_error() {
    needs!(root);
    let c = Bundle::sh("true").container();
    c.runtime().call(&["nonsense"]).fails();
    c.verb("state", &["--nonsense"]).fails();
    c.runtime().call(&["state"]).fails();
    c.runtime().call(&["exec", c.id()]).fails();
}

#[test]
fn a_console_socket_that_is_missing_is_named_and_nothing_is_left() {
    needs!(root);
    let c = Bundle::sh("true").set("/process/terminal", json!(true)).container();
    let before = HostSnapshot::take(&c);
    c.create_with(&["--console-socket", "/no/such/socket"]).fails().says("/no/such/socket");
    before.assert_unchanged(&c);
}

#[test]
fn a_pid_file_that_cannot_be_written_fails_create_and_leaves_nothing() {
    needs!(root);
    let c = Bundle::sleeper().container();
    let before = HostSnapshot::take(&c);
    c.create_with(&["--pid-file", "/no/such/directory/pid"]).fails();
    before.assert_unchanged(&c);
}

#[test]
fn a_vm_section_says_what_it_needs() {
    needs!(root, runtime_caisson);
    let c = Bundle::sh("true").set("/vm", json!({"kernel": {"path": "/vmlinux"}})).container();
    assert_says(&message(&c), &["vm"]);
}

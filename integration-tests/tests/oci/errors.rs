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

#[test]
fn a_config_that_is_no_file_is_an_error_at_once() {
    needs!(root, runtime_caisson);
    let c = Bundle::sh("true").container();
    let path = c.scratch().join("bundle/config.json");
    std::fs::remove_file(&path).expect("remove our own file");
    std::os::unix::fs::symlink("/dev/zero", &path).expect("make a link");
    assert_says(&message(&c), &["config.json", "not a regular file"]);
    std::fs::remove_file(&path).expect("remove our own link");
    let made = std::process::Command::new("mkfifo").arg(&path).status().expect("run mkfifo");
    assert!(made.success());
    assert_says(&message(&c), &["config.json", "not a regular file"]);
}

#[test]
fn a_deeply_nested_config_costs_no_time() {
    needs!(root, runtime_caisson);
    let c = Bundle::sh("true").container();
    for (unit, count) in [("{\"a\":", 1_000_000), ("[", 4_000_000)] {
        c.scratch().file("bundle/config.json", &unit.repeat(count));
        let begun = std::time::Instant::now();
        message(&c);
        assert!(begun.elapsed() < std::time::Duration::from_secs(10), "{:?}", begun.elapsed());
    }
}

#[test]
fn a_directory_and_a_file_cannot_cover_each_other() {
    needs!(root, runtime_caisson);
    let c = Bundle::sh("true").bind("/etc/passwd", "/mnt", &["bind"]).container();
    assert_says(&message(&c), &["/mounts/7", "a file cannot be mounted on a directory"]);
    let c = Bundle::sh("true").bind("/etc", "/bin/busybox", &["bind"]).container();
    assert_says(&message(&c), &["/mounts/7", "a directory cannot be mounted on a file"]);
}

#[test]
fn a_fifo_as_program_or_interpreter_is_an_error() {
    needs!(root);
    let fifo = |bundle: &Bundle| {
        let path = bundle.rootfs().join("fifo");
        let mode = ["-m", "755"];
        let made = std::process::Command::new("mkfifo").args(mode).arg(&path).status().expect("run mkfifo");
        assert!(made.success());
    };
    let bundle = Bundle::of(&["/fifo"]);
    fifo(&bundle);
    assert_says(&message(&bundle.container()), &["/fifo"]);
    let bundle = Bundle::of(&["/tool"]).program("/tool", "#!/fifo\n");
    fifo(&bundle);
    assert_says(&message(&bundle.container()), &["/tool"]);
}

#[test]
fn a_dev_that_is_a_symlink_or_a_file_is_explained() {
    needs!(root, runtime_caisson);
    for target in ["/tmp", "/../../etc"] {
        assert_says(
            &message(&Bundle::sh("true").link("/dev", target).container()),
            &["/dev", "symbolic link", "(from /mounts"],
        );
    }
    let bundle = Bundle::sh("true");
    std::fs::remove_dir(bundle.rootfs().join("dev")).expect("remove an empty directory");
    assert_says(&message(&bundle.file("/dev", "").container()), &["/dev", "file", "(from /mounts"]);
}

#[test]
fn a_full_state_directory_is_an_error_and_leaves_nothing() {
    needs!(root, runtime_caisson);
    let c = Bundle::sleeper().container();
    caisson_integration_tests::leak::own_mount_namespace();
    let state = c.runtime().state_dir();
    std::fs::create_dir(&state).expect("make the state directory");
    let mount = |options: &str| {
        let words = ["-t", "tmpfs", "-o", options, "tmpfs"];
        let mounted =
            std::process::Command::new("mount").args(words).arg(&state).status().expect("run mount");
        assert!(mounted.success());
    };
    // An inode for the root, then for the directory, the lock, the files.
    mount("nr_inodes=1");
    for inodes in 1..=6 {
        mount(&format!("remount,nr_inodes={inodes}"));
        let before = HostSnapshot::take(&c);
        c.create().fails().says("no space left");
        before.assert_unchanged(&c);
    }
    mount("remount,ro");
    c.create().fails().says("read-only");
}

#[test]
fn a_bundle_whose_path_is_not_utf8_is_an_error() {
    needs!(root, runtime_caisson);
    use std::os::unix::ffi::OsStrExt;
    let c = Bundle::sh("true").container();
    let odd = c.scratch().join(std::ffi::OsStr::from_bytes(b"bundle\xff"));
    std::fs::rename(c.scratch().join("bundle"), &odd).expect("rename our own directory");
    // By a script: the harness's own words are UTF-8.
    let c = c.with(|runtime| runtime.after_shell("cd bundle*"));
    let before = HostSnapshot::take(&c);
    c.runtime().call(&["run", c.id()]).fails().says("not UTF-8");
    before.assert_unchanged(&c);
}

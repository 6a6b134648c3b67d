//! `root`, masked and read-only paths, the default files in /dev.

use caisson_integration_tests::prelude::*;

#[test]
fn a_read_only_root_cannot_be_written_but_mounts_on_it_can() {
    needs!(root);
    let bundle = Bundle::sh("touch /new 2>/dev/null; echo $?; touch /mnt/new; echo $?")
        .set("/root/readonly", json!(true))
        .mount("/mnt", "tmpfs", "tmpfs", &[]);
    assert_eq!(bundle.container().run().ok().lines(), ["1", "0"]);
}

#[test]
fn a_writable_root_is_the_bundles_directory() {
    needs!(root);
    let c = Bundle::sh("echo written >/new").container();
    c.run().ok();
    assert_eq!(std::fs::read_to_string(c.rootfs("/new")).expect("the container's file"), "written\n");
}

#[test]
fn an_absolute_root_path_is_used() {
    needs!(root);
    let bundle = Bundle::sh("cat /here");
    let other = bundle.scratch().dir("elsewhere");
    caisson_integration_tests::bundle::make_rootfs(&other);
    std::fs::write(other.join("here"), "elsewhere").expect("write into our own tree");
    assert_eq!(bundle.set("/root/path", json!(other)).container().run().ok().stdout, "elsewhere");
}

#[test]
fn the_root_is_a_mount_of_its_own_without_a_parent() {
    needs!(root);
    let out = Bundle::sh("ls /..; cd ../../..; pwd").container().run().ok();
    assert_eq!(out.lines().last(), Some(&"/"));
    assert!(out.lines().contains(&"proc"), "{out}");
}

#[test]
fn masked_files_are_empty_and_masked_directories_too() {
    needs!(root);
    let bundle = Bundle::sh(
        "cat /secret/file; ls -A /secret/dir; touch /secret/dir/x 2>/dev/null || echo cannot write",
    )
    .file("/secret/file", "secret")
    .file("/secret/dir/file", "secret")
    .set("/linux/maskedPaths", json!(["/secret/file", "/secret/dir", "/secret/missing"]));
    assert_eq!(bundle.container().run().ok().text(), "cannot write");
}

#[test]
fn a_masked_file_cannot_be_written_through() {
    needs!(root);
    let c = Bundle::sh("echo x >/secret; true").file("/secret", "kept");
    let c = c.set("/linux/maskedPaths", json!(["/secret"])).container();
    c.run().ok();
    assert_eq!(std::fs::read_to_string(c.rootfs("/secret")).expect("the image's file"), "kept");
}

#[test]
fn read_only_paths_cannot_be_written_and_their_neighbours_can() {
    needs!(root);
    let bundle =
        Bundle::sh("touch /data/ro/x 2>/dev/null; echo $?; touch /data/x; echo $?; cat /data/ro/file")
            .file("/data/ro/file", "readable\n")
            .set("/linux/readonlyPaths", json!(["/data/ro", "/missing"]));
    assert_eq!(bundle.container().run().ok().lines(), ["1", "0", "readable"]);
}

#[test]
fn a_read_only_path_keeps_the_flags_of_its_mount() {
    needs!(root);
    peer_lacks!(Crun: "1.8.1 loses them");
    let bundle = Bundle::sh("grep ' /mnt/ro ' /proc/self/mountinfo")
        .mount("/mnt", "tmpfs", "tmpfs", &["nosuid", "nodev", "noexec", "tmpcopyup"])
        .dir("/mnt/ro")
        .set("/linux/readonlyPaths", json!(["/mnt/ro"]));
    let out = bundle.container().run().ok();
    assert!(out.stdout.contains("ro,nosuid,nodev,noexec"), "{out}");
}

#[test]
fn proc_sys_is_read_only_by_the_default_paths() {
    needs!(root);
    let out = Bundle::sh("echo x >/proc/sys/kernel/hostname").container().run().fails();
    assert!(out.stderr.to_lowercase().contains("read-only"), "{out}");
}

#[test]
fn the_default_devices_are_there() {
    needs!(root);
    let script = "for d in null zero full random urandom tty; do stat -c '%n %F %t:%T %a' /dev/$d; done";
    let out = Bundle::sh(script).container().run().ok();
    let wanted = [
        ("null", "1:3"),
        ("zero", "1:5"),
        ("full", "1:7"),
        ("random", "1:8"),
        ("urandom", "1:9"),
        ("tty", "5:0"),
    ];
    let wanted = wanted.map(|(name, numbers)| format!("/dev/{name} character special file {numbers} 666"));
    assert_eq!(out.lines(), wanted);
}

#[test]
fn the_default_devices_work() {
    needs!(root);
    let script = "echo x >/dev/null; head -c 4 /dev/zero | od -An -tx1; head -c 8 /dev/urandom | wc -c
        echo x 2>/dev/null >/dev/full || echo full";
    let out = Bundle::sh(script).container().run().ok();
    assert_eq!(out.lines().iter().map(|line| line.trim()).collect::<Vec<_>>(), ["00 00 00 00", "8", "full"]);
}

#[test]
fn the_default_links_are_in_dev() {
    needs!(root);
    let out = Bundle::sh("cd /dev; for l in fd stdin stdout stderr ptmx; do readlink $l; done")
        .container()
        .run()
        .ok();
    assert_eq!(
        out.lines(),
        ["/proc/self/fd", "/proc/self/fd/0", "/proc/self/fd/1", "/proc/self/fd/2", "pts/ptmx"]
    );
}

fn names(directory: &str) -> std::collections::BTreeSet<String> {
    let entries = std::fs::read_dir(directory).expect("list a directory").filter_map(Result::ok);
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn a_dev_bound_from_the_host_is_left_alone() {
    needs!(root);
    let before = names("/dev");
    let bundle =
        Bundle::sh("ls -1A /dev").without_mount("/dev").without_mount("/dev/pts").without_mount("/dev/shm");
    let out = bundle.without_mount("/dev/mqueue").bind("/dev", "/dev", &["ro"]).container().run().ok();
    assert_eq!(out.lines().into_iter().map(str::to_owned).collect::<std::collections::BTreeSet<_>>(), before);
    assert_eq!(names("/dev"), before);
}

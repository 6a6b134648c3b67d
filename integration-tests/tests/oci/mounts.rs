//! `mounts`: kinds, every group of options, order, propagation, and what happens to the destination.

use caisson_integration_tests::prelude::*;

/// The options field and the file system's own options of the mount at `place`, as the container sees them.
fn options_of(out: &Output, place: &str) -> String {
    let line = out.lines().into_iter().rfind(|line| line.split(' ').nth(4) == Some(place));
    let line = line.unwrap_or_else(|| panic!("no mount on {place}: {out}"));
    let (left, right) = line.split_once(" - ").expect("a mountinfo line");
    format!("{},{}", left.split(' ').nth(5).expect("options"), right.split(' ').nth(2).expect("options"))
}

fn has(options: &str, wanted: &str) -> bool {
    options.split(',').any(|option| option == wanted)
}

fn mountinfo() -> Bundle {
    Bundle::sh("cat /proc/self/mountinfo")
}

#[test]
fn default_mounts_are_there_in_the_order_of_the_config() {
    needs!(root);
    let out = mountinfo().container().run().ok();
    let places: Vec<_> =
        out.lines().into_iter().filter_map(|line| line.split(' ').nth(4).map(str::to_owned)).collect();
    let at = |place: &str| {
        places.iter().position(|p| p == place).unwrap_or_else(|| panic!("no {place}: {places:?}"))
    };
    assert!(at("/") < at("/proc") && at("/proc") < at("/dev") && at("/dev") < at("/dev/pts"));
    assert!(at("/dev/pts") < at("/dev/shm") && at("/dev/mqueue") < at("/sys"));
}

#[test]
fn nothing_of_the_hosts_mounts_is_seen() {
    needs!(root);
    let out = mountinfo().container().run().ok();
    assert!(!out.stdout.contains("/old"), "{out}");
    let places = out.lines().into_iter().filter_map(|line| line.split(' ').nth(4)).collect::<Vec<_>>();
    assert!(places.iter().all(|place| !place.contains("caisson-test")), "{out}");
}

#[test]
fn each_restricting_option_is_on_the_mount() {
    needs!(root);
    let all = ["nosuid", "nodev", "noexec", "ro", "noatime", "nodiratime"];
    for option in all {
        let out = mountinfo().mount("/mnt", "tmpfs", "tmpfs", &[option]).container().run().ok();
        assert!(has(&options_of(&out, "/mnt"), option), "{option}: {out}");
    }
}

#[test]
fn each_relaxing_option_undoes_the_one_before() {
    needs!(root);
    peer_lacks!(Crun: "1.8.1 does not know suid");
    let pairs =
        [("nosuid", "suid"), ("nodev", "dev"), ("noexec", "exec"), ("ro", "rw"), ("noatime", "atime")];
    for (strict, lax) in pairs {
        let out = mountinfo().mount("/mnt", "tmpfs", "tmpfs", &[strict, lax]).container().run().ok();
        assert!(!has(&options_of(&out, "/mnt"), strict), "{strict},{lax}: {out}");
    }
}

#[test]
fn access_time_options_are_told_apart() {
    needs!(root);
    let out = mountinfo().mount("/mnt", "tmpfs", "tmpfs", &["strictatime"]).container().run().ok();
    let options = options_of(&out, "/mnt");
    assert!(!has(&options, "relatime") && !has(&options, "noatime"), "{options}");
    let out = mountinfo().mount("/mnt", "tmpfs", "tmpfs", &["relatime"]).container().run().ok();
    assert!(has(&options_of(&out, "/mnt"), "relatime"));
}

#[test]
fn nosymfollow_is_on_the_mount() {
    needs!(root);
    peer_lacks!(Runc, Crun: "nosymfollow came later");
    let out = mountinfo().mount("/mnt", "tmpfs", "tmpfs", &["nosymfollow"]).container().run().ok();
    assert!(has(&options_of(&out, "/mnt"), "nosymfollow"), "{out}");
}

#[test]
fn other_options_are_data_of_the_file_system() {
    needs!(root);
    peer_lacks!(Runc: "gives the tmpfs the mode of the directory below");
    let bundle = Bundle::sh("stat -c %a:%u:%g /mnt; df -k /mnt | tail -1 | tr -s ' ' | cut -d' ' -f2");
    let out = bundle
        .mount("/mnt", "tmpfs", "tmpfs", &["mode=1750", "size=128k", "uid=5", "gid=6"])
        .container()
        .run()
        .ok();
    assert_eq!(out.lines(), ["1750:5:6", "128"]);
}

#[test]
fn unknown_data_is_an_error_that_names_the_destination() {
    needs!(root);
    let out = mountinfo().mount("/mnt", "tmpfs", "tmpfs", &["nonsense=1"]).container().run().fails();
    assert!(out.stderr.contains("mnt"), "{out}");
}

#[test]
fn an_unknown_file_system_is_an_error() {
    needs!(root);
    let out = mountinfo().mount("/mnt", "nonsensefs", "x", &[]).container().run().fails();
    assert!(out.stderr.contains("nonsensefs") || out.stderr.contains("mnt"), "{out}");
}

#[test]
fn a_bind_mount_shows_the_hosts_directory() {
    needs!(root);
    let bundle = Bundle::sh("cat /mnt/file; echo written >/mnt/new");
    let host = bundle.scratch().dir("data");
    bundle.scratch().file("data/file", "from the host\n");
    let c = bundle.bind(&host, "/mnt", &[]).container();
    assert_eq!(c.run().ok().stdout, "from the host\n");
    assert_eq!(c.scratch().read("data/new"), "written\n");
}

#[test]
fn a_read_only_bind_mount_cannot_be_written() {
    needs!(root);
    let bundle = Bundle::sh("touch /mnt/new 2>&1");
    let host = bundle.scratch().dir("data");
    let out = bundle.bind(&host, "/mnt", &["ro"]).container().run().fails();
    assert!(out.stdout.contains("Read-only"), "{out}");
}

#[test]
fn each_restricting_option_is_on_a_bind_mount() {
    needs!(root);
    for option in ["nosuid", "nodev", "noexec", "noatime"] {
        let bundle = mountinfo();
        let host = bundle.scratch().dir("data");
        let out = bundle.bind(&host, "/mnt", &[option]).container().run().ok();
        assert!(has(&options_of(&out, "/mnt"), option), "{option}: {out}");
    }
}

#[test]
fn a_noexec_bind_mount_runs_no_program() {
    needs!(root);
    let bundle = Bundle::sh("/mnt/tool");
    let host = bundle.scratch().dir("data");
    bundle.scratch().script("data/tool", "echo ran");
    let out = bundle.bind(&host, "/mnt", &["noexec"]).container().run();
    assert_eq!((out.code, out.text()), (126, ""), "{out}");
}

#[test]
fn a_file_is_bound_onto_a_missing_file() {
    needs!(root);
    let bundle = Bundle::sh("cat /new/place/file");
    let host = bundle.scratch().file("data", "bound");
    assert_eq!(bundle.bind(&host, "/new/place/file", &["ro"]).container().run().ok().stdout, "bound");
}

#[test]
fn a_directory_is_bound_onto_a_missing_directory() {
    needs!(root);
    let bundle = Bundle::sh("ls /new/place");
    let host = bundle.scratch().dir("data");
    bundle.scratch().file("data/inside", "");
    assert_eq!(bundle.bind(&host, "/new/place", &[]).container().run().ok().text(), "inside");
}

#[test]
fn a_relative_bind_source_starts_at_the_bundle() {
    needs!(root);
    let bundle = Bundle::sh("cat /mnt/file");
    bundle.scratch().file("bundle/data/file", "beside config.json");
    assert_eq!(bundle.bind("data", "/mnt", &[]).container().run().ok().stdout, "beside config.json");
}

#[test]
fn a_later_mount_covers_an_earlier_one() {
    needs!(root);
    let bundle = Bundle::sh("ls -A /mnt; ls -A /mnt/sub");
    let (first, second) = (bundle.scratch().dir("first"), bundle.scratch().dir("second"));
    bundle.scratch().file("first/sub/hidden", "");
    bundle.scratch().file("second/shown", "");
    let out = bundle.bind(&first, "/mnt", &[]).bind(&second, "/mnt/sub", &[]).container().run().ok();
    assert_eq!(out.lines(), ["sub", "shown"]);
}

#[test]
fn tmpcopyup_keeps_what_the_image_has() {
    needs!(root);
    let bundle = Bundle::sh("cat /data/sub/file; touch /data/new && stat -f -c %T /data")
        .file("/data/sub/file", "of the image\n")
        .mount("/data", "tmpfs", "tmpfs", &["tmpcopyup"]);
    let c = bundle.container();
    assert_eq!(c.run().ok().lines(), ["of the image", "tmpfs"]);
    assert!(!c.rootfs("/data/new").exists());
}

/// A directory of the test's mount namespace with a tmpfs mounted in it.
fn tree_with_a_submount(bundle: &Bundle) -> std::path::PathBuf {
    caisson_integration_tests::leak::own_mount_namespace();
    let tree = bundle.scratch().dir("tree");
    let sub = bundle.scratch().dir("tree/sub");
    mount(&["-t", "tmpfs", "tmpfs", sub.to_str().expect("UTF-8")]);
    tree
}

#[track_caller]
fn mount(args: &[&str]) {
    let status = std::process::Command::new("mount").args(args).status().expect("run mount");
    assert!(status.success(), "mount {args:?}");
}

#[test]
fn rbind_takes_the_mounts_below_along_and_bind_does_not() {
    needs!(root);
    let count = "grep -c ' /mnt' /proc/self/mountinfo";
    let bundle = Bundle::sh(count);
    let tree = tree_with_a_submount(&bundle);
    assert_eq!(bundle.bind(&tree, "/mnt", &["rbind"]).container().run().ok().text(), "2");
    let bundle = Bundle::sh(count);
    let tree = tree_with_a_submount(&bundle);
    assert_eq!(bundle.bind(&tree, "/mnt", &["bind"]).container().run().ok().text(), "1");
}

#[test]
fn ro_leaves_the_mounts_below_writable_and_rro_does_not() {
    needs!(root);
    let probe = "touch /mnt/x 2>/dev/null; echo $?; touch /mnt/sub/x 2>/dev/null; echo $?";
    let bundle = Bundle::sh(probe);
    let tree = tree_with_a_submount(&bundle);
    assert_eq!(bundle.bind(&tree, "/mnt", &["rbind", "ro"]).container().run().ok().lines(), ["1", "0"]);
    let bundle = Bundle::sh(probe);
    let tree = tree_with_a_submount(&bundle);
    assert_eq!(bundle.bind(&tree, "/mnt", &["rbind", "rro"]).container().run().ok().lines(), ["1", "1"]);
}

#[test]
fn each_recursive_option_reaches_the_mounts_below() {
    needs!(root);
    peer_lacks!(Crun: "1.8.1 fails on rnoatime");
    for (option, seen) in
        [("rnosuid", "nosuid"), ("rnodev", "nodev"), ("rnoexec", "noexec"), ("rnoatime", "noatime")]
    {
        let bundle = mountinfo();
        let tree = tree_with_a_submount(&bundle);
        let out = bundle.bind(&tree, "/mnt", &["rbind", option]).container().run().ok();
        assert!(has(&options_of(&out, "/mnt"), seen), "{option}: {out}");
        assert!(has(&options_of(&out, "/mnt/sub"), seen), "{option}: {out}");
    }
}

/// The optional fields of the mount at `place`: `shared:N`, `master:N`, `unbindable`, or nothing.
fn propagation_of(out: &Output, place: &str) -> String {
    let line = out.lines().into_iter().rfind(|line| line.split(' ').nth(4) == Some(place));
    let line = line.unwrap_or_else(|| panic!("no mount on {place}: {out}"));
    let fields: Vec<_> = line.split(' ').skip(6).take_while(|field| *field != "-").collect();
    let kinds: Vec<_> = fields.iter().map(|field| field.split(':').next().unwrap_or_default()).collect();
    kinds.join(" ")
}

#[test]
fn a_bind_mount_has_the_propagation_asked_for() {
    needs!(root);
    let cases = [
        ("private", ""),
        ("rprivate", ""),
        ("slave", "master"),
        ("rslave", "master"),
        ("unbindable", "unbindable"),
    ];
    for (option, wanted) in cases {
        let bundle = mountinfo();
        let tree = tree_with_a_submount(&bundle);
        let path = tree.to_str().expect("UTF-8").to_owned();
        mount(&["--bind", &path, &path]);
        mount(&["--make-shared", &path]);
        let bundle = bundle.set("/linux/rootfsPropagation", json!("rslave"));
        let out = bundle.bind(&tree, "/mnt", &["rbind", option]).container().run().ok();
        assert_eq!(propagation_of(&out, "/mnt"), wanted, "{option}: {out}");
    }
}

#[test]
fn a_shared_bind_mount_passes_mounts_of_the_container_to_the_host() {
    needs!(root);
    let bundle = Bundle::sh("mkdir -p /mnt/below && mount -t tmpfs tmpfs /mnt/below && echo mounted");
    let tree = tree_with_a_submount(&bundle);
    let path = tree.to_str().expect("UTF-8").to_owned();
    mount(&["--bind", &path, &path]);
    mount(&["--make-shared", &path]);
    let all = json!(["CAP_SYS_ADMIN"]);
    let bundle = bundle
        .set("/process/capabilities", json!({"bounding": all, "effective": all, "permitted": all}))
        .set("/linux/rootfsPropagation", json!("shared"))
        .bind(&tree, "/mnt", &["rbind", "rshared"]);
    let c = bundle.container();
    assert_eq!(c.run().ok().text(), "mounted");
    // The container is gone, and so is its tree; but the propagated mount stays with the host's.
    let table = std::fs::read_to_string("/proc/thread-self/mountinfo").expect("our own mount table");
    assert!(table.contains(&format!("{path}/below")), "{table}");
}

#[test]
fn rootfs_propagation_is_what_the_config_says() {
    needs!(root);
    for (value, wanted) in [("private", ""), ("slave", ""), ("shared", "shared")] {
        let out = mountinfo().set("/linux/rootfsPropagation", json!(value)).container().run().ok();
        assert_eq!(propagation_of(&out, "/").replace("master", ""), wanted, "{value}: {out}");
    }
}

#[test]
fn an_unbindable_root_is_unbindable() {
    needs!(root);
    peer_lacks!(Runc: "1.1 binds the root after it became unbindable");
    let out = mountinfo().set("/linux/rootfsPropagation", json!("unbindable")).container().run().ok();
    assert_eq!(propagation_of(&out, "/"), "unbindable", "{out}");
}

#[test]
fn mounts_of_the_host_do_not_reach_a_private_container() {
    needs!(root);
    let bundle = Bundle::sh("grep -c /mnt/late /proc/self/mountinfo");
    let tree = tree_with_a_submount(&bundle);
    bundle.scratch().dir("tree/late");
    let path = tree.to_str().expect("UTF-8").to_owned();
    mount(&["--bind", &path, &path]);
    mount(&["--make-shared", &path]);
    let c = bundle.bind(&tree, "/mnt", &["rbind", "rprivate"]).container();
    c.create().ok();
    mount(&["-t", "tmpfs", "tmpfs", &format!("{path}/late")]);
    assert_eq!(c.finish().trim(), "0");
}

#[test]
fn an_idmapped_bind_mount_shifts_the_owners() {
    needs!(root, idmapped_mounts);
    peer_lacks!(Runc: "idmapped mounts came later");
    peer_lacks!(Crun: "1.8.1 cannot without a user namespace");
    let bundle = Bundle::sh("stat -c %u:%g /mnt/file");
    let tree = bundle.scratch().dir("tree");
    bundle.scratch().file("tree/file", "");
    let map = json!([{"containerID": 0, "hostID": 5000, "size": 1000}]);
    let mount = json!({"destination": "/mnt", "type": "none", "source": tree, "options": ["bind", "idmap"],
        "uidMappings": map, "gidMappings": map});
    assert_eq!(bundle.set("/mounts/-", mount).container().run().ok().text(), "5000:5000");
}

#[test]
fn idmap_takes_the_containers_mappings_by_default() {
    needs!(root, idmapped_mounts);
    peer_lacks!(Runc: "idmapped mounts came later");
    let bundle = Bundle::sh("stat -c %u:%g /mnt/file").user_namespace();
    let tree = bundle.scratch().dir("tree");
    bundle.scratch().file("tree/file", "");
    assert_eq!(bundle.bind(&tree, "/mnt", &["bind", "idmap"]).container().run().ok().text(), "0:0");
}

#[test]
fn ridmap_reaches_the_mounts_below() {
    // The mount below is a tmpfs, which can be idmapped since then.
    needs!(root, idmapped_mounts, kernel(6, 3));
    peer_lacks!(Runc, Crun: "ridmap came later");
    let bundle = Bundle::sh("stat -c %u /mnt; stat -c %u /mnt/sub");
    let tree = tree_with_a_submount(&bundle);
    let map = json!([{"containerID": 0, "hostID": 5000, "size": 1000}]);
    let mount = json!({"destination": "/mnt", "type": "none", "source": tree, "options": ["rbind", "ridmap"],
        "uidMappings": map, "gidMappings": map});
    assert_eq!(bundle.set("/mounts/-", mount).container().run().ok().lines(), ["5000", "5000"]);
}

#[test]
fn copy_symlink_makes_the_link_instead_of_following_it() {
    needs!(root);
    peer_lacks!(Runc: "no copy-symlink");
    peer_lacks!(Crun: "copy-symlink came later");
    let bundle = Bundle::sh("readlink /mnt/link");
    let link = bundle.scratch().join("link");
    std::os::unix::fs::symlink("/nowhere/at/all", &link).expect("make a link");
    let out = bundle.bind(&link, "/mnt/link", &["bind", "copy-symlink"]).container().run().ok();
    assert_eq!(out.text(), "/nowhere/at/all");
}

#[test]
fn a_destination_through_a_link_stays_in_the_container() {
    needs!(root);
    let bundle = Bundle::sh("cat /etc/inside/file");
    let host = bundle.scratch().dir("data");
    bundle.scratch().file("data/file", "bound");
    let escape = bundle.scratch().join("outside");
    std::fs::create_dir(&escape).expect("make a directory");
    // From the host this link leads to a host directory; in the container to one below its root.
    let c = bundle.link("/way", "/etc").bind(&host, "/way/inside", &[]).container();
    assert_eq!(c.run().ok().stdout, "bound");
    assert!(!std::path::Path::new("/etc/inside").exists());
}

#[test]
fn file_systems_of_the_kernel_are_new_ones() {
    needs!(root);
    let script = "ls -d /proc/1 /proc/self/status; ls /sys/kernel >/dev/null && echo sys; ls /dev/pts
        test -d /dev/mqueue && echo mqueue; stat -f -c %T /dev/shm";
    let out = Bundle::sh(script).container().run().ok();
    assert_eq!(out.lines(), ["/proc/1", "/proc/self/status", "sys", "ptmx", "mqueue", "tmpfs"]);
}

#[test]
fn a_relative_destination_is_taken_from_the_root_or_refused() {
    needs!(root);
    // The spec: MUST be absolute; older ones allowed relative ones, and runc takes them from the root.
    let out =
        Bundle::sh("stat -f -c %T /relative").mount("relative", "tmpfs", "tmpfs", &[]).container().run();
    assert!(out.code != 0 || out.text() == "tmpfs", "{out}");
}

#[test]
fn a_cgroup_mount_shows_the_containers_own_cgroup() {
    needs!(root, cgroup_v1, controller("memory"));
    let bundle = Bundle::sh("cat /sys/fs/cgroup/memory/cgroup.procs | head -1; ls /sys/fs/cgroup");
    let out = bundle.container().run().ok();
    assert_eq!(out.lines()[0], "1", "{out}");
    assert!(out.lines().contains(&"pids") && out.lines().contains(&"devices"), "{out}");
}

#[test]
fn a_cgroup_mount_with_ro_cannot_be_written() {
    needs!(root);
    let place = if caisson_integration_tests::cgroup::is_v2() { "" } else { "/memory" };
    let script = format!("echo 1 >/sys/fs/cgroup{place}/cgroup.procs");
    Bundle::sh(&script).container().run().fails().says("read-only");
}

#[test]
fn a_cgroup2_mount_with_a_cgroup_namespace_has_the_container_as_root() {
    needs!(root, cgroup_v2);
    let bundle = Bundle::sh("cat /sys/fs/cgroup/cgroup.procs | head -1").namespace("cgroup", None);
    assert_eq!(bundle.container().run().ok().lines()[0], "1");
}

#[test]
fn a_missing_bind_source_is_an_error_that_names_it() {
    needs!(root);
    let c = Bundle::sh("true").bind("/no/such/source", "/mnt", &[]).container();
    let before = HostSnapshot::take(&c);
    c.run().fails().says("/no/such/source");
    before.assert_unchanged(&c);
}

#[test]
fn nothing_that_is_mounted_for_a_container_is_mounted_on_the_host() {
    needs!(root, shared_mounts);
    let table = || std::fs::read_to_string("/proc/1/mountinfo").expect("the host's mount table");
    let bundle = Bundle::sh("mount -t tmpfs tmpfs /mnt; exec sleep 1000").user_namespace();
    let data = bundle.scratch().dir("data");
    let c = bundle.bind(&data, "/tmp", &["rbind", "rshared"]).container().up();
    let plain = Bundle::sleeper().set("/linux/rootfsPropagation", json!("shared")).container().up();
    for c in [&c, &plain] {
        let lines: Vec<_> = table().lines().filter(|line| line.contains(c.id())).map(str::to_owned).collect();
        assert_eq!(lines, Vec::<String>::new());
        // And nothing of the host's has gone.
        assert!(["/proc", "/sys", "/dev"].iter().all(|place| table().contains(&format!(" {place} "))));
        c.verb("delete", &["--force"]).ok();
    }
}

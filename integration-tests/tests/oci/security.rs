//! One regression test for each published vulnerability of container runtimes which can be tried from outside.

use std::os::unix::fs::symlink;

use caisson_integration_tests::prelude::*;

#[test]
fn cve_2016_3697_a_numeric_user_is_never_looked_up_as_a_name() {
    needs!(root);
    let passwd = "root:x:0:0:root:/root:/bin/sh\n1000:x:0:0:evil:/:/bin/sh\n";
    let c = Bundle::sh("id -u; exec sleep 1000")
        .file("/etc/passwd", passwd)
        .set("/process/user/uid", json!(1000));
    let c = c.container().up();
    eventually("its uid", || (c.stdout() == "1000\n").then_some(()));
    assert_eq!(c.verb_then("exec", &["--user", "1000"], &["id", "-u"]).ok().text(), "1000");
}

#[test]
fn cve_2016_9962_the_container_cannot_trace_what_is_executed_into_it() {
    needs!(root);
    // Init looks for any process whose descriptors lead out of the container while exec after exec comes in.
    let script = "while :; do for f in /proc/[0-9]*/fd/*; do case $(readlink $f) in /*caisson-test*) echo $f;; esac; done; done";
    let c = Bundle::sh(script).container().up();
    for _ in 0..5 {
        c.exec(&["true"]).ok();
    }
    // Standard streams of init are files of the test's directory by design; nothing above 2 may be.
    let leaked: Vec<_> =
        c.stdout().lines().filter(|line| !line.ends_with(['0', '1', '2'])).map(str::to_owned).collect();
    assert_eq!(leaked, Vec::<String>::new());
}

#[test]
fn cve_2019_5736_the_runtimes_binary_cannot_be_written_from_inside() {
    needs!(root);
    let program = caisson_integration_tests::runtime_under_test::program();
    let before = std::fs::read(&program).expect("read the runtime");
    // The entry point is the runtime itself, by way of /proc/self/exe; it must fail, and init's exe stay unwritable.
    let c = Bundle::of(&["/evil"]).program("/evil", "#!/proc/self/exe\n").container();
    c.run();
    let c = Bundle::sh("while :; do for p in /proc/[0-9]*; do (echo evil >>$p/exe) 2>/dev/null; done; done");
    let c = c.container().up();
    for _ in 0..5 {
        c.exec(&["/proc/self/exe"]);
        c.exec(&["true"]);
    }
    c.verb("delete", &["--force"]).ok();
    assert!(std::fs::read(&program).expect("read the runtime") == before, "the runtime was written");
}

#[test]
fn cve_2019_19921_an_images_proc_that_is_a_link_is_refused() {
    needs!(root);
    let bundle = Bundle::sh("true").dir("/elsewhere").link("/proc", "/elsewhere");
    let c = bundle.container();
    let before = HostSnapshot::take(&c);
    c.run().fails().says("proc");
    before.assert_unchanged(&c);
}

#[test]
fn cve_2023_27561_an_images_sys_that_is_a_link_is_refused() {
    needs!(root);
    peer_lacks!(Crun: "1.8.1 follows it inside");
    let c = Bundle::sh("true").dir("/elsewhere").link("/sys", "/elsewhere").container();
    c.run().fails().says("sys");
}

#[test]
fn cve_2026_41579_an_images_dev_that_is_a_link_touches_nothing_on_the_host() {
    needs!(root);
    peer_lacks!(Crun: "1.8.1 has this hole");
    peer_lacks!(Runc: "1.1.5 has this hole");
    let outside = Scratch::new();
    let bundle = Bundle::sh("true").without_mount("/dev").without_mount("/dev/pts").without_mount("/dev/shm");
    let bundle = bundle.without_mount("/dev/mqueue").link("/dev", outside.path().to_str().expect("UTF-8"));
    let c = bundle.container();
    // Refused, or made below the root: both are safe.
    c.run();
    let names: Vec<_> = std::fs::read_dir(outside.path()).expect("our own directory").collect();
    assert!(names.is_empty(), "made on the host: {names:?}");
}

#[test]
fn an_images_dev_that_is_a_link_is_a_clear_error() {
    needs!(root, runtime_caisson);
    let c = Bundle::sh("true").dir("/elsewhere").link("/dev", "/elsewhere").container();
    let before = HostSnapshot::take(&c);
    c.run().fails().says("dev");
    before.assert_unchanged(&c);
}

#[test]
fn cve_2021_30465_a_destination_that_becomes_a_link_never_leaves_the_root() {
    needs!(root);
    let bundle = Bundle::sh("true");
    let (data, outside) = (bundle.scratch().dir("data"), bundle.scratch().dir("outside"));
    symlink(&outside, bundle.rootfs().join("exchange")).expect("make a link");
    let swapped = bundle.rootfs().join("exchange");
    let c = bundle.bind(&data, "/exchange/place", &[]).container();
    let before = HostSnapshot::take(&c);
    // Another container that shares the volume exchanges link and directory all the time.
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let hidden = swapped.with_extension("dir");
            std::fs::create_dir_all(&hidden).expect("make a directory");
            let spare = swapped.with_extension("spare");
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let steps =
                    [(&swapped, &spare), (&hidden, &swapped), (&swapped, &hidden), (&spare, &swapped)];
                // A step fails when the runtime has made a directory in between: the race goes on all the same.
                steps.iter().for_each(|(from, to)| drop(std::fs::rename(from, to)));
            }
        });
        for _ in 0..6 {
            c.run();
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    let names: Vec<_> = std::fs::read_dir(&outside).expect("our own directory").collect();
    assert!(names.is_empty(), "made on the host: {names:?}");
    before.assert_unchanged(&c);
}

#[test]
fn cve_2022_29162_the_inheritable_set_is_empty() {
    needs!(root);
    let c = Bundle::sh("grep CapInh /proc/self/status; exec sleep 1000").container().up();
    eventually("init's set", || c.stdout().contains("0000000000000000").then_some(()));
    let words = ["grep", "CapInh", "/proc/self/status"];
    assert_eq!(c.exec(&words).ok().text(), "CapInh:\t0000000000000000");
    assert_eq!(
        c.verb_then("exec", &["--cap", "CAP_NET_RAW"], &words).ok().text(),
        "CapInh:\t0000000000000000"
    );
}

#[test]
fn cve_2023_25809_the_hosts_cgroups_cannot_be_written_in_a_user_namespace() {
    needs!(root);
    let script = "find /sys/fs/cgroup -name cgroup.procs -maxdepth 3 | while read f; do (echo $$ >$f) 2>/dev/null && echo wrote $f; done; echo end";
    let out = Bundle::sh(script).user_namespace().container().run().ok();
    assert_eq!(out.text(), "end");
}

#[test]
fn cve_2024_21626_a_cwd_through_a_leaked_descriptor_is_refused() {
    needs!(root);
    for fd in 3..16 {
        let bundle = Bundle::sh("cat ../../../../../../etc/hostname 2>/dev/null; pwd");
        let c = bundle.set("/process/cwd", json!(format!("/proc/self/fd/{fd}"))).container();
        let out = c.run();
        assert_ne!(out.code, 0, "descriptor {fd}: {out}");
    }
}

#[test]
fn cve_2024_21626_exec_with_a_cwd_through_a_leaked_descriptor_is_refused() {
    needs!(root);
    let c = Bundle::sleeper().container().up();
    for fd in 3..12 {
        let out = c.verb_then("exec", &["--cwd", &format!("/proc/self/fd/{fd}")], &["pwd"]);
        assert_ne!(out.code, 0, "descriptor {fd}: {out}");
    }
}

#[test]
fn cve_2024_21626_no_descriptor_of_the_host_is_in_the_container() {
    needs!(root);
    let script = "for p in 1 self; do for f in /proc/$p/fd/*; do echo ${f##*/} $(readlink $f); done; done";
    let c = Bundle::sh(script)
        .container()
        .with(|runtime| runtime.after_shell("exec 7</ 8</etc/hostname 9</proc"));
    let out = c.run().ok();
    assert!(!out.stdout.contains("hostname") && !out.stdout.contains("cgroup"), "{out}");
    let high = out.lines().into_iter().filter(|line| line.starts_with(['7', '8', '9'])).count();
    assert_eq!(high, 0, "{out}");
}

#[test]
fn cve_2024_45310_missing_mount_points_are_never_made_on_the_host() {
    needs!(root);
    let outside = Scratch::new();
    let bundle = Bundle::sh("true");
    let data = bundle.scratch().file("data", "");
    symlink(outside.path(), bundle.rootfs().join("way")).expect("make a link");
    let deep = format!("/way/..{}/file", outside.join("made").display());
    let c = bundle.bind(&data, "/way/made/file", &[]).bind(&data, &deep, &[]).container();
    c.run();
    assert!(!outside.join("made").exists());
}

#[test]
fn cve_2025_31133_masking_takes_no_null_device_of_the_image() {
    needs!(root);
    // /dev comes from the image, and its null is a file of the attacker's.
    let bundle = Bundle::sh("cat /secret; echo written >/secret; true")
        .without_mount("/dev/pts")
        .without_mount("/dev/shm")
        .without_mount("/dev/mqueue")
        .without_mount("/dev")
        .file("/dev/null", "of the attacker\n")
        .file("/secret", "secret\n")
        .set("/linux/maskedPaths", json!(["/secret"]));
    let out = bundle.container().run();
    assert!(!out.stdout.contains("of the attacker") && !out.stdout.contains("secret"), "{out}");
}

#[test]
fn cve_2025_52565_a_console_that_is_a_link_does_not_lead_out() {
    needs!(root);
    let outside = Scratch::new();
    let target = outside.file("target", "of the host");
    let bundle = Bundle::sh("echo through the console >/dev/console; echo done; sleep 1")
        .set("/process/terminal", json!(true))
        .without_mount("/dev")
        .without_mount("/dev/shm")
        .without_mount("/dev/mqueue")
        .dir("/dev/pts")
        .link("/dev/console", target.to_str().expect("UTF-8"));
    let socket = FdSocket::bind(&bundle.scratch().join("console.sock"));
    let c = bundle.container();
    let out = c.create_with(&["--console-socket", socket.arg()]);
    if out.code == 0 {
        c.start();
    }
    c.verb("delete", &["--force"]).ok();
    assert_eq!(outside.read("target"), "of the host");
}

#[test]
fn cve_2019_16884_a_volume_over_proc_is_refused() {
    needs!(root);
    peer_lacks!(Crun: "writes labels by another way");
    let bundle = Bundle::sh("true");
    let fake = bundle.scratch().dir("fake");
    bundle.scratch().file("fake/self/attr/exec", "");
    let c = bundle.bind(&fake, "/proc", &["ro"]).container();
    c.run().fails().says("proc");
}

#[test]
fn a_volume_below_proc_that_would_hide_what_the_runtime_writes_is_refused() {
    needs!(root);
    peer_lacks!(Crun: "allows it");
    for place in ["/proc/self/attr", "/proc/sys/kernel", "/proc/1"] {
        let bundle = Bundle::sh("true");
        let fake = bundle.scratch().dir("fake");
        bundle.bind(&fake, place, &[]).container().run().fails();
    }
}

#[test]
fn cve_2026_30892_exec_with_user_one_is_user_one() {
    needs!(root);
    let c = Bundle::sleeper().container().up();
    assert_eq!(c.verb_then("exec", &["--user", "1"], &["id", "-u"]).ok().text(), "1");
    assert_eq!(c.verb_then("exec", &["-u", "1:2"], &["sh", "-c", "id -u; id -g"]).ok().text(), "1\n2");
}

#[test]
fn cve_2021_41103_the_state_directory_is_closed_to_other_users() {
    needs!(root);
    use std::os::unix::fs::PermissionsExt;
    let c = Bundle::sleeper().container().up();
    let state = c.runtime().state_dir().join(c.id());
    let mode = std::fs::metadata(state).expect("the state directory").permissions().mode();
    assert_eq!(mode & 0o066, 0, "mode {mode:o}");
}

#[test]
fn the_runtimes_umask_does_not_open_what_it_makes() {
    needs!(root);
    use std::os::unix::fs::PermissionsExt;
    let c = Bundle::sleeper().container().with(|runtime| runtime.after_shell("umask 0")).up();
    let state = c.runtime().state_dir().join(c.id());
    for entry in std::fs::read_dir(state).expect("the state directory") {
        let entry = entry.expect("an entry");
        let mode = entry.metadata().expect("its metadata").permissions().mode();
        assert_eq!(mode & 0o002, 0, "{} has mode {mode:o}", entry.path().display());
    }
}

//! Checkpoint and restore: processes go on where they were.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Stdio;

use caisson_integration_tests::cgroup;
use caisson_integration_tests::prelude::*;

/// Counts in memory; the file only shows it.
const COUNT: &str =
    "i=0; while :; do i=$((i+1)); echo $i >/tmp/new && mv /tmp/new /tmp/count; sleep 0.05; done";

fn count(c: &Container) -> u32 {
    fs::read_to_string(c.rootfs("/tmp/count")).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

#[track_caller]
fn wait_for_count(c: &Container, least: u32) -> u32 {
    eventually("the count goes on", || Some(count(c)).filter(|now| *now >= least))
}

/// Options that place images and logs in the directory of `c`.
fn places(c: &Container) -> [String; 4] {
    let at = |name: &str| c.scratch().join(name).display().to_string();
    ["--image-path".to_owned(), at("images"), "--work-path".to_owned(), at("work")]
}

fn checkpoint(c: &Container, options: &[&str]) -> Output {
    let places = places(c);
    c.verb("checkpoint", &[&places.each_ref().map(String::as_str)[..], options].concat())
}

/// Restores the images of `from` as `to`.
fn restore_as(from: &Container, to: &Container, options: &[&str]) -> Output {
    let (places, bundle) = (places(from), to.bundle());
    let options = [&places.each_ref().map(String::as_str)[..], &["--bundle", &bundle], options].concat();
    to.verb("restore", &options)
}

fn restore(c: &Container) -> Output {
    restore_as(c, c, &["--detach"])
}

/// The counting container, checkpointed, with its count at that time. The file is gone: a new count shows in it.
fn checkpointed(c: Container) -> (Container, u32) {
    let c = c.up();
    wait_for_count(&c, 5);
    checkpoint(&c, &[]).ok();
    let before = count(&c);
    fs::remove_file(c.rootfs("/tmp/count")).expect("remove the count");
    (c, before)
}

#[test]
fn a_counting_process_goes_on_with_its_count() {
    needs!(root, criu);
    let c = Bundle::sh(COUNT).container();
    let host = HostSnapshot::take(&c);
    let (c, before) = checkpointed(c);
    restore(&c).ok();
    let after = wait_for_count(&c, 1);
    assert!(after > before && after < before + 100, "{before} before, {after} after");
    wait_for_count(&c, after + 5);
    c.kill_and_wait();
    c.delete().ok();
    host.assert_unchanged(&c);
}

#[test]
fn checkpoint_ends_the_container_and_leaves_nothing_but_the_images() {
    needs!(root, criu);
    let c = Bundle::sh(COUNT).container();
    let host = HostSnapshot::take(&c);
    let c = c.up();
    let pid = c.pid();
    checkpoint(&c, &[]).ok();
    assert!(!Path::new(&format!("/proc/{pid}/root/tmp")).exists(), "{pid} is alive");
    c.verb("state", &[]).fails().says("does not exist");
    let images = c.scratch().join("images");
    assert!(images.join("inventory.img").exists());
    let mode = fs::metadata(&images).expect("the images").permissions().mode();
    assert_eq!(mode & 0o077, 0, "images hold memory: {mode:o}");
    host.assert_unchanged(&c);
}

#[test]
fn a_restore_as_another_container_is_in_its_cgroup_and_root() {
    needs!(root, criu);
    let (old, before) = checkpointed(Bundle::sh(COUNT).container());
    let new = Bundle::sh(COUNT).set("/linux/resources/pids", json!({"limit": 77})).container();
    restore_as(&old, &new, &["--detach"]).ok();
    let after = wait_for_count(&new, 1);
    assert!(after > before, "{before} before, {after} after");
    assert_eq!(count(&old), 0, "it writes to the old root");
    let pid = new.pid().to_string();
    for controller in
        ["pids", "memory", "devices", "freezer"].into_iter().filter(|it| cgroup::has_controller(it))
    {
        let members = new.cgroup_file(controller, "cgroup.procs");
        assert!(members.lines().any(|member| member == pid), "{pid} is not in {controller}: {members}");
    }
    assert_eq!(new.cgroup_file("pids", "pids.max"), "77");
    assert!(!cgroup::file("pids", &old.cgroup(), "pids.max").exists(), "the old cgroup is back");
    new.kill_and_wait();
    new.delete().ok();
}

#[test]
fn leave_running_does_and_the_images_are_good() {
    needs!(root, criu);
    let c = Bundle::sh(COUNT).container().up();
    wait_for_count(&c, 3);
    let pid = c.pid();
    checkpoint(&c, &["--leave-running"]).ok();
    assert_eq!((c.status().as_str(), c.pid()), ("running", pid));
    let now = count(&c);
    wait_for_count(&c, now + 3);
    let twin = Bundle::sh(COUNT).container();
    restore_as(&c, &twin, &["--detach"]).ok();
    wait_for_count(&twin, 4);
    assert_eq!((c.status().as_str(), twin.status().as_str()), ("running", "running"));
}

#[test]
fn a_paused_container_is_checkpointed_and_restored() {
    needs!(root, criu);
    let c = Bundle::sh(COUNT).container().up();
    wait_for_count(&c, 3);
    c.verb("pause", &[]).ok();
    checkpoint(&c, &["--leave-running"]).ok();
    assert_eq!(c.status(), "paused");
    c.verb("resume", &[]).ok();
    let now = count(&c);
    wait_for_count(&c, now + 2);
    let twin = Bundle::sh(COUNT).container();
    restore_as(&c, &twin, &["--detach"]).ok();
    wait_for_count(&twin, 4);
}

#[test]
fn a_pre_dump_is_the_parent_of_a_checkpoint() {
    needs!(root, criu, memory_tracking);
    // Two megabytes that do not change.
    let c = Bundle::sh(&format!("x=$(head -c 2000000 /dev/zero | tr '\\0' x); {COUNT}")).container().up();
    wait_for_count(&c, 3);
    let pre = c.scratch().join("pre").display().to_string();
    let work = c.scratch().join("pre-work").display().to_string();
    c.verb("checkpoint", &["--pre-dump", "--image-path", &pre, "--work-path", &work]).ok();
    assert_eq!(c.status(), "running");
    checkpoint(&c, &["--parent-path", "../pre"]).ok();
    let before = count(&c);
    let pages = |dir: &str| {
        let all = fs::read_dir(c.scratch().join(dir)).expect("images").flatten();
        let pages = all.filter(|file| file.file_name().to_string_lossy().starts_with("pages-"));
        pages.map(|file| file.metadata().expect("an image").len()).sum::<u64>()
    };
    let (first, second) = (pages("pre"), pages("images"));
    assert!(first > 2_000_000 && second < 1_000_000, "{first} bytes, then {second}");
    fs::remove_file(c.rootfs("/tmp/count")).expect("remove the count");
    restore(&c).ok();
    assert!(wait_for_count(&c, 1) > before);
}

#[test]
fn wrong_parents_are_refused() {
    needs!(root, criu);
    let c = Bundle::sleeper().container().up();
    checkpoint(&c, &["--parent-path", "/tmp"]).fails().says("relative");
    checkpoint(&c, &["--parent-path", "../nowhere"]).fails().says("../nowhere");
    assert_eq!(c.status(), "running");
}

#[test]
fn a_restored_container_is_like_any_other() {
    needs!(root, criu);
    let (c, _) = checkpointed(Bundle::sh(COUNT).container());
    let pid_file = c.scratch().join("pid").display().to_string();
    restore_as(&c, &c, &["--detach", "--pid-file", &pid_file]).ok();
    assert_eq!(c.status(), "running");
    assert_eq!(fs::read_to_string(&pid_file).expect("the pid file"), c.pid().to_string());
    assert_eq!(c.exec(&["cat", "/proc/1/comm"]).ok().text(), "sh");
    assert!(c.exec(&["hostname"]).ok().text() == "caisson-test");
    c.verb("pause", &[]).ok();
    assert_eq!(c.status(), "paused");
    c.verb("resume", &[]).ok();
    let processes = c.verb("ps", &["--format", "json"]).ok().json();
    assert!(processes.as_array().is_some_and(|list| list.contains(&json!(c.pid()))), "{processes}");
    let stats = c.verb("events", &["--stats"]).ok().json();
    assert!(stats["data"]["cpu"]["usage"]["total"].as_u64() > Some(0), "{stats}");
    c.delete().fails();
    c.kill_and_wait();
    assert_eq!(c.status(), "stopped");
    c.delete().ok();
}

#[test]
fn a_second_checkpoint_of_a_restored_container_works() {
    needs!(root, criu);
    let (c, first) = checkpointed(Bundle::sh(COUNT).container());
    restore(&c).ok();
    wait_for_count(&c, first + 3);
    checkpoint(&c, &[]).ok();
    let second = count(&c);
    fs::remove_file(c.rootfs("/tmp/count")).expect("remove the count");
    restore(&c).ok();
    assert!(wait_for_count(&c, 1) > second);
}

#[test]
fn mounts_of_the_host_come_from_the_new_bundle() {
    needs!(root, criu);
    let with_data = |word: &str| {
        let bundle = Bundle::sh(COUNT);
        let data = bundle.scratch().dir("data");
        fs::write(data.join("word"), word).expect("write the data");
        let file = bundle.scratch().file("one-file", word);
        bundle.bind(&data, "/mnt", &["ro"]).bind(&file, "/etc/one", &[])
    };
    let (old, _) = checkpointed(with_data("old").container());
    let new = with_data("new").file("/etc/one", "").container();
    restore_as(&old, &new, &["--detach"]).ok();
    assert_eq!(new.exec(&["cat", "/mnt/word", "/etc/one"]).ok().text(), "newnew");
    new.exec(&["touch", "/mnt/word"]).fails().says("read-only");
    new.exec(&["sh", "-c", "echo x > /proc/sys/kernel/hostname"]).fails().says("read-only");
    assert_eq!(new.exec(&["cat", "/proc/keys"]).ok().stdout, "");
}

#[test]
fn a_mount_that_the_bundle_lacks_is_named() {
    needs!(root, criu);
    let bundle = Bundle::sh(COUNT);
    let data = bundle.scratch().dir("data");
    let (old, _) = checkpointed(bundle.bind(&data, "/mnt", &[]).container());
    let new = Bundle::sh(COUNT).container();
    restore_as(&old, &new, &["--detach"]).fails().says("/mnt");
    new.verb("state", &[]).fails().says("does not exist");
}

#[test]
fn restore_in_the_foreground_gives_output_and_exit_code() {
    needs!(root, criu);
    let c =
        Bundle::sh("echo before; until [ -e /tmp/go ]; do sleep 0.1; done; echo after; exit 7").container();
    let c = c.up();
    eventually("it runs", || c.stdout().contains("before").then_some(()));
    checkpoint(&c, &[]).ok();
    fs::write(c.rootfs("/tmp/go"), "").expect("let it go on");
    let output = restore_as(&c, &c, &[]);
    assert_eq!((output.code, output.text()), (7, "after"), "{}", output.stderr);
    c.verb("state", &[]).fails().says("does not exist");
}

#[test]
fn pipes_are_those_of_the_restore() {
    needs!(root, criu);
    let c = Bundle::sh("while read line; do echo got $line; done; echo end >&2").container();
    let bundle = c.bundle();
    let words = ["run", "--bundle", &bundle, c.id()];
    let mut first = c.runtime().spawn_on(&words, Stdio::piped(), Stdio::piped(), Stdio::piped());
    eventually("it runs", || c.verb("state", &[]).stdout.contains("\"running\"").then_some(()));
    checkpoint(&c, &[]).ok();
    drop(first.stdin.take());
    first.wait().expect("wait for the first runtime");
    let places = places(&c);
    let mut words = vec!["restore", "--bundle", &bundle];
    words.extend(places.iter().map(String::as_str));
    words.push(c.id());
    let mut second = c.runtime().spawn_on(&words, Stdio::piped(), Stdio::piped(), Stdio::piped());
    let mut stdin = second.stdin.take().expect("a pipe");
    std::io::Write::write_all(&mut stdin, b"hello\n").expect("write to the container");
    drop(stdin);
    let output = second.wait_with_output().expect("wait for the second runtime");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert_eq!((text(&output.stdout), text(&output.stderr)), ("got hello\n".into(), "end\n".into()));
    assert!(output.status.success(), "{}", output.status);
}

#[test]
fn the_terminal_goes_to_the_console_socket() {
    needs!(root, criu);
    let bundle = Bundle::sh("echo ready; while read line; do echo got $line; done")
        .set("/process/terminal", json!(true));
    let socket = FdSocket::bind(&bundle.scratch().join("console.sock"));
    let c = bundle.container();
    c.create_with(&["--console-socket", socket.arg()]).ok();
    let mut terminal = socket.receive_terminal();
    c.start().ok();
    terminal.read_until("ready");
    checkpoint(&c, &[]).ok();
    drop(terminal);
    restore_as(&c, &c, &["--detach", "--console-socket", socket.arg()]).ok();
    let mut terminal = socket.receive_terminal();
    terminal.type_in("hello\n");
    terminal.read_until("got hello");
}

#[test]
fn a_joined_network_namespace_is_joined_again() {
    needs!(root, criu);
    let pod = Bundle::sleeper().container().up();
    let inode = |pid: i32| fs::metadata(format!("/proc/{pid}/ns/net")).expect("a namespace").ino();
    let path = format!("/proc/{}/ns/net", pod.pid());
    let (c, before) = checkpointed(Bundle::sh(COUNT).namespace("network", Some(&path)).container());
    restore(&c).ok();
    assert!(wait_for_count(&c, 1) > before);
    assert_eq!(inode(c.pid()), inode(pod.pid()));
}

#[test]
fn a_container_in_the_hosts_network_is_there_again() {
    needs!(root, criu);
    let (c, before) = checkpointed(Bundle::sh(COUNT).without_namespace("network").container());
    restore(&c).ok();
    assert!(wait_for_count(&c, 1) > before);
    let inode = |pid: &str| fs::metadata(format!("/proc/{pid}/ns/net")).expect("a namespace").ino();
    assert_eq!(inode(&c.pid().to_string()), inode("self"));
}

#[test]
fn a_cgroup_namespace_shows_the_new_cgroup_as_its_root() {
    needs!(root, criu);
    let (old, before) = checkpointed(Bundle::sh(COUNT).namespace("cgroup", None).container());
    let new = Bundle::sh(COUNT).namespace("cgroup", None).container();
    restore_as(&old, &new, &["--detach"]).ok();
    assert!(wait_for_count(&new, 1) > before);
    let seen = new.exec(&["cat", "/proc/1/cgroup"]).ok().stdout;
    let pids =
        seen.lines().find(|line| line.contains(":pids:") || line.starts_with("0::") && cgroup::is_v2());
    assert!(pids.is_some_and(|line| line.ends_with(":/")), "{seen}");
}

#[test]
fn user_namespace_and_seccomp_are_restored() {
    needs!(root, criu, userns, seccomp);
    let filtered = || {
        Bundle::sh(COUNT).user_namespace().set(
            "/linux/seccomp",
            json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["sethostname"], "action": "SCMP_ACT_ERRNO"}]}),
        )
    };
    let (c, before) = checkpointed(filtered().container());
    restore(&c).ok();
    assert!(wait_for_count(&c, 1) > before);
    let status = fs::read_to_string(format!("/proc/{}/status", c.pid())).expect("the status of init");
    assert!(status.lines().any(|line| line.split_whitespace().eq(["Seccomp:", "2"])), "{status}");
    let map = fs::read_to_string(format!("/proc/{}/uid_map", c.pid())).expect("the map of init");
    assert!(map.split_whitespace().eq(["0", "100000", "65536"]), "{map}");
}

#[test]
fn hooks_of_the_runtime_run_on_restore() {
    needs!(root, criu);
    let bundle = Bundle::sh(COUNT);
    let log = bundle.scratch().join("log").display().to_string();
    let say = |word: &str| format!("echo {word} $(grep -o '\"pid\":[0-9]*' | tr -dc 0-9) >>{log}");
    let bundle = bundle.hook("createRuntime", "early", &say("early")).hook("poststart", "late", &say("late"));
    let (c, _) = checkpointed(bundle.container());
    fs::write(&log, "").expect("empty the log");
    restore(&c).ok();
    let pid = c.pid();
    assert_eq!(fs::read_to_string(&log).expect("the log"), format!("early {pid}\nlate {pid}\n"));
}

#[test]
fn a_failing_hook_undoes_the_restore() {
    needs!(root, criu);
    let (old, _) = checkpointed(Bundle::sh(COUNT).container());
    let new = Bundle::sh(COUNT).hook("createRuntime", "no", "echo not today; exit 3").container();
    let host = HostSnapshot::take(&new);
    restore_as(&old, &new, &["--detach"]).fails().says("not today");
    new.verb("state", &[]).fails().says("does not exist");
    host.assert_unchanged(&new);
}

#[test]
fn only_what_runs_can_be_checkpointed() {
    needs!(root);
    let c = Bundle::sleeper().container();
    c.create().ok();
    checkpoint(&c, &[]).fails().says("created");
    c.start().ok();
    c.kill_and_wait();
    checkpoint(&c, &[]).fails().says("stopped");
}

#[test]
fn what_criu_cannot_do_is_said_in_its_words() {
    needs!(root, criu);
    let talk = "sleep 1000 | nc -l -p 77 >/tmp/heard & sleep 0.5; \
                while :; do i=$((i+1)); echo $i; sleep 0.1; done | nc 127.0.0.1 77";
    let c = Bundle::sh(talk).container().up();
    let heard = || fs::read_to_string(c.rootfs("/tmp/heard")).map_or(0, |text| text.lines().count());
    eventually("they talk", || (heard() > 2).then_some(()));
    checkpoint(&c, &[]).fails().says("--tcp-established").says("dump.log");
    assert_eq!(c.status(), "running");
    checkpoint(&c, &["--tcp-established"]).ok();
    let before = heard();
    restore_as(&c, &c, &["--detach", "--tcp-established"]).ok();
    eventually("they go on", || (heard() > before + 2).then_some(()));
}

#[test]
fn file_locks_are_restored() {
    needs!(root, criu, program("flock"));
    // busybox of Debian has no flock: the host's, with its libraries.
    let hold = Bundle::of(&["/usr/bin/flock", "/tmp/lock", "sh", "-c", "echo locked; sleep 1000"]);
    let c = hold
        .bind("/usr", "/usr", &["ro"])
        .link("/lib", "usr/lib")
        .link("/lib64", "usr/lib64")
        .container()
        .up();
    eventually("it has the lock", || c.stdout().contains("locked").then_some(()));
    c.exec(&["/usr/bin/flock", "-n", "/tmp/lock", "true"]).fails();
    checkpoint(&c, &["--file-locks"]).ok();
    restore_as(&c, &c, &["--detach", "--file-locks"]).ok();
    c.exec(&["/usr/bin/flock", "-n", "/tmp/lock", "true"]).fails();
}

#[test]
fn missing_images_are_named_and_nothing_is_left() {
    needs!(root, criu);
    let c = Bundle::sleeper().container();
    let host = HostSnapshot::take(&c);
    restore(&c).fails().says("images");
    c.scratch().dir("images");
    restore(&c).fails().says("inventory");
    c.verb("state", &[]).fails().says("does not exist");
    host.assert_unchanged(&c);
}

#[test]
fn a_missing_criu_is_named() {
    needs!(root, runtime_caisson);
    let c = Bundle::sleeper().container().up().with(|runtime| runtime.env("PATH", "/nowhere"));
    checkpoint(&c, &[]).fails().says("criu").says("3.16");
    assert_eq!(c.status(), "running");
}

#[test]
fn a_criu_that_is_too_old_is_named_with_both_versions() {
    needs!(root, runtime_caisson, program("bash"));
    let c = Bundle::sleeper().container().up();
    // Takes the question, answers "version 2.0" as criu's rpc.proto has it, and ends.
    // (The 10 of the answer's kind is written in two bytes: bash would send a message for each line.)
    let version = r"\x08\x8a\x00\x10\x01\x52\x04\x08\x02\x10\x00";
    let answer = format!("dd bs=4096 count=1 status=none <&$1 >/dev/null; printf \"{version}\" >&$1");
    c.scratch().script("old/criu", &format!("exec bash -c '{answer}' bash $2"));
    let path = format!("{}:{}", c.scratch().join("old").display(), std::env::var("PATH").unwrap_or_default());
    let c = c.with(|runtime| runtime.env("PATH", &path));
    checkpoint(&c, &[]).fails().says("too old").says("2.0").says("3.16");
}

#[test]
fn systemd_has_a_scope_for_the_restored_container() {
    needs!(root, criu, systemd);
    let in_scope = || {
        let bundle = Bundle::sh(COUNT);
        let path = format!("system.slice:restored:{}", bundle.scratch().name());
        let c = bundle.set("/linux/cgroupsPath", json!(path)).container();
        c.with(|runtime| runtime.global(&["--systemd-cgroup"]))
    };
    let (old, before) = checkpointed(in_scope());
    let new = in_scope();
    restore_as(&old, &new, &["--detach"]).ok();
    assert!(wait_for_count(&new, 1) > before);
    let cgroups = fs::read_to_string(format!("/proc/{}/cgroup", new.pid())).expect("the cgroups of init");
    let scope = format!("restored-{}.scope", new.id());
    assert!(cgroups.contains(&scope), "{cgroups}");
    let active = |unit: &str| {
        let output = std::process::Command::new("systemctl").args(["is-active", unit]).output();
        String::from_utf8_lossy(&output.expect("run systemctl").stdout).trim() == "active"
    };
    assert!(active(&scope));
    assert!(!active(&format!("restored-{}.scope", old.id())));
    new.kill_and_wait();
    new.delete().ok();
    assert!(!active(&scope));
}

#[test]
fn lazy_pages_come_from_the_old_processes() {
    // criu 4.2 splices nothing to a descriptor of -1, which kernels later than the lab's refuse.
    needs!(root, criu, lazy_pages, lab);
    let old = Bundle::sh(COUNT).container().up();
    wait_for_count(&old, 3);
    let status = old.scratch().join("status").display().to_string();
    let old = old.with(|runtime| runtime.after_shell(&format!("exec 5>{status}")));
    let port = (20_000 + std::process::id() % 20_000).to_string();
    let (places, server) = (places(&old), format!("127.0.0.1:{port}"));
    let mut words = vec!["checkpoint", "--lazy-pages", "--page-server", &server, "--status-fd", "5"];
    words.extend(places.iter().map(String::as_str));
    words.push(old.id());
    let dump = old.runtime().spawn(&words, Stdio::null());
    eventually("pages are served", || fs::metadata(&status).is_ok_and(|meta| meta.len() > 0).then_some(()));
    let before = count(&old);
    let daemon = std::process::Command::new("criu")
        .args(["lazy-pages", "--page-server", "--address", "127.0.0.1", "--port", &port])
        .args(["-D", &places[1], "-W", &places[3]])
        .stdin(Stdio::null())
        .spawn();
    let mut daemon = daemon.expect("start criu lazy-pages");
    let socket = old.scratch().join("work/lazy-pages.socket");
    eventually("the daemon listens", || socket.exists().then_some(()));
    let new = Bundle::sh(COUNT).container();
    restore_as(&old, &new, &["--detach", "--lazy-pages"]).ok();
    assert!(wait_for_count(&new, 1) > before);
    dump.wait().ok();
    assert!(daemon.wait().expect("wait for criu lazy-pages").success());
}

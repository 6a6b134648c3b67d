//! `exec` and its options.

use caisson_integration_tests::prelude::*;

fn sleeper() -> Container {
    Bundle::sleeper().container().up()
}

#[test]
fn exec_joins_every_namespace_of_the_container() {
    needs!(root);
    let c = sleeper();
    let own = c.exec_sh("cd /proc/self/ns; for n in pid net ipc uts mnt; do readlink $n; done").ok();
    let inits = c.exec_sh("cd /proc/1/ns; for n in pid net ipc uts mnt; do readlink $n; done").ok();
    assert_eq!(own.stdout, inits.stdout);
    let host = std::fs::read_link("/proc/self/ns/mnt").expect("our own namespace");
    assert!(!own.stdout.contains(host.to_str().expect("ASCII")));
}

#[test]
fn exec_joins_the_cgroup_of_the_container() {
    needs!(root);
    let c = sleeper();
    assert!(c.exec(&["cat", "/proc/self/cgroup"]).ok().stdout.lines().all(|line| !line.is_empty()));
    let inits = std::fs::read_to_string(format!("/proc/{}/cgroup", c.pid())).expect("init's cgroups");
    let scripts = c.verb_then("exec", &["--detach"], &["sleep", "1003"]).ok();
    let other = child_with_cmdline(&c, "sleep\x001003\0");
    let others = std::fs::read_to_string(format!("/proc/{other}/cgroup")).expect("the other's cgroups");
    assert_eq!(others, inits, "{scripts}");
}

/// The host pid of the container's process with this command line.
fn child_with_cmdline(c: &Container, cmdline: &str) -> i32 {
    eventually("the process of exec", || {
        let pids = caisson_integration_tests::leak::processes_of(c.scratch());
        pids.into_iter().find(|pid| {
            std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line == cmdline.as_bytes())
        })
    })
}

#[test]
fn exec_passes_output_and_exit_code_on() {
    needs!(root);
    let out = sleeper().exec_sh("echo out; echo err >&2; exit 9");
    assert_eq!((out.code, out.stdout.as_str()), (9, "out\n"));
    assert!(out.stderr.contains("err"));
}

#[test]
fn exec_passes_standard_input_on() {
    needs!(root);
    let c = sleeper();
    let input = std::fs::File::open(c.scratch().file("input", "typed")).expect("open our own file");
    assert_eq!(c.runtime().call_with(&["exec", c.id(), "cat"], input.into()).ok().stdout, "typed");
}

#[test]
fn exec_turns_a_deadly_signal_into_128_plus_its_number() {
    needs!(root);
    assert_eq!(sleeper().exec_sh("kill -KILL $$").code, 137);
}

#[test]
fn exec_of_a_missing_program_names_it() {
    needs!(root);
    let out = sleeper().exec(&["/no/such/program"]).fails();
    assert!(out.stderr.contains("/no/such/program"), "{out}");
}

#[test]
fn exec_in_a_stopped_container_fails() {
    needs!(root);
    let c = Bundle::of(&["true"]).container();
    c.create().ok();
    c.finish();
    c.exec(&["true"]).fails();
}

#[test]
fn exec_in_an_unknown_container_fails() {
    needs!(root);
    Bundle::sleeper().container().exec(&["true"]).fails();
}

#[test]
fn exec_with_cwd_starts_there() {
    needs!(root);
    assert_eq!(sleeper().verb_then("exec", &["--cwd", "/home/user"], &["pwd"]).ok().text(), "/home/user");
}

#[test]
fn exec_with_env_adds_to_the_configs() {
    needs!(root);
    peer_lacks!(Crun: "1.8.1 replaces the environment");
    let c = sleeper();
    let out = c
        .verb_then("exec", &["--env", "A=1", "--env", "TERM=dumb"], &["sh", "-c", "echo $A $TERM $PATH"])
        .ok();
    assert_eq!(out.text(), "1 dumb /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
}

#[test]
fn exec_with_user_runs_as_that_user() {
    needs!(root);
    let c = sleeper();
    assert_eq!(
        c.verb_then("exec", &["--user", "1000:1001"], &["sh", "-c", "id -u; id -g"]).ok().text(),
        "1000\n1001"
    );
}

#[test]
fn exec_with_a_user_that_is_no_number_is_refused() {
    needs!(root);
    // CVE-2016-3697, CVE-2026-30892: a name or a malformed number must never become root.
    peer_lacks!(Crun: "1.8.1 takes -1 for root");
    let c = sleeper();
    for user in ["user", "1000:user", "0x0", "-1", "1000:", ":0", "1e3", " 1", "1:1:1"] {
        let out = c.verb_then("exec", &["--user", user], &["id", "-u"]);
        assert_ne!((out.code, out.text()), (0, "0"), "--user {user:?} became root: {out}");
    }
}

#[test]
fn exec_with_a_user_beyond_32_bits_is_refused() {
    needs!(root);
    peer_lacks!(Runc, Crun: "cuts it to 32 bits");
    let c = sleeper();
    for user in ["4294967296", "4294967295", "0:4294967296", "99999999999999999999"] {
        c.verb_then("exec", &["--user", user], &["true"]).fails();
    }
}

#[test]
fn exec_with_additional_groups_has_them() {
    needs!(root);
    peer_lacks!(Crun: "no --additional-gids");
    let c = sleeper();
    let out =
        c.verb_then("exec", &["--additional-gids", "100", "--additional-gids", "65534"], &["id", "-G"]).ok();
    assert_eq!(out.text(), "0 100 65534");
}

#[test]
fn exec_has_the_users_home() {
    needs!(root);
    let c = sleeper();
    assert_eq!(
        c.verb_then("exec", &["--user", "1000"], &["sh", "-c", "echo $HOME"]).ok().text(),
        "/home/user"
    );
}

#[test]
fn exec_with_a_process_file_is_that_process() {
    needs!(root);
    let c = sleeper();
    let process = json!({
        "args": ["sh", "-c", "pwd; id -u; echo $WHO; exit 3"], "cwd": "/home", "env": ["PATH=/bin", "WHO=file"],
        "user": {"uid": 77, "gid": 77}
    });
    let path = c.scratch().file("process.json", &process.to_string());
    let out = c.verb("exec", &["--process", path.to_str().expect("UTF-8")]);
    assert_eq!((out.code, out.text()), (3, "/home\n77\nfile"), "{out}");
}

#[test]
fn exec_with_a_process_file_has_its_umask() {
    needs!(root);
    peer_lacks!(Runc: "exec has the umask of init");
    let c = sleeper();
    let user = json!({"uid": 0, "gid": 0, "umask": 0o027});
    let process = json!({"args": ["sh", "-c", "umask"], "cwd": "/", "env": ["PATH=/bin"], "user": user});
    let path = c.scratch().file("process.json", &process.to_string());
    assert_eq!(c.verb("exec", &["--process", path.to_str().expect("UTF-8")]).ok().text(), "0027");
}

#[test]
fn exec_detached_returns_and_writes_the_pid_file() {
    needs!(root);
    let c = sleeper();
    let path = c.scratch().join("exec.pid");
    c.verb_then("exec", &["--detach", "--pid-file", path.to_str().expect("UTF-8")], &["sleep", "1004"]).ok();
    let pid: i32 = c.scratch().read("exec.pid").parse().expect("a pid");
    let cmdline = || std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    eventually("exec to become sleep", || (cmdline() == b"sleep\x001004\0").then_some(()));
}

#[test]
fn exec_in_the_foreground_writes_the_pid_file_too() {
    needs!(root);
    let c = sleeper();
    let path = c.scratch().join("exec.pid");
    c.verb_then("exec", &["--pid-file", path.to_str().expect("UTF-8")], &["true"]).ok();
    assert!(c.scratch().read("exec.pid").parse::<i32>().is_ok_and(|pid| pid > 1));
}

#[test]
fn exec_has_no_new_privileges_only_when_asked() {
    needs!(root);
    let c = Bundle::sleeper().set("/process/noNewPrivileges", json!(false)).container().up();
    let words = ["grep", "NoNewPrivs", "/proc/self/status"];
    assert_eq!(c.exec(&words).ok().text(), "NoNewPrivs:\t0");
    assert_eq!(c.verb_then("exec", &["--no-new-privs"], &words).ok().text(), "NoNewPrivs:\t1");
}

#[test]
fn exec_keeps_asked_descriptors_and_no_others() {
    needs!(root);
    let c = sleeper();
    let file = c.scratch().file("kept", "through descriptor 3");
    let other = c.scratch().file("other", "x");
    let runtime =
        c.runtime().clone().after_shell(&format!("exec 3<{} 4<{}", file.display(), other.display()));
    let out =
        runtime.call(&["exec", "--preserve-fds", "1", c.id(), "sh", "-c", "cat <&3; ls /proc/self/fd"]).ok();
    assert_eq!(out.lines(), ["through descriptor 30", "1", "2", "3", "4"], "{out}");
    let plain = runtime.call(&["exec", c.id(), "ls", "/proc/self/fd"]).ok();
    assert_eq!(plain.lines(), ["0", "1", "2", "3"]);
}

#[test]
fn exec_in_a_paused_container_is_refused_at_once() {
    needs!(root, controller("freezer"));
    let c = sleeper();
    c.verb("pause", &[]).ok();
    let out = c.exec(&["true"]);
    c.verb("resume", &[]).ok();
    out.fails().says("paused");
}

#[test]
fn exec_with_ignore_paused_waits_for_resume() {
    needs!(root, cgroup_v1, controller("freezer"));
    peer_lacks!(Crun: "no --ignore-paused");
    let c = sleeper();
    c.verb("pause", &[]).ok();
    let id = c.id().to_owned();
    let running =
        c.runtime().spawn(&["exec", "--ignore-paused", &id, "echo", "thawed"], std::process::Stdio::null());
    c.verb("resume", &[]).ok();
    assert_eq!(running.wait().ok().text(), "thawed");
}

#[test]
fn exec_in_a_created_container_works() {
    needs!(root);
    let c = Bundle::sleeper().container();
    c.create().ok();
    assert_eq!(c.exec(&["echo", "early"]).ok().text(), "early");
}

#[test]
fn exec_with_a_sub_cgroup_runs_there() {
    needs!(root, cgroup_v2);
    let c = Bundle::sleeper().namespace("cgroup", None).container().up();
    std::fs::create_dir(caisson_integration_tests::cgroup::file("", &c.cgroup(), "sub"))
        .expect("make a sub-cgroup");
    let out = c.verb_then("exec", &["--cgroup", "sub"], &["cat", "/proc/self/cgroup"]).ok();
    assert_eq!(out.text(), "0::/sub");
    c.verb_then("exec", &["--cgroup", "../.."], &["true"]).fails();
}

#[test]
fn exec_leaves_nothing_behind() {
    needs!(root);
    let c = sleeper();
    let before = HostSnapshot::take(&c);
    c.exec(&["true"]).ok();
    c.exec(&["/no/such/program"]).fails();
    before.assert_unchanged(&c);
}

#[test]
fn exec_sees_a_container_whose_options_come_after_the_verb_in_any_form() {
    needs!(root);
    let c = sleeper();
    for form in [&["--cwd=/tmp"][..], &["--cwd", "/tmp"][..]] {
        assert_eq!(c.verb_then("exec", form, &["pwd"]).ok().text(), "/tmp");
    }
    // What follows the id belongs to the command, flags too.
    assert_eq!(c.exec(&["echo", "--cwd", "-t", "--"]).ok().text(), "--cwd -t --");
}

#[test]
fn many_execs_at_once_all_succeed() {
    needs!(root);
    let c = sleeper();
    let id = c.id().to_owned();
    let call =
        |n: i32| c.runtime().spawn(&["exec", &id, "echo", &n.to_string()], std::process::Stdio::null());
    let running: Vec<_> = (0..8).map(call).collect();
    let texts: Vec<_> = running.into_iter().map(|one| one.wait().ok().text().to_owned()).collect();
    assert_eq!(texts, ["0", "1", "2", "3", "4", "5", "6", "7"]);
}

//! `process` of config.json: what the container's program finds itself as.

use caisson_integration_tests::prelude::*;

/// Runs a script after changing the config, and returns what it printed.
#[track_caller]
fn printed(bundle: Bundle) -> String {
    bundle.container().run().ok().text().to_owned()
}

#[test]
fn args_reach_the_program_unchanged() {
    needs!(root);
    let bundle =
        Bundle::of(&["sh", "-c", r#"printf '[%s]' "$0" "$@""#, "zero", "", "two words", "new\nline", "*"]);
    assert_eq!(printed(bundle), "[zero][][two words][new\nline][*]");
}

#[test]
fn env_is_what_the_config_says() {
    needs!(root);
    let bundle = Bundle::of(&["cat", "/proc/self/environ"])
        .set("/process/env", json!(["PATH=/bin", "A=1", "EMPTY=", "WITH=an=equals sign", "HOME=/somewhere"]));
    assert_eq!(printed(bundle), "PATH=/bin\0A=1\0EMPTY=\0WITH=an=equals sign\0HOME=/somewhere\0");
}

#[test]
fn nothing_of_the_runtimes_environment_comes_through() {
    needs!(root);
    let c = Bundle::sh("env").container().with(|runtime| runtime.env("SECRET_OF_THE_HOST", "1"));
    assert!(!c.run().ok().stdout.contains("SECRET"));
}

#[test]
fn home_comes_from_the_images_passwd_when_unset() {
    needs!(root);
    assert_eq!(printed(Bundle::sh("echo $HOME")), "/root");
    assert_eq!(printed(Bundle::sh("echo $HOME").set("/process/user/uid", json!(1000))), "/home/user");
}

#[test]
fn home_of_an_unknown_user_is_the_root() {
    needs!(root);
    peer_lacks!(Crun: "leaves HOME unset");
    assert_eq!(printed(Bundle::sh("echo $HOME").set("/process/user/uid", json!(4321))), "/");
}

#[test]
fn the_program_is_found_through_the_containers_path() {
    needs!(root);
    let bundle = Bundle::of(&["tool"]).program("/opt/tool", "#!/bin/sh\necho found\n");
    assert_eq!(printed(bundle.set("/process/env", json!(["PATH=/bin:/opt"]))), "found");
}

#[test]
fn cwd_is_the_configs() {
    needs!(root);
    assert_eq!(printed(Bundle::sh("pwd").set("/process/cwd", json!("/home/user"))), "/home/user");
}

#[test]
fn a_missing_cwd_is_made() {
    needs!(root);
    assert_eq!(printed(Bundle::sh("pwd").set("/process/cwd", json!("/new/deep/place"))), "/new/deep/place");
}

#[test]
fn a_cwd_through_a_link_stays_in_the_container() {
    needs!(root);
    let bundle =
        Bundle::sh("pwd -P").dir("/target").link("/way", "/target").set("/process/cwd", json!("/way"));
    assert_eq!(printed(bundle), "/target");
}

#[test]
fn a_relative_cwd_is_refused() {
    needs!(root);
    peer_lacks!(Crun: "1.8.1 takes it from the root");
    Bundle::sh("true").set("/process/cwd", json!("relative")).container().run().fails();
}

#[test]
fn user_and_group_are_the_configs() {
    needs!(root);
    let user = json!({"uid": 1000, "gid": 1001, "additionalGids": [1234, 5]});
    assert_eq!(
        printed(Bundle::sh("id -u; id -g; id -G").set("/process/user", user)),
        "1000\n1001\n1001 5 1234"
    );
}

#[test]
fn additional_groups_are_no_more_than_the_configs() {
    needs!(root);
    let bundle = Bundle::sh("grep ^Groups /proc/self/status");
    assert_eq!(printed(bundle.set("/process/user", json!({"uid": 7, "gid": 8}))).trim(), "Groups:");
}

#[test]
fn umask_is_0022_or_the_configs() {
    needs!(root);
    assert_eq!(printed(Bundle::sh("umask")), "0022");
    assert_eq!(printed(Bundle::sh("umask").set("/process/user/umask", json!(0o077))), "0077");
}

#[test]
fn rlimits_are_soft_and_hard() {
    needs!(root);
    let limits = json!([
        {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200},
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
        {"type": "RLIMIT_STACK", "soft": 4_194_304, "hard": 8_388_608}
    ]);
    let bundle = Bundle::sh("grep -E 'open files|core|stack' /proc/self/limits | tr -s ' '");
    let out = printed(bundle.set("/process/rlimits", limits));
    assert!(out.contains("Max open files 100 200"), "{out}");
    assert!(out.contains("Max core file size 0 0"), "{out}");
    assert!(out.contains("Max stack size 4194304 8388608"), "{out}");
}

#[test]
fn an_unknown_rlimit_is_an_error() {
    needs!(root);
    let limits = json!([{"type": "RLIMIT_NONSENSE", "soft": 1, "hard": 1}]);
    Bundle::sh("true").set("/process/rlimits", limits).container().run().fails().says("RLIMIT_NONSENSE");
}

#[test]
fn a_duplicate_rlimit_is_an_error() {
    needs!(root);
    peer_lacks!(Runc, Crun: "takes the last of two");
    let limits = json!([
        {"type": "RLIMIT_NOFILE", "soft": 10, "hard": 10}, {"type": "RLIMIT_NOFILE", "soft": 20, "hard": 20}
    ]);
    Bundle::sh("true").set("/process/rlimits", limits).container().run().fails();
}

#[test]
fn a_raised_rlimit_is_applied() {
    needs!(root, cap_sys_resource);
    let limits = json!([{"type": "RLIMIT_NOFILE", "soft": 1_048_570, "hard": 1_048_572}]);
    let bundle = Bundle::sh("ulimit -Sn; ulimit -Hn").set("/process/rlimits", limits);
    assert_eq!(printed(bundle), "1048570\n1048572");
}

#[test]
fn no_new_privileges_is_what_the_config_says() {
    needs!(root);
    let bundle = || Bundle::sh("grep NoNewPrivs /proc/self/status");
    assert_eq!(printed(bundle().set("/process/noNewPrivileges", json!(true))), "NoNewPrivs:\t1");
    assert_eq!(printed(bundle().set("/process/noNewPrivileges", json!(false))), "NoNewPrivs:\t0");
    assert_eq!(printed(bundle().unset("/process/noNewPrivileges")), "NoNewPrivs:\t0");
}

#[test]
fn oom_score_adj_is_applied() {
    needs!(root);
    let bundle = Bundle::sh("cat /proc/self/oom_score_adj").set("/process/oomScoreAdj", json!(123));
    assert_eq!(printed(bundle), "123");
}

#[test]
fn oom_score_adj_unset_is_the_runtimes_own() {
    needs!(root);
    let own = std::fs::read_to_string("/proc/self/oom_score_adj").expect("our own score");
    assert_eq!(printed(Bundle::sh("cat /proc/self/oom_score_adj")), own.trim());
}

#[test]
fn a_lowered_oom_score_adj_is_applied() {
    needs!(root, cap_sys_resource);
    let bundle = Bundle::sh("cat /proc/self/oom_score_adj").set("/process/oomScoreAdj", json!(-500));
    assert_eq!(printed(bundle), "-500");
}

#[test]
fn scheduler_policy_is_applied() {
    needs!(root);
    peer_lacks!(Runc, Crun: "process.scheduler came later");
    let scheduler = json!({"policy": "SCHED_BATCH", "nice": 5});
    // Field 19 of stat is the nice value, field 41 the policy: SCHED_BATCH is 3 (proc_pid_stat(5)).
    let bundle = Bundle::sh("cut -d' ' -f19,41 /proc/self/stat").set("/process/scheduler", scheduler);
    assert_eq!(printed(bundle), "5 3");
}

#[test]
fn a_real_time_scheduler_has_its_priority_and_flag() {
    needs!(root, cap_sys_nice, real_time);
    peer_lacks!(Runc, Crun: "process.scheduler came later");
    let scheduler = json!({"policy": "SCHED_RR", "priority": 10, "flags": ["SCHED_FLAG_RESET_ON_FORK"]});
    let bundle = Bundle::sh("cut -d' ' -f40,41 /proc/1/stat").set("/process/scheduler", scheduler);
    assert_eq!(printed(bundle.args(&["cut", "-d ", "-f40,41", "/proc/1/stat"])), "10 2");
}

#[test]
fn an_unknown_scheduler_policy_is_an_error() {
    needs!(root);
    peer_lacks!(Runc, Crun: "process.scheduler came later");
    let scheduler = json!({"policy": "SCHED_NONSENSE"});
    Bundle::sh("true").set("/process/scheduler", scheduler).container().run().fails();
}

#[test]
fn io_priority_is_applied() {
    needs!(root);
    peer_lacks!(Runc, Crun: "process.ioPriority came later");
    let priority = json!({"class": "IOPRIO_CLASS_BE", "priority": 6});
    assert_eq!(
        printed(Bundle::sh("ionice -p $$").set("/process/ioPriority", priority)),
        "best-effort: prio 6"
    );
}

#[test]
fn exec_cpu_affinity_applies_to_exec() {
    needs!(root);
    peer_lacks!(Runc, Crun: "process.execCPUAffinity came later");
    let c = Bundle::sleeper()
        .set("/process/execCPUAffinity", json!({"initial": "0", "final": "0"}))
        .container()
        .up();
    assert_eq!(c.exec_sh("grep Cpus_allowed_list /proc/self/status").ok().text(), "Cpus_allowed_list:\t0");
}

#[test]
fn personality_is_applied() {
    needs!(root);
    peer_lacks!(Runc: "linux.personality came later");
    let bundle = Bundle::sh("uname -m").set("/linux/personality", json!({"domain": "LINUX32"}));
    assert_eq!(printed(bundle), "i686");
}

#[test]
fn stdin_stdout_and_stderr_are_the_only_descriptors() {
    needs!(root);
    // ls opens the directory itself: its own descriptor is the fourth.
    assert_eq!(printed(Bundle::sh("exec ls /proc/self/fd")), "0\n1\n2\n3");
}

#[test]
fn init_is_process_one_in_its_own_session() {
    needs!(root);
    let out = printed(Bundle::sh("echo $$; cut -d' ' -f5,6 /proc/self/stat"));
    let lines: Vec<_> = out.lines().collect();
    assert_eq!(lines[0], "1");
    assert!(lines[1].ends_with(" 1"), "session 1: {out}");
}

#[test]
fn no_signal_is_ignored_or_blocked() {
    needs!(root);
    let out = printed(Bundle::of(&["grep", "-E", "SigBlk|SigIgn", "/proc/self/status"]));
    assert_eq!(out, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000");
}

#[test]
fn memory_policy_is_applied() {
    needs!(root, numa);
    peer_lacks!(Runc, Crun: "linux.memoryPolicy came later");
    let policy = json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]});
    let out = printed(Bundle::sh("head -1 /proc/self/numa_maps").set("/linux/memoryPolicy", policy));
    assert!(out.contains(" bind=static:0 ") || out.contains(" bind:0 "), "{out}");
}

#[test]
fn an_unknown_memory_policy_is_an_error() {
    needs!(root);
    peer_lacks!(Runc, Crun: "linux.memoryPolicy came later");
    let policy = json!({"mode": "MPOL_NONSENSE", "nodes": "0"});
    Bundle::sh("true").set("/linux/memoryPolicy", policy).container().run().fails();
}

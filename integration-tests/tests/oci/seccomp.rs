//! `linux.seccomp`: actions, arguments, flags, and the listener handed to a supervisor.

use std::os::fd::AsFd;

use caisson_integration_tests::os;
use caisson_integration_tests::prelude::*;

fn with(script: &str, seccomp: Value) -> Bundle {
    Bundle::sh(script).set("/linux/seccomp", seccomp)
}

fn forbid_mkdir(action: Value) -> Value {
    let mut rule = json!({"names": ["mkdir", "mkdirat"]});
    rule.as_object_mut().expect("an object").extend(action.as_object().expect("an object").clone());
    json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]})
}

#[test]
fn errno_refuses_with_eperm_by_default() {
    needs!(root, seccomp);
    let out =
        with("mkdir /new; echo $?", forbid_mkdir(json!({"action": "SCMP_ACT_ERRNO"}))).container().run().ok();
    assert_eq!(out.text(), "1");
    assert!(out.stderr.contains("Operation not permitted"), "{out}");
}

#[test]
fn errno_refuses_with_the_number_asked_for() {
    needs!(root, seccomp);
    let rule = forbid_mkdir(json!({"action": "SCMP_ACT_ERRNO", "errnoRet": 28}));
    let out = with("mkdir /new", rule).container().run().fails();
    assert!(out.stderr.contains("No space left"), "{out}");
}

#[test]
fn the_default_action_has_an_errno_too() {
    needs!(root, seccomp);
    let allowed = ["mkdir", "mkdirat"];
    let seccomp = json!({"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 38,
        "syscalls": [{"names": allowed, "action": "SCMP_ACT_ALLOW"}]});
    // An errno for a default action that is no ERRNO is refused or ignored, never applied.
    let out = with("mkdir /new && echo made", seccomp).container().run();
    assert!(out.code != 0 || out.text() == "made", "{out}");
}

#[test]
fn kill_process_ends_the_process_with_sigsys() {
    needs!(root, seccomp);
    let rule = forbid_mkdir(json!({"action": "SCMP_ACT_KILL_PROCESS"}));
    assert_eq!(with("exec mkdir /new", rule).container().run().code, 128 + libc::SIGSYS);
}

#[test]
fn trap_raises_sigsys() {
    needs!(root, seccomp);
    let rule = forbid_mkdir(json!({"action": "SCMP_ACT_TRAP"}));
    assert_eq!(with("mkdir /new; echo $?", rule).container().run().ok().text(), "159");
}

#[test]
fn arguments_are_compared() {
    needs!(root, seccomp);
    // kill(2) with signal 10 (USR1) is refused, with 0 it is not.
    let seccomp = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["kill"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 1, "value": 10, "op": "SCMP_CMP_EQ"}]}
    ]});
    let script = "trap '' USR1; kill -0 $$ && echo zero; kill -USR1 $$ 2>/dev/null || echo refused";
    assert_eq!(with(script, seccomp).container().run().ok().lines(), ["zero", "refused"]);
}

#[test]
fn masked_arguments_are_compared() {
    needs!(root, seccomp);
    // chmod with a set-user-id bit: mode & 04000 == 04000.
    let rule = |name: &str, index: u32| {
        json!({"names": [name], "action": "SCMP_ACT_ERRNO",
            "args": [{"index": index, "value": 0o4000, "valueTwo": 0o4000, "op": "SCMP_CMP_MASKED_EQ"}]})
    };
    let syscalls = json!([rule("chmod", 1), rule("fchmodat", 2), rule("fchmodat2", 2)]);
    let seccomp = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": syscalls});
    let script = "touch /f; chmod 755 /f && echo plain; chmod 4755 /f 2>/dev/null || echo refused";
    assert_eq!(with(script, seccomp).container().run().ok().lines(), ["plain", "refused"]);
}

#[test]
fn unknown_system_calls_are_passed_over() {
    needs!(root, seccomp);
    let seccomp = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["no_such_call_ever", "mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}
    ]});
    with("mkdir /new", seccomp).container().run().fails().says("not permitted");
}

#[test]
fn an_unknown_action_or_operator_is_an_error() {
    needs!(root, seccomp);
    with("true", forbid_mkdir(json!({"action": "SCMP_ACT_NONSENSE"}))).container().run().fails();
    let args = json!([{"index": 0, "value": 0, "op": "SCMP_CMP_NONSENSE"}]);
    with("true", forbid_mkdir(json!({"action": "SCMP_ACT_ERRNO", "args": args}))).container().run().fails();
}

#[test]
fn architectures_and_flags_are_accepted() {
    needs!(root, seccomp);
    peer_lacks!(Runc: "1.1 has no seccomp flags");
    let mut seccomp = forbid_mkdir(json!({"action": "SCMP_ACT_ERRNO"}));
    seccomp["architectures"] = json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]);
    seccomp["flags"] = json!(["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"]);
    let script = "grep -E 'Seccomp:|Speculation_Store' /proc/self/status; mkdir /new";
    let out = with(script, seccomp).container().run().fails();
    assert!(out.stdout.contains("Seccomp:\t2"), "{out}");
    assert!(!out.stdout.contains("force mitigated"), "SPEC_ALLOW: {out}");
}

#[test]
fn an_unknown_flag_is_an_error() {
    needs!(root, seccomp);
    let mut seccomp = forbid_mkdir(json!({"action": "SCMP_ACT_ERRNO"}));
    seccomp["flags"] = json!(["SECCOMP_FILTER_FLAG_NONSENSE"]);
    with("true", seccomp).container().run().fails();
}

#[test]
fn a_filter_needs_no_new_privileges_only_without_cap_sys_admin() {
    needs!(root, seccomp);
    let bundle = with("mkdir /new", forbid_mkdir(json!({"action": "SCMP_ACT_ERRNO"})));
    let bundle = bundle.set("/process/noNewPrivileges", json!(false)).set("/process/user/uid", json!(1000));
    bundle.container().run().fails().says("not permitted");
}

#[test]
fn exec_is_under_the_same_filter() {
    needs!(root, seccomp);
    let bundle = Bundle::sleeper().set("/linux/seccomp", forbid_mkdir(json!({"action": "SCMP_ACT_ERRNO"})));
    bundle.container().up().exec(&["mkdir", "/new"]).fails().says("not permitted");
}

/// What busybox's `true` needs, and execve.
const FEW_CALLS: &str = "execve execveat arch_prctl brk mmap munmap mprotect exit_group exit set_tid_address \
    set_robust_list rseq prlimit64 readlink readlinkat getrandom fstat newfstatat uname getuid prctl \
    write read close futex clock_gettime getpid rt_sigaction rt_sigprocmask sigaltstack rt_sigreturn \
    fcntl capset capget getcwd chdir fchdir setgroups setuid setgid setresuid setresgid close_range \
    openat open epoll_ctl epoll_pwait sched_yield nanosleep tgkill gettid madvise dup3 getdents64 \
    stat lstat statfs fstatfs faccessat2 getppid pread64 sendto recvfrom";

#[test]
fn a_strict_default_still_lets_the_runtime_start_the_program() {
    needs!(root, seccomp);
    // The runtime's own calls come before the filter.
    let names: Vec<_> = FEW_CALLS.split_whitespace().collect();
    let seccomp = json!({"defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{"names": names, "action": "SCMP_ACT_ALLOW"}]});
    Bundle::of(&["true"]).set("/linux/seccomp", seccomp).container().run().ok();
}

fn notify(bundle: Bundle) -> (Bundle, FdSocket) {
    let socket = FdSocket::bind(&bundle.scratch().join("seccomp.sock"));
    let mut seccomp = forbid_mkdir(json!({"action": "SCMP_ACT_NOTIFY"}));
    seccomp["listenerPath"] = json!(socket.arg());
    seccomp["listenerMetadata"] = json!("words for the supervisor");
    (bundle.set("/linux/seccomp", seccomp), socket)
}

#[test]
fn notify_hands_the_listener_and_the_state_to_the_supervisor() {
    needs!(root, seccomp);
    let (bundle, socket) = notify(Bundle::sh("mkdir /new"));
    let c = bundle.set("/annotations", json!({"key": "value"})).container();
    c.create().ok();
    let pid = c.pid();
    c.start().ok();
    let (payload, fds) = socket.receive();
    let state: Value = serde_json::from_slice(&payload).expect("the container process state is JSON");
    assert_eq!(state["metadata"], "words for the supervisor");
    assert_eq!(state["state"]["id"], c.id());
    assert_eq!(state["pid"], pid);
    let names = state["fds"].as_array().expect("the names of the descriptors");
    let index = names.iter().position(|name| name == "seccompFd").expect("the listener is named");
    let (_, from) =
        os::answer_seccomp_notification(fds[index].as_fd(), libc::ENOSPC).expect("a notification");
    assert_ne!(from, 0);
    assert!(caisson_integration_tests::wait::process_end(pid));
    assert!(c.stderr().contains("No space left"), "{}", c.stderr());
}

#[test]
fn notify_works_for_exec_too() {
    needs!(root, seccomp);
    let (bundle, socket) = notify(Bundle::sleeper());
    let c = bundle.container().up();
    socket.receive();
    let id = c.id().to_owned();
    let running = c.runtime().spawn(&["exec", &id, "mkdir", "/new"], std::process::Stdio::null());
    let (_, fds) = socket.receive();
    os::answer_seccomp_notification(fds[0].as_fd(), libc::EROFS).expect("a notification");
    running.wait().fails().says("read-only");
}

#[test]
fn notify_without_a_listener_is_an_error() {
    needs!(root, seccomp);
    peer_lacks!(Crun: "runs the container");
    with("true", forbid_mkdir(json!({"action": "SCMP_ACT_NOTIFY"}))).container().run().fails();
}

#[test]
fn a_listener_nobody_listens_on_is_an_error() {
    needs!(root, seccomp);
    let mut seccomp = forbid_mkdir(json!({"action": "SCMP_ACT_NOTIFY"}));
    seccomp["listenerPath"] = json!("/no/such/socket");
    let c = with("true", seccomp).container();
    let before = HostSnapshot::take(&c);
    c.run().fails();
    before.assert_unchanged(&c);
}

#[test]
fn notify_of_write_does_not_stop_the_runtime_itself() {
    needs!(root, seccomp);
    // The runtime has to tell that the filter is loaded: a notified write of its own would hang for ever.
    peer_lacks!(Crun: "hangs");
    peer_lacks!(Runc: "refuses such a filter");
    let bundle = Bundle::sh("echo lost");
    let socket = FdSocket::bind(&bundle.scratch().join("seccomp.sock"));
    let seccomp = json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": socket.arg(),
        "syscalls": [{"names": ["write"], "action": "SCMP_ACT_NOTIFY"}]});
    let c = bundle.set("/linux/seccomp", seccomp).container();
    let running = c.spawn_run(&[]);
    let (_, fds) = socket.receive();
    let mut answered = Vec::new();
    // Ends with the last process under the filter.
    while let Ok((call, _)) = os::answer_seccomp_notification(fds[0].as_fd(), libc::EIO) {
        answered.push(i64::from(call));
    }
    let out = running.wait().fails();
    assert!(!answered.is_empty() && answered.iter().all(|call| *call == libc::SYS_write), "{answered:?}");
    assert!(!out.stdout.contains("lost"), "{out}");
}

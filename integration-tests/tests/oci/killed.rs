//! The runtime killed with SIGKILL at its n-th system call, for n from the first to its last: `list` works on, a first
//! process whose container was never recorded ends by itself, and `delete --force` leaves nothing behind.
//!
//! strace(1) kills: unlike a timer it hits the same instant in every run. `STRIDE=1` tries every single system call.

use caisson_integration_tests::prelude::*;
use caisson_integration_tests::{cgroup, leak};

/// More system calls than any verb makes.
const MANY: usize = 20_000;

fn stride() -> usize {
    std::env::var("STRIDE").ok().and_then(|text| text.parse().ok()).unwrap_or(13)
}

/// The runtime, killed when it enters its `call`-th system call.
fn killed_at(c: &Container, call: usize) -> Runtime {
    let inject = format!("inject=all:signal=KILL:when={call}");
    c.runtime().clone().after_shell(&format!("exec strace -qq -o /dev/null -e {inject} \"$0\" \"$@\""))
}

/// One container, before anything was killed.
struct Host(HostSnapshot);

impl Host {
    /// After one whole life: caches are filled.
    fn take(c: &Container) -> Self {
        c.create().ok();
        c.verb("delete", &["--force"]).ok();
        Self(HostSnapshot::take(c))
    }

    #[track_caller]
    fn assert_cleaned(&self, c: &Container, call: usize) {
        c.runtime().call(&["list"]).ok();
        if c.verb("state", &[]).code != 0 {
            eventually(&format!("the end of processes that no state tells of ({call} system calls)"), || {
                leak::processes_of(c.scratch()).is_empty().then_some(())
            });
        }
        c.verb("delete", &["--force"]).ok();
        self.0.assert_unchanged(c);
        let cgroups = cgroup::directories(&format!("/{}", c.id()));
        assert!(cgroups.is_empty(), "killed after {call} system calls: {cgroups:?} left");
    }
}

/// Kills the verb at more and more system calls until it comes to its end.
#[track_caller]
fn at_every_instant(c: &Container, before: impl Fn(&Container), args: &[&str]) {
    let host = Host::take(c);
    for call in (1..MANY).step_by(stride()) {
        before(c);
        let out = killed_at(c, call).call(args);
        host.assert_cleaned(c, call);
        if out.code != 128 + libc::SIGKILL {
            out.ok();
            assert!(call > 2 * stride(), "never killed");
            return;
        }
    }
    panic!("no end after {MANY} system calls");
}

fn up(c: &Container) {
    c.create().ok();
    c.start().ok();
}

#[test]
fn create_may_be_killed() {
    needs!(root, program("strace"), runtime_caisson);
    let c = Bundle::sleeper().container();
    let bundle = c.bundle();
    at_every_instant(&c, |_| (), &["create", "--bundle", &bundle, c.id()]);
}

#[test]
fn create_in_a_user_namespace_with_hooks_may_be_killed() {
    needs!(root, program("strace"), runtime_caisson, userns);
    let bundle = Bundle::sleeper().user_namespace();
    let c = bundle.hook("createRuntime", "early", "true").hook("createContainer", "late", "true").container();
    let bundle = c.bundle();
    at_every_instant(&c, |_| (), &["create", "--bundle", &bundle, c.id()]);
}

#[test]
fn run_may_be_killed() {
    needs!(root, program("strace"), runtime_caisson);
    let c = Bundle::sleeper().container();
    let bundle = c.bundle();
    at_every_instant(&c, |_| (), &["run", "--detach", "--bundle", &bundle, c.id()]);
}

#[test]
fn run_without_a_cgroup_may_be_killed() {
    needs!(root, program("strace"), runtime_caisson);
    // Nothing but its pid leads to the container: it must be recorded before the program runs.
    let c = Bundle::sleeper().unset("/linux/resources").container();
    let c = c.with(|runtime| runtime.global(&["--cgroup-manager", "disabled"]));
    let bundle = c.bundle();
    at_every_instant(&c, |_| (), &["run", "--detach", "--bundle", &bundle, c.id()]);
}

#[test]
fn start_may_be_killed() {
    needs!(root, program("strace"), runtime_caisson);
    let c = Bundle::sleeper().container();
    at_every_instant(&c, |c| drop(c.create().ok()), &["start", c.id()]);
}

#[test]
fn exec_may_be_killed() {
    needs!(root, program("strace"), runtime_caisson);
    let c = Bundle::sleeper().container();
    at_every_instant(&c, up, &["exec", "--detach", c.id(), "sleep", "1000"]);
}

#[test]
fn delete_may_be_killed() {
    needs!(root, program("strace"), runtime_caisson);
    let c = Bundle::sleeper().container();
    let ended = |c: &Container| {
        up(c);
        c.kill_and_wait();
    };
    at_every_instant(&c, ended, &["delete", c.id()]);
    let c = Bundle::sleeper().container();
    at_every_instant(&c, up, &["delete", "--force", c.id()]);
}

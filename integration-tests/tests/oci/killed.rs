//! The runtime killed with SIGKILL at its n-th system call, for n from the first to its last: `list` works on, a first
//! process whose container was never recorded ends by itself, and `delete --force` leaves nothing behind.
//!
//! strace(1) kills: unlike a timer it hits the same instant in every run. `STRIDE=1` tries every single system call.

use caisson_integration_tests::prelude::*;
use caisson_integration_tests::{cgroup, leak};

/// How many system calls lie between two that are tried.
fn stride() -> usize {
    std::env::var("STRIDE").ok().and_then(|text| text.parse().ok()).unwrap_or(13)
}

/// The runtime's main thread under strace.
fn traced(c: &Container, options: &str) -> Runtime {
    c.runtime().clone().after_shell(&format!("exec strace -qq {options} \"$0\" \"$@\""))
}

/// An instant in the runtime's life: the system call of this name, for the n-th time.
struct Instant {
    name: String,
    nth: usize,
}

/// Every instant of a whole call.
fn instants(c: &Container, args: &[&str]) -> Vec<Instant> {
    let file = c.scratch().join("trace");
    traced(c, &format!("-o {}", file.display())).call(args).ok();
    let mut counts = std::collections::BTreeMap::new();
    let lines = c.scratch().read("trace");
    let names = lines.lines().filter_map(|line| line.split_once('(')).map(|(name, _)| name);
    let calls = names.filter(|name| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'));
    calls
        .map(|name| {
            let nth = counts.entry(name).and_modify(|n| *n += 1).or_insert(1);
            Instant { name: name.to_owned(), nth: *nth }
        })
        .collect()
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
    fn assert_cleaned(&self, c: &Container, at: &Instant) {
        let at = format!("killed at {} number {}", at.name, at.nth);
        c.runtime().call(&["list"]).ok();
        if c.verb("state", &[]).code != 0 {
            let ended = || leak::processes_of(c.scratch()).is_empty().then_some(());
            eventually(&format!("the end of processes that no state tells of, {at}"), ended);
        }
        c.verb("delete", &["--force"]).ok();
        self.0.assert_unchanged(c);
        let cgroups = cgroup::directories(&format!("/{}", c.id()));
        assert!(cgroups.is_empty(), "{at}: {cgroups:?} left");
    }
}

/// Kills the verb at one system call after the other.
#[track_caller]
fn at_every_instant(c: &Container, before: impl Fn(&Container), args: &[&str]) {
    let host = Host::take(c);
    before(c);
    let instants = instants(c, args);
    c.verb("delete", &["--force"]).ok();
    let (mut tried, mut killed) = (0, 0);
    for at in instants.iter().step_by(stride()) {
        before(c);
        let inject = format!("-o /dev/null -e inject={}:signal=KILL:when={}", at.name, at.nth);
        let out = traced(c, &inject).call(args);
        tried += 1;
        killed += usize::from(out.code == 128 + libc::SIGKILL);
        host.assert_cleaned(c, at);
    }
    // No two runs are quite alike; most instants are met.
    assert!(tried >= 4 && killed * 4 > tried * 3, "killed {killed} of {tried} times");
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

//! Many lives at once, and a runtime killed in the middle of one: nothing stays behind.

use caisson_integration_tests::prelude::*;
use caisson_integration_tests::{cgroup, leak};

/// One whole life of a container; returns what was wrong.
fn life(c: &Container) {
    c.create().ok();
    c.start().ok();
    c.kill_and_wait();
    c.delete().ok();
}

#[test]
fn cycles_eight_at_a_time_leave_nothing_behind() {
    needs!(root);
    let cycles: usize = std::env::var("CYCLES").ok().and_then(|text| text.parse().ok()).unwrap_or(64);
    let namespaces = count_namespaces();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let c = Bundle::sleeper().container();
                let before = HostSnapshot::take(&c);
                for _ in 0..cycles.div_ceil(8) {
                    life(&c);
                }
                before.assert_unchanged(&c);
                assert_eq!(cgroup::directories(&c.cgroup()), Vec::<std::path::PathBuf>::new());
            });
        }
    });
    // Other tests' containers come and go meanwhile: only wait for the count to come down to about the old one.
    eventually("the namespaces of the cycles to go", || (count_namespaces() < namespaces + 40).then_some(()));
}

/// How many different namespaces the processes of this host are in.
fn count_namespaces() -> usize {
    let mut links = std::collections::BTreeSet::new();
    for process in std::fs::read_dir("/proc").expect("list /proc").filter_map(Result::ok) {
        let entries =
            std::fs::read_dir(process.path().join("ns")).into_iter().flatten().filter_map(Result::ok);
        links.extend(entries.filter_map(|entry| std::fs::read_link(entry.path()).ok()));
    }
    links.len()
}

#[test]
fn a_runtime_killed_at_any_instant_leaves_what_delete_cleans() {
    needs!(root);
    peer_lacks!(Runc, Crun: "leaves processes or cgroups when killed early");
    // create takes a few milliseconds: kill it after more and more of them, until it ends by itself.
    for delay_us in (0..24).map(|step| step * 500) {
        let c = Bundle::sleeper().container();
        let before = HostSnapshot::take(&c);
        let bundle = c.bundle();
        let creating =
            c.runtime().spawn(&["create", "--bundle", &bundle, c.id()], std::process::Stdio::null());
        let begin = std::time::Instant::now();
        while begin.elapsed() < std::time::Duration::from_micros(delay_us) {
            std::hint::spin_loop();
        }
        drop(caisson_integration_tests::os::kill(creating.pid(), libc::SIGKILL));
        creating.wait();
        c.verb("delete", &["--force"]).ok();
        before.assert_unchanged(&c);
        assert!(leak::processes_of(c.scratch()).is_empty(), "killed after {delay_us} us");
    }
}

#[test]
fn list_and_state_work_while_containers_come_and_go() {
    needs!(root);
    let c = Bundle::sleeper().container();
    let (other, bundle, name) = (c.runtime().clone(), c.bundle(), c.id().to_owned());
    std::thread::scope(|scope| {
        let cycles = scope.spawn(move || {
            for n in 0..6 {
                let id = format!("{name}-{n}");
                other.call(&["create", "--bundle", &bundle, &id]).ok();
                other.call(&["delete", "--force", &id]).ok();
            }
        });
        while !cycles.is_finished() {
            // A container that goes between listing and reading is no error.
            c.runtime().call(&["list"]).ok();
        }
    });
}

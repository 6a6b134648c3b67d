//! Makes, enters and removes the cgroups of a container on v1, a pause apart, and prints the median times: the
//! measurement of docs/decisions/0003-cgroups-rs.md.
//!
//! `life WAY TIMES`, as root; WAY is `enter` (a process of one thread enters by itself), `join` (it is moved by pid)
//! or `crate` (cgroups-rs).
#![allow(clippy::unwrap_used, reason = "a measuring aid: any failure ends it")]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use caisson_plan::facts::{CgroupFacts, V1Hierarchy};
use caisson_plan::ids::{CgroupPath, HostPath};
use caisson_plan::step::cgroup::{CgroupDriver, CgroupPlan};

const NAMES: [&str; 9] =
    ["cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "systemd"];

fn plan(name: &str) -> CgroupPlan {
    let hierarchy = |name: &&str| V1Hierarchy {
        controllers: vec![if *name == "systemd" { "name=systemd".to_owned() } else { (*name).to_owned() }],
        mount: HostPath::new(Path::new("/sys/fs/cgroup").join(name)),
        own: CgroupPath::new("/"),
    };
    CgroupPlan {
        driver: CgroupDriver::Cgroupfs,
        path: CgroupPath::new(name),
        hierarchies: CgroupFacts::V1 { hierarchies: NAMES.iter().map(hierarchy).collect(), unified: None },
        settings: Vec::new(),
        devices: Vec::new(),
        optional: false,
        delegate_to: None,
    }
}

fn sleeper() -> Child {
    Command::new("sleep").arg("100").stdin(Stdio::null()).spawn().unwrap()
}

fn end(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Times of create, entering, destroy.
fn ours(name: &str, by_itself: bool) -> [Duration; 3] {
    let t0 = Instant::now();
    let created = caisson_cgroup::create(&plan(name)).unwrap();
    let t1 = Instant::now();
    let entering = if by_itself {
        // This program has one thread, as a container's init has.
        let entries = created.cgroup.entries().unwrap();
        entries.enter().unwrap();
        let spent = t1.elapsed();
        for name in NAMES {
            std::fs::write(Path::new("/sys/fs/cgroup").join(name).join("tasks"), "0").unwrap();
        }
        spent
    } else {
        let child = sleeper();
        let t = Instant::now();
        created.cgroup.join(child.id().cast_signed()).unwrap();
        let spent = t.elapsed();
        end(child);
        spent
    };
    let t3 = Instant::now();
    created.cgroup.destroy(Duration::from_secs(5)).unwrap();
    [t1 - t0, entering, t3.elapsed()]
}

fn with_crate(name: &str) -> [Duration; 3] {
    let child = sleeper();
    let t0 = Instant::now();
    let cgroup =
        cgroups_rs::fs::Cgroup::new(cgroups_rs::fs::hierarchies::auto(), name.trim_start_matches('/'))
            .unwrap();
    let t1 = Instant::now();
    cgroup.add_task_by_tgid(u64::from(child.id()).into()).unwrap();
    let t2 = Instant::now();
    end(child);
    let t3 = Instant::now();
    cgroup.delete().unwrap();
    [t1 - t0, t2 - t1, t3.elapsed()]
}

fn main() {
    let mut words = std::env::args().skip(1);
    let way = words.next().unwrap_or_else(|| "enter".to_owned());
    let times: u32 = words.next().map_or(1, |n| n.parse().unwrap());
    let mut spent: [Vec<Duration>; 3] = Default::default();
    for i in 0..times.max(1) {
        // Between containers the kernel's lock cools down, as it does between the commands of an engine.
        Command::new("sleep").arg("0.2").status().unwrap();
        let name = format!("/caisson-life-{}-{i}", std::process::id());
        let times = match way.as_str() {
            "crate" => with_crate(&name),
            way => ours(&name, way == "enter"),
        };
        spent.iter_mut().zip(times).for_each(|(all, one)| all.push(one));
    }
    let [create, enter, destroy] = spent.map(|mut all| {
        all.sort_unstable();
        all[all.len() / 2].as_micros()
    });
    println!("{way}, median of {times}: create {create} µs, enter {enter} µs, destroy {destroy} µs");
}

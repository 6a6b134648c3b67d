//! The whole life of cgroups on real hierarchies.

use std::time::Duration;

use caisson_plan::step::cgroup::{DeviceKind, SettingMode};

use super::*;
use crate::testing::{Process, plan, real_v1, real_v2_tree, setting};

const SOON: Duration = Duration::from_secs(10);

/// Removes the test's parent directories, which several tests of one process share.
fn leave(cgroup: &Cgroup) {
    cgroup.destroy(SOON).unwrap();
    assert!(cgroup.location.dirs().all(|dir| !dir.exists()));
    cgroup.destroy(SOON).unwrap();
}

fn only_char_1_3() -> Vec<DeviceRule> {
    let rule = |allow, kind, major, minor| DeviceRule {
        allow,
        kind,
        major,
        minor,
        read: true,
        write: true,
        mknod: true,
    };
    vec![rule(false, DeviceKind::All, None, None), rule(true, DeviceKind::Char, Some(1), Some(3))]
}

#[test]
fn v1_limits_hold_and_everything_is_removed() {
    let Some(facts) = real_v1() else { return };
    let mut plan = plan(facts, "life");
    plan.settings = vec![
        setting("memory", "memory.limit_in_bytes", "67108864", SettingMode::Required),
        setting("pids", "pids.max", "7", SettingMode::Required),
        setting("cpuset", "cpuset.cpus", "0", SettingMode::Required),
        setting("hugetlb", "hugetlb.3MB.limit_in_bytes", "0", SettingMode::IfPresent),
    ];
    plan.devices = only_char_1_3();
    let created = create(&plan).unwrap();
    assert!(created.into.is_none());
    let cgroup = Cgroup::open(created.cgroup.location().clone());
    let file = |controller: &str, name: &str| {
        files::read_value(&cgroup.location.v1_dir(controller).unwrap().join(name)).unwrap()
    };
    assert_eq!(file("memory", "memory.limit_in_bytes"), "67108864");
    assert_eq!(file("pids", "pids.max"), "7");
    assert_eq!(file("cpuset", "cpuset.cpus"), "0");
    assert_eq!(file("cpuset", "cpuset.mems"), "0");
    assert_eq!(file("devices", "devices.list"), "c 1:3 rwm");

    let process = Process::sleep();
    cgroup.join(process.pid()).unwrap();
    let own = std::fs::read_to_string(format!("/proc/{}/cgroup", process.pid())).unwrap();
    for dir in &cgroup.location.v1 {
        let line = format!("{}:{}", dir.controllers.join(","), plan.path);
        assert!(own.lines().any(|l| l.ends_with(&line)), "{line} in {own}");
    }
    assert_eq!(cgroup.pids(false).unwrap(), [process.pid()]);
    drop(process);
    leave(&cgroup);
}

#[test]
fn v1_undo_removes_exactly_what_was_made() {
    let Some(facts) = real_v1() else { return };
    let plan = plan(facts, "undo/deep");
    let first = create(&plan).unwrap();
    let dirs: Vec<PathBuf> = first.cgroup.location.dirs().map(Path::to_owned).collect();
    // A second runtime with the same empty cgroup made nothing, so it removes nothing.
    create(&plan).unwrap().undo().unwrap();
    assert!(dirs.iter().all(|dir| dir.exists()));
    first.undo().unwrap();
    assert!(dirs.iter().all(|dir| !dir.exists() && !dir.parent().unwrap().exists()));
}

#[test]
fn v1_refused_value_names_the_field_and_leaves_nothing() {
    let Some(facts) = real_v1() else { return };
    let mut plan = plan(facts, "refused");
    plan.settings = vec![setting("cpuset", "cpuset.cpus", "4000", SettingMode::Required)];
    let dirs: Vec<PathBuf> = Location::of(&plan).dirs().map(Path::to_owned).collect();
    let error = create(&plan).unwrap_err();
    assert!(matches!(error.errno(), Some(Errno::EINVAL | Errno::ERANGE)), "{error}");
    assert!(error.to_string().contains("cpuset.cpus (from /linux/resources/cpuset)"), "{error}");
    assert!(dirs.iter().all(|dir| !dir.exists()));
}

#[test]
fn v1_used_cgroup_is_refused() {
    let Some(facts) = real_v1() else { return };
    let plan = plan(facts, "used");
    let created = create(&plan).unwrap();
    let process = Process::sleep();
    created.cgroup.join(process.pid()).unwrap();
    assert!(matches!(create(&plan), Err(Error::InUse { pids, .. }) if pids == [process.pid()]));
    drop(process);
    leave(&created.cgroup);
}

#[test]
fn v1_memory_and_swap_limits_go_up_and_down() {
    let Some(facts) = real_v1() else { return };
    let created = create(&plan(facts, "memsw")).unwrap();
    let both = |bytes: &str| {
        [
            setting("memory", "memory.limit_in_bytes", bytes, SettingMode::Required),
            setting("memory", "memory.memsw.limit_in_bytes", bytes, SettingMode::Required),
        ]
    };
    for bytes in ["33554432", "67108864", "16777216"] {
        created.cgroup.apply(&both(bytes), None, &[]).unwrap();
        let dir = created.cgroup.location.v1_dir("memory").unwrap();
        assert_eq!(files::read_value(&dir.join("memory.limit_in_bytes")).unwrap(), bytes);
        assert_eq!(files::read_value(&dir.join("memory.memsw.limit_in_bytes")).unwrap(), bytes);
    }
    leave(&created.cgroup);
}

#[test]
fn v1_freeze_kill_and_thaw() {
    let Some(facts) = real_v1() else { return };
    let created = create(&plan(facts, "freeze")).unwrap();
    let cgroup = &created.cgroup;
    let mut process = Process::sleep();
    cgroup.join(process.pid()).unwrap();
    assert_eq!(cgroup.state().unwrap(), FreezeState::Thawed);
    cgroup.freeze().unwrap();
    assert_eq!(cgroup.state().unwrap(), FreezeState::Frozen);
    cgroup.thaw().unwrap();
    assert_eq!(cgroup.state().unwrap(), FreezeState::Thawed);
    cgroup.freeze().unwrap();
    cgroup.kill_all(nix::libc::SIGKILL).unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&process.wait()), Some(nix::libc::SIGKILL));
    leave(cgroup);
}

#[test]
fn v1_kill_all_reaches_a_tree_that_forks() {
    let Some(facts) = real_v1() else { return };
    let created = create(&plan(facts, "fork")).unwrap();
    let cgroup = &created.cgroup;
    let gate = "read _ < /proc/self/fd/0; while :; do (sleep 100 & sleep 0.001) & sleep 0.005; done";
    let mut child = std::process::Command::new("sh")
        .args(["-c", gate])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    cgroup.join(child.id().cast_signed()).unwrap();
    drop(child.stdin.take());
    while cgroup.pids(true).unwrap().len() < 10 {
        wait::pause(Duration::from_millis(5));
    }
    cgroup.kill_all(nix::libc::SIGKILL).unwrap();
    child.wait().unwrap();
    leave(cgroup);
}

#[test]
fn v1_destroy_of_a_used_cgroup_names_who_is_inside() {
    let Some(facts) = real_v1() else { return };
    let created = create(&plan(facts, "stuck")).unwrap();
    let process = Process::sleep();
    created.cgroup.join(process.pid()).unwrap();
    let error = created.cgroup.destroy(Duration::from_millis(30)).unwrap_err();
    assert!(error.to_string().contains(&format!("{} (sleep, state", process.pid())), "{error}");
    drop(process);
    leave(&created.cgroup);
}

#[test]
fn v1_destroy_takes_nested_cgroups_and_waits_for_the_last_process() {
    let Some(facts) = real_v1() else { return };
    let created = create(&plan(facts, "nested")).unwrap();
    let cgroup = &created.cgroup;
    for dir in cgroup.location.dirs() {
        std::fs::create_dir_all(dir.join("x/y")).unwrap();
    }
    let process = Process::run("sleep", &["0.2"]);
    cgroup.join_sub(process.pid(), &[(Some(vec!["memory".into()]), "/x/y".into())]).unwrap();
    let own = std::fs::read_to_string(format!("/proc/{}/cgroup", process.pid())).unwrap();
    assert!(own.lines().any(|line| line.contains(":memory:") && line.ends_with("/x/y")), "{own}");
    assert!(own.lines().any(|line| line.contains(":pids:") && !line.ends_with("/x/y")), "{own}");
    leave(cgroup);
}

#[test]
fn v1_child_enters_by_itself() {
    let Some(facts) = real_v1() else { return };
    let created = create(&plan(facts, "entries")).unwrap();
    let cgroup = &created.cgroup;
    let entries = cgroup.entries().unwrap();
    // A thread of this test may not fork safely; a shell writing to the same files does what `enter` does.
    let doors: Vec<PathBuf> = cgroup.location.v1.iter().map(|dir| dir.dir.join("tasks")).collect();
    let script: String = doors.iter().map(|door| format!("echo 0 > {};", door.display())).collect();
    let (gate, mut shell) = Process::gated(&format!("{script} read _"));
    while cgroup.pids(false).unwrap().is_empty()
        || std::fs::read_to_string(format!("/proc/{}/cgroup", shell.pid()))
            .unwrap()
            .matches("entries")
            .count()
            < doors.len()
    {
        wait::pause(Duration::from_millis(1));
    }
    assert_eq!(cgroup.pids(false).unwrap(), [shell.pid()]);
    drop(gate);
    shell.wait();
    assert!(!entries.is_empty());
    leave(cgroup);
    // The doors outlive the rooms: entering fails with the door named.
    let shut = entries.enter().unwrap_err();
    assert_eq!(shut, Shut { door: 0, errno: Errno::ENODEV });
    assert!(entries.error(shut).to_string().contains(doors[0].to_str().unwrap()));
}

#[test]
fn v2_freeze_kill_and_destroy() {
    let Some(facts) = real_v2_tree() else { return };
    let created = create(&plan(facts, "freeze")).unwrap();
    let cgroup = &created.cgroup;
    assert!(created.into.is_some() && cgroup.into_fd(&[]).unwrap().is_some());
    let mut process = Process::sleep();
    cgroup.join(process.pid()).unwrap();
    assert_eq!(cgroup.pids(true).unwrap(), [process.pid()]);
    cgroup.freeze().unwrap();
    assert_eq!(cgroup.state().unwrap(), FreezeState::Frozen);
    cgroup.thaw().unwrap();
    assert_eq!(cgroup.state().unwrap(), FreezeState::Thawed);
    cgroup.freeze().unwrap();
    cgroup.kill_all(nix::libc::SIGKILL).unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&process.wait()), Some(nix::libc::SIGKILL));
    leave(cgroup);
}

#[test]
fn v2_destroy_waits_for_the_last_process_of_a_nested_cgroup() {
    let Some(facts) = real_v2_tree() else { return };
    let created = create(&plan(facts, "nested")).unwrap();
    let cgroup = &created.cgroup;
    let dir = cgroup.location.v2.clone().unwrap();
    std::fs::create_dir_all(dir.join("x/y")).unwrap();
    let (gate, process) = Process::gated("read _; sleep 0.1");
    cgroup.join_sub(process.pid(), &[(None, "x/y".into())]).unwrap();
    assert_eq!(cgroup.pids(true).unwrap(), [process.pid()]);
    assert!(cgroup.pids(false).unwrap().is_empty());
    let error = cgroup.destroy(Duration::from_millis(20)).unwrap_err();
    assert!(error.to_string().contains(&format!("{} (sh, state", process.pid())), "{error}");
    drop(gate);
    leave(cgroup);
    drop(process);
    assert!(!dir.parent().unwrap().exists());
}

#[test]
fn v2_used_cgroup_is_refused_even_when_only_its_children_are_used() {
    let Some(facts) = real_v2_tree() else { return };
    let plan = plan(facts, "used");
    let created = create(&plan).unwrap();
    std::fs::create_dir(created.cgroup.location.v2.as_ref().unwrap().join("x")).unwrap();
    let process = Process::sleep();
    created.cgroup.join_sub(process.pid(), &[(None, "x".into())]).unwrap();
    assert!(matches!(create(&plan), Err(Error::InUse { pids, .. }) if pids == [process.pid()]));
    drop(process);
    leave(&created.cgroup);
}

#[test]
fn v2_threaded_parent_is_explained() {
    let Some(facts) = real_v2_tree() else { return };
    let mut plan = plan(facts, "threaded");
    let outer = create(&plan).unwrap();
    let dir = outer.cgroup.location.v2.clone().unwrap();
    std::fs::create_dir(dir.join("threads")).unwrap();
    std::fs::write(dir.join("threads/cgroup.type"), "threaded").unwrap();
    plan.path = plan.path.join("container");
    let error = create(&plan).unwrap_err();
    assert!(matches!(&error, Error::NotADomain { kind, .. } if kind == "domain invalid"), "{error}");
    assert!(!dir.join("container").exists());
    std::fs::remove_dir(dir.join("threads")).unwrap();
    leave(&outer.cgroup);
}

#[test]
fn v2_delegation_hands_over_what_the_kernel_names() {
    use std::os::unix::fs::MetadataExt;
    let Some(facts) = real_v2_tree() else { return };
    let mut plan = plan(facts, "delegate");
    plan.delegate_to = Some(12345);
    let created = create(&plan).unwrap();
    let dir = created.cgroup.location.v2.clone().unwrap();
    let owner = |path: PathBuf| std::fs::metadata(path).unwrap().uid();
    assert_eq!(owner(dir.clone()), 12345);
    assert_eq!(owner(dir.join("cgroup.procs")), 12345);
    assert_eq!(owner(dir.join("cgroup.subtree_control")), 12345);
    // The limits stay with the host.
    assert_eq!(owner(dir.join("cgroup.max.depth")), 0);
    leave(&created.cgroup);
}

#[test]
fn v2_controller_that_is_missing_is_explained() {
    let Some(facts) = real_v2_tree() else { return };
    let mut plan = plan(facts, "missing");
    plan.settings = vec![setting("nonesuch", "nonesuch.max", "1", SettingMode::Required)];
    let dir = Location::of(&plan).v2.unwrap();
    let error = create(&plan).unwrap_err().to_string();
    assert!(error.contains("nonesuch controller is not available in"), "{error}");
    assert!(error.contains("does not have it (cgroup.controllers:"), "{error}");
    assert!(!dir.exists() && !dir.parent().unwrap().exists());
}

/// The controllers of the tree, when it is the host's only one and has these; prints why not otherwise.
fn real_controllers(wanted: &[&str]) -> Option<CgroupFacts> {
    let facts = real_v2_tree()?;
    let CgroupFacts::V2(tree) = &facts else { return None };
    if let Some(missing) = wanted.iter().find(|name| !tree.controllers.iter().any(|have| have == *name)) {
        eprintln!("SKIP: needs the {missing} controller in cgroup v2");
        return None;
    }
    Some(facts)
}

fn memory_hog() -> (std::process::ChildStdin, Process) {
    // tail keeps a line without an end in memory.
    Process::gated("read _; head -c 100000000 /dev/zero | tail -n 1 > /dev/null")
}

#[test]
fn v2_limits_hold_and_oom_is_told() {
    let Some(facts) = real_controllers(&["cpu", "memory", "pids", "io", "cpuset"]) else { return };
    let mut plan = plan(facts, "limits/deep");
    plan.settings = vec![
        setting("memory", "memory.max", "16777216", SettingMode::Required),
        setting("memory", "memory.swap.max", "0", SettingMode::IfPresent),
        setting("memory", "memory.oom.group", "1", SettingMode::Required),
        setting("pids", "pids.max", "20", SettingMode::Required),
        setting("cpu", "cpu.max", "50000 100000", SettingMode::Required),
        setting("cpuset", "cpuset.cpus", "0", SettingMode::Required),
        setting("cgroup", "cgroup.max.depth", "3", SettingMode::Required),
    ];
    plan.devices = only_char_1_3();
    let created = create(&plan).unwrap();
    let cgroup = &created.cgroup;
    let dir = cgroup.location.v2.clone().unwrap();
    assert_eq!(files::read_value(&dir.join("cpu.max")).unwrap(), "50000 100000");
    cgroup.apply(&[setting("pids", "pids.max", "21", SettingMode::Required)], Some(&[]), &[]).unwrap();
    let mut watch = cgroup.oom_events().unwrap();
    plan.devices.push(DeviceRule { minor: Some(5), ..plan.devices[1].clone() });
    cgroup.apply(&[], Some(&plan.devices), &[]).unwrap();
    let (gate, mut shell) = memory_hog();
    cgroup.join(shell.pid()).unwrap();
    drop(gate);
    shell.wait();
    let mut events = Vec::new();
    while !events.contains(&OomEvent::Gone) {
        use std::os::fd::AsFd;
        assert!(wait::on_fd(watch.as_fd(), nix::poll::PollFlags::POLLIN, SOON).unwrap(), "{events:?}");
        events.extend(watch.read().unwrap());
    }
    assert!(events.contains(&OomEvent::Oom) && events.contains(&OomEvent::OomKill), "{events:?}");
    let stats = cgroup.stats().unwrap();
    assert_eq!(stats.memory.usage.limit, 16_777_216);
    assert_eq!(stats.pids.limit, 21);
    assert!(stats.cpu.usage.total > 0 && stats.memory.usage.failcnt > 0, "{stats:?}");
    leave(cgroup);
}

#[test]
fn v2_limit_below_the_usage_is_refused_when_asked() {
    let Some(facts) = real_controllers(&["memory"]) else { return };
    let created = create(&plan(facts, "below")).unwrap();
    let process = Process::sleep();
    created.cgroup.join(process.pid()).unwrap();
    let (gate, shell) = Process::gated("read _; x=$(head -c 5000000 /dev/zero | tr '\\0' x); read _");
    created.cgroup.join(shell.pid()).unwrap();
    let mut gate = gate;
    std::io::Write::write_all(&mut gate, b"\n").unwrap();
    let dir = created.cgroup.location.v2.clone().unwrap();
    while files::read_value(&dir.join("memory.current")).unwrap().parse::<u64>().unwrap() < 4_000_000 {
        wait::pause(Duration::from_millis(5));
    }
    let wish = setting("memory", "memory.max", "1000000", SettingMode::NotBelowUsage);
    assert!(matches!(created.cgroup.apply(&[wish], None, &[]), Err(Error::BelowUsage { .. })));
    drop((gate, shell, process));
    leave(&created.cgroup);
}

#[test]
fn systemd_unit_from_start_to_stop() {
    if !Path::new("/run/systemd/system").exists() {
        return eprintln!("SKIP: needs systemd as init");
    }
    let Some(facts) = real_controllers(&["memory", "pids"]) else { return };
    let unit = format!("caisson-test-{}.scope", std::process::id());
    let mut plan = plan(facts, "systemd");
    plan.path = caisson_plan::ids::CgroupPath::new(format!("/system.slice/{unit}"));
    let limit = |bytes| UnitProperty {
        name: "MemoryMax".into(),
        value: caisson_plan::step::cgroup::UnitValue::U64(bytes),
    };
    plan.driver = CgroupDriver::Systemd {
        unit,
        slice: "system.slice".into(),
        user: false,
        properties: vec![limit(64 << 20)],
    };
    plan.settings = vec![setting("pids", "pids.max", "7", SettingMode::Required)];
    plan.devices = only_char_1_3();
    let created = create(&plan).unwrap();
    let process = Process::sleep();
    created.cgroup.join(process.pid()).unwrap();
    let cgroup = Cgroup::open(created.cgroup.location().clone());
    let dir = cgroup.location.v2.clone().unwrap();
    assert_eq!(cgroup.pids(true).unwrap(), [process.pid()]);
    assert_eq!(files::read_value(&dir.join("memory.max")).unwrap(), (64 << 20).to_string());
    assert_eq!(files::read_value(&dir.join("pids.max")).unwrap(), "7");
    cgroup.apply(&[], None, &[limit(32 << 20)]).unwrap();
    assert_eq!(files::read_value(&dir.join("memory.max")).unwrap(), (32 << 20).to_string());
    // A second process, as exec has it, goes straight into the cgroup.
    let second = Process::sleep();
    cgroup.join(second.pid()).unwrap();
    assert_eq!(cgroup.pids(true).unwrap().len(), 2);
    cgroup.freeze().unwrap();
    cgroup.kill_all(nix::libc::SIGKILL).unwrap();
    drop((process, second));
    leave(&cgroup);
    // The name is free again.
    let created = create(&plan).unwrap();
    let third = Process::sleep();
    created.cgroup.join(third.pid()).unwrap();
    drop(third);
    leave(&created.cgroup);
}

/// As an ordinary user whose systemd manager runs: the lab's `as-tester`.
#[test]
fn systemd_unit_of_a_user() {
    let uid = nix::unistd::geteuid();
    let manager = format!("/sys/fs/cgroup/user.slice/user-{uid}.slice/user@{uid}.service");
    if uid.is_root() || !Path::new(&manager).exists() {
        return eprintln!("SKIP: needs an ordinary user with a systemd manager");
    }
    let unit = format!("caisson-test-{}.scope", std::process::id());
    let tree = caisson_plan::facts::V2Tree {
        mount: caisson_plan::ids::HostPath::new("/sys/fs/cgroup"),
        own: caisson_plan::ids::CgroupPath::new("/"),
        controllers: vec!["memory".into(), "pids".into()],
    };
    let mut plan = plan(CgroupFacts::V2(tree), "user");
    let path = format!("/user.slice/user-{uid}.slice/user@{uid}.service/app.slice/{unit}");
    plan.path = caisson_plan::ids::CgroupPath::new(path);
    plan.driver =
        CgroupDriver::Systemd { unit, slice: "app.slice".into(), user: true, properties: Vec::new() };
    plan.settings = vec![setting("memory", "memory.max", "33554432", SettingMode::Required)];
    let created = create(&plan).unwrap();
    let process = Process::sleep();
    created.cgroup.join(process.pid()).unwrap();
    let cgroup = Cgroup::open(created.cgroup.location().clone());
    let dir = cgroup.location.v2.clone().unwrap();
    assert_eq!(files::read_value(&dir.join("memory.max")).unwrap(), "33554432");
    // From another unit: only the manager may move it.
    let second = Process::sleep();
    cgroup.join(second.pid()).unwrap();
    let mut expected = [process.pid(), second.pid()];
    expected.sort_unstable();
    assert_eq!(cgroup.pids(true).unwrap(), expected);
    cgroup.freeze().unwrap();
    cgroup.thaw().unwrap();
    cgroup.kill_all(nix::libc::SIGTERM).unwrap();
    drop((process, second));
    leave(&cgroup);
}

#[test]
fn v2_without_rights_is_no_error_when_optional() {
    let mount = Path::new("/sys/fs/cgroup");
    if nix::unistd::geteuid().is_root() || !mount.join("cgroup.controllers").exists() {
        return eprintln!("SKIP: needs an ordinary user and cgroup v2");
    }
    let tree = caisson_plan::facts::V2Tree {
        mount: caisson_plan::ids::HostPath::new(mount),
        own: caisson_plan::ids::CgroupPath::new("/"),
        controllers: vec!["memory".into()],
    };
    let mut plan = plan(CgroupFacts::V2(tree), "optional");
    let error = create(&plan).unwrap_err();
    assert!(error.is_permission() && error.to_string().contains("subtree delegated"), "{error}");
    plan.optional = true;
    let created = create(&plan).unwrap();
    assert!(created.cgroup.location().is_empty() && created.into.is_none());
    created.cgroup.join(1).unwrap();
    created.cgroup.destroy(SOON).unwrap();
}

#[test]
fn a_unit_not_yet_started_has_no_doors() {
    let mut plan = plan(CgroupFacts::None, "x");
    plan.driver = CgroupDriver::Systemd {
        unit: "x.scope".into(),
        slice: "system.slice".into(),
        user: false,
        properties: Vec::new(),
    };
    let created = create(&plan).unwrap();
    assert!(created.cgroup.entries().unwrap().is_empty());
    assert_eq!(created.cgroup.location().systemd.as_ref().unwrap().unit, "x.scope");
}

#[test]
fn sub_cgroups_cannot_leave_the_container() {
    let cgroup = Cgroup::open(Location { v2: Some("/sys/fs/cgroup/x".into()), ..Location::default() });
    assert!(matches!(cgroup.join_sub(1, &[(None, "../y".into())]), Err(Error::Escapes { .. })));
    assert!(matches!(
        cgroup.join_sub(1, &[(Some(vec!["cpu".into()]), "y".into())]),
        Err(Error::NoHierarchy { .. })
    ));
}

#[test]
fn the_root_is_never_a_container() {
    let mut plan = plan(CgroupFacts::None, "x");
    plan.path = caisson_plan::ids::CgroupPath::new("/a/..");
    assert!(matches!(create(&plan), Err(Error::IsRoot)));
}

#[test]
fn a_location_survives_state_json() {
    let location = Location {
        v1: vec![V1Dir {
            controllers: vec!["cpu".into(), "cpuacct".into()],
            dir: "/sys/fs/cgroup/cpu/a".into(),
        }],
        v2: None,
        systemd: None,
        parents: vec!["/sys/fs/cgroup/cpu/p".into()],
    };
    let text = serde_json::to_string(&location).unwrap();
    assert_eq!(serde_json::from_str::<Location>(&text).unwrap(), location);
    assert_eq!(serde_json::from_str::<Location>("{}").unwrap(), Location::default());
}

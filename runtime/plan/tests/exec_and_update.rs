//! `plan_exec`, `plan_update` and `host_support`, by example.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops at what it did not expect"
)]

mod common;

use caisson_plan::facts::HostFacts;
use caisson_plan::problem::Problems;
use caisson_plan::step::namespaces::{ClonePlan, NamespaceKind};
use caisson_plan::step::{Action, IdentityPlan, Plan};
use caisson_plan::{ExecContext, explain, host_support, parse, plan, plan_exec, plan_update};
use oci_spec::runtime::{LinuxResources, Spec};
use serde_json::{Value, json};

fn spec(patch: &Value) -> Spec {
    let mut config = common::json("base.json");
    common::merge(&mut config, patch);
    parse(&serde_json::to_vec(&config).unwrap()).unwrap().spec
}

fn created(spec: &Spec, facts: &HostFacts) -> Plan {
    plan(spec, facts, &common::options(&[])).result.unwrap()
}

fn executed(spec: &Spec, container: &Plan, facts: &HostFacts) -> Plan {
    let process = spec.process().as_ref().unwrap();
    plan_exec(process, &ExecContext::of(container), facts, &common::options(&[])).result.unwrap()
}

fn identity(plan: &Plan) -> IdentityPlan {
    let found = plan.steps.iter().find_map(|step| match &step.action {
        Action::Identity(identity) => Some(identity.clone()),
        _ => None,
    });
    found.expect("a plan makes someone of its process")
}

fn clone(plan: &Plan) -> ClonePlan {
    let found = plan.steps.iter().find_map(|step| match &step.action {
        Action::Clone(clone) => Some(clone.clone()),
        _ => None,
    });
    found.expect("a plan makes a process")
}

/// CVE-2025-27612: a second path from config to rights differed from the first.
#[test]
fn exec_ends_as_the_same_user_as_create() {
    let process = json!({"user": {"uid": 5, "gid": 6, "additionalGids": [7]}, "noNewPrivileges": true,
        "capabilities": {"bounding": ["CAP_CHOWN", "CAP_KILL"], "permitted": ["CAP_KILL"], "effective": ["CAP_KILL"]}});
    let seccomp = json!({"defaultAction": "SCMP_ACT_ALLOW"});
    let spec = spec(&json!({"process": process, "linux": {"seccomp": seccomp}}));
    let container = created(&spec, &common::v1());
    assert_eq!(identity(&executed(&spec, &container, &common::v1())), identity(&container));
}

/// CVE-2022-29162, CVE-2022-27650: inheritable capabilities that no one had asked for.
#[test]
fn exec_adds_no_inheritable_capability() {
    let spec = spec(&json!({}));
    let container = created(&spec, &common::v1());
    let capabilities = identity(&executed(&spec, &container, &common::v1())).capabilities.unwrap();
    assert_eq!((capabilities.inheritable, capabilities.ambient), (0, 0));
}

#[test]
fn exec_enters_every_namespace_of_the_container() {
    let spec = spec(&json!({"linux": {"namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "uts"},
        {"type": "cgroup"}, {"type": "time"}, {"type": "network", "path": "/run/netns/a"}]}}));
    let container = created(&spec, &common::v1());
    let clone = clone(&executed(&spec, &container, &common::v1()));
    let expected = [
        NamespaceKind::Pid,
        NamespaceKind::Network,
        NamespaceKind::Uts,
        NamespaceKind::Mount,
        NamespaceKind::Cgroup,
        NamespaceKind::Time,
    ];
    assert_eq!((clone.enter, clone.create), (expected.to_vec(), Vec::new()));
    // Only a user namespace makes a process in between necessary.
    assert!(!clone.stage);
}

#[test]
fn exec_joins_the_cgroup_at_birth_where_the_kernel_can() {
    let spec = spec(&json!({}));
    let exec_on = |facts: HostFacts| executed(&spec, &created(&spec, &facts), &facts);
    let joins = |plan: &Plan| plan.steps.iter().any(|step| step.action == Action::EnterCgroup);
    let (v1, v2) = (exec_on(common::v1()), exec_on(common::v2()));
    assert_eq!((clone(&v1).into_cgroup, joins(&v1)), (false, true));
    assert_eq!((clone(&v2).into_cgroup, joins(&v2)), (true, false));
}

#[test]
fn exec_keeps_personality_memory_policy_and_landlock_of_the_container() {
    let spec = spec(&json!({"annotations": {"dev.caisson.landlock": "ro=/usr"},
        "linux": {"personality": {"domain": "LINUX32"}, "memoryPolicy": {"mode": "MPOL_LOCAL"}}}));
    let container = created(&spec, &common::v1());
    let lasting = |plan: &Plan| -> Vec<Action> {
        let lasts = |action: &Action| {
            matches!(action, Action::Personality(_) | Action::MemoryPolicy(_) | Action::Landlock(_))
        };
        plan.steps.iter().map(|step| step.action.clone()).filter(lasts).collect()
    };
    assert_eq!(lasting(&container).len(), 3);
    assert_eq!(lasting(&executed(&spec, &container, &common::v1())), lasting(&container));
}

#[test]
fn exec_reports_unmapped_user_at_the_process() {
    let maps = json!([{"containerID": 0, "hostID": 100_000, "size": 10}]);
    let namespaces = json!([{"type": "user"}, {"type": "mount"}, {"type": "uts"}]);
    let linux = json!({"namespaces": namespaces, "uidMappings": maps, "gidMappings": maps});
    let container = created(&spec(&json!({"linux": linux})), &common::v1());
    let other = spec(&json!({"process": {"user": {"uid": 10, "gid": 0}}}));
    let process = other.process().as_ref().unwrap();
    let planned = plan_exec(process, &ExecContext::of(&container), &common::v1(), &common::options(&[]));
    let problems = planned.result.unwrap_err();
    assert_eq!(problems.to_string(), "/user/uid: id 10 is not mapped in the container's user namespace");
}

#[test]
fn exec_table_is_as_reviewed() {
    let spec = spec(&json!({}));
    let plan = executed(&spec, &created(&spec, &common::v1()), &common::v1());
    let expected = "\
 #  who      action                                         from
 1  runtime  clone     enter pid network ipc uts mount cgroup  /
 2  runtime  await     created                              /
 3  init     cgroup    enter                                /
";
    let table = explain::table(&plan, &Problems::default());
    let verbs = |text: &str| -> Vec<String> {
        text.lines()
            .skip(1)
            .map(|line| line.split_whitespace().skip(1).take(3).collect::<Vec<_>>().join(" "))
            .collect()
    };
    assert_eq!(verbs(&table)[..3], verbs(expected)[..]);
    assert_eq!(
        verbs(&table)[3..],
        [
            "init session new",
            "init keyring _ses.demo",
            "init chdir /",
            "init find sh",
            "init signal created",
            "init rlimits RLIMIT_NOFILE=1024:1024",
            "init become 0:0,",
            "init execve sh"
        ]
    );
}

fn resources(value: Value) -> LinuxResources {
    serde_json::from_value(value).unwrap()
}

#[test]
fn update_leaves_devices_alone_unless_given() {
    let wanted = resources(json!({"memory": {"limit": 1000}, "pids": {"limit": 7}}));
    let update = plan_update(&wanted, &common::v2()).unwrap();
    let written: Vec<String> =
        update.settings.iter().map(|setting| format!("{}={}", setting.file, setting.value)).collect();
    assert_eq!(written, ["memory.max=1000", "pids.max=7"]);
    assert_eq!(update.devices, None);
    let names: Vec<&str> = update.properties.iter().map(|property| property.name.as_str()).collect();
    assert_eq!(names, ["MemoryMax", "TasksMax"]);
}

#[test]
fn update_reports_every_problem() {
    let wanted = resources(json!({"memory": {"swappiness": 5}, "cpu": {"realtimeRuntime": 5}}));
    let problems = plan_update(&wanted, &common::v2()).unwrap_err();
    let pointers: Vec<&str> = problems.list().iter().map(|problem| problem.pointer.as_str()).collect();
    assert_eq!(pointers, ["/cpu/realtimeRuntime", "/memory/swappiness"]);
}

#[test]
fn host_support_names_what_an_old_kernel_lacks() {
    let spec = spec(&json!({"linux": {"namespaces": [{"type": "time"}]},
        "mounts": [{"destination": "/a", "type": "overlay"}, {"destination": "/b", "type": "bind", "options": ["idmap"]}]}));
    let facts = HostFacts { kernel: (5, 4), filesystems: vec!["tmpfs".to_owned()], ..common::v1() };
    let problems = host_support(&spec, &facts);
    let pointers: Vec<&str> = problems.list().iter().map(|problem| problem.pointer.as_str()).collect();
    assert_eq!(pointers, ["", "/linux/namespaces/0", "/mounts/0/type", "/mounts/1"]);
    assert!(host_support(&spec, &common::v1()).list().is_empty());
}

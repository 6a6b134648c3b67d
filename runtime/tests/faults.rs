//! Fails the executor at every step in turn and demands that the host is as it was.
//!
//! ```text
//! faults ──(private mount and network namespace)──▶ faults, the judge
//!                                                     └─ CAISSON_FAULTS_AT=n ──▶ faults, being `caisson` that fails at step n
//! ```
//! The program is its own runtime under test: the failing step is an argument of the library, not of the `caisson`
//! program, so no release can be made to fail. The judge is a subreaper: whatever a failed runtime leaves behind
//! becomes its child, and is seen.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use caisson_integration_tests::prelude::*;
use caisson_integration_tests::wait::eventually_equals;
use caisson_integration_tests::{cgroup, os};

/// Set for the runtime: index of the step that fails, or `none`.
const AT: &str = "CAISSON_FAULTS_AT";
/// More steps than any plan has: the loop must find the end of the plan long before.
const MANY: usize = 200;

fn main() -> ExitCode {
    if let Ok(text) = std::env::var(AT) {
        return caisson::report::run_failing_at(std::env::args_os(), text.parse().ok());
    }
    if os::effective_uid() != 0 {
        println!("skipped: faults: needs root");
        return ExitCode::SUCCESS;
    }
    let program = std::env::current_exe().expect("find our own program");
    if std::env::var_os("RUNTIME").as_ref() != Some(&program.clone().into_os_string()) {
        return in_private_namespaces(&program);
    }
    nix::sys::prctl::set_child_subreaper(true).expect("become a subreaper");
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    for (name, trial) in TRIALS {
        if wanted.is_empty() || wanted.iter().any(|part| name.contains(part.as_str())) {
            let begun = std::time::Instant::now();
            let steps = trial();
            println!("faults::{name}: failed at each of {steps} steps ({:.1?})", begun.elapsed());
        }
    }
    ExitCode::SUCCESS
}

/// Moved devices and mounts that a failing undo might leave are then nobody else's.
fn in_private_namespaces(program: &PathBuf) -> ExitCode {
    let status = Command::new("unshare")
        .args(["--net", "--mount", "--propagation", "private", "--"])
        .arg(program)
        .args(std::env::args_os().skip(1))
        .env("RUNTIME", program)
        .status()
        .expect("run unshare");
    if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

type Trial = (&'static str, fn() -> usize);

const TRIALS: &[Trial] = &[
    ("default", || run_and_create(Bundle::sleeper)),
    ("user_namespace", || run_and_create(|| Bundle::sleeper().user_namespace())),
    ("hooks", || run_and_create(hooked)),
    ("terminal", terminal),
    ("everything", || run_and_create(everything)),
    ("net_device", || {
        run_and_create(|| Bundle::sleeper().set("/linux/netDevices", json!({"faulty0": {"name": "eth0"}})))
    }),
    ("seccomp_listener", seccomp_listener),
    ("overlay", || run_and_create(overlay)),
    ("joined_namespaces", joined_namespaces),
    ("idmapped_mount", || run_and_create(idmapped)),
    ("exec", exec),
];

/// All that a failed runtime could leave.
#[derive(Clone, Debug, PartialEq)]
struct Traces {
    children: BTreeSet<String>,
    cgroups: Vec<PathBuf>,
    devices: String,
}

impl Traces {
    fn take(c: &Container) -> Self {
        let own = std::process::id();
        let children =
            std::fs::read_to_string(format!("/proc/{own}/task/{own}/children")).expect("our children");
        let ip = Command::new("ip").args(["-o", "addr"]).output().expect("run ip");
        Self {
            children: children.split_whitespace().filter(|pid| !reaped(pid)).map(describe).collect(),
            // The parent too: it is made along, and goes along.
            cgroups: cgroup::directories(&format!("/{}", c.id())),
            devices: devices_without_indices(&String::from_utf8_lossy(&ip.stdout)),
        }
    }
}

/// A dead orphan is nobody's trace but ours to bury.
fn reaped(pid: &str) -> bool {
    use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
    let number = nix::unistd::Pid::from_raw(pid.parse().expect("a pid"));
    !matches!(waitpid(number, Some(WaitPidFlag::WNOHANG)), Ok(WaitStatus::StillAlive))
}

fn describe(pid: &str) -> String {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    format!("{pid} {} {}", read("comm").trim(), read("cmdline").replace('\0', " "))
}

/// A device that comes back from another namespace may have another index.
fn devices_without_indices(text: &str) -> String {
    let mut lines: Vec<_> =
        text.lines().filter_map(|line| line.split_once(": ").map(|(_, rest)| rest)).collect();
    lines.sort_unstable();
    lines.join("\n")
}

/// One container, before anything failed.
struct Host {
    snapshot: HostSnapshot,
    traces: Traces,
}

impl Host {
    fn take(c: &Container) -> Self {
        Self { snapshot: HostSnapshot::take(c), traces: Traces::take(c) }
    }

    #[track_caller]
    fn assert_unchanged(&self, c: &Container) {
        self.snapshot.assert_unchanged(c);
        eventually_equals("what is left", &self.traces, || Traces::take(c));
    }
}

fn failing_at(c: &Container, step: usize) -> Runtime {
    c.runtime().clone().env(AT, &step.to_string())
}

fn container(bundle: Bundle) -> Container {
    bundle.container().with(|runtime| runtime.env(AT, "none"))
}

/// The steps of the plan as `explain` shows them: actor and pointer of each.
fn planned(c: &Container) -> Vec<(String, String)> {
    let plan = c.runtime().call(&["explain", "--json", "--bundle", &c.bundle()]).ok().json();
    let steps = plan["plan"]["steps"].as_array().expect("the steps of a plan");
    let text = |value: &Value| value.as_str().expect("a string").to_owned();
    steps.iter().map(|step| (text(&step["actor"]), text(&step["from"]))).collect()
}

/// `run` against the plan that `explain` shows, `create` and `start` against what they say themselves.
fn run_and_create(bundle: impl Fn() -> Bundle) -> usize {
    run(&container(bundle())) + create(&container(bundle()), &[])
}

/// The device of the plan, on; its predecessor may have ended with a container's namespace, which takes a moment.
fn make_device(c: &Container) {
    if !c.scratch().read("bundle/config.json").contains("faulty0") {
        return;
    }
    let ip = |line: &str| Command::new("ip").args(line.split(' ')).output().expect("run ip").status.success();
    ip("link del faulty1");
    eventually("a new pair of devices", || ip("link add faulty0 type veth peer name faulty1").then_some(()));
    assert!(ip("addr add 192.0.2.7/24 dev faulty0") && ip("link set faulty0 up"));
}

fn run(c: &Container) -> usize {
    make_device(c);
    let steps = planned(c);
    warm(c, &[]);
    make_device(c);
    let host = Host::take(c);
    for (index, (actor, from)) in steps.iter().enumerate() {
        let out = failing_at(c, index).call(&["run", "--bundle", &c.bundle(), c.id()]);
        let said = message(index, steps.len(), actor, from);
        assert!(out.code == 1 && out.stderr.contains(&said), "wanted {said:?}: {out}");
        host.assert_unchanged(c);
    }
    steps.len()
}

fn message(index: usize, total: usize, actor: &str, from: &str) -> String {
    let from = if from.is_empty() { String::new() } else { format!(" (from {from})") };
    format!("step {}/{total}, in {actor}: fail on purpose{from}", index + 1)
}

/// A whole life, so that caches are filled and devices have settled.
fn warm(c: &Container, options: &[&str]) {
    c.create_with(options).ok();
    c.verb("delete", &["--force"]).ok();
}

fn create(c: &Container, options: &[&str]) -> usize {
    make_device(c);
    warm(c, options);
    make_device(c);
    let host = Host::take(c);
    let mut total = 0;
    for index in 0..MANY {
        let mut args = vec!["create", "--bundle"];
        let bundle = c.bundle();
        args.push(&bundle);
        args.extend(options);
        args.push(c.id());
        let runtime = failing_at(c, index);
        let mut out = runtime.call(&args);
        // The wait for `start` itself can fail when `create` has just left: then nobody was there to be told.
        let created = out.code == 0;
        if created {
            // The step comes after `start`: its caller is told, and the container is left to `delete`.
            out = runtime.call(&["start", c.id()]);
            let status = if out.code == 0 { "running" } else { "stopped" };
            eventually("the container's end", || (c.status() == status).then_some(()));
            c.verb("delete", &["--force"]).ok();
        }
        if out.code == 0 {
            host.assert_unchanged_but_devices(c);
            assert_eq!(index, total, "the last step of the plan is the last that can fail");
            return total;
        }
        if !(created && out.stderr.contains("cannot start it: it is stopped")) {
            total = total_of(&out, index);
        }
        if created {
            host.assert_unchanged_but_devices(c);
            make_device(c);
        } else {
            host.assert_unchanged(c);
        }
    }
    panic!("a plan of more than {MANY} steps");
}

impl Host {
    /// After a whole life: a virtual device ends with the namespace it is in.
    #[track_caller]
    fn assert_unchanged_but_devices(&self, c: &Container) {
        self.snapshot.assert_unchanged(c);
        let but_devices = || Traces { devices: self.traces.devices.clone(), ..Traces::take(c) };
        eventually_equals("what is left", &self.traces, but_devices);
    }
}

/// Checks `step I/N, in WHO: fail on purpose` and gives N.
#[track_caller]
fn total_of(out: &Output, index: usize) -> usize {
    assert!(out.stderr.contains(": fail on purpose"), "step {index}: {out}");
    let start = format!("step {}/", index + 1);
    let (_, rest) = out.stderr.split_once(&start).unwrap_or_else(|| panic!("no {start:?}: {out}"));
    let (total, rest) = rest.split_once(',').expect("a comma after the number of steps");
    assert!(rest.starts_with(" in runtime: ") || rest.starts_with(" in init: "), "{out}");
    total.parse().expect("the number of steps")
}

fn hooked() -> Bundle {
    let mut bundle = Bundle::sleeper();
    for kind in ["prestart", "createRuntime", "createContainer", "poststart", "poststop"] {
        bundle = bundle.hook(kind, kind, "cat >/dev/null");
    }
    bundle.set("/hooks/startContainer", json!([{"path": "/bin/true"}]))
}

/// Sections that the other bundles lack.
fn everything() -> Bundle {
    let data = Bundle::sleeper();
    let host = data.scratch().dir("data");
    data.bind(&host, "/mnt", &["rbind", "ro"])
        .mount("/tmp", "tmpfs", "tmpfs", &["tmpcopyup"])
        .namespace("time", None)
        .namespace("cgroup", None)
        .set("/linux/timeOffsets", json!({"monotonic": {"secs": 1000}}))
        .set("/linux/sysctl", json!({"net.ipv4.ip_forward": "1"}))
        .set("/linux/rootfsPropagation", json!("slave"))
        .set("/linux/personality", json!({"domain": "LINUX"}))
        .set("/linux/resources/pids", json!({"limit": 100}))
        .set("/linux/resources/memory", json!({"limit": 100_000_000}))
        .set("/linux/devices", json!([{"path": "/dev/extra", "type": "c", "major": 1, "minor": 3}]))
        .set("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_ALLOW"}))
        .set("/root/readonly", json!(true))
        .set("/domainname", json!("faults.example"))
        .set("/process/oomScoreAdj", json!(500))
        .set("/process/ioPriority", json!({"class": "IOPRIO_CLASS_BE", "priority": 5}))
        .set("/process/scheduler", json!({"policy": "SCHED_BATCH", "nice": 3}))
        .set("/process/execCPUAffinity", json!({"initial": "0", "final": "0-1"}))
        .set("/process/user/umask", json!(18))
        .set("/process/cwd", json!("/tmp/made"))
}

fn overlay() -> Bundle {
    let bundle = Bundle::sleeper();
    let lower = bundle.scratch().join("bundle/rootfs");
    let empty = bundle.scratch().dir("bundle/empty");
    bundle.set("/root/path", json!(empty)).set(
        "/annotations",
        json!({"dev.caisson.rootfs.lower": lower, "dev.caisson.rootfs.ephemeral": "true"}),
    )
}

fn idmapped() -> Bundle {
    let bundle = Bundle::sleeper().user_namespace();
    let host = bundle.scratch().dir("data");
    bundle.bind(&host, "/mnt", &["bind", "idmap"])
}

fn terminal() -> usize {
    let bundle = Bundle::sleeper().set("/process/terminal", json!(true));
    let socket = FdSocket::bind(&bundle.scratch().join("console.sock"));
    create(&container(bundle), &["--console-socket", socket.arg()])
}

fn seccomp_listener() -> usize {
    let bundle = Bundle::sleeper();
    let socket = FdSocket::bind(&bundle.scratch().join("agent.sock"));
    let seccomp = json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": socket.arg(),
        "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]});
    create(&container(bundle.set("/linux/seccomp", seccomp)), &[])
}

/// A process whose namespaces are joined, ended with the value.
struct Holder(std::process::Child);

impl Drop for Holder {
    fn drop(&mut self) {
        self.0.kill().and_then(|()| self.0.wait()).expect("end our own child");
    }
}

fn joined_namespaces() -> usize {
    let words = ["--net", "--ipc", "--uts", "sleep", "1000"];
    let holder =
        Holder(Command::new("unshare").args(words).stdout(Stdio::null()).spawn().expect("run unshare"));
    let pid = holder.0.id();
    let own = std::fs::read_link("/proc/self/ns/uts").expect("our own namespace");
    let theirs = || std::fs::read_link(format!("/proc/{pid}/ns/uts")).ok();
    eventually("unshare", || (theirs()? != own).then_some(()));
    run_and_create(|| {
        let path = |kind: &str| format!("/proc/{pid}/ns/{kind}");
        Bundle::sleeper()
            .unset("/hostname")
            .namespace("network", Some(&path("net")))
            .namespace("ipc", Some(&path("ipc")))
            .namespace("uts", Some(&path("uts")))
    })
}

/// The container that is entered stays as it is, too.
fn exec() -> usize {
    let c = container(Bundle::sleeper().namespace("cgroup", None)).up();
    c.exec(&["true"]).ok();
    let host = Host::take(&c);
    for index in 0..MANY {
        let out = failing_at(&c, index).call(&["exec", c.id(), "true"]);
        host.assert_unchanged(&c);
        assert_eq!(c.status(), "running");
        if out.code == 0 {
            return index;
        }
        assert_eq!(out.code, 255, "{out}");
        assert!(total_of(&out, index) > index);
    }
    panic!("a plan of more than {MANY} steps");
}

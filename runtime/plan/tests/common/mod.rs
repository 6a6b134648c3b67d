//! Hosts written literally, and JSON merge patches (RFC 7396): every test case is a change to one ordinary config.
#![allow(dead_code, reason = "each test program uses its part")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops at what it did not expect"
)]

pub mod fields;

use caisson_plan::facts::{CgroupFacts, HostFacts, V1Hierarchy, V2Tree};
use caisson_plan::ids::{CgroupPath, ContainerId, HostPath};
use caisson_plan::options::{CgroupManager, Command, Options, Rootless};
use serde_json::Value;

/// Root on a v1 host with everything the kernel can have.
pub fn v1() -> HostFacts {
    let hierarchy = |controllers: &[&str], directory: &str| V1Hierarchy {
        controllers: controllers.iter().map(ToString::to_string).collect(),
        mount: HostPath::new(format!("/sys/fs/cgroup/{directory}")),
        own: CgroupPath::new("/"),
    };
    let alone =
        ["cpuset", "memory", "devices", "freezer", "blkio", "pids", "hugetlb", "net_cls", "net_prio", "rdma"];
    let mut hierarchies =
        vec![hierarchy(&["cpu", "cpuacct"], "cpu,cpuacct"), hierarchy(&["name=systemd"], "systemd")];
    hierarchies.extend(alone.map(|name| hierarchy(&[name], name)));
    HostFacts {
        kernel: (6, 18),
        euid: 0,
        egid: 0,
        in_userns: false,
        capabilities: 0x1ff_ffff_ffff,
        last_cap: 40,
        cgroups: CgroupFacts::V1 { hierarchies, unified: None },
        systemd: false,
        apparmor: false,
        selinux: false,
        landlock_abi: 6,
        resctrl: None,
        newuidmap: None,
        newgidmap: None,
        filesystems: Vec::new(),
    }
}

fn tree(controllers: &[&str], mount: &str, own: &str) -> V2Tree {
    V2Tree {
        mount: HostPath::new(mount),
        own: CgroupPath::new(own),
        controllers: controllers.iter().map(ToString::to_string).collect(),
    }
}

/// Root on a v2 host.
pub fn v2() -> HostFacts {
    let controllers = ["cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma", "misc"];
    let own = "/system.slice/engine.service";
    HostFacts { cgroups: CgroupFacts::V2(tree(&controllers, "/sys/fs/cgroup", own)), ..v1() }
}

/// v1 with a v2 tree beside it that holds one controller.
pub fn hybrid() -> HostFacts {
    let mut facts = v1();
    if let CgroupFacts::V1 { hierarchies, unified } = &mut facts.cgroups {
        hierarchies.retain(|hierarchy| hierarchy.controllers != ["hugetlb"]);
        *unified = Some(tree(&["hugetlb"], "/sys/fs/cgroup/unified", "/"));
    }
    facts
}

/// An ordinary user with nothing.
pub fn user() -> HostFacts {
    HostFacts { euid: 1000, egid: 1000, capabilities: 0, ..v2() }
}

/// An ordinary user with the helpers of shadow.
pub fn user_with_helpers() -> HostFacts {
    let path = |name: &str| Some(HostPath::new(format!("/usr/bin/{name}")));
    HostFacts { newuidmap: path("newuidmap"), newgidmap: path("newgidmap"), ..user() }
}

/// A host that has all there is beside cgroups.
pub fn complete(facts: HostFacts) -> HostFacts {
    let resctrl = Some(HostPath::new("/sys/fs/resctrl"));
    HostFacts { systemd: true, apparmor: true, selinux: true, resctrl, ..facts }
}

/// The host of a test case.
pub fn host(name: &str) -> HostFacts {
    match name {
        "v1" => v1(),
        "v2" => v2(),
        "hybrid" => hybrid(),
        "user" => user(),
        "user_with_helpers" => user_with_helpers(),
        "complete_v1" => complete(v1()),
        "complete_v2" => complete(v2()),
        "complete_user" => complete(user_with_helpers()),
        "in_userns" => HostFacts { in_userns: true, ..v2() },
        "bare" => HostFacts { cgroups: CgroupFacts::None, landlock_abi: 0, ..v1() },
        _ => panic!("no host named {name}"),
    }
}

/// The options of a test case: a list of words.
pub fn options(words: &[Value]) -> Options {
    let mut options = Options::new(ContainerId::parse("demo").unwrap(), HostPath::new("/bundle"));
    for word in words {
        match word.as_str().unwrap() {
            "run" => options.command = Command::Run,
            "systemd" => options.cgroup_manager = CgroupManager::Systemd,
            "disabled" => options.cgroup_manager = CgroupManager::Disabled,
            "rootless" => options.rootless = Rootless::True,
            "no-pivot" => options.no_pivot = true,
            "no-new-keyring" => options.no_new_keyring = true,
            "console-socket" => options.console_socket = true,
            "listen-fds" => options.listen_fds = 2,
            "preserve-fds" => options.preserve_fds = 3,
            "notify" => options.notify_dir = Some(HostPath::new("/run/caisson/web/notify")),
            word => panic!("no option named {word}"),
        }
    }
    options
}

/// RFC 7396.
pub fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let target = target.as_object_mut().unwrap();
    for (key, value) in patch {
        if value.is_null() {
            target.remove(key);
        } else {
            merge(target.entry(key).or_insert(Value::Null), value);
        }
    }
}

/// A file of the tests directory.
pub fn read(path: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A JSON file of the tests directory.
pub fn json(path: &str) -> Value {
    serde_json::from_str(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

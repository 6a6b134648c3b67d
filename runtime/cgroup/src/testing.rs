//! What the unit tests share: scratch directories, real cgroups, and a process to put in them.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use caisson_plan::facts::{CgroupFacts, V1Hierarchy, V2Tree};
use caisson_plan::ids::{CgroupPath, HostPath, Pointer};
use caisson_plan::step::cgroup::{CgroupDriver, CgroupPlan, Setting, SettingMode};

static COUNTER: AtomicU32 = AtomicU32::new(0);

/// A directory that is removed with its contents.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Self {
        let n = COUNTER.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("caisson-cgroup-{}-{n}-{name}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        Self(dir)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file, making the directories on the way.
    pub(crate) fn file(&self, name: &str, text: &str) -> &Self {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.join(name)).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("remove {}: {error}", self.0.display());
        }
    }
}

/// The host's v1 hierarchies, when this process may make cgroups in them; prints why not otherwise.
pub(crate) fn real_v1() -> Option<CgroupFacts> {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIP: needs root");
        return None;
    }
    let names = ["cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "systemd"];
    let mut hierarchies = Vec::new();
    for name in names {
        let mount = Path::new("/sys/fs/cgroup").join(name);
        if !mount.join("notify_on_release").exists() {
            eprintln!("SKIP: needs the cgroup v1 hierarchy {name} at {}", mount.display());
            return None;
        }
        let controller = if name == "systemd" { "name=systemd" } else { name };
        hierarchies.push(V1Hierarchy {
            controllers: vec![controller.into()],
            mount: HostPath::new(mount),
            own: CgroupPath::new("/"),
        });
    }
    let unified = Path::new("/sys/fs/cgroup/unified/cgroup.controllers").exists().then(|| V2Tree {
        mount: HostPath::new("/sys/fs/cgroup/unified"),
        own: CgroupPath::new("/"),
        controllers: Vec::new(),
    });
    Some(CgroupFacts::V1 { hierarchies, unified })
}

/// Where the host's v2 tree is, when this process may make cgroups in it; prints why not otherwise.
fn v2_mount() -> Option<&'static str> {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIP: needs root");
        return None;
    }
    let mounts = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
    let found = mounts.into_iter().find(|mount| Path::new(mount).join("cgroup.controllers").exists());
    if found.is_none() {
        eprintln!("SKIP: needs a cgroup v2 tree at {}", mounts.join(" or "));
    }
    found
}

/// The host's v2 tree as if it were alone, with the controllers it has.
pub(crate) fn real_v2_tree() -> Option<CgroupFacts> {
    let mount = v2_mount()?;
    let listed = std::fs::read_to_string(Path::new(mount).join("cgroup.controllers")).unwrap();
    Some(CgroupFacts::V2(V2Tree {
        mount: HostPath::new(mount),
        own: CgroupPath::new("/"),
        controllers: listed.split_whitespace().map(str::to_owned).collect(),
    }))
}

/// A cgroup of its own in the host's v2 tree, removed when dropped.
pub(crate) struct V2(PathBuf);

pub(crate) fn real_v2(name: &str) -> Option<V2> {
    let mount = v2_mount()?;
    let n = COUNTER.fetch_add(1, Ordering::Relaxed);
    let dir = Path::new(mount).join(format!("caisson-test-{}-{n}-{name}", std::process::id()));
    std::fs::create_dir(&dir).unwrap();
    Some(V2(dir))
}

impl V2 {
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for V2 {
    fn drop(&mut self) {
        let deadline = crate::wait::Deadline::after(std::time::Duration::from_secs(10));
        if let Err(error) = crate::remove::tree(&self.0, deadline) {
            eprintln!("{error}");
        }
    }
}

/// A plan for a fresh path of this test process.
pub(crate) fn plan(hierarchies: CgroupFacts, name: &str) -> CgroupPlan {
    let n = COUNTER.fetch_add(1, Ordering::Relaxed);
    CgroupPlan {
        driver: CgroupDriver::Cgroupfs,
        path: CgroupPath::new(format!("/caisson-test-{}-{n}/{name}", std::process::id())),
        hierarchies,
        settings: Vec::new(),
        devices: Vec::new(),
        optional: false,
        delegate_to: None,
    }
}

pub(crate) fn setting(controller: &str, file: &str, value: &str, mode: SettingMode) -> Setting {
    Setting {
        controller: controller.into(),
        file: file.into(),
        value: value.into(),
        from: Pointer::new(format!("/linux/resources/{controller}")),
        mode,
    }
}

/// A child process that is killed and reaped when dropped.
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn run(program: &str, args: &[&str]) -> Self {
        let child =
            Command::new(program).args(args).stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        Self(child)
    }

    pub(crate) fn sleep() -> Self {
        Self::run("sleep", &["1000"])
    }

    /// A shell script and the pipe it reads from.
    pub(crate) fn gated(script: &str) -> (std::process::ChildStdin, Self) {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        (child.stdin.take().unwrap(), Self(child))
    }

    pub(crate) fn pid(&self) -> i32 {
        self.0.id().cast_signed()
    }

    pub(crate) fn wait(&mut self) -> std::process::ExitStatus {
        self.0.wait().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.0.kill().and_then(|()| self.0.wait()) {
            eprintln!("end a test process: {error}");
        }
    }
}

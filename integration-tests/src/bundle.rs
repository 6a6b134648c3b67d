//! Builder of an OCI bundle: a busybox root file system and a config.json like the one of `runc spec`, without a terminal
//! and with a writable root.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::{Value, json};

use crate::container::Container;
use crate::scratch::Scratch;

/// A bundle under construction. Each method takes and returns it, so a test reads as one sentence.
#[derive(Debug)]
pub struct Bundle {
    scratch: Scratch,
    config: Value,
}

impl Bundle {
    /// Runs `sh -c script`.
    pub fn sh(script: &str) -> Self {
        Self::of(&["sh", "-c", script])
    }

    /// Runs the given command.
    pub fn of(args: &[&str]) -> Self {
        let scratch = Scratch::new();
        make_rootfs(&scratch.dir("bundle/rootfs"));
        let mut config = default_config();
        config["process"]["args"] = json!(args);
        // Each container below a parent of the test's own, which the test removes.
        config["linux"]["cgroupsPath"] = json!(format!("/{0}/{0}", scratch.name()));
        Self { scratch, config }
    }

    /// A container that stays until it is killed.
    pub fn sleeper() -> Self {
        Self::of(&["sleep", "1000"])
    }

    /// Replaces the command.
    #[must_use]
    pub fn args(self, args: &[&str]) -> Self {
        self.set("/process/args", json!(args))
    }

    /// Changes config.json freely.
    #[must_use]
    pub fn edit(mut self, change: impl FnOnce(&mut Value)) -> Self {
        change(&mut self.config);
        self
    }

    /// Sets the value at a JSON pointer, making the objects on the way; `-` as the last part appends to an array.
    #[must_use]
    pub fn set(mut self, pointer: &str, value: Value) -> Self {
        let mut place = &mut self.config;
        for part in pointer.split('/').skip(1) {
            if part == "-" {
                if place.is_null() {
                    *place = json!([]);
                }
                let items = place.as_array_mut().unwrap_or_else(|| panic!("{pointer}: no array"));
                items.push(Value::Null);
                place = items.last_mut().expect("just pushed");
            } else if let (true, Ok(index)) = (place.is_array(), part.parse::<usize>()) {
                place = &mut place[index];
            } else {
                place = &mut place[part];
            }
        }
        *place = value;
        self
    }

    /// Removes the key at a JSON pointer.
    #[must_use]
    pub fn unset(mut self, pointer: &str) -> Self {
        let (parent, key) = pointer.rsplit_once('/').expect("a JSON pointer");
        if let Some(Value::Object(object)) = self.config.pointer_mut(parent) {
            object.remove(key);
        }
        self
    }

    /// Appends a mount.
    #[must_use]
    pub fn mount(self, destination: &str, kind: &str, source: impl AsRef<Path>, options: &[&str]) -> Self {
        let source = source.as_ref().display().to_string();
        self.set(
            "/mounts/-",
            json!({"destination": destination, "type": kind, "source": source, "options": options}),
        )
    }

    /// Appends a bind mount of a host path.
    #[must_use]
    pub fn bind(self, source: impl AsRef<Path>, destination: &str, options: &[&str]) -> Self {
        let mut all = vec!["rbind"];
        if options.iter().any(|option| *option == "bind" || *option == "rbind") {
            all.clear();
        }
        all.extend(options);
        self.mount(destination, "bind", source, &all)
    }

    /// Removes the default mount on `destination`.
    #[must_use]
    pub fn without_mount(mut self, destination: &str) -> Self {
        let mounts = self.config["mounts"].as_array_mut().expect("mounts");
        mounts.retain(|mount| mount["destination"] != destination);
        self
    }

    /// Removes a namespace by its type.
    #[must_use]
    pub fn without_namespace(mut self, kind: &str) -> Self {
        let namespaces = self.config["linux"]["namespaces"].as_array_mut().expect("namespaces");
        namespaces.retain(|namespace| namespace["type"] != kind);
        self
    }

    /// Adds a new namespace, or joins the one at `path`.
    #[must_use]
    pub fn namespace(self, kind: &str, path: Option<&str>) -> Self {
        let value = match path {
            Some(path) => json!({"type": kind, "path": path}),
            None => json!({"type": kind}),
        };
        self.without_namespace(kind).set("/linux/namespaces/-", value)
    }

    /// A user namespace whose root is the host's `100000`; the root file system is handed to it.
    #[must_use]
    pub fn user_namespace(self) -> Self {
        let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
        give_away(&self.rootfs(), 100_000);
        self.namespace("user", None).set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map)
    }

    /// Appends a hook of one of the six kinds: a shell script on the host.
    #[must_use]
    pub fn hook(self, kind: &str, name: &str, script: &str) -> Self {
        let path = self.scratch.script(&format!("hooks/{name}"), script);
        self.set(
            &format!("/hooks/{kind}/-"),
            json!({"path": path, "args": [name], "env": ["PATH=/usr/bin:/bin"]}),
        )
    }

    /// Writes a file into the root file system.
    #[must_use]
    pub fn file(self, path: &str, content: &str) -> Self {
        self.scratch.file(&format!("bundle/rootfs{path}"), content);
        self
    }

    /// Writes an executable into the root file system.
    #[must_use]
    pub fn program(self, path: &str, content: &str) -> Self {
        let path = self.scratch.script(&format!("bundle/rootfs{path}"), "");
        fs::write(&path, content).unwrap_or_else(|error| panic!("write {}: {error}", path.display()));
        self
    }

    /// Makes a directory in the root file system.
    #[must_use]
    pub fn dir(self, path: &str) -> Self {
        self.scratch.dir(&format!("bundle/rootfs{path}"));
        self
    }

    /// Makes a symbolic link in the root file system, instead of what was there.
    #[must_use]
    pub fn link(self, path: &str, target: &str) -> Self {
        let place = self.rootfs().join(path.trim_start_matches('/'));
        if place.is_dir() {
            fs::remove_dir_all(&place).expect("remove a directory of the new root file system");
        }
        symlink(target, &place).unwrap_or_else(|error| panic!("link {}: {error}", place.display()));
        self
    }

    /// The root file system's directory on the host.
    pub fn rootfs(&self) -> PathBuf {
        self.scratch.join("bundle/rootfs")
    }

    /// The test's directory, for files beside the bundle.
    pub fn scratch(&self) -> &Scratch {
        &self.scratch
    }

    /// The config as it is now.
    pub fn config(&self) -> &Value {
        &self.config
    }

    /// Writes config.json and makes a container of it, not yet created in the runtime.
    pub fn container(self) -> Container {
        let text = serde_json::to_string_pretty(&self.config).expect("a Value is JSON");
        self.scratch.file("bundle/config.json", &text);
        Container::new(self.scratch)
    }
}

/// Changes the owner of a tree to `id` and its group alike, without following links.
pub fn give_away(tree: &Path, id: u32) {
    std::os::unix::fs::lchown(tree, Some(id), Some(id))
        .unwrap_or_else(|error| panic!("chown {}: {error}", tree.display()));
    if tree.is_dir() && !tree.is_symlink() {
        for entry in fs::read_dir(tree).expect("list our own directory") {
            give_away(&entry.expect("list our own directory").path(), id);
        }
    }
}

/// A root file system: busybox with all its applets, users, and the directories that mounts want.
pub fn make_rootfs(rootfs: &Path) {
    for directory in ["bin", "dev", "etc", "proc", "root", "sys", "tmp", "usr", "var/run", "mnt", "home/user"]
    {
        fs::create_dir_all(rootfs.join(directory)).expect("make a directory of the root file system");
    }
    let copied = fs::copy(busybox(), rootfs.join("bin/busybox"));
    copied.unwrap_or_else(|error| panic!("copy {}: {error}", busybox().display()));
    for applet in applets() {
        symlink("busybox", rootfs.join("bin").join(applet)).expect("link an applet");
    }
    symlink("bin", rootfs.join("sbin")).expect("link sbin");
    fs::write(rootfs.join("etc/passwd"), PASSWD).expect("write etc/passwd");
    fs::write(rootfs.join("etc/group"), GROUP).expect("write etc/group");
}

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home/user:/bin/sh\n";
const GROUP: &str = "root:x:0:\nuser:x:1000:\nextra:x:1234:\n";

/// The static busybox on the host.
pub fn busybox() -> PathBuf {
    std::env::var_os("CAISSON_BUSYBOX").map_or_else(|| PathBuf::from("/bin/busybox"), PathBuf::from)
}

fn applets() -> &'static BTreeSet<String> {
    static APPLETS: OnceLock<BTreeSet<String>> = OnceLock::new();
    APPLETS.get_or_init(|| {
        let output = Command::new(busybox()).arg("--list").output();
        let output = output.unwrap_or_else(|error| panic!("run {}: {error}", busybox().display()));
        let names = String::from_utf8_lossy(&output.stdout).into_owned();
        names.lines().filter(|name| *name != "busybox").map(str::to_owned).collect()
    })
}

/// config.json as `runc spec` writes it, but without a terminal and with a writable root.
pub fn default_config() -> Value {
    let caps = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {"bounding": caps, "effective": caps, "permitted": caps},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": true
        },
        "root": {"path": "rootfs", "readonly": false},
        "hostname": "caisson-test",
        "mounts": default_mounts(),
        "linux": {
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
            "namespaces": [
                {"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}
            ],
            "maskedPaths": ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
        }
    })
}

fn default_mounts() -> Value {
    json!([
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
         "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
        {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
         "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
        {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
         "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
        {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
         "options": ["nosuid", "noexec", "nodev"]},
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
         "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]}
    ])
}

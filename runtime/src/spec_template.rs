//! The config.json that `caisson spec` begins with: a shell in all namespaces, few capabilities, the usual mounts.

use serde_json::{Value, json};

/// What the default process may do: enough for a shell and a server on a low port.
const CAPABILITIES: [&str; 3] = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"];

/// The configuration for root.
#[must_use]
pub fn config() -> Value {
    json!({
        "ociVersion": "1.3.0",
        "process": process(),
        "root": { "path": "rootfs", "readonly": true },
        "hostname": "caisson",
        "mounts": mounts(),
        "linux": {
            "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
            "namespaces": [
                { "type": "pid" }, { "type": "network" }, { "type": "ipc" },
                { "type": "uts" }, { "type": "mount" }, { "type": "cgroup" },
            ],
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
                "/sys/devices/virtual/powercap",
            ],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    })
}

fn process() -> Value {
    json!({
        "terminal": true,
        "user": { "uid": 0, "gid": 0 },
        "args": ["sh"],
        "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
        "cwd": "/",
        "capabilities": {
            "bounding": CAPABILITIES, "effective": CAPABILITIES, "permitted": CAPABILITIES,
        },
        "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024 }],
        "noNewPrivileges": true,
    })
}

fn mounts() -> Value {
    let mount = |destination: &str, kind: &str, source: &str, options: &[&str]| json!({ "destination": destination, "type": kind, "source": source, "options": options });
    let closed = ["nosuid", "noexec", "nodev"];
    json!([
        { "destination": "/proc", "type": "proc", "source": "proc" },
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount("/dev/pts", "devpts", "devpts",
              &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
        mount("/dev/shm", "tmpfs", "shm", &[&closed[..], &["mode=1777", "size=65536k"]].concat()),
        mount("/dev/mqueue", "mqueue", "mqueue", &closed),
        mount("/sys", "sysfs", "sysfs", &[&closed[..], &["ro"]].concat()),
        mount("/sys/fs/cgroup", "cgroup", "cgroup", &[&closed[..], &["relatime", "ro"]].concat()),
    ])
}

/// Changes what an ordinary user cannot have: adds a user namespace with the user as root, shares the network,
/// binds /sys, and drops limits and options that name unmapped groups.
pub fn make_rootless(config: &mut Value, uid: u32, gid: u32) {
    let one = |host: u32| json!([{ "containerID": 0, "hostID": host, "size": 1 }]);
    let linux = &mut config["linux"];
    linux["uidMappings"] = one(uid);
    linux["gidMappings"] = one(gid);
    if let Some(namespaces) = linux["namespaces"].as_array_mut() {
        // Without a network namespace of its own there is nobody to give it an interface; the host's works.
        namespaces.retain(|namespace| namespace["type"] != "network");
        namespaces.push(json!({ "type": "user" }));
    }
    if let Some(linux) = linux.as_object_mut() {
        linux.remove("resources");
    }
    for mount in config["mounts"].as_array_mut().into_iter().flatten() {
        if mount["destination"] == "/sys" {
            // sysfs can be mounted only by the owner of the network namespace.
            *mount = json!({ "destination": "/sys", "type": "none", "source": "/sys",
                             "options": ["rbind", "nosuid", "noexec", "nodev", "ro"] });
        }
        if let Some(options) = mount["options"].as_array_mut() {
            // Group 5 (tty) is not mapped.
            options.retain(|option| option != "gid=5");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn template_is_a_valid_configuration() {
        let bytes = serde_json::to_vec(&config()).unwrap();
        let parsed = caisson_plan::parse(&bytes).unwrap();
        assert!(caisson_plan::unknown_keys(&bytes, &parsed.spec).list().is_empty());
    }

    #[test]
    fn rootless_template_names_no_unmapped_group_and_has_a_user_namespace() {
        let mut config = config();
        make_rootless(&mut config, 1000, 1001);
        let text = config.to_string();
        assert!(!text.contains("gid=5"), "{text}");
        assert_eq!(config["linux"]["gidMappings"][0]["hostID"], 1001);
        assert!(text.contains(r#"{"type":"user"}"#), "{text}");
        assert!(!text.contains(r#"{"type":"network"}"#), "{text}");
    }
}

//! The kernel and the machine: system calls, file systems, security modules, KVM.

use std::fs;
use std::path::Path;

use caisson_plan::facts::HostFacts;

use super::{Finding, trial};

/// mount_setattr(2), which every container needs.
const OLDEST: (u32, u32) = (5, 12);

pub(super) fn examine(facts: &HostFacts) -> Vec<Finding> {
    vec![
        version(facts),
        tried("mount API", "mount-api", "fsopen and mount_setattr work", "upgrade to Linux 5.12 or later"),
        tried(
            "idmapped mounts",
            "idmap",
            "work (tried on a tmpfs)",
            "run as root, on Linux 6.3 or later (5.12 for ext4, xfs and btrfs)",
        ),
        tried("overlay", "overlay", "works (tried)", "modprobe overlay, or run as root"),
        tried("overlay, rootless", "rootless-overlay", "works (tried)", "upgrade to Linux 5.11 or later"),
        erofs(facts),
        seccomp(),
        landlock(facts),
        lsm(facts),
    ]
}

/// What only micro-VMs and integrations need.
pub(super) fn machine(facts: &HostFacts) -> Vec<Finding> {
    vec![kvm(), systemd(facts)]
}

fn version(facts: &HostFacts) -> Finding {
    let (major, minor) = facts.kernel;
    let found = format!("Linux {major}.{minor}: clone3, pidfd, openat2 are there");
    if facts.kernel >= OLDEST {
        Finding::good("kernel", found)
    } else {
        let fix = format!("upgrade to Linux {}.{} or later", OLDEST.0, OLDEST.1);
        Finding::fatal("kernel", format!("Linux {major}.{minor}: too old"), fix)
    }
}

fn tried(what: &'static str, trial: &str, works: &str, fix: &str) -> Finding {
    match trial::attempt(trial) {
        Ok(()) => Finding::good(what, works),
        Err(error) => Finding::missing(what, format!("{error:#}"), fix),
    }
}

fn erofs(facts: &HostFacts) -> Finding {
    if facts.filesystems.iter().any(|name| name == "erofs") {
        Finding::good("EROFS", "layers can be image files")
    } else {
        Finding::missing("EROFS", "the kernel does not list it", "modprobe erofs")
    }
}

fn seccomp() -> Finding {
    let actions = fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail").unwrap_or_default();
    if !actions.contains("errno") {
        Finding::missing("seccomp", "filters are not available", "use a kernel with CONFIG_SECCOMP_FILTER")
    } else if actions.contains("user_notif") {
        Finding::good("seccomp", "filters and user notification")
    } else {
        Finding::missing("seccomp", "filters, but no user notification", "upgrade to Linux 5.0 or later")
    }
}

fn landlock(facts: &HostFacts) -> Finding {
    match facts.landlock_abi {
        0 => Finding::missing("Landlock", "not active", "add landlock to the kernel's lsm= list"),
        abi => Finding::good("Landlock", format!("ABI {abi}")),
    }
}

fn lsm(facts: &HostFacts) -> Finding {
    let found = match (facts.apparmor, facts.selinux) {
        (true, _) => "AppArmor is active: profiles are applied",
        (_, true) => "SELinux is active: labels are applied",
        (false, false) => "neither AppArmor nor SELinux: a config that asks for them is refused",
    };
    Finding::good("security module", found)
}

fn kvm() -> Finding {
    if !Path::new("/dev/kvm").exists() {
        return Finding::missing(
            "KVM",
            "/dev/kvm is not there",
            "modprobe kvm-intel or kvm-amd, or enable nested virtualisation",
        );
    }
    if let Err(error) = fs::OpenOptions::new().read(true).write(true).open("/dev/kvm") {
        return Finding::missing(
            "KVM",
            format!("/dev/kvm: {error}"),
            "usermod -aG kvm USER, then log in again",
        );
    }
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flags = cpuinfo.lines().find(|line| line.starts_with("flags")).unwrap_or_default();
    if flags.split(' ').any(|flag| flag == "vmx" || flag == "svm") {
        Finding::good("KVM", "/dev/kvm with hardware virtualisation")
    } else {
        let found = "/dev/kvm, but the CPU shows neither vmx nor svm: a software KVM (PVM), too slow to boot a stock kernel";
        Finding::absent("KVM", found)
    }
}

fn systemd(facts: &HostFacts) -> Finding {
    if !facts.systemd {
        return Finding::absent("systemd", "not PID 1: --cgroup-manager cgroupfs is the one to use");
    }
    if Path::new("/run/dbus/system_bus_socket").exists() || Path::new("/run/systemd/private").exists() {
        Finding::good("systemd", "PID 1, and its bus is there: --systemd-cgroup works")
    } else {
        Finding::missing("systemd", "PID 1, but no D-Bus socket", "apt install dbus")
    }
}

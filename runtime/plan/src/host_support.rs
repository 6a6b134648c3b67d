//! What a config asks for that this host's kernel or this user cannot give, for `validate`.
//!
//! `plan` refuses what it must not pass over in silence; here is what would fail later, in a step.

use oci_spec::runtime::{LinuxNamespaceType, LinuxSeccompFilterFlag, MemoryPolicyModeType, Spec};

use crate::context::{each, sorted};
use crate::facts::HostFacts;
use crate::ids::Pointer;
use crate::mount_options;
use crate::problem::Problems;

const CAP_SYS_RESOURCE: u32 = 24;

/// Compares the config with the host.
#[must_use]
pub fn host_support(spec: &Spec, facts: &HostFacts) -> Problems {
    let mut problems = Problems::default();
    let mut host = Host { facts, problems: &mut problems };
    // mount_setattr(2), by which every mount attribute is set.
    host.kernel((5, 12), "the runtime", &Pointer::default());
    namespaces(spec, &mut host);
    mounts(spec, &mut host);
    limits(spec, &mut host);
    process(spec, &mut host);
    seccomp(spec, &mut host);
    problems
}

struct Host<'a> {
    facts: &'a HostFacts,
    problems: &'a mut Problems,
}

impl Host<'_> {
    fn kernel(&mut self, needed: (u32, u32), what: &str, at: &Pointer) {
        if self.facts.kernel < needed {
            let (major, minor) = self.facts.kernel;
            let message = format!("{what} needs Linux {}.{}, this is {major}.{minor}", needed.0, needed.1);
            self.problems.error(at, message);
        }
    }

    fn filesystem(&mut self, fstype: &str, at: &Pointer) {
        let known = &self.facts.filesystems;
        if !known.is_empty() && !known.iter().any(|name| name == fstype) {
            let hint = format!("modprobe {fstype}");
            self.problems.error_hint(
                at,
                format!("the kernel does not have the file system {fstype} now"),
                hint,
            );
        }
    }

    fn holds(&self, capability: u32) -> bool {
        self.facts.capabilities & (1 << capability) != 0
    }
}

fn namespaces(spec: &Spec, host: &mut Host<'_>) {
    let Some(linux) = spec.linux() else { return };
    for (index, namespace) in each(linux.namespaces()).enumerate() {
        let at = Pointer::new("/linux/namespaces").child(index);
        match namespace.typ() {
            LinuxNamespaceType::Time => host.kernel((5, 6), "a time namespace", &at),
            LinuxNamespaceType::Cgroup => host.kernel((4, 6), "a cgroup namespace", &at),
            _ => {}
        }
    }
}

fn mounts(spec: &Spec, host: &mut Host<'_>) {
    for (index, mount) in each(spec.mounts()).enumerate() {
        let at = Pointer::new("/mounts").child(index);
        let words = mount.options().clone().unwrap_or_default();
        let options = mount_options::read(&words, &at, &mut Problems::default());
        if options.idmap.is_some() || each(mount.uid_mappings()).next().is_some() {
            host.kernel((5, 12), "an idmapped mount", &at);
        }
        if words.iter().any(|word| matches!(word.as_str(), "nosymfollow" | "rnosymfollow")) {
            host.kernel((5, 14), "nosymfollow", &at);
        }
        let fstype = mount.typ().as_deref().unwrap_or("");
        let bind = options.bind.is_some() || options.remount;
        if !bind && !matches!(fstype, "" | "none" | "bind" | "cgroup" | "cgroup2") {
            host.filesystem(fstype, &at.child("type"));
        }
    }
    for (key, _) in spec.annotations().iter().flat_map(sorted) {
        if key.starts_with("dev.caisson.rootfs.") {
            host.filesystem("overlay", &crate::rootfs::annotation_pointer(key));
        }
    }
}

fn limits(spec: &Spec, host: &mut Host<'_>) {
    let Some(resources) = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref()) else { return };
    let at = Pointer::new("/linux/resources/cpu");
    if let Some(cpu) = resources.cpu() {
        if cpu.burst().is_some() {
            host.kernel((5, 14), "CPU burst", &at.child("burst"));
        }
        if cpu.idle().is_some() {
            host.kernel((5, 15), "an idle cgroup", &at.child("idle"));
        }
    }
}

fn process(spec: &Spec, host: &mut Host<'_>) {
    let limited = !host.holds(CAP_SYS_RESOURCE);
    if let Some(process) = spec.process().as_ref().filter(|_| limited) {
        if each(process.rlimits()).next().is_some() {
            let message = "without CAP_SYS_RESOURCE a hard limit can be lowered, not raised";
            host.problems.warn(&Pointer::new("/process/rlimits"), message);
        }
        if process.oom_score_adj().is_some_and(|score| score < 0) {
            let message = "without CAP_SYS_RESOURCE the score cannot be lowered";
            host.problems.warn(&Pointer::new("/process/oomScoreAdj"), message);
        }
    }
    let policy = spec.linux().as_ref().and_then(|linux| linux.memory_policy().as_ref());
    let at = Pointer::new("/linux/memoryPolicy/mode");
    match policy.map(|policy| policy.mode()) {
        Some(MemoryPolicyModeType::MpolPreferredMany) => host.kernel((5, 15), "MPOL_PREFERRED_MANY", &at),
        Some(MemoryPolicyModeType::MpolWeightedInterleave) => {
            host.kernel((6, 9), "MPOL_WEIGHTED_INTERLEAVE", &at);
        }
        _ => {}
    }
}

fn seccomp(spec: &Spec, host: &mut Host<'_>) {
    let Some(seccomp) = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref()) else { return };
    let at = Pointer::new("/linux/seccomp");
    if seccomp.listener_path().is_some() {
        host.kernel((5, 0), "a seccomp agent", &at.child("listenerPath"));
    }
    for (index, flag) in each(seccomp.flags()).enumerate() {
        if *flag == LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv {
            host.kernel((5, 19), "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", &at.child("flags").child(index));
        }
    }
}

//! `caisson features`: what this program and this host can do, as runtime-spec's features.md defines it.
//!
//! True rather than complete by rote: lists come from the code that acts on them, switches from the host.

use caisson_plan::facts::{CgroupFacts, HostFacts};
use caisson_plan::mount_options;
use clap::ArgMatches;
use serde_json::{Value, json};

use super::Verb;
use crate::context::Context;
use crate::{probe, report};

pub(super) const VERB: Verb =
    Verb::new("features", "Print what this runtime supports", |command| command, run);

/// Filter flags that the plan knows, and the first kernel that has each (seccomp(2)).
const FILTER_FLAGS: [(&str, (u32, u32)); 4] = [
    ("SECCOMP_FILTER_FLAG_TSYNC", (3, 17)),
    ("SECCOMP_FILTER_FLAG_LOG", (4, 14)),
    ("SECCOMP_FILTER_FLAG_SPEC_ALLOW", (4, 17)),
    ("SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", (5, 19)),
];

fn run(_: &Context, _: &ArgMatches) -> anyhow::Result<u8> {
    let facts = probe::host_in_full()?;
    report::print_json(&features(&facts))?;
    Ok(0)
}

fn features(facts: &HostFacts) -> Value {
    let mut options = mount_options::known_words();
    options.sort_unstable();
    options.dedup();
    json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": "1.3.0",
        "hooks": ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"],
        "mountOptions": options,
        "linux": linux(facts),
        "annotations": {
            "dev.caisson.version": env!("CARGO_PKG_VERSION"),
            "run.oci.crun.checkpoint.enabled": "true",
            "org.opencontainers.runc.checkpoint.enabled": "true",
        },
        "potentiallyUnsafeConfigAnnotations": [
            "dev.caisson.", "org.criu.config", "org.systemd.property.", "run.oci.",
        ],
    })
}

fn linux(facts: &HostFacts) -> Value {
    let (v1, v2) = match &facts.cgroups {
        CgroupFacts::V1 { unified, .. } => (true, unified.is_some()),
        CgroupFacts::V2(_) => (false, true),
        CgroupFacts::None => (false, false),
    };
    json!({
        "namespaces": ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"],
        "capabilities": caisson_sys::caps::CapSet::up_to(facts.last_cap).names(),
        "cgroup": {
            "v1": v1, "v2": v2,
            "systemd": facts.systemd, "systemdUser": facts.systemd,
            "rdma": has_controller(&facts.cgroups, "rdma"),
        },
        "seccomp": seccomp(facts.kernel),
        "apparmor": { "enabled": facts.apparmor },
        "selinux": { "enabled": facts.selinux },
        "intelRdt": { "enabled": facts.resctrl.is_some() },
        "memoryPolicy": {
            "modes": [
                "MPOL_DEFAULT", "MPOL_PREFERRED", "MPOL_BIND", "MPOL_INTERLEAVE", "MPOL_LOCAL",
                "MPOL_PREFERRED_MANY", "MPOL_WEIGHTED_INTERLEAVE",
            ],
            "flags": ["MPOL_F_NUMA_BALANCING", "MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES"],
        },
        // mount_setattr(2) with MOUNT_ATTR_IDMAP came with Linux 5.12.
        "mountExtensions": { "idmap": { "enabled": facts.kernel >= (5, 12) } },
        "netDevices": { "enabled": true },
    })
}

fn has_controller(cgroups: &CgroupFacts, name: &str) -> bool {
    match cgroups {
        CgroupFacts::V1 { hierarchies, unified } => {
            hierarchies.iter().any(|hierarchy| hierarchy.controllers.iter().any(|one| one == name))
                || unified.iter().any(|tree| tree.controllers.iter().any(|one| one == name))
        }
        CgroupFacts::V2(tree) => tree.controllers.iter().any(|one| one == name),
        CgroupFacts::None => false,
    }
}

fn seccomp(kernel: (u32, u32)) -> Value {
    let known = FILTER_FLAGS.map(|(flag, _)| flag);
    let supported = FILTER_FLAGS.into_iter().filter(|(_, since)| kernel >= *since);
    let supported: Vec<&str> = supported.map(|(flag, _)| flag).collect();
    json!({
        "enabled": true,
        "actions": [
            "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD",
            "SCMP_ACT_LOG", "SCMP_ACT_NOTIFY", "SCMP_ACT_TRACE", "SCMP_ACT_TRAP",
        ],
        "operators": [
            "SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_LE", "SCMP_CMP_LT", "SCMP_CMP_MASKED_EQ",
            "SCMP_CMP_NE",
        ],
        "archs": ARCHITECTURES,
        "knownFlags": known,
        "supportedFlags": supported,
    })
}

/// Architectures that libseccomp 2.5, linked in, can filter for.
const ARCHITECTURES: [&str; 18] = [
    "SCMP_ARCH_AARCH64",
    "SCMP_ARCH_ARM",
    "SCMP_ARCH_MIPS",
    "SCMP_ARCH_MIPS64",
    "SCMP_ARCH_MIPS64N32",
    "SCMP_ARCH_MIPSEL",
    "SCMP_ARCH_MIPSEL64",
    "SCMP_ARCH_MIPSEL64N32",
    "SCMP_ARCH_PARISC",
    "SCMP_ARCH_PARISC64",
    "SCMP_ARCH_PPC",
    "SCMP_ARCH_PPC64",
    "SCMP_ARCH_PPC64LE",
    "SCMP_ARCH_RISCV64",
    "SCMP_ARCH_S390",
    "SCMP_ARCH_S390X",
    "SCMP_ARCH_X32",
    "SCMP_ARCH_X86_64",
];

//! The small acts: one call each, with the error text a user understands.

use std::path::Path;

use caisson_plan::step::process::{MemoryPolicyPlan, RlimitPlan, SchedulerPlan};
use caisson_sys::Pid;
use caisson_sys::procfs::Procfs;
use caisson_sys::rlimit::{self, RlimitKind};
use caisson_sys::sched::{IoClass, SchedAttr};
use caisson_sys::{Errno, creds, path, sched};

use crate::error::{Act, Context, Failure};

/// This process's id as it sees it itself.
pub(crate) fn own_pid() -> i32 {
    i32::try_from(std::process::id()).unwrap_or(i32::MAX)
}

/// setsid(2); a session leader already is one.
pub(crate) fn new_session() -> Act {
    match creds::setsid() {
        Ok(()) | Err(Errno::EPERM) => Ok(()),
        Err(errno) => Err(Failure::errno("start a new session", errno)),
    }
}

/// In a new user namespace whose maps are written: user and group 0 there, so that what is made belongs to the
/// container's root. A map without 0 leaves us as we are.
pub(crate) fn become_root_of_userns() -> Act {
    match creds::setgroups(&[]) {
        Ok(()) | Err(Errno::EPERM) => {}
        Err(errno) => return Err(Failure::errno("drop the runtime's groups", errno)),
    }
    for (result, what) in [(creds::setresgid(0), "group"), (creds::setresuid(0), "user")] {
        match result {
            Ok(()) | Err(Errno::EINVAL) => {}
            Err(errno) => {
                return Err(Failure::errno(format!("become {what} 0 of the user namespace"), errno));
            }
        }
    }
    Ok(())
}

/// prlimit(2) on this process or on `pid`.
pub(crate) fn set_rlimits(pid: Option<i32>, limits: &[RlimitPlan]) -> Act {
    for limit in limits {
        let what = || format!("set {} to soft {} hard {}", limit.name, limit.soft, limit.hard);
        let kind = RlimitKind::from_name(&limit.name)
            .ok_or_else(|| Failure::new(what()).detail("the kernel has no such limit"))?;
        rlimit::prlimit(Pid::from_raw(pid.unwrap_or(0)), kind, limit.soft, limit.hard).map_err(|errno| {
            let failure = Failure::errno(what(), errno);
            match errno {
                Errno::EPERM => failure.hint("raising a hard limit needs CAP_SYS_RESOURCE"),
                _ => failure,
            }
        })?;
    }
    Ok(())
}

/// Writes oom_score_adj of `pid`, or of this process (proc_pid_oom_score_adj(5)).
pub(crate) fn set_oom_score(pid: Option<i32>, value: i32) -> Act {
    let who = pid.map_or_else(|| "self".to_owned(), |pid| pid.to_string());
    let name = format!("/proc/{who}/oom_score_adj");
    let written = path::open(Path::new(&name), path::OFlag::O_WRONLY)
        .and_then(|file| path::write_all(&file, value.to_string().as_bytes()));
    written.map_err(|errno| {
        let failure = Failure::errno(format!("write {value} to {name}"), errno);
        match errno {
            Errno::EACCES | Errno::EPERM => failure.hint("lowering it needs CAP_SYS_RESOURCE"),
            _ => failure,
        }
    })
}

/// sched_setattr(2).
pub(crate) fn scheduler(plan: &SchedulerPlan) -> Act {
    let attr = SchedAttr {
        policy: plan.policy,
        flags: plan.flags,
        nice: plan.nice,
        priority: plan.priority,
        runtime: plan.runtime,
        deadline: plan.deadline,
        period: plan.period,
    };
    sched::sched_setattr(Pid::from_raw(0), &attr).map_err(|errno| {
        let failure = Failure::errno(format!("set scheduler {plan:?}"), errno);
        match errno {
            Errno::EPERM => {
                failure.hint("it needs CAP_SYS_NICE, and on cgroup v1 a realtime budget (cpu.rt_runtime_us)")
            }
            _ => failure,
        }
    })
}

/// sched_setaffinity(2).
pub(crate) fn affinity(cpus: &[u32]) -> Act {
    let list: Vec<usize> = cpus.iter().filter_map(|cpu| usize::try_from(*cpu).ok()).collect();
    sched::set_affinity(Pid::from_raw(0), &list).on(|| format!("run on CPUs {cpus:?}"))
}

/// set_mempolicy(2).
pub(crate) fn memory_policy(plan: &MemoryPolicyPlan) -> Act {
    sched::set_mempolicy(plan.mode, plan.flags, &node_mask(&plan.nodes))
        .on(|| format!("set memory policy {plan:?}"))
}

/// Bit N is node N.
fn node_mask(nodes: &[u32]) -> Vec<u64> {
    let mut mask = Vec::new();
    for node in nodes.iter().map(|n| usize::try_from(*n).unwrap_or(0)) {
        if mask.len() <= node / 64 {
            mask.resize(node / 64 + 1, 0);
        }
        mask[node / 64] |= 1 << (node % 64);
    }
    mask
}

/// ioprio_set(2).
pub(crate) fn io_priority(class: u32, level: u32) -> Act {
    let what = || format!("set I/O priority class {class} level {level}");
    let kind = match class {
        1 => IoClass::RealTime,
        2 => IoClass::BestEffort,
        3 => IoClass::Idle,
        _ => return Err(Failure::new(what())),
    };
    sched::ioprio_set(kind, u8::try_from(level).unwrap_or(u8::MAX)).on(what)
}

/// The profile of the next execve(2), written where no mount of the image can redirect it (CVE-2019-16884).
pub(crate) fn apparmor(procfs: &Procfs, profile: &str) -> Act {
    let what = || format!("set AppArmor profile {profile:?}");
    let text = format!("exec {profile}");
    match procfs.write("thread-self/attr/apparmor/exec", &text) {
        Err(Errno::ENOENT) => procfs.write("thread-self/attr/exec", &text).on(what),
        Err(errno) => Err(Failure::errno(what(), errno).hint("is the profile loaded? see aa-status")),
        Ok(()) => Ok(()),
    }
}

/// The SELinux label of the next execve(2).
pub(crate) fn selinux(procfs: &Procfs, label: &str) -> Act {
    procfs.write("thread-self/attr/exec", label).on(|| format!("set SELinux label {label:?}"))
}

/// The SELinux label of keys made from now on.
pub(crate) fn keyring_label(procfs: &Procfs, label: &str) -> Act {
    match procfs.write("thread-self/attr/keycreate", label) {
        Ok(()) | Err(Errno::ENOENT | Errno::EINVAL) => Ok(()),
        Err(errno) => Err(Failure::errno(format!("set keyring label {label:?}"), errno)),
    }
}

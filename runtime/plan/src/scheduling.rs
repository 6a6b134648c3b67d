//! `process.scheduler`, `ioPriority`, `execCPUAffinity`, `linux.personality`, `linux.memoryPolicy`: how it is scheduled.

use oci_spec::runtime::{
    IOPriorityClass, LinuxMemoryPolicy, LinuxPersonality, LinuxPersonalityDomain, LinuxSchedulerFlag,
    LinuxSchedulerPolicy, MemoryPolicyFlagType, MemoryPolicyModeType, Process, Scheduler,
};

use crate::ids::Pointer;
use crate::problem::Problems;
use crate::step::process::{MemoryPolicyPlan, SchedulerPlan};

/// Largest CPU or node number that is taken: keeps a list like `0-4000000000` from filling memory.
const LIST_LIMIT: u32 = 8192;

/// The scheduling of one process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scheduling {
    pub scheduler: Option<SchedulerPlan>,
    pub io_priority: Option<(u32, u32)>,
    pub initial_affinity: Option<Vec<u32>>,
    pub final_affinity: Option<Vec<u32>>,
}

/// Reads the scheduling fields of `process`.
pub(crate) fn plan(process: &Process, at: &Pointer, problems: &mut Problems) -> Scheduling {
    let affinity = process.exec_cpu_affinity().as_ref();
    let at_affinity = at.child("execCPUAffinity");
    let mut cpus = |list: Option<&String>, name: &str| {
        list.filter(|list| !list.is_empty())
            .and_then(|list| number_list(list, &at_affinity.child(name), problems))
    };
    let initial_affinity = cpus(affinity.and_then(|affinity| affinity.initial().as_ref()), "initial");
    let final_affinity = cpus(affinity.and_then(|affinity| affinity.cpu_affinity_final().as_ref()), "final");
    Scheduling {
        scheduler: process
            .scheduler()
            .as_ref()
            .map(|wanted| scheduler(wanted, &at.child("scheduler"), problems)),
        io_priority: io_priority(process, &at.child("ioPriority"), problems),
        initial_affinity,
        final_affinity,
    }
}

fn scheduler(wanted: &Scheduler, at: &Pointer, problems: &mut Problems) -> SchedulerPlan {
    use LinuxSchedulerPolicy as Policy;
    let policy = match wanted.policy() {
        Policy::SchedOther => 0,
        Policy::SchedFifo => 1,
        Policy::SchedRr => 2,
        Policy::SchedBatch => 3,
        Policy::SchedIso => 4,
        Policy::SchedIdle => 5,
        Policy::SchedDeadline => 6,
    };
    let mut flags = 0;
    for (index, flag) in wanted.flags().iter().flatten().enumerate() {
        flags |= scheduler_flag(flag, &at.child("flags").child(index), problems);
    }
    let nice = wanted.nice().unwrap_or(0);
    let priority = wanted.priority().unwrap_or(0);
    let deadline =
        (wanted.runtime().unwrap_or(0), wanted.deadline().unwrap_or(0), wanted.period().unwrap_or(0));
    match wanted.policy() {
        Policy::SchedIso => problems.error(&at.child("policy"), "SCHED_ISO is reserved: no kernel has it"),
        Policy::SchedFifo | Policy::SchedRr if !(1..=99).contains(&priority) => {
            problems.error(&at.child("priority"), "SCHED_FIFO and SCHED_RR need a priority from 1 to 99");
        }
        Policy::SchedDeadline => check_deadline(deadline, at, problems),
        _ => {}
    }
    if nice != 0 && !matches!(wanted.policy(), Policy::SchedOther | Policy::SchedBatch) {
        problems.error(&at.child("nice"), "only SCHED_OTHER and SCHED_BATCH have a nice value");
    } else if !(-20..=19).contains(&nice) {
        problems.error(&at.child("nice"), "expected a value from -20 to 19");
    }
    if priority != 0 && !matches!(wanted.policy(), Policy::SchedFifo | Policy::SchedRr) {
        problems.error(&at.child("priority"), "only SCHED_FIFO and SCHED_RR have a priority");
    }
    if deadline != (0, 0, 0) && *wanted.policy() != Policy::SchedDeadline {
        problems.error(at, "runtime, deadline and period are for SCHED_DEADLINE");
    }
    let (runtime, deadline, period) = deadline;
    SchedulerPlan {
        policy,
        flags,
        nice,
        priority: u32::try_from(priority).unwrap_or(0),
        runtime,
        deadline,
        period,
    }
}

/// sched(7): sched_runtime <= sched_deadline <= sched_period; a period of 0 stands for the deadline.
fn check_deadline((runtime, deadline, period): (u64, u64, u64), at: &Pointer, problems: &mut Problems) {
    if runtime < 1024 {
        problems.error(&at.child("runtime"), "SCHED_DEADLINE needs a runtime of at least 1024 ns");
    }
    if deadline < runtime {
        problems.error(&at.child("deadline"), "the deadline must not be below the runtime");
    }
    if period != 0 && period < deadline {
        problems.error(&at.child("period"), "the period must not be below the deadline");
    }
}

fn scheduler_flag(flag: &LinuxSchedulerFlag, at: &Pointer, problems: &mut Problems) -> u64 {
    match flag {
        LinuxSchedulerFlag::SchedResetOnFork => 0x01,
        LinuxSchedulerFlag::SchedFlagReclaim => 0x02,
        LinuxSchedulerFlag::SchedFlagDLOverrun => 0x04,
        LinuxSchedulerFlag::SchedFlagKeepPolicy => 0x08,
        LinuxSchedulerFlag::SchedFlagKeepParams => 0x10,
        LinuxSchedulerFlag::SchedFlagUtilClampMin | LinuxSchedulerFlag::SchedFlagUtilClampMax => {
            // The clamps need values that the specification has no field for.
            problems
                .error(at, "utilisation clamps cannot be given: config.json has no field for their values");
            0
        }
    }
}

fn io_priority(process: &Process, at: &Pointer, problems: &mut Problems) -> Option<(u32, u32)> {
    let wanted = process.io_priority().as_ref()?;
    let class = match wanted.class() {
        IOPriorityClass::IoprioClassRt => 1,
        IOPriorityClass::IoprioClassBe => 2,
        IOPriorityClass::IoprioClassIdle => 3,
    };
    match u32::try_from(wanted.priority()) {
        Ok(level) if level <= 7 => Some((class, level)),
        _ => {
            problems.error(&at.child("priority"), "expected a value from 0 to 7");
            None
        }
    }
}

/// `linux.personality`.
pub(crate) fn personality(wanted: &LinuxPersonality, at: &Pointer, problems: &mut Problems) -> u64 {
    if wanted.flags().as_ref().is_some_and(|flags| !flags.is_empty()) {
        problems.error(&at.child("flags"), "no flags are defined");
    }
    match wanted.domain() {
        LinuxPersonalityDomain::PerLinux => 0,
        LinuxPersonalityDomain::PerLinux32 => 8,
    }
}

/// `linux.memoryPolicy` (set_mempolicy(2)).
pub(crate) fn memory_policy(
    wanted: &LinuxMemoryPolicy,
    at: &Pointer,
    problems: &mut Problems,
) -> MemoryPolicyPlan {
    use MemoryPolicyModeType as Mode;
    let mode = match wanted.mode() {
        Mode::MpolDefault => 0,
        Mode::MpolPreferred => 1,
        Mode::MpolBind => 2,
        Mode::MpolInterleave => 3,
        Mode::MpolLocal => 4,
        Mode::MpolPreferredMany => 5,
        Mode::MpolWeightedInterleave => 6,
    };
    let flags = wanted.flags().iter().flatten().fold(0, |bits, flag| {
        bits | match flag {
            MemoryPolicyFlagType::MpolFStaticNodes => 1 << 15,
            MemoryPolicyFlagType::MpolFRelativeNodes => 1 << 14,
            MemoryPolicyFlagType::MpolFNumaBalancing => 1 << 13,
        }
    });
    let at_nodes = at.child("nodes");
    let nodes = wanted.nodes().as_deref().filter(|list| !list.is_empty());
    let nodes = nodes.and_then(|list| number_list(list, &at_nodes, problems)).unwrap_or_default();
    match wanted.mode() {
        Mode::MpolDefault | Mode::MpolLocal if !nodes.is_empty() => {
            problems.error(&at_nodes, format!("{} takes no nodes", wanted.mode()));
        }
        Mode::MpolBind | Mode::MpolInterleave | Mode::MpolPreferredMany | Mode::MpolWeightedInterleave
            if nodes.is_empty() =>
        {
            problems.error(&at_nodes, format!("{} needs nodes", wanted.mode()));
        }
        _ => {}
    }
    let at_flags = at.child("flags");
    if flags & 0xc000 == 0xc000 {
        problems.error(&at_flags, "MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES exclude each other");
    }
    if flags & (1 << 13) != 0 && !matches!(wanted.mode(), Mode::MpolBind | Mode::MpolPreferredMany) {
        problems.error(&at_flags, "MPOL_F_NUMA_BALANCING is for MPOL_BIND and MPOL_PREFERRED_MANY");
    }
    MemoryPolicyPlan { mode, flags, nodes }
}

/// A list such as `0-3,7`.
pub(crate) fn number_list(list: &str, at: &Pointer, problems: &mut Problems) -> Option<Vec<u32>> {
    let parsed: Option<Vec<(u32, u32)>> = list.split(',').map(range).collect();
    let Some(ranges) = parsed else {
        problems.error(at, format!("{list:?} is not a list like 0-3,7"));
        return None;
    };
    if let Some((_, last)) = ranges.iter().find(|(_, last)| *last >= LIST_LIMIT) {
        problems.error(at, format!("{last} is beyond the highest number taken, {}", LIST_LIMIT - 1));
        return None;
    }
    let mut numbers: Vec<u32> = ranges.into_iter().flat_map(|(first, last)| first..=last).collect();
    numbers.sort_unstable();
    numbers.dedup();
    Some(numbers)
}

fn range(part: &str) -> Option<(u32, u32)> {
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if digits { text.parse().ok() } else { None }
    };
    let (first, last) = part.trim().split_once('-').unwrap_or((part.trim(), part.trim()));
    let range = (number(first)?, number(last)?);
    (range.0 <= range.1).then_some(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_list_takes_ranges_and_refuses_the_rest() {
        let mut problems = Problems::default();
        let at = Pointer::default();
        assert_eq!(number_list("2,0-1,1", &at, &mut problems), Some(vec![0, 1, 2]));
        for bad in ["", "a", "3-1", "1,,2", "0-", "+1", "0-99999"] {
            assert_eq!(number_list(bad, &at, &mut problems), None, "{bad:?}");
        }
        assert_eq!(problems.list().len(), 7);
    }
}

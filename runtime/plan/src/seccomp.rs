//! `linux.seccomp`: names to values; the filter itself is compiled by the executor.

use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction, LinuxSeccompFilterFlag, LinuxSyscall};

use crate::ids::{HostPath, Pointer};
use crate::problem::Problems;
use crate::step::process::{SeccompAction, SeccompArg, SeccompListener, SeccompPlan, SeccompRule};

const EPERM: u32 = 1;
/// The kernel's MAX_ERRNO: a filter's larger values are cut to it (seccomp(2)).
const MAX_ERRNO: u32 = 4095;
/// SECCOMP_RET_DATA.
const MAX_TRACE: u32 = 0xffff;

/// Reads `linux.seccomp`.
pub(crate) fn plan(wanted: &LinuxSeccomp, at: &Pointer, problems: &mut Problems) -> SeccompPlan {
    let default =
        action(wanted.default_action(), wanted.default_errno_ret(), &at.child("defaultErrnoRet"), problems);
    if default == SeccompAction::Notify {
        // The agent would have to answer the runtime's own system calls before it has the fd.
        problems.error(&at.child("defaultAction"), "SCMP_ACT_NOTIFY cannot be the default action");
    }
    let at_rules = at.child("syscalls");
    let rules: Vec<SeccompRule> = (wanted.syscalls().iter().flatten().enumerate())
        .map(|(index, rule)| one_rule(rule, &at_rules.child(index), problems))
        .collect();
    let notifies = rules.iter().position(|rule| rule.action == SeccompAction::Notify);
    let listener = listener(wanted, notifies.is_some(), at, problems);
    if let (Some(index), None) = (notifies, &listener) {
        problems.error_hint(
            &at_rules.child(index).child("action"),
            "SCMP_ACT_NOTIFY needs someone to ask",
            "set /linux/seccomp/listenerPath",
        );
    }
    SeccompPlan {
        default,
        architectures: wanted.architectures().iter().flatten().map(ToString::to_string).collect(),
        flags: flags(wanted),
        rules,
        listener,
    }
}

fn listener(
    wanted: &LinuxSeccomp,
    notifies: bool,
    at: &Pointer,
    problems: &mut Problems,
) -> Option<SeccompListener> {
    let metadata = wanted.listener_metadata().clone().filter(|text| !text.is_empty());
    let Some(path) = wanted.listener_path().as_ref().filter(|path| !path.as_os_str().is_empty()) else {
        if metadata.is_some() {
            // config-linux.md: "This field MUST NOT be set if listenerPath is not set."
            problems.error(&at.child("listenerMetadata"), "only together with listenerPath");
        }
        return None;
    };
    if !path.is_absolute() {
        problems.error(&at.child("listenerPath"), format!("{} is not an absolute path", path.display()));
    }
    if !notifies {
        problems.warn(&at.child("listenerPath"), "no rule has SCMP_ACT_NOTIFY: the socket is not used");
        return None;
    }
    Some(SeccompListener { path: HostPath::new(path), metadata })
}

/// The kernel's SECCOMP_FILTER_FLAG_* bits; with none given the specification leaves the choice to the runtime, and
/// none is taken.
fn flags(wanted: &LinuxSeccomp) -> u32 {
    wanted.flags().iter().flatten().fold(0, |bits, flag| {
        bits | match flag {
            LinuxSeccompFilterFlag::SeccompFilterFlagTsync => 1,
            LinuxSeccompFilterFlag::SeccompFilterFlagLog => 1 << 1,
            LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => 1 << 2,
            LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => 1 << 5,
        }
    })
}

fn one_rule(rule: &LinuxSyscall, at: &Pointer, problems: &mut Problems) -> SeccompRule {
    if rule.names().is_empty() {
        problems.error(&at.child("names"), "a rule needs at least one system call");
    }
    let args = rule.args().iter().flatten().enumerate().map(|(index, arg)| {
        if arg.index() > 5 {
            problems
                .error(&at.child("args").child(index).child("index"), "system calls have arguments 0 to 5");
        }
        SeccompArg {
            index: u32::try_from(arg.index()).unwrap_or(u32::MAX),
            value: arg.value(),
            value_two: arg.value_two().unwrap_or(0),
            op: arg.op().to_string(),
        }
    });
    let args = args.collect();
    let action = action(rule.action(), rule.errno_ret(), &at.child("errnoRet"), problems);
    SeccompRule { names: rule.names().clone(), action, args }
}

fn action(
    action: LinuxSeccompAction,
    value: Option<u32>,
    at: &Pointer,
    problems: &mut Problems,
) -> SeccompAction {
    let max = match action {
        LinuxSeccompAction::ScmpActErrno => MAX_ERRNO,
        LinuxSeccompAction::ScmpActTrace => MAX_TRACE,
        _ => {
            if value.is_some() {
                // config-linux.md: "If the action does not support errno, the runtime MUST generate an error."
                problems.error(at, format!("{action} takes no value"));
            }
            0
        }
    };
    if max > 0 && value.is_some_and(|value| value > max) {
        problems.error(at, format!("expected at most {max}"));
    }
    let value = value.unwrap_or(EPERM);
    match action {
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => SeccompAction::KillThread,
        LinuxSeccompAction::ScmpActKillProcess => SeccompAction::KillProcess,
        LinuxSeccompAction::ScmpActTrap => SeccompAction::Trap,
        LinuxSeccompAction::ScmpActErrno => SeccompAction::Errno(value),
        LinuxSeccompAction::ScmpActNotify => SeccompAction::Notify,
        LinuxSeccompAction::ScmpActTrace => SeccompAction::Trace(value),
        LinuxSeccompAction::ScmpActLog => SeccompAction::Log,
        LinuxSeccompAction::ScmpActAllow => SeccompAction::Allow,
    }
}

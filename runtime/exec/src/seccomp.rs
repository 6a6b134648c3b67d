//! Seccomp filters: compiled by libseccomp, kept in a cache, loaded last.

use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use caisson_plan::step::process::{SeccompAction, SeccompArg, SeccompPlan, SeccompRule};
use caisson_sys::{fd, seccomp as kernel, socket};
use libseccomp::error::SeccompError;
use libseccomp::{ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall};

use crate::error::{Act, Context, Failure, best_effort};
use crate::seccomp_cache;

/// SECCOMP_FILTER_FLAG_NEW_LISTENER
const NEW_LISTENER: u32 = 1 << 3;
/// SECCOMP_FILTER_FLAG_TSYNC
const TSYNC: u32 = 1;
/// SECCOMP_FILTER_FLAG_TSYNC_ESRCH
const TSYNC_ESRCH: u32 = 1 << 4;

/// A compiled filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// `struct sock_filter[]`, as seccomp(2) takes it.
    pub program: Vec<u8>,
    /// Flags for seccomp(2).
    pub flags: u32,
}

/// Gets the filter from the cache, or compiles it and puts it there.
pub(crate) fn compile(plan: &SeccompPlan, cache: Option<&Path>) -> Act<Filter> {
    let mut flags = plan.flags;
    if plan.listener.is_some() {
        flags |= NEW_LISTENER;
    }
    if flags & NEW_LISTENER != 0 {
        // Init has one thread, so synchronising means nothing, and the pair is refused without TSYNC_ESRCH.
        flags &= !(TSYNC | TSYNC_ESRCH);
    }
    if let Some(program) = cache.and_then(|dir| seccomp_cache::find(dir, plan)) {
        return Ok(Filter { program, flags });
    }
    let program =
        build(plan).map_err(|error| Failure::new("compile the seccomp filter").detail(error.to_string()))?;
    if let Some(dir) = cache {
        seccomp_cache::store(dir, plan, &program);
    }
    Ok(Filter { program, flags })
}

/// What can go wrong while compiling.
#[derive(Debug, thiserror::Error)]
enum BuildError {
    #[error("libseccomp: {0}")]
    Library(#[from] SeccompError),
    #[error("system call {name}: {source}")]
    Rule { name: String, source: SeccompError },
    #[error("architecture {name}: {source}")]
    Architecture { name: String, source: SeccompError },
    #[error("unknown operator {0}")]
    Operator(String),
    #[error("read the compiled filter: {0}")]
    Io(#[from] std::io::Error),
}

fn build(plan: &SeccompPlan) -> Result<Vec<u8>, BuildError> {
    let default = action(plan.default);
    let mut context = ScmpFilterContext::new(default)?;
    // We decide on no_new_privs, not the library.
    context.set_ctl_nnp(false)?;
    for name in &plan.architectures {
        let arch: ScmpArch =
            name.parse().map_err(|source| BuildError::Architecture { name: name.clone(), source })?;
        context.add_arch(arch)?;
    }
    if plan.rules.iter().map(|rule| rule.names.len()).sum::<usize>() > 32 {
        // A binary tree instead of a chain of comparisons.
        context.set_ctl_optimize(2)?;
    }
    let mut highest = 0;
    for rule in &plan.rules {
        highest = highest.max(add(&mut context, rule, plan.default)?);
    }
    let mut file = File::from(fd::memfd("seccomp").map_err(std::io::Error::from)?);
    context.export_bpf(file.as_fd())?;
    file.rewind()?;
    let mut program = unknown_syscalls(plan.default, highest);
    file.read_to_end(&mut program)?;
    Ok(program)
}

/// Adds one rule for all its names; gives back the highest system call number among them.
fn add(
    context: &mut ScmpFilterContext,
    rule: &SeccompRule,
    default: SeccompAction,
) -> Result<i32, BuildError> {
    let mut highest = 0;
    for name in &rule.names {
        // A name that this libseccomp does not know is no system call of this kernel either: passed over, as
        // profiles are written for many kernels.
        let Ok(syscall) = ScmpSyscall::from_name(name) else { continue };
        highest = highest.max(i32::from(syscall));
        if rule.action == default {
            continue;
        }
        for conditions in alternatives(&rule.args)? {
            context
                .add_rule_conditional(action(rule.action), syscall, &conditions)
                .map_err(|source| BuildError::Rule { name: name.clone(), source })?;
        }
    }
    Ok(highest)
}

/// Conditions on different arguments must all hold; libseccomp takes one per argument, so several on the same
/// argument become rules of their own, as in the other runtimes.
fn alternatives(args: &[SeccompArg]) -> Result<Vec<Vec<ScmpArgCompare>>, BuildError> {
    let mut compares = Vec::with_capacity(args.len());
    for arg in args {
        compares.push(ScmpArgCompare::new(arg.index, operator(arg)?, datum(arg)));
    }
    let repeated = args.iter().enumerate().any(|(i, a)| args.iter().take(i).any(|b| b.index == a.index));
    Ok(if repeated { compares.into_iter().map(|c| vec![c]).collect() } else { vec![compares] })
}

fn operator(arg: &SeccompArg) -> Result<ScmpCompareOp, BuildError> {
    Ok(match arg.op.as_str() {
        "SCMP_CMP_NE" => ScmpCompareOp::NotEqual,
        "SCMP_CMP_LT" => ScmpCompareOp::Less,
        "SCMP_CMP_LE" => ScmpCompareOp::LessOrEqual,
        "SCMP_CMP_EQ" => ScmpCompareOp::Equal,
        "SCMP_CMP_GE" => ScmpCompareOp::GreaterEqual,
        "SCMP_CMP_GT" => ScmpCompareOp::Greater,
        "SCMP_CMP_MASKED_EQ" => ScmpCompareOp::MaskedEqual(arg.value),
        other => return Err(BuildError::Operator(other.to_owned())),
    })
}

fn datum(arg: &SeccompArg) -> u64 {
    if arg.op == "SCMP_CMP_MASKED_EQ" { arg.value_two } else { arg.value }
}

fn action(action: SeccompAction) -> ScmpAction {
    match action {
        SeccompAction::KillProcess => ScmpAction::KillProcess,
        SeccompAction::KillThread => ScmpAction::KillThread,
        SeccompAction::Trap => ScmpAction::Trap,
        SeccompAction::Errno(errno) => ScmpAction::Errno(i32::try_from(errno).unwrap_or(i32::MAX)),
        SeccompAction::Trace(message) => ScmpAction::Trace(u16::try_from(message).unwrap_or(u16::MAX)),
        SeccompAction::Allow => ScmpAction::Allow,
        SeccompAction::Log => ScmpAction::Log,
        SeccompAction::Notify => ScmpAction::Notify,
    }
}

/// A prefix to the filter: system calls newer than every one the profile names answer ENOSYS instead of the
/// default errno, so that a C library falls back to the older call (glibc and clone3, moby#42680).
fn unknown_syscalls(default: SeccompAction, highest: i32) -> Vec<u8> {
    const ENOSYS: u32 = 38;
    const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;
    const X32_BIT: u32 = 0x4000_0000;
    const LD_ABS: u16 = 0x20;
    const JEQ: u16 = 0x15;
    const JGE: u16 = 0x35;
    const JGT: u16 = 0x25;
    const RET: u16 = 0x06;
    const RET_ERRNO: u32 = 0x0005_0000;
    let (SeccompAction::Errno(errno), Ok(highest @ 1..)) = (default, u32::try_from(highest)) else {
        return Vec::new();
    };
    if errno == ENOSYS || !cfg!(target_arch = "x86_64") {
        return Vec::new();
    }
    // (code, jump if true, jump if false, constant); offset 4 is the architecture, 0 the number.
    let program: [(u16, u8, u8, u32); 6] = [
        (LD_ABS, 0, 0, 4),
        (JEQ, 0, 4, AUDIT_ARCH_X86_64),
        (LD_ABS, 0, 0, 0),
        (JGE, 2, 0, X32_BIT),
        (JGT, 0, 1, highest),
        (RET, 0, 0, RET_ERRNO | ENOSYS),
    ];
    let encode = |(code, yes, no, constant): (u16, u8, u8, u32)| {
        let [c0, c1] = code.to_ne_bytes();
        let [k0, k1, k2, k3] = constant.to_ne_bytes();
        [c0, c1, yes, no, k0, k1, k2, k3]
    };
    program.into_iter().flat_map(encode).collect()
}

/// Loads the filter; with a listener, sends the notify fd and `state` to it.
pub(crate) fn load(filter: &Filter, listener: Option<(&OwnedFd, &str)>) -> Act {
    let Some((agent, state)) = listener else {
        kernel::load(&filter.program, filter.flags).on(|| "load the seccomp filter")?;
        return Ok(());
    };
    // The filter may well ask the agent about sendmsg(2) itself, so a thread that is not under it sends: it was
    // there before the filter and lives until execve(2) at the latest.
    let (ready, wait) = std::sync::mpsc::channel::<OwnedFd>();
    let (done, sent) = std::sync::mpsc::channel();
    let agent = agent.try_clone().on(|| "duplicate the seccomp agent's socket")?;
    let state = state.to_owned();
    let send = move || {
        if let Ok(notify) = wait.recv() {
            let result = socket::send(agent.as_fd(), state.as_bytes(), &[notify.as_fd()]);
            best_effort(done.send(result));
        }
    };
    std::thread::Builder::new().spawn(send).on(|| "start the thread that sends the seccomp notify fd")?;
    let notify = kernel::load(&filter.program, filter.flags).on(|| "load the seccomp filter")?;
    let Some(notify) = notify else { return Ok(()) };
    let gone =
        || Failure::new("send the seccomp notify fd to the agent").detail("the sending thread is gone");
    ready.send(notify).map_err(|e| gone().detail(e.to_string()))?;
    match sent.recv() {
        Ok(result) => result.map(drop).on(|| "send the seccomp notify fd to the agent"),
        Err(error) => Err(gone().detail(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(default: SeccompAction, names: &[&str]) -> SeccompPlan {
        SeccompPlan {
            default,
            architectures: vec![],
            flags: 0,
            rules: vec![SeccompRule {
                names: names.iter().map(ToString::to_string).collect(),
                action: SeccompAction::Allow,
                args: vec![],
            }],
            listener: None,
        }
    }

    #[test]
    fn compiled_filter_is_whole_instructions() {
        let filter =
            compile(&plan(SeccompAction::Errno(1), &["read", "write", "no_such_call"]), None).unwrap();
        assert_eq!(filter.program.len() % 8, 0);
        assert!(filter.program.len() > 8 * 6);
    }

    #[test]
    fn newer_syscalls_get_enosys_only_when_default_is_an_errno() {
        assert_eq!(unknown_syscalls(SeccompAction::Errno(1), 300).len(), 48);
        assert!(unknown_syscalls(SeccompAction::KillProcess, 300).is_empty());
        assert!(unknown_syscalls(SeccompAction::Errno(38), 300).is_empty());
    }
}

//! Signals: names, masks, dispositions, signalfd.
//!
//! Masks are the kernel's 64 bits: libc hides the two signals it uses itself, which a workload must get in
//! their default state like all others.

use std::os::fd::{AsFd, OwnedFd};

use crate::raw::num;
use crate::{Errno, Result};

/// The kernel's `_NSIG`.
pub const LAST: i32 = 64;
/// The first real-time signal users count from: the kernel's is 32, but libc keeps two.
const RTMIN: i32 = 34;
/// Size of the kernel's signal set.
const SET_BYTES: usize = 8;

/// A set of signals: bit N - 1 for signal N.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SigSet(pub u64);

impl SigSet {
    /// No signal.
    pub const EMPTY: Self = Self(0);
    /// Every signal.
    pub const ALL: Self = Self(u64::MAX);

    /// The set of the signals listed; numbers outside of 1 to 64 are left out.
    pub fn of(signals: &[i32]) -> Self {
        Self(signals.iter().filter(|s| (1..=LAST).contains(*s)).fold(0, |set, s| set | 1 << (s - 1)))
    }

    /// Whether signal number `signal` is in the set.
    pub fn contains(self, signal: i32) -> bool {
        (1..=LAST).contains(&signal) && self.0 >> (signal - 1) & 1 == 1
    }
}

/// `rt_sigprocmask(SIG_SETMASK, mask)` for the calling thread; gives the mask from before.
///
/// # References
/// - [sigprocmask(2)](https://man7.org/linux/man-pages/man2/sigprocmask.2.html)
pub fn set_mask(mask: SigSet) -> Result<SigSet> {
    let mut old = 0_u64;
    // SAFETY: both sets have the size given and live through the call.
    unsafe { sys!(SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const mask.0, &raw mut old, SET_BYTES) }?;
    Ok(SigSet(old))
}

/// [`set_mask`] with all signals: nothing but SIGKILL and SIGSTOP arrives until the old mask is put back.
pub fn block_all() -> Result<SigSet> {
    set_mask(SigSet::ALL)
}

/// Room for the kernel's `struct sigaction` of any architecture; zero is SIG_DFL, no flags, no mask.
type KernelSigaction = [u64; 4];

/// `rt_sigaction(signal, SIG_DFL)` for every signal, ignored ones included: Rust programs start with SIGPIPE
/// ignored, and exec keeps what is ignored.
///
/// # References
/// - [sigaction(2)](https://man7.org/linux/man-pages/man2/sigaction.2.html)
pub fn reset_all_handlers() -> Result<()> {
    let default: KernelSigaction = [0; 4];
    for signal in (1..=LAST).filter(|s| !matches!(*s, libc::SIGKILL | libc::SIGSTOP)) {
        // SAFETY: the structure is at least as large as the kernel's and lives through the call; the default
        // action runs no code of this process.
        unsafe { sys!(SYS_rt_sigaction, signal, default.as_ptr(), 0, SET_BYTES) }?;
    }
    Ok(())
}

/// [`reset_all_handlers`], and no signal blocked: the state a program expects to start in.
pub fn reset_all() -> Result<()> {
    reset_all_handlers()?;
    set_mask(SigSet(0)).map(drop)
}

/// `kill(-group, signal)`
///
/// # References
/// - [kill(2)](https://man7.org/linux/man-pages/man2/kill.2.html)
pub fn kill_group(group: i32, signal: i32) -> Result<()> {
    // SAFETY: no pointers.
    unsafe { sys!(SYS_kill, -i64::from(group), signal) }.map(drop)
}

/// `signalfd4(-1, set, SFD_CLOEXEC | SFD_NONBLOCK)`. The signals must be blocked as well, see [`set_mask`].
///
/// # References
/// - [signalfd(2)](https://man7.org/linux/man-pages/man2/signalfd.2.html)
pub fn signalfd(set: SigSet) -> Result<OwnedFd> {
    let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
    // SAFETY: the set has the size given and lives through the call.
    unsafe { sys_fd!(SYS_signalfd4, -1_i32, &raw const set.0, SET_BYTES, flags) }
}

/// A signal read from a [`signalfd`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignalInfo {
    /// Its number.
    pub signal: i32,
    /// Why it was sent (`SI_USER`, `CLD_EXITED` …).
    pub code: i32,
    /// Who sent it, or the child it is about.
    pub pid: i32,
    /// The sender's user.
    pub uid: u32,
    /// For SIGCHLD: exit code or signal.
    pub status: i32,
}

/// `read(signalfd, …)`: the next pending signal; `None` when there is none.
///
/// # References
/// - [signalfd(2)](https://man7.org/linux/man-pages/man2/signalfd.2.html)
pub fn read_signalfd(fd: impl AsFd) -> Result<Option<SignalInfo>> {
    let mut info = std::mem::MaybeUninit::<libc::signalfd_siginfo>::zeroed();
    let size = size_of::<libc::signalfd_siginfo>();
    // SAFETY: `info` is valid for writes of the size given.
    match unsafe { sys!(SYS_read, num(&fd), info.as_mut_ptr(), size) } {
        Ok(n) if n == size => {}
        Ok(_) => return Err(Errno::EIO),
        Err(Errno::EAGAIN) => return Ok(None),
        Err(errno) => return Err(errno),
    }
    // SAFETY: filled by the kernel; integers, for which every bit pattern is valid.
    let info = unsafe { info.assume_init() };
    Ok(Some(SignalInfo {
        signal: info.ssi_signo as i32,
        code: info.ssi_code,
        pid: info.ssi_pid as i32,
        uid: info.ssi_uid,
        status: info.ssi_status,
    }))
}

/// A text that names no signal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown signal \"{0}\": neither a number from 1 to 64 nor a name such as TERM or RTMIN+1")]
pub struct UnknownSignal(pub String);

/// Names without "SIG"; where two names have one number, the usual one comes first.
const NAMES: [(&str, i32); 36] = [
    ("HUP", libc::SIGHUP),
    ("INT", libc::SIGINT),
    ("QUIT", libc::SIGQUIT),
    ("ILL", libc::SIGILL),
    ("TRAP", libc::SIGTRAP),
    ("ABRT", libc::SIGABRT),
    ("IOT", libc::SIGABRT),
    ("BUS", libc::SIGBUS),
    ("FPE", libc::SIGFPE),
    ("KILL", libc::SIGKILL),
    ("USR1", libc::SIGUSR1),
    ("SEGV", libc::SIGSEGV),
    ("USR2", libc::SIGUSR2),
    ("PIPE", libc::SIGPIPE),
    ("ALRM", libc::SIGALRM),
    ("TERM", libc::SIGTERM),
    ("STKFLT", libc::SIGSTKFLT),
    ("CHLD", libc::SIGCHLD),
    ("CLD", libc::SIGCHLD),
    ("CONT", libc::SIGCONT),
    ("STOP", libc::SIGSTOP),
    ("TSTP", libc::SIGTSTP),
    ("TTIN", libc::SIGTTIN),
    ("TTOU", libc::SIGTTOU),
    ("URG", libc::SIGURG),
    ("XCPU", libc::SIGXCPU),
    ("XFSZ", libc::SIGXFSZ),
    ("VTALRM", libc::SIGVTALRM),
    ("PROF", libc::SIGPROF),
    ("WINCH", libc::SIGWINCH),
    ("IO", libc::SIGIO),
    ("POLL", libc::SIGIO),
    ("PWR", libc::SIGPWR),
    ("SYS", libc::SIGSYS),
    ("UNUSED", libc::SIGSYS),
    ("RTMIN", RTMIN),
];

/// The number of "SIGTERM", "TERM", "term", "15", "RTMIN+3", "RTMAX-1".
///
/// # Errors
/// [`UnknownSignal`] for everything else, 0 included.
///
/// # References
/// - [signal(7)](https://man7.org/linux/man-pages/man7/signal.7.html)
pub fn from_name(text: &str) -> std::result::Result<i32, UnknownSignal> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let offset = |rest: &str, sign: char| match rest {
        "" => Some(0),
        _ => rest.strip_prefix(sign).filter(|n| n.bytes().all(|b| b.is_ascii_digit()))?.parse::<i32>().ok(),
    };
    let number = if let Some(rest) = name.strip_prefix("RTMIN") {
        offset(rest, '+').and_then(|n| RTMIN.checked_add(n)).filter(|n| *n <= LAST)
    } else if let Some(rest) = name.strip_prefix("RTMAX") {
        offset(rest, '-').and_then(|n| LAST.checked_sub(n)).filter(|n| *n >= RTMIN)
    } else if text.bytes().all(|b| b.is_ascii_digit()) {
        text.parse().ok().filter(|n| (1..=LAST).contains(n))
    } else {
        NAMES.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
    };
    number.ok_or_else(|| UnknownSignal(text.to_owned()))
}

/// "SIGTERM" of 15, "SIGRTMIN+1" of 35; the bare number where there is no name.
pub fn name(signal: i32) -> String {
    match NAMES.iter().find(|(_, number)| *number == signal) {
        Some((name, _)) => format!("SIG{name}"),
        None if (RTMIN..=LAST).contains(&signal) => format!("SIGRTMIN+{}", signal - RTMIN),
        None => signal.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        for (text, number) in [
            ("SIGTERM", 15),
            ("term", 15),
            ("15", 15),
            ("RTMIN+3", 37),
            ("SIGRTMAX-1", 63),
            ("RTMIN", 34),
            ("64", 64),
        ] {
            assert_eq!(from_name(text), Ok(number), "{text}");
        }
        for text in
            ["", "0", "65", "-1", "SIG", "SIG15", "RTMIN+31", "RTMIN+-1", "RTMIN+", "RTMAX-31", "FOO", "+9"]
        {
            assert!(from_name(text).is_err(), "{text}");
        }
        assert_eq!(
            (name(9), name(6), name(35), name(33)),
            ("SIGKILL".into(), "SIGABRT".into(), "SIGRTMIN+1".into(), "33".into())
        );
        (1..=31).for_each(|n| assert_eq!(from_name(&name(n)), Ok(n)));
    }

    #[test]
    fn handlers_and_masks_are_what_proc_status_says() {
        crate::testing::in_child(|| {
            // Rust's start-up has set SIGPIPE to be ignored.
            assert_ne!(crate::testing::status_field("SigIgn"), "0000000000000000");
            reset_all_handlers().unwrap();
            assert_eq!(crate::testing::status_field("SigIgn"), "0000000000000000");
            assert_eq!(crate::testing::status_field("SigCgt"), "0000000000000000");
            set_mask(SigSet::of(&[libc::SIGUSR1, 33])).unwrap();
            assert_eq!(crate::testing::status_field("SigBlk"), "0000000100000200");
            assert_eq!(block_all().unwrap(), SigSet::of(&[libc::SIGUSR1, 33]));
            let fd = signalfd(SigSet::of(&[libc::SIGUSR1])).unwrap();
            assert_eq!(read_signalfd(&fd).unwrap(), None);
            let this = crate::pidfd::open(nix::unistd::getpid()).unwrap();
            crate::pidfd::send_signal(this, libc::SIGUSR1).unwrap();
            let info = read_signalfd(&fd).unwrap().unwrap();
            assert_eq!((info.signal, info.pid), (libc::SIGUSR1, nix::unistd::getpid().as_raw()));
        });
    }
}

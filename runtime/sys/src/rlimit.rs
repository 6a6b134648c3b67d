//! Resource limits.

use nix::unistd::Pid;

use crate::Result;

/// A kind of resource limit: the number the kernel knows it by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RlimitKind(u32);

/// The names of getrlimit(2) with the kernel's numbers.
const NAMES: [(&str, u32); 16] = [
    ("RLIMIT_AS", libc::RLIMIT_AS),
    ("RLIMIT_CORE", libc::RLIMIT_CORE),
    ("RLIMIT_CPU", libc::RLIMIT_CPU),
    ("RLIMIT_DATA", libc::RLIMIT_DATA),
    ("RLIMIT_FSIZE", libc::RLIMIT_FSIZE),
    ("RLIMIT_LOCKS", libc::RLIMIT_LOCKS),
    ("RLIMIT_MEMLOCK", libc::RLIMIT_MEMLOCK),
    ("RLIMIT_MSGQUEUE", libc::RLIMIT_MSGQUEUE),
    ("RLIMIT_NICE", libc::RLIMIT_NICE),
    ("RLIMIT_NOFILE", libc::RLIMIT_NOFILE),
    ("RLIMIT_NPROC", libc::RLIMIT_NPROC),
    ("RLIMIT_RSS", libc::RLIMIT_RSS),
    ("RLIMIT_RTPRIO", libc::RLIMIT_RTPRIO),
    ("RLIMIT_RTTIME", libc::RLIMIT_RTTIME),
    ("RLIMIT_SIGPENDING", libc::RLIMIT_SIGPENDING),
    ("RLIMIT_STACK", libc::RLIMIT_STACK),
];

impl RlimitKind {
    /// Open files.
    pub const NOFILE: Self = Self(libc::RLIMIT_NOFILE);

    /// The kind with the name "RLIMIT_NOFILE" and the like.
    pub fn from_name(name: &str) -> Option<Self> {
        NAMES.iter().find(|(known, _)| *known == name).map(|(_, number)| Self(*number))
    }
}

/// `prlimit64(pid, kind, {soft, hard}, NULL)`; pid 0 is this process.
///
/// # Errors
/// `EPERM` when the hard limit would rise without `CAP_SYS_RESOURCE`, `EINVAL` when `soft` is above `hard`.
///
/// # References
/// - [prlimit(2)](https://man7.org/linux/man-pages/man2/getrlimit.2.html)
pub fn prlimit(pid: Pid, kind: RlimitKind, soft: u64, hard: u64) -> Result<()> {
    let new = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    // SAFETY: `new` lives through the call; the old limit's pointer may be null.
    unsafe { sys!(SYS_prlimit64, pid.as_raw(), kind.0, &raw const new, 0) }.map(drop)
}

/// `prlimit64(pid, kind, NULL, &old)`: the soft and the hard limit.
///
/// # References
/// - [prlimit(2)](https://man7.org/linux/man-pages/man2/getrlimit.2.html)
pub fn get(pid: Pid, kind: RlimitKind) -> Result<(u64, u64)> {
    let mut old = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `old` is valid for writes; the new limit's pointer may be null.
    unsafe { sys!(SYS_prlimit64, pid.as_raw(), kind.0, 0, &raw mut old) }?;
    Ok((old.rlim_cur, old.rlim_max))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_set_is_the_limit_read() {
        crate::testing::in_child(|| {
            let this = Pid::from_raw(0);
            let kind = RlimitKind::from_name("RLIMIT_NOFILE").unwrap();
            prlimit(this, kind, 64, 128).unwrap();
            assert_eq!(get(this, kind).unwrap(), (64, 128));
            assert_eq!(prlimit(this, kind, 64, 32), Err(crate::Errno::EINVAL));
        });
        assert_eq!(RlimitKind::from_name("NOFILE"), None);
    }
}

//! Capability sets of the calling thread. Names and numbers come from the `caps` crate; the sets are changed
//! by one capset(2) for all three, which that crate does not offer.

use std::str::FromStr;

use ::caps::Capability;

use crate::{Errno, Result};

/// A set of capabilities, bit N for capability N.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct CapSet(pub u64);

impl CapSet {
    /// No capability.
    pub const EMPTY: Self = Self(0);

    /// The set of the capabilities named ("CAP_CHOWN"), and the names that are unknown.
    pub fn from_names<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> (Self, Vec<String>) {
        let (mut set, mut unknown) = (Self::EMPTY, Vec::new());
        for name in names {
            match Capability::from_str(name.as_ref()) {
                Ok(cap) => set.0 |= cap.bitmask(),
                Err(_) => unknown.push(name.as_ref().to_owned()),
            }
        }
        (set, unknown)
    }

    /// The capabilities 0 to `last`.
    pub fn up_to(last: u8) -> Self {
        Self(u64::MAX >> (63 - u32::from(last.min(63))))
    }

    /// Whether capability number `cap` is in the set.
    pub fn contains(self, cap: u8) -> bool {
        self.0 >> cap.min(63) & 1 == 1
    }

    /// The numbers in the set, rising.
    pub fn iter(self) -> impl Iterator<Item = u8> {
        (0..64).filter(move |cap| self.contains(*cap))
    }

    /// What is in both.
    #[must_use]
    pub fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The names, as "CAP_CHOWN".
    pub fn names(self) -> Vec<String> {
        let mut known: Vec<Capability> =
            ::caps::all().into_iter().filter(|c| self.contains(c.index())).collect();
        known.sort_by_key(Capability::index);
        known.iter().map(ToString::to_string).collect()
    }
}

/// What [`capget`] reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ThreadCaps {
    /// Used for permission checks.
    pub effective: CapSet,
    /// What may become effective.
    pub permitted: CapSet,
    /// What a program file may let through exec.
    pub inheritable: CapSet,
}

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Default, Clone, Copy)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// `_LINUX_CAPABILITY_VERSION_3`: two 32-bit halves.
const VERSION: u32 = 0x2008_0522;

/// `capset({v3, 0}, …)`: sets the three sets of this thread at once.
///
/// # Errors
/// `EPERM` for a permitted capability this thread lacks, or an effective one that is not permitted.
///
/// # References
/// - [capset(2)](https://man7.org/linux/man-pages/man2/capset.2.html)
pub fn capset(effective: CapSet, permitted: CapSet, inheritable: CapSet) -> Result<()> {
    let header = Header { version: VERSION, pid: 0 };
    let half = |shift: u32| Data {
        effective: (effective.0 >> shift) as u32,
        permitted: (permitted.0 >> shift) as u32,
        inheritable: (inheritable.0 >> shift) as u32,
    };
    let data = [half(0), half(32)];
    // SAFETY: header and two data structures, as version 3 has them, live through the call.
    unsafe { sys!(SYS_capset, &raw const header, data.as_ptr()) }.map(drop)
}

/// `capget({v3, 0}, …)`
///
/// # References
/// - [capget(2)](https://man7.org/linux/man-pages/man2/capset.2.html)
pub fn capget() -> Result<ThreadCaps> {
    let mut header = Header { version: VERSION, pid: 0 };
    let mut data = [Data::default(); 2];
    // SAFETY: header and two data structures, as version 3 has them, are valid for writes through the call.
    unsafe { sys!(SYS_capget, &raw mut header, data.as_mut_ptr()) }?;
    let join = |part: fn(&Data) -> u32| CapSet(u64::from(part(&data[0])) | u64::from(part(&data[1])) << 32);
    Ok(ThreadCaps {
        effective: join(|d| d.effective),
        permitted: join(|d| d.permitted),
        inheritable: join(|d| d.inheritable),
    })
}

fn bounding_has(cap: u8) -> Result<bool> {
    // SAFETY: no pointers.
    unsafe { sys!(SYS_prctl, libc::PR_CAPBSET_READ, cap, 0, 0, 0) }.map(|set| set == 1)
}

/// `prctl(PR_CAPBSET_READ, …)`: the last capability the kernel knows.
///
/// # References
/// - [capabilities(7)](https://man7.org/linux/man-pages/man7/capabilities.7.html)
pub fn last_cap() -> u8 {
    // The last one of Linux 5.9 to 6.18; searched from there, it takes two calls.
    let mut last = Capability::CAP_CHECKPOINT_RESTORE.index();
    while last > 0 && bounding_has(last).is_err() {
        last -= 1;
    }
    while last < 63 && bounding_has(last + 1).is_ok() {
        last += 1;
    }
    last
}

/// `prctl(PR_CAPBSET_READ, …)` for every capability: the bounding set.
///
/// # References
/// - [PR_CAPBSET_READ(2const)](https://man7.org/linux/man-pages/man2/PR_CAPBSET_READ.2const.html)
pub fn bounding() -> Result<CapSet> {
    let mut set = CapSet::EMPTY;
    for cap in 0..64 {
        match bounding_has(cap) {
            Ok(has) => set.0 |= u64::from(has) << cap,
            Err(Errno::EINVAL) => break,
            Err(errno) => return Err(errno),
        }
    }
    Ok(set)
}

/// `prctl(PR_CAPBSET_DROP, …)` for every capability the kernel knows and `keep` lacks.
///
/// # Errors
/// `EPERM` without `CAP_SETPCAP`, unless what is to go is gone already.
///
/// # References
/// - [PR_CAPBSET_DROP(2const)](https://man7.org/linux/man-pages/man2/PR_CAPBSET_DROP.2const.html)
pub fn drop_bounding_except(keep: CapSet) -> Result<()> {
    for cap in (0..64).filter(|cap| !keep.contains(*cap)) {
        // SAFETY: no pointers.
        match unsafe { sys!(SYS_prctl, libc::PR_CAPBSET_DROP, cap, 0, 0, 0) } {
            Ok(_) => {}
            Err(Errno::EPERM) if bounding_has(cap) == Ok(false) => {}
            // Above the last capability of the kernel. Checked after permission, so EPERM is seen there as
            // well.
            Err(Errno::EINVAL) => return Ok(()),
            Err(Errno::EPERM) if bounding_has(cap) == Err(Errno::EINVAL) => return Ok(()),
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn ambient(operation: i32, cap: u8) -> Result<()> {
    // SAFETY: no pointers.
    unsafe { sys!(SYS_prctl, libc::PR_CAP_AMBIENT, operation, cap, 0, 0) }.map(drop)
}

/// `prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)`
///
/// # References
/// - [PR_CAP_AMBIENT(2const)](https://man7.org/linux/man-pages/man2/PR_CAP_AMBIENT.2const.html)
pub fn ambient_clear() -> Result<()> {
    ambient(libc::PR_CAP_AMBIENT_CLEAR_ALL, 0)
}

/// `prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, …)` for every capability in the set.
///
/// # Errors
/// `EPERM` for one that is not both permitted and inheritable; those before it are raised.
///
/// # References
/// - [PR_CAP_AMBIENT(2const)](https://man7.org/linux/man-pages/man2/PR_CAP_AMBIENT.2const.html)
pub fn ambient_raise(set: CapSet) -> Result<()> {
    set.iter().try_for_each(|cap| ambient(libc::PR_CAP_AMBIENT_RAISE, cap))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_bits_and_back() {
        let (set, unknown) = CapSet::from_names(["CAP_CHOWN", "CAP_NOPE", "CAP_KILL"]);
        assert_eq!((set, unknown), (CapSet(1 | 1 << 5), vec!["CAP_NOPE".to_owned()]));
        assert_eq!(set.names(), ["CAP_CHOWN", "CAP_KILL"]);
        assert_eq!(CapSet::up_to(40).0, (1 << 41) - 1);
        assert_eq!(CapSet::up_to(63).0, u64::MAX);
    }

    #[test]
    fn last_cap_is_the_kernels() {
        let says = std::fs::read_to_string("/proc/sys/kernel/cap_last_cap").unwrap();
        assert_eq!(last_cap(), says.trim().parse::<u8>().unwrap());
    }

    #[test]
    fn sets_are_those_of_proc_status_after_each_change() {
        require_root!();
        crate::testing::in_child(|| {
            let keep = CapSet::from_names(["CAP_CHOWN", "CAP_SETPCAP", "CAP_KILL"]).0;
            drop_bounding_except(keep).unwrap();
            assert_eq!(bounding().unwrap(), keep);
            capset(keep, keep, keep).unwrap();
            ambient_raise(CapSet(1 << 5)).unwrap();
            let all = capget().unwrap();
            assert_eq!((all.effective, all.permitted, all.inheritable), (keep, keep, keep));
            assert_eq!(crate::testing::status_field("CapAmb"), "0000000000000020");
            ambient_clear().unwrap();
            assert_eq!(crate::testing::status_field("CapAmb"), "0000000000000000");
            capset(CapSet::EMPTY, CapSet::EMPTY, CapSet::EMPTY).unwrap();
            // Without the right to drop: nothing left to drop is success, something left is not.
            drop_bounding_except(keep).unwrap();
            assert_eq!(drop_bounding_except(CapSet::EMPTY), Err(Errno::EPERM));
        });
    }
}

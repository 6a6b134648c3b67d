//! Time and the identity of this boot.

use nix::fcntl::OFlag;

use crate::{Errno, Result, path};

/// `clock_gettime(CLOCK_MONOTONIC)` in nanoseconds.
///
/// # References
/// - [clock_gettime(2)](https://man7.org/linux/man-pages/man2/clock_gettime.2.html)
pub fn monotonic_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is valid for writes. The clock always exists, so the call cannot fail.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// `/proc/sys/kernel/random/boot_id`: differs from boot to boot; for state and caches valid for one boot.
/// Host side only.
///
/// # References
/// - [random(4)](https://man7.org/linux/man-pages/man4/random.4.html)
pub fn boot_id() -> Result<String> {
    let file = path::open("/proc/sys/kernel/random/boot_id", OFlag::O_RDONLY)?;
    let text = String::from_utf8(path::read_to_end(file, 64)?).or(Err(Errno::EILSEQ))?;
    Ok(text.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on_and_the_boot_stays() {
        let before = monotonic_ns();
        crate::socket::poll_readable(&[], 20).unwrap();
        let passed = monotonic_ns() - before;
        assert!((20_000_000..10_000_000_000).contains(&passed), "{passed}");
        assert_eq!(boot_id().unwrap(), boot_id().unwrap());
        assert_eq!(boot_id().unwrap().len(), 36);
    }
}

//! Waiting: on an event where there is one, else by asking again until a deadline. Never a fixed sleep.

use std::fmt::Debug;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use crate::os;

/// How long any single thing may take before a test gives up. Long, since the lab's processor is emulated.
pub const LIMIT: Duration = Duration::from_secs(30);

/// The latest moment for something that starts now.
pub fn deadline() -> Instant {
    Instant::now() + LIMIT
}

/// Asks `probe` again and again until it says `Some`; panics with `what` after [`LIMIT`].
pub fn eventually<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let end = deadline();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < end, "waited {LIMIT:?} in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Asks `probe` until it equals `wanted`; panics with the last answer after [`LIMIT`].
pub fn eventually_equals<T: PartialEq + Debug>(what: &str, wanted: &T, mut probe: impl FnMut() -> T) {
    let end = deadline();
    loop {
        let got = probe();
        if got == *wanted {
            return;
        }
        assert!(
            Instant::now() < end,
            "waited {LIMIT:?} in vain: {what}: wanted {wanted:?}, last saw {got:?}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until the process is dead (a zombie counts); true if it was within [`LIMIT`].
pub fn process_end(pid: i32) -> bool {
    match os::pidfd_open(pid) {
        Ok(pidfd) => os::poll_readable(pidfd.as_fd(), LIMIT),
        Err(_) => true,
    }
}

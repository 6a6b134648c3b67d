//! What /proc says about a process: enough to know that a stored pid still means the same process.

use std::fs;

/// A process, told from a later one with the same pid by its start time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// State letter of /proc/PID/stat.
    pub state: char,
    /// Start time in clock ticks since boot: field 22, never the same for two processes with one pid.
    pub start_time: u64,
}

impl Seen {
    /// Whether it has ended and only waits for its parent.
    #[must_use]
    pub fn is_dead(self) -> bool {
        matches!(self.state, 'Z' | 'X' | 'x')
    }
}

/// Reads /proc/PID/stat; `None` when there is no such process. See proc_pid_stat(5).
#[must_use]
pub fn see(pid: i32) -> Option<Seen> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Whether `pid` is the process that started at `start_time` and has not ended.
#[must_use]
pub fn is_alive(pid: i32, start_time: u64) -> bool {
    pid > 0 && see(pid).is_some_and(|seen| seen.start_time == start_time && !seen.is_dead())
}

/// The second field is the program's name in parentheses and may itself hold spaces and parentheses.
fn parse_stat(stat: &str) -> Option<Seen> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let start_time = fields.nth(18)?.parse().ok()?;
    Some(Seen { state, start_time })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_with_a_hostile_name_is_read_from_the_last_parenthesis() {
        let stat = "7 (a) Z 1 (b) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 12345 99 0";
        assert_eq!(parse_stat(stat), Some(Seen { state: 'S', start_time: 12345 }));
    }

    #[test]
    fn own_process_is_alive_and_another_start_time_is_not() {
        let own = i32::try_from(std::process::id()).unwrap();
        let seen = see(own).unwrap();
        assert!(is_alive(own, seen.start_time));
        assert!(!is_alive(own, seen.start_time + 1));
    }
}

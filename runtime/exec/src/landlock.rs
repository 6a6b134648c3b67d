//! Landlock by annotation: the process keeps access only beneath the listed paths (landlock(7)).

use std::os::fd::AsFd;

use caisson_plan::ids::ContainerPath;
use caisson_plan::step::process::LandlockPlan;
use caisson_sys::landlock;
use caisson_sys::path::{self, OFlag};

use crate::error::{Act, Context};

/// EXECUTE, READ_FILE, READ_DIR
const READ: u64 = 1 | 1 << 2 | 1 << 3;
/// Rights that make sense for something other than a directory: EXECUTE, WRITE_FILE, READ_FILE, TRUNCATE, IOCTL_DEV.
const FILE: u64 = 1 | 1 << 1 | 1 << 2 | 1 << 14 | 1 << 15;

/// Restricts this thread and what it executes.
pub(crate) fn restrict(plan: &LandlockPlan) -> Act {
    let abi = landlock::abi().on(|| "ask for Landlock")?;
    let all = rights(abi);
    let ruleset = landlock::ruleset(landlock::Handled { fs: all, ..landlock::Handled::default() })
        .on(|| "make a Landlock ruleset")?;
    let rules = plan.read.iter().map(|p| (p, READ)).chain(plan.write.iter().map(|p| (p, all)));
    for (beneath, access) in rules {
        add(&ruleset, beneath, access & all)?;
    }
    landlock::restrict_self(ruleset.as_fd()).on(|| "restrict the process by Landlock")
}

/// The file system rights that each ABI knows.
fn rights(abi: u32) -> u64 {
    let count = match abi {
        0 | 1 => 13,
        2 => 14,
        3 | 4 => 15,
        _ => 16,
    };
    (1 << count) - 1
}

fn add(ruleset: &std::os::fd::OwnedFd, beneath: &ContainerPath, access: u64) -> Act {
    let what = || format!("allow {beneath} by Landlock");
    let place = path::open(beneath.as_path(), OFlag::O_PATH).on(what)?;
    let is_directory = path::fstat(place.as_fd()).on(what)?.is_dir();
    let access = if is_directory { access } else { access & FILE };
    landlock::add_path_rule(ruleset.as_fd(), place.as_fd(), access).on(what)
}

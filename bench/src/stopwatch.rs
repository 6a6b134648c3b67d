//! Runs one command and times it from just before it is spawned until it has been waited for.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::kernel;

/// One measured operation.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    pub wall_ms: f64,
    pub cpu_ms: f64,
    pub peak_rss_kib: u64,
}

/// Spawns commands with their standard error in a file, whose first line is the message when one fails.
#[derive(Debug)]
pub struct Stopwatch {
    pub errors: PathBuf,
}

impl Stopwatch {
    /// Runs `program` with `args`. `Command` spawns by posix_spawn(3), as fast as vfork(2).
    pub fn time<S: AsRef<OsStr>>(&self, program: &OsStr, args: &[S]) -> Result<Sample> {
        let errors =
            File::create(&self.errors).with_context(|| format!("write {}", self.errors.display()))?;
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
        let start = Instant::now();
        let child = command.spawn().with_context(|| format!("start {}", program.display()))?;
        let usage = kernel::wait(libc::pid_t::try_from(child.id())?)?;
        let wall = start.elapsed();
        if !usage.success {
            let text = fs::read_to_string(&self.errors).unwrap_or_default();
            bail!("{}", text.trim().lines().next().unwrap_or("failed without a message"));
        }
        Ok(Sample {
            wall_ms: wall.as_secs_f64() * 1000.0,
            cpu_ms: usage.cpu.as_secs_f64() * 1000.0,
            peak_rss_kib: usage.peak_rss_kib,
        })
    }
}

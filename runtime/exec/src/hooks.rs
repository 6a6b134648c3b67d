//! Running hooks: state on stdin, a timeout, and their output in the error.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use caisson_plan::step::{Hook, HookKind};
use caisson_sys::pidfd;

use crate::error::{Act, Context, Failure, best_effort};

/// How much of a failed hook's output the error shows.
const OUTPUT_SHOWN: u64 = 2048;

/// Runs `hooks` in order; stops at the first that fails.
///
/// # Errors
/// Names the hook, its exit status or timeout, and the end of its output. See config.md, "POSIX-platform Hooks".
pub fn run(kind: HookKind, hooks: &[Hook], state: &str) -> Act {
    for (index, hook) in hooks.iter().enumerate() {
        run_one(kind, index, hook, state)?;
    }
    Ok(())
}

/// Runs all of `hooks` and gives back the failures (`poststart`, `poststop`: later hooks run all the same).
#[must_use]
pub fn run_all(kind: HookKind, hooks: &[Hook], state: &str) -> Vec<Failure> {
    let outcome = |(index, hook)| run_one(kind, index, hook, state).err();
    hooks.iter().enumerate().filter_map(outcome).collect()
}

fn run_one(kind: HookKind, index: usize, hook: &Hook, state: &str) -> Act {
    let what = || format!("{} hook {index} {}", kind.as_str(), hook.path);
    let mut output = scratch().on(what)?;
    let mut child = spawn(hook, &output).on(what)?;
    feed(&mut child, state);
    let status = wait(&mut child, hook.timeout).on(what)?;
    match status {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(Failure::new(what()).detail(with_output(&status.to_string(), &mut output))),
        None => {
            let seconds = hook.timeout.unwrap_or_default();
            let text = format!("killed after its timeout of {seconds} s");
            Err(Failure::new(what()).detail(with_output(&text, &mut output)))
        }
    }
}

/// A file in memory: a hook that writes much can neither block on a full pipe nor fill the host's disk.
fn scratch() -> std::io::Result<File> {
    caisson_sys::fd::memfd("hook-output").map(File::from).map_err(std::io::Error::from)
}

fn spawn(hook: &Hook, output: &File) -> std::io::Result<Child> {
    let mut command = Command::new(hook.path.as_path());
    if let Some((arg0, rest)) = hook.args.split_first() {
        command.arg0(arg0).args(rest);
    }
    command.env_clear().envs(hook.env.iter().filter_map(|pair| pair.split_once('=')));
    // A process group of its own, so that a timeout ends the hook's children too.
    command.process_group(0);
    command.stdin(Stdio::piped()).stdout(output.try_clone()?).stderr(output.try_clone()?).spawn()
}

/// Writes the state; a hook that does not read it is no error.
fn feed(child: &mut Child, state: &str) {
    if let Some(mut stdin) = child.stdin.take() {
        // The state is far smaller than a pipe's buffer; EPIPE means that the hook does not care.
        best_effort(stdin.write_all(state.as_bytes()));
    }
}

/// `None` when the time was up and the hook was killed.
fn wait(child: &mut Child, timeout: Option<u32>) -> std::io::Result<Option<ExitStatus>> {
    let Some(seconds) = timeout else { return child.wait().map(Some) };
    let pid = i32::try_from(child.id()).unwrap_or(i32::MAX);
    let handle = pidfd::open(caisson_sys::Pid::from_raw(pid))?;
    let deadline = Instant::now() + Duration::from_secs(seconds.into());
    let left = deadline.saturating_duration_since(Instant::now());
    if pidfd::poll_exit(handle.as_fd(), i32::try_from(left.as_millis()).unwrap_or(i32::MAX))? {
        return child.wait().map(Some);
    }
    caisson_sys::signal::kill_group(pid, libc_sigkill())?;
    child.wait()?;
    Ok(None)
}

const fn libc_sigkill() -> i32 {
    9
}

fn with_output(status: &str, output: &mut File) -> String {
    let mut text = Vec::new();
    let end = output.seek(std::io::SeekFrom::End(0)).unwrap_or(0);
    let start = end.saturating_sub(OUTPUT_SHOWN);
    let read = output.seek(std::io::SeekFrom::Start(start)).and_then(|_| output.read_to_end(&mut text));
    match read {
        Ok(n) if n > 0 => format!("{status}, output: {}", String::from_utf8_lossy(&text).trim_end()),
        _ => status.to_owned(),
    }
}

//! A running `criu swrk`: started for one piece of work, spoken to over a socket, ended with it.
//!
//! ```text
//! caisson ──version──▶ criu
//!         ──dump/restore, options──▶
//!         ◀──notification──   (setup-namespaces, post-restore, orphan-pts-master, …)
//!         ──go on──▶          … any number of these
//!         ◀──done, or what went wrong──
//! ```

use std::env;
use std::ffi::CString;
use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use caisson_sys::clone::{Child, CloneArgs, clone3};
use caisson_sys::namespace::Namespaces;
use caisson_sys::{exec, fd, pidfd, socket};

use super::rpc::{self, Feature, Kind, Notification, Options, Response, Version};

/// The oldest criu that has every option used here (`lsm_mount_context` came last).
pub const WANTED: Version = Version { major: 3, minor: 16, sublevel: 0 };
/// criu's answers are short: a name, a pid, an error message.
const ANSWER_LIMIT: usize = 64 << 10;
/// How many errors of criu's log a message has: the last ones often say what came of the one before.
const ERRORS_SHOWN: usize = 3;
const SIGKILL: i32 = 9;

/// What is done in the process that becomes criu, before it does; an error message when that fails.
pub type Setup<'a> = Box<dyn FnOnce() -> Result<(), String> + 'a>;

/// A criu that waits for a request. Dropped, it is ended and waited for.
#[derive(Debug)]
pub struct Criu {
    child: Child,
    socket: Option<OwnedFd>,
    version: Version,
}

/// Called at each notification, with the descriptors that came with it. An error makes criu give up.
pub type OnNotify<'a> = &'a mut dyn FnMut(&Notification, Vec<OwnedFd>) -> anyhow::Result<()>;

impl Criu {
    /// Starts criu, with new namespaces and what `setup` does in them, and asks for its version. It inherits
    /// `inherited` under the same numbers: the options' descriptors are to be among them.
    ///
    /// # Errors
    /// No criu in PATH, one that is older than [`WANTED`], one that does not run.
    pub fn start(
        namespaces: Namespaces,
        setup: Setup<'_>,
        inherited: &[BorrowedFd<'_>],
    ) -> anyhow::Result<Self> {
        let program = find(env::var_os("PATH").unwrap_or_default().as_bytes())?;
        let (report, reporter) = socket::pair_seqpacket().context("make a socket for criu")?;
        let args = CloneArgs { namespaces, ..CloneArgs::default() };
        let child = clone3(args, || {
            let failure = become_criu(&program, setup, &reporter, inherited);
            // Without a reader there is nobody to tell.
            best_effort(socket::send(&reporter, failure.as_bytes(), &[]));
            127
        })
        .context("start criu")?;
        drop(reporter);
        let mut criu = Self { child, socket: None, version: Version::default() };
        let mut text = [0; 4096];
        // First our end of the socket, then nothing: the other end of the report is closed by execve(2).
        loop {
            let (length, fds) = socket::recv(&report, &mut text).context("start criu")?;
            match fds.into_iter().next() {
                Some(socket) => criu.socket = Some(socket),
                None if length == 0 => break,
                None => anyhow::bail!("start criu: {}", String::from_utf8_lossy(&text[..length])),
            }
        }
        criu.version = criu.ask(&rpc::version_request()).context("ask criu for its version")?.version;
        let found = criu.version;
        anyhow::ensure!(
            found >= WANTED,
            "{}: criu is too old: version {found}, {WANTED} is wanted",
            program.display()
        );
        Ok(criu)
    }

    /// criu's process.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.child.pid.as_raw()
    }

    /// Makes sure that this criu on this kernel has `feature`.
    ///
    /// # Errors
    /// Names what is missing.
    pub fn need(&self, feature: Feature) -> anyhow::Result<()> {
        let answer = self.ask(&rpc::feature_request(feature))?;
        let name = match feature {
            Feature::MemoryTracking => "memory tracking (a kernel with CONFIG_MEM_SOFT_DIRTY)",
            Feature::LazyPages => "lazy pages (a kernel with userfaultfd)",
        };
        let there = answer.features.contains(&(feature as u32));
        anyhow::ensure!(there, "criu {} has no {name} on this host", self.version);
        Ok(())
    }

    /// Has criu do its work. `work_dir` is where its log is.
    ///
    /// # Errors
    /// What `on_notify` says, or criu: its own message and the last error in its log.
    pub fn perform(
        mut self,
        kind: Kind,
        options: &Options,
        work_dir: &Path,
        on_notify: OnNotify<'_>,
    ) -> anyhow::Result<Response> {
        let mut ours = None;
        let mut bytes = rpc::request(kind, options);
        let answer = loop {
            let (answer, fds) = match self.exchange(&bytes) {
                Ok(received) => received,
                // What made us refuse says more than how criu took it.
                Err(error) => return Err(ours.unwrap_or(error)).with_context(|| self.verdict(kind, None)),
            };
            let Some(notification) = &answer.notify else { break answer };
            let outcome = on_notify(notification, fds);
            bytes = rpc::notify_answer(outcome.is_ok());
            if let Err(error) = outcome {
                ours.get_or_insert(error);
            }
        };
        if let Some(error) = ours {
            return Err(error);
        }
        let log = work_dir.join(options.log_file);
        anyhow::ensure!(answer.success, "{}", self.verdict(kind, Some((&answer, &log))));
        self.end(kind);
        Ok(answer)
    }

    /// Ends well: a criu whose caller hangs up leaves; after a pre-dump it would wait for the next.
    fn end(&mut self, kind: Kind) {
        self.socket = None;
        if kind == Kind::PreDump {
            best_effort(pidfd::send_signal(&self.child.pidfd, SIGKILL)); // it has nothing left to do
        }
        best_effort(pidfd::wait(&self.child.pidfd)); // its answer is what counts
    }

    fn verdict(&self, kind: Kind, answer: Option<(&Response, &Path)>) -> String {
        let what = if kind == Kind::Restore { "restore" } else { "checkpoint" };
        let mut text = format!("criu {} could not {what} the container", self.version);
        let Some((answer, log)) = answer else { return text };
        let bytes = fs::read(log).unwrap_or_default();
        let mut errors = log_errors(&String::from_utf8_lossy(&bytes));
        if errors.is_empty() && !answer.message.is_empty() {
            errors.push(answer.message.trim().to_owned());
        }
        if errors.is_empty() && answer.errno != 0 {
            errors.push(caisson_sys::Errno::from_raw(answer.errno.abs()).to_string());
        }
        let shown = &errors[errors.len().saturating_sub(ERRORS_SHOWN)..];
        if !shown.is_empty() {
            text += &format!(": {}", shown.join("; "));
        }
        if !bytes.is_empty() {
            text += &format!(" (last errors of {})", log.display());
        }
        text
    }

    fn ask(&self, bytes: &[u8]) -> anyhow::Result<Response> {
        let (answer, _) = self.exchange(bytes)?;
        anyhow::ensure!(answer.success, "criu answers: {}", answer.message);
        Ok(answer)
    }

    fn exchange(&self, bytes: &[u8]) -> anyhow::Result<(Response, Vec<OwnedFd>)> {
        let socket = self.socket.as_ref().context("criu was hung up on")?;
        socket::send(socket, bytes, &[]).context("send a request to criu")?;
        let mut buffer = vec![0; ANSWER_LIMIT];
        let (length, fds) = socket::recv(socket, &mut buffer).context("receive criu's answer")?;
        anyhow::ensure!(length > 0, "criu ended without an answer");
        Ok((Response::decode(&buffer[..length])?, fds))
    }
}

impl Drop for Criu {
    fn drop(&mut self) {
        self.socket = None;
        // Ended already, most often; a criu that failed has cleaned up before it answered.
        best_effort(pidfd::send_signal(&self.child.pidfd, SIGKILL));
        best_effort(pidfd::wait(&self.child.pidfd));
    }
}

/// For what is done on the way out: its failure must not hide what led there.
pub(super) fn best_effort<T>(_: caisson_sys::Result<T>) {}

/// Returns only what went wrong.
fn become_criu(program: &Path, setup: Setup<'_>, reporter: &OwnedFd, inherited: &[BorrowedFd<'_>]) -> String {
    if let Err(message) = setup() {
        return message;
    }
    // Made here and not by the parent: criu takes the descriptors that a request names from the process that made the
    // socket, and on restore they have to be of its own mount namespace.
    let (socket, theirs) = match socket::pair_seqpacket() {
        Ok(pair) => pair,
        Err(errno) => return format!("make a socket: {errno}"),
    };
    if let Err(errno) = socket::send(reporter, b"socket", &[theirs.as_fd()]) {
        return format!("pass the socket on: {errno}");
    }
    for kept in inherited.iter().copied().chain([socket.as_fd()]) {
        if let Err(errno) = fd::set_cloexec(kept, false) {
            return format!("pass a descriptor on: {errno}");
        }
    }
    let number = socket.as_raw_fd().to_string();
    let path = program.as_os_str().as_bytes();
    let Ok(args) =
        [path, b"swrk", number.as_bytes()].map(CString::new).into_iter().collect::<Result<Vec<_>, _>>()
    else {
        return format!("{}: a NUL byte in the path", program.display());
    };
    let environment = env::vars_os()
        .filter_map(|(name, value)| CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()).ok());
    let errno = exec::execve(&args[0], &args, &environment.collect::<Vec<_>>());
    format!("execute {}: {errno}", program.display())
}

/// criu in PATH.
fn find(path: &[u8]) -> anyhow::Result<PathBuf> {
    let listed = path.split(|byte| *byte == b':').filter(|dir| !dir.is_empty());
    let mut candidates = listed.map(|dir| Path::new(std::ffi::OsStr::from_bytes(dir)).join("criu"));
    candidates.find(|program| is_program(program)).with_context(|| {
        format!("checkpoint and restore need the program criu (version {WANTED} or later); it is not in PATH")
    })
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// The error messages of criu's log, without its time stamps and source positions. The very last lines only say that
/// it all failed: they are left out.
fn log_errors(log: &str) -> Vec<String> {
    let message = |line: &str| {
        let (_, tail) = line.split_once("Error (")?;
        let (_, message) = tail.split_once("): ")?;
        Some(message.trim().to_owned())
    };
    let says_why = |message: &String| !message.ends_with(" FAILED.") && !message.ends_with(" failed.");
    log.lines().filter_map(message).filter(says_why).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logs_errors_are_told_from_its_noise() {
        let log = "(00.01) Unable to open\n(00.02) Error (criu/files-reg.c:9): Can't lookup mount=3 for fd=1\n\
                   (00.03)     77: Error (criu/tty.c:1): A tty\n(00.04) Error (criu/cr-dump.c:2): Dumping FAILED.\n";
        assert_eq!(log_errors(log), ["Can't lookup mount=3 for fd=1", "A tty"]);
    }

    #[test]
    fn a_missing_criu_is_named_with_the_version_wanted() {
        let dir = env::temp_dir().join("caisson-no-such-directory");
        if let Err(error) = find(dir.as_os_str().as_bytes()) {
            let text = error.to_string();
            assert!(text.contains("criu") && text.contains("3.16"), "{text}");
        }
        assert!(is_program(Path::new("/bin/sh")));
        assert!(!is_program(Path::new("/etc/passwd")) && !is_program(Path::new("/etc")));
    }
}

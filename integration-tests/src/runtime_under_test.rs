//! The program under test: finds it, calls it, gives up on it in time.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::output::Output;
use crate::wait::LIMIT;
use crate::{os, wait};

/// Which program is under test, where expectations must know (a feature which a peer lacks).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The workspace's own.
    Caisson,
    /// opencontainers/runc.
    Runc,
    /// containers/crun.
    Crun,
    /// youki-dev/youki.
    Youki,
    /// Anything else.
    Other,
}

/// Where the program under test is: `RUNTIME`, else the workspace's release or debug build.
pub fn program() -> PathBuf {
    if let Some(path) = std::env::var_os("RUNTIME") {
        return PathBuf::from(path);
    }
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/x86_64-unknown-linux-gnu");
    let found =
        ["release", "debug"].iter().map(|profile| target.join(profile).join("caisson")).find(|p| p.exists());
    found.unwrap_or_else(|| panic!("no caisson below {}: build it, or set RUNTIME", target.display()))
}

/// Name and version of the program under test.
pub fn version() -> &'static str {
    static VERSION: OnceLock<String> = OnceLock::new();
    VERSION.get_or_init(|| {
        let output = Command::new(program()).arg("--version").output();
        let output = output.unwrap_or_else(|error| panic!("run {} --version: {error}", program().display()));
        String::from_utf8_lossy(&output.stdout).into_owned()
    })
}

/// Which program is under test.
pub fn kind() -> Kind {
    // Not by the file's name: under Docker or in the lab it may be called anything.
    match version().split_whitespace().next().unwrap_or_default() {
        "caisson" => Kind::Caisson,
        "runc" => Kind::Runc,
        "crun" => Kind::Crun,
        "youki" => Kind::Youki,
        _ => Kind::Other,
    }
}

/// The program with the global options of one test.
#[derive(Debug, Clone)]
pub struct Runtime {
    program: PathBuf,
    scratch: PathBuf,
    globals: Vec<String>,
    prefix: Vec<String>,
    env: Vec<(String, String)>,
}

impl Runtime {
    /// The program with its state below `scratch`.
    pub fn new(scratch: &Path) -> Self {
        let globals = vec!["--root".to_owned(), scratch.join("state").display().to_string()];
        Self { program: program(), scratch: scratch.to_owned(), globals, prefix: Vec::new(), env: Vec::new() }
    }

    /// Adds options before the verb.
    #[must_use]
    pub fn global(mut self, options: &[&str]) -> Self {
        self.globals.extend(options.iter().map(|&option| option.to_owned()));
        self
    }

    /// Runs the program as an ordinary user. The program is copied to where that user can reach it.
    #[must_use]
    pub fn as_user(mut self, uid: u32, gid: u32) -> Self {
        let copy = self.scratch.join("runtime");
        fs::copy(&self.program, &copy).unwrap_or_else(|error| panic!("copy the runtime: {error}"));
        self.program = copy;
        self.prefix = ["setpriv", "--clear-groups"].map(str::to_owned).to_vec();
        self.prefix.extend([format!("--reuid={uid}"), format!("--regid={gid}")]);
        let runtime_dir = self.scratch.join("run").display().to_string();
        self.env("XDG_RUNTIME_DIR", &runtime_dir)
    }

    /// Runs the program as the lab's ordinary user, in a delegated scope of that user's systemd, as after a login.
    #[must_use]
    pub fn as_tester(mut self) -> Self {
        let copy = self.scratch.join("runtime");
        fs::copy(&self.program, &copy).unwrap_or_else(|error| panic!("copy the runtime: {error}"));
        self.program = copy;
        self.prefix = vec!["as-tester".to_owned()];
        self
    }

    /// Sets a variable of the program's environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Runs `script` in the shell which then becomes the program: to open descriptors, set limits, change directory.
    #[must_use]
    pub fn after_shell(mut self, script: &str) -> Self {
        self.prefix.extend(["sh".into(), "-c".into(), format!("{script}\nexec \"$0\" \"$@\"")]);
        self
    }

    /// The directory with the runtime's state.
    pub fn state_dir(&self) -> PathBuf {
        self.scratch.join("state")
    }

    /// Calls the program and waits for it.
    pub fn call(&self, args: &[&str]) -> Output {
        self.call_with(args, Stdio::null())
    }

    /// Calls the program with something as its standard input.
    pub fn call_with(&self, args: &[&str], stdin: Stdio) -> Output {
        self.spawn(args, stdin).wait()
    }

    /// Starts the program with its streams going to files: a container that outlives the call keeps them open, so a
    /// pipe would never end.
    pub fn spawn(&self, args: &[&str], stdin: Stdio) -> Running {
        let (out, err) = self.stream_files();
        let (stdout, stderr) = (file_for(&out), file_for(&err));
        let child = self.spawn_on(args, stdin, stdout.into(), stderr.into());
        Running { child, command: self.describe(args), out, err }
    }

    /// Starts the program on the given streams.
    pub fn spawn_on(&self, args: &[&str], stdin: Stdio, stdout: Stdio, stderr: Stdio) -> Child {
        let mut words = self.prefix.clone();
        words.push(self.program.display().to_string());
        words.extend(self.globals.iter().cloned());
        words.extend(args.iter().map(|&arg| arg.to_owned()));
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).current_dir(&self.scratch).envs(self.env.iter().cloned());
        command.env_remove("NOTIFY_SOCKET").env_remove("LISTEN_FDS").env("CAISSON_TEST", "1");
        command.envs(self.env.iter().cloned()).stdin(stdin).stdout(stdout).stderr(stderr);
        command.spawn().unwrap_or_else(|error| panic!("start {}: {error}", words.join(" ")))
    }

    fn describe(&self, args: &[&str]) -> String {
        format!("{} {}", self.program.file_name().unwrap_or_default().display(), args.join(" "))
    }

    fn stream_files(&self) -> (PathBuf, PathBuf) {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        (self.scratch.join(format!("call-{number}.out")), self.scratch.join(format!("call-{number}.err")))
    }
}

fn file_for(path: &Path) -> File {
    File::create(path).unwrap_or_else(|error| panic!("make {}: {error}", path.display()))
}

/// A call under way.
#[derive(Debug)]
pub struct Running {
    child: Child,
    command: String,
    out: PathBuf,
    err: PathBuf,
}

impl Running {
    /// The runtime's own pid.
    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// The files of its two streams: they outlive the call, as a container may.
    pub fn stream_paths(&self) -> (PathBuf, PathBuf) {
        (self.out.clone(), self.err.clone())
    }

    /// What has come on standard output so far.
    pub fn stdout(&self) -> String {
        read(&self.out)
    }

    /// What has come on standard error so far.
    pub fn stderr(&self) -> String {
        read(&self.err)
    }

    /// Waits for the program's end; after [`LIMIT`] kills it and panics with what it was waiting for.
    pub fn wait(mut self) -> Output {
        let status = wait_in_time(&mut self.child, LIMIT, &self.command);
        let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
        Output { command: self.command.clone(), code, stdout: self.stdout(), stderr: self.stderr() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A test that failed between spawn and wait must not leave the runtime running.
        if let Ok(None) = self.child.try_wait() {
            kill_and_reap(&mut self.child);
        }
    }
}

/// Waits for a child; after `limit` kills it by pid and panics with what it was waiting for.
pub fn wait_in_time(child: &mut Child, limit: Duration, what: &str) -> std::process::ExitStatus {
    let pid = child.id().cast_signed();
    let ended = os::pidfd_open(pid).is_ok_and(|pidfd| os::poll_readable(pidfd.as_fd(), limit));
    if !ended && matches!(child.try_wait(), Ok(None)) {
        let waiting = what_it_waits_for(pid);
        kill_and_reap(child);
        panic!("{what}: no end after {limit:?}\n{waiting}");
    }
    child.wait().expect("wait for our own child")
}

fn kill_and_reap(child: &mut Child) {
    if child.kill().is_ok() {
        child.wait().expect("wait for our own child");
    }
}

/// State, system call and kernel stack of a process and its descendants, for the report of a hang.
pub fn what_it_waits_for(pid: i32) -> String {
    let proc = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let mut report = format!(
        "pid {pid} {}: wchan {}, syscall {}, stack:\n{}",
        proc("cmdline").replace('\0', " ").chars().take(160).collect::<String>(),
        proc("wchan"),
        proc("syscall").trim(),
        proc("stack")
    );
    for child in proc(&format!("task/{pid}/children")).split_whitespace().filter_map(|word| word.parse().ok())
    {
        report.push_str(&what_it_waits_for(child));
    }
    report
}

fn read(path: &Path) -> String {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// Waits until a process not started by us is dead, else panics.
pub fn wait_for_end(pid: i32) {
    assert!(wait::process_end(pid), "pid {pid} lives on\n{}", what_it_waits_for(pid));
}

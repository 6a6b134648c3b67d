//! One container of one test. Whatever becomes of the test, the container, its processes and its cgroups go.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;

use crate::output::Output;
use crate::runtime_under_test::{Running, Runtime, wait_for_end};
use crate::scratch::Scratch;
use crate::{cgroup, leak, os};

/// A bundle with an id, and the runtime to run it.
#[derive(Debug)]
pub struct Container {
    id: String,
    runtime: Runtime,
    scratch: Scratch,
    streams: RefCell<Option<(PathBuf, PathBuf)>>,
}

impl Container {
    /// The container named after `scratch`, whose `bundle/` holds the bundle.
    pub fn new(scratch: Scratch) -> Self {
        let runtime = Runtime::new(scratch.path());
        Self { id: scratch.name().to_owned(), runtime, scratch, streams: RefCell::default() }
    }

    /// Changes how the runtime is called.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(Runtime) -> Runtime) -> Self {
        self.runtime = change(self.runtime.clone());
        self
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The runtime as this container calls it.
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// The test's directory.
    pub fn scratch(&self) -> &Scratch {
        &self.scratch
    }

    /// The bundle's directory.
    pub fn bundle(&self) -> String {
        self.scratch.join("bundle").display().to_string()
    }

    /// A path in the root file system, seen from the host.
    pub fn rootfs(&self, inside: &str) -> PathBuf {
        self.scratch.join("bundle/rootfs").join(inside.trim_start_matches('/'))
    }

    /// `create` with more options; the container's own output is read by [`Self::stdout`].
    pub fn create_with(&self, options: &[&str]) -> Output {
        let bundle = self.bundle();
        let mut args = vec!["create", "--bundle", &bundle];
        args.extend(options);
        args.push(&self.id);
        let running = self.runtime.spawn(&args, Stdio::null());
        self.streams.replace(Some(running.stream_paths()));
        running.wait()
    }

    /// `create`.
    pub fn create(&self) -> Output {
        self.create_with(&[])
    }

    /// `create` and `start`, both successful.
    #[track_caller]
    pub fn up(self) -> Self {
        self.create().ok();
        self.start().ok();
        self
    }

    /// `start`.
    pub fn start(&self) -> Output {
        self.verb("start", &[])
    }

    /// `run` in the foreground.
    pub fn run(&self) -> Output {
        self.run_with(&[])
    }

    /// `run` with more options.
    pub fn run_with(&self, options: &[&str]) -> Output {
        self.spawn_run(options).wait()
    }

    /// `run`, not waited for.
    pub fn spawn_run(&self, options: &[&str]) -> Running {
        let bundle = self.bundle();
        let mut args = vec!["run", "--bundle", &bundle];
        args.extend(options);
        args.push(&self.id);
        self.runtime.spawn(&args, Stdio::null())
    }

    /// Any verb with options before this container's id.
    pub fn verb(&self, verb: &str, options: &[&str]) -> Output {
        self.verb_then(verb, options, &[])
    }

    /// Any verb with options before and words after this container's id.
    pub fn verb_then(&self, verb: &str, options: &[&str], words: &[&str]) -> Output {
        let mut args = vec![verb];
        args.extend(options);
        args.push(&self.id);
        args.extend(words);
        self.runtime.call(&args)
    }

    /// `exec` of a command.
    pub fn exec(&self, words: &[&str]) -> Output {
        self.verb_then("exec", &[], words)
    }

    /// `exec` of a shell script.
    pub fn exec_sh(&self, script: &str) -> Output {
        self.exec(&["sh", "-c", script])
    }

    /// `kill` with a signal.
    pub fn kill(&self, signal: &str) -> Output {
        self.verb_then("kill", &[], &[signal])
    }

    /// Kills with SIGKILL and waits for init's end.
    #[track_caller]
    pub fn kill_and_wait(&self) {
        let pid = self.pid();
        self.kill("KILL").ok();
        wait_for_end(pid);
    }

    /// `delete`.
    pub fn delete(&self) -> Output {
        self.verb("delete", &[])
    }

    /// `state` as JSON.
    #[track_caller]
    pub fn state(&self) -> Value {
        self.verb("state", &[]).ok().json()
    }

    /// The status in `state`.
    #[track_caller]
    pub fn status(&self) -> String {
        self.state()["status"].as_str().unwrap_or_default().to_owned()
    }

    /// The host pid of init.
    #[track_caller]
    pub fn pid(&self) -> i32 {
        let pid = self.state()["pid"].as_i64().expect("a pid in the state");
        i32::try_from(pid).expect("a pid is an int")
    }

    /// Waits for init's end.
    #[track_caller]
    pub fn wait(&self) {
        wait_for_end(self.pid());
    }

    /// What the created container has written on standard output so far.
    pub fn stdout(&self) -> String {
        self.streams.borrow().as_ref().map(|(out, _)| read(out)).unwrap_or_default()
    }

    /// What the created container has written on standard error so far.
    pub fn stderr(&self) -> String {
        self.streams.borrow().as_ref().map(|(_, err)| read(err)).unwrap_or_default()
    }

    /// Starts a created container, waits for its end and returns what it wrote.
    #[track_caller]
    pub fn finish(&self) -> String {
        let pid = self.pid();
        self.start().ok();
        wait_for_end(pid);
        self.stdout()
    }

    /// The container's cgroup, as a path below a hierarchy.
    pub fn cgroup(&self) -> String {
        format!("/{0}/{0}", self.id)
    }

    /// A file of the container's cgroup: of the v1 controller given, or of v2's one hierarchy.
    #[track_caller]
    pub fn cgroup_file(&self, controller: &str, file: &str) -> String {
        let path = cgroup::file(controller, &self.cgroup(), file);
        std::fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("read {}: {error}", path.display()))
            .trim()
            .to_owned()
    }
}

fn read(path: &Path) -> String {
    std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

impl Drop for Container {
    fn drop(&mut self) {
        // Quietly: most tests have deleted it already, and the checks below find what is left. A panic in here while a
        // failed test unwinds would end the whole program.
        let delete = std::panic::AssertUnwindSafe(|| self.verb("delete", &["--force"]));
        drop(std::panic::catch_unwind(delete));
        for pid in leak::processes_of(&self.scratch) {
            drop(os::kill(pid, libc::SIGKILL));
        }
        cgroup::remove_tree(&format!("/{}", self.id));
        leak::unmount_below(&self.scratch);
    }
}

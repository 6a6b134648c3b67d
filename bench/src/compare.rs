//! Interleaves the operations over the runtimes, so that whatever else the machine does falls on all of them alike.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::IsTerminal;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::cgroups::{Cgroups, Driver};
use crate::stopwatch::{Sample, Stopwatch};
use crate::{bundle, kernel, report};

/// A contestant.
#[derive(Debug, Clone)]
pub struct Runtime {
    pub name: String,
    pub path: PathBuf,
}

/// What `compare` is asked to do.
#[derive(Debug)]
pub struct Options {
    pub rounds: usize,
    pub driver: Driver,
    pub json: Option<PathBuf>,
    pub work: PathBuf,
    pub runtimes: Vec<Runtime>,
}

/// The operations that are timed, in the order of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    Run,
    Create,
    Start,
    Delete,
    Exec,
}

impl Operation {
    pub const ALL: [Self; 5] = [Self::Run, Self::Create, Self::Start, Self::Delete, Self::Exec];

    /// The operation in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Run => "run /bin/true",
            Self::Exec => "exec /bin/true",
            Self::Create | Self::Start | Self::Delete => self.key(),
        }
    }

    /// The operation in the JSON report.
    pub fn key(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Create => "create",
            Self::Start => "start",
            Self::Delete => "delete",
            Self::Exec => "exec",
        }
    }
}

/// Operations that only make sense together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    Run,
    Lifecycle,
    Exec,
}

impl Group {
    const ALL: [Self; 3] = [Self::Run, Self::Lifecycle, Self::Exec];

    pub fn name(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Lifecycle => "create, start, delete",
            Self::Exec => "exec",
        }
    }
}

/// What one contestant has done.
#[derive(Debug, Default)]
pub struct Results {
    pub samples: BTreeMap<Operation, Vec<Sample>>,
    /// The first error of a group of operations ends that group for the contestant.
    pub errors: BTreeMap<Group, String>,
}

/// The name of the floor among the results.
pub const FLOOR: &str = "floor";
/// Rounds before the first that counts: caches fill, cgroup files get allocated.
const WARM_UP: usize = 2;

struct Race<'a> {
    work: &'a Path,
    cgroups: &'a Cgroups,
    driver: Driver,
    watch: Stopwatch,
    own_program: OsString,
}

/// Times every operation of every runtime and prints the report.
pub fn run(options: &Options) -> Result<()> {
    kernel::become_subreaper().context("become a subreaper")?;
    let cgroups = Cgroups::make()?;
    let outcome = race(options, &cgroups);
    cgroups.remove();
    let results = outcome?;
    print!("{}", report::table(options, &results));
    if let Some(path) = &options.json {
        let text = serde_json::to_vec_pretty(&report::json(options, &results))?;
        fs::write(path, text).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

fn race(options: &Options, cgroups: &Cgroups) -> Result<BTreeMap<String, Results>> {
    let race = Race {
        work: &options.work,
        cgroups,
        driver: options.driver,
        watch: Stopwatch { errors: options.work.join("stderr") },
        own_program: std::env::current_exe().context("find our own program")?.into_os_string(),
    };
    race.prepare()?;
    let mut results = BTreeMap::from([(FLOOR.to_owned(), Results::default())]);
    for runtime in &options.runtimes {
        let mut result = Results::default();
        if let Err(error) = race.start_sleeper(runtime) {
            result.errors.insert(Group::Exec, format!("{error:#}"));
        }
        results.insert(runtime.name.clone(), result);
    }
    for round in 0..options.rounds + WARM_UP {
        race.round(round, &options.runtimes, &mut results);
        if std::io::stderr().is_terminal() {
            eprint!("\rround {} of {} ", (round + 1).saturating_sub(WARM_UP), options.rounds);
        }
    }
    for runtime in &options.runtimes {
        race.stop_sleeper(runtime);
    }
    Ok(results)
}

impl Race<'_> {
    fn prepare(&self) -> Result<()> {
        let rootfs = self.work.join("rootfs");
        bundle::write(&self.work.join("true"), &rootfs, &["/bin/true"], &self.driver.path_of("true"))
    }

    /// Every contestant in turn, a different one first each time.
    fn round(&self, round: usize, runtimes: &[Runtime], results: &mut BTreeMap<String, Results>) {
        let count = runtimes.len() + 1;
        for group in Group::ALL {
            for turn in 0..count {
                let runtime = runtimes.get((round + turn) % count);
                let name = runtime.map_or(FLOOR, |runtime| runtime.name.as_str());
                let Some(result) = results.get_mut(name).filter(|r| !r.errors.contains_key(&group)) else {
                    continue;
                };
                match self.samples(runtime, group) {
                    Ok(_) if round < WARM_UP => {}
                    Ok(samples) => {
                        for (operation, sample) in samples {
                            result.samples.entry(operation).or_default().push(sample);
                        }
                    }
                    Err(error) => {
                        result.errors.insert(group, format!("{error:#}"));
                    }
                }
            }
        }
    }

    fn samples(&self, runtime: Option<&Runtime>, group: Group) -> Result<Vec<(Operation, Sample)>> {
        match (runtime, group) {
            (None, Group::Run) => Ok(vec![(Operation::Run, self.floor()?)]),
            (None, _) => Ok(Vec::new()),
            (Some(runtime), Group::Run) => self.run_once(runtime),
            (Some(runtime), Group::Lifecycle) => self.lifecycle(runtime),
            (Some(runtime), Group::Exec) => {
                let id = sleeper_id(runtime);
                let args = ["exec".as_ref(), id.as_ref(), "/bin/true".as_ref()];
                Ok(vec![(Operation::Exec, self.call(runtime, &args)?)])
            }
        }
    }

    fn floor(&self) -> Result<Sample> {
        let mut args: Vec<OsString> =
            vec!["floor".into(), "--rootfs".into(), self.work.join("rootfs").into_os_string()];
        if self.cgroups.unified {
            args.push("--unified".into());
        }
        args.extend(self.cgroups.of("true").into_iter().map(PathBuf::into_os_string));
        self.watch.time(&self.own_program, &args)
    }

    fn run_once(&self, runtime: &Runtime) -> Result<Vec<(Operation, Sample)>> {
        let (bundle, id) = (self.work.join("true"), bench_id(runtime));
        let args = ["run".as_ref(), "--bundle".as_ref(), bundle.as_os_str(), id.as_ref()];
        Ok(vec![(Operation::Run, self.call(runtime, &args)?)])
    }

    fn lifecycle(&self, runtime: &Runtime) -> Result<Vec<(Operation, Sample)>> {
        let (bundle, id, pid_file) = (self.work.join("true"), bench_id(runtime), self.work.join("pid"));
        let id: &OsStr = id.as_ref();
        let create = ["create", "--pid-file"].map(OsStr::new);
        let create = [&create[..], &[pid_file.as_ref(), "--bundle".as_ref(), bundle.as_ref(), id]].concat();
        let create = self.call(runtime, &create).context("create")?;
        let start = self.call(runtime, &["start".as_ref(), id]).context("start")?;
        reap(&pid_file).context("wait for the container's process")?;
        let delete = self.call(runtime, &["delete".as_ref(), id]).context("delete")?;
        Ok(vec![(Operation::Create, create), (Operation::Start, start), (Operation::Delete, delete)])
    }

    /// Calls the runtime with a state directory of its own.
    fn call(&self, runtime: &Runtime, args: &[&OsStr]) -> Result<Sample> {
        let state = self.work.join("state").join(&runtime.name);
        let flags: Vec<&OsStr> = self.driver.flags().iter().map(OsStr::new).collect();
        let args = [&["--root".as_ref(), state.as_ref()], &flags[..], args].concat();
        self.watch.time(runtime.path.as_os_str(), &args)
    }

    /// Starts the container in which `exec` is timed.
    fn start_sleeper(&self, runtime: &Runtime) -> Result<()> {
        let id = sleeper_id(runtime);
        let bundle = self.work.join(&id);
        fs::create_dir_all(self.work.join("state").join(&runtime.name))
            .context("make the state directory")?;
        bundle::write(
            &bundle,
            &self.work.join("rootfs"),
            &["/bin/sleep", "100000"],
            &self.driver.path_of(&id),
        )?;
        let pid_file = bundle.join("pid");
        let args = ["run", "--detach", "--pid-file"].map(OsStr::new);
        let args =
            [&args[..], &[pid_file.as_ref(), "--bundle".as_ref(), bundle.as_ref(), id.as_ref()]].concat();
        self.call(runtime, &args).context("run --detach").map(drop)
    }

    fn stop_sleeper(&self, runtime: &Runtime) {
        let id = sleeper_id(runtime);
        let pid_file = self.work.join(&id).join("pid");
        if let Ok(pid) = read_pid(&pid_file) {
            kernel::kill(pid);
            kernel::wait(pid).ok();
        }
        for id in [id, bench_id(runtime)] {
            self.call(runtime, &["delete".as_ref(), "--force".as_ref(), id.as_ref()]).ok();
        }
    }
}

fn bench_id(runtime: &Runtime) -> String {
    format!("bench-{}", runtime.name)
}

fn sleeper_id(runtime: &Runtime) -> String {
    format!("sleeper-{}", runtime.name)
}

fn read_pid(file: &Path) -> Result<libc::pid_t> {
    let text = fs::read(file).with_context(|| format!("read {}", file.display()))?;
    let text = OsString::from_vec(text).into_string().unwrap_or_default();
    text.trim().parse().with_context(|| format!("{}: not a pid", file.display()))
}

/// Waits for a container's init, which became our child when `create` exited.
fn reap(pid_file: &Path) -> Result<()> {
    let usage = kernel::wait(read_pid(pid_file)?)?;
    anyhow::ensure!(usage.success, "it failed");
    Ok(())
}

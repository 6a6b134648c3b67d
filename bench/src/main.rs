//! `caisson-bench`: times OCI runtimes side by side, and beside the floor that the kernel sets.
//!
//! `compare` interleaves the same operations over several runtimes; `floor` is one more contestant: a program that makes
//! what the default bundle asks for and nothing else. `scripts/bench` builds, finds the runtimes and calls `compare`.

mod bundle;
mod cgroups;
mod compare;
mod floor;
mod kernel;
mod report;
mod stopwatch;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

const USAGE: &str = "usage:
  caisson-bench compare [--rounds N] [--systemd] [--json FILE] --work DIR NAME=PATH…
  caisson-bench floor [--unified] [--cgroupns] --rootfs DIR CGROUP…
compare  times run, create, start, delete and exec of every runtime NAME=PATH in turn, N rounds (default 40). DIR holds
         `rootfs`, with /bin/true and /bin/sleep; the bundles and the states go beside it. --systemd: with systemd's
         scopes in the place of cgroups of the runtime's own.
floor    runs /bin/true of the root file system in new namespaces, mounts and the cgroup directories named.";

fn main() -> ExitCode {
    match dispatch(std::env::args_os().skip(1).collect()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("caisson-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(arguments: Vec<OsString>) -> Result<()> {
    let mut arguments = arguments.into_iter();
    match arguments.next().as_deref().and_then(|verb| verb.to_str()) {
        Some("floor") => floor::run(&floor_options(arguments)?),
        Some("compare") => compare::run(&compare_options(arguments)?),
        _ => bail!("{USAGE}"),
    }
}

fn floor_options(mut arguments: impl Iterator<Item = OsString>) -> Result<floor::Floor> {
    let mut options =
        floor::Floor { rootfs: PathBuf::new(), cgroups: Vec::new(), unified: false, cgroup_namespace: false };
    while let Some(argument) = arguments.next() {
        match argument.to_str() {
            Some("--unified") => options.unified = true,
            Some("--cgroupns") => options.cgroup_namespace = true,
            Some("--rootfs") => {
                options.rootfs = arguments.next().context("--rootfs needs a directory")?.into();
            }
            _ => options.cgroups.push(argument.into()),
        }
    }
    anyhow::ensure!(options.rootfs.is_absolute(), "--rootfs needs an absolute path");
    Ok(options)
}

fn compare_options(mut arguments: impl Iterator<Item = OsString>) -> Result<compare::Options> {
    let mut options = compare::Options {
        rounds: 40,
        driver: cgroups::Driver::Cgroupfs,
        json: None,
        work: PathBuf::new(),
        runtimes: Vec::new(),
    };
    while let Some(argument) = arguments.next() {
        let argument =
            argument.into_string().map_err(|raw| anyhow::anyhow!("not UTF-8: {}", raw.display()))?;
        match argument.as_str() {
            "--rounds" => {
                let value = arguments.next().context("--rounds needs a number")?;
                let value = value.to_string_lossy();
                options.rounds = value.parse().with_context(|| format!("--rounds {value}"))?;
                anyhow::ensure!(options.rounds > 0, "--rounds needs at least 1");
            }
            "--systemd" => options.driver = cgroups::Driver::Systemd,
            "--json" => options.json = Some(arguments.next().context("--json needs a file")?.into()),
            "--work" => options.work = arguments.next().context("--work needs a directory")?.into(),
            other => {
                let (name, path) =
                    other.split_once('=').with_context(|| format!("{other}: not NAME=PATH"))?;
                options.runtimes.push(compare::Runtime { name: name.to_owned(), path: path.into() });
            }
        }
    }
    anyhow::ensure!(options.work.is_absolute(), "--work needs an absolute path");
    anyhow::ensure!(!options.runtimes.is_empty(), "no runtime to time (NAME=PATH)");
    Ok(options)
}

//! `caisson update ID`: new limits for a running container, from flags or from a file.

use std::io::Read as _;
use std::path::Path;

use anyhow::Context as _;
use caisson_cgroup::Cgroup;
use clap::{ArgMatches, Command};
use oci_spec::runtime::LinuxResources;
use serde_json::{Value, json};

use super::Verb;
use crate::cli::{self, Given};
use crate::context::Context;
use crate::status::Event;
use crate::store::State;
use crate::{amount, bundle, live, probe};

pub(super) const VERB: Verb = Verb::new("update", "Change the limits of a container", flags, run);

/// Flags that are plain numbers of the resources object.
const NUMBERS: [(&str, &str, &str, &str); 9] = [
    ("blkio-weight", "/blockIO/weight", "WEIGHT", "Block I/O weight, 10 to 1000"),
    ("cpu-period", "/cpu/period", "US", "CPU period in microseconds"),
    ("cpu-quota", "/cpu/quota", "US", "CPU time a period in microseconds, -1 for no limit"),
    ("cpu-burst", "/cpu/burst", "US", "CPU time that may be saved up, in microseconds"),
    ("cpu-rt-period", "/cpu/realtimePeriod", "US", "Realtime period in microseconds"),
    ("cpu-rt-runtime", "/cpu/realtimeRuntime", "US", "Realtime CPU time a period in microseconds"),
    ("cpu-share", "/cpu/shares", "SHARES", "CPU shares (relative weight)"),
    ("cpu-idle", "/cpu/idle", "0|1", "Run only when nobody else wants to"),
    ("pids-limit", "/pids/limit", "N", "Limit on processes, -1 for none"),
];

/// Flags that are amounts of memory.
const AMOUNTS: [(&str, &str, &str); 3] = [
    ("memory", "/memory/limit", "Memory limit: bytes, or with K, M, G; -1 for none"),
    ("memory-reservation", "/memory/reservation", "Memory soft limit"),
    ("memory-swap", "/memory/swap", "Limit on memory and swap together, -1 for none"),
];

/// Flags that are texts.
const TEXTS: [(&str, &str, &str); 2] = [
    ("cpuset-cpus", "/cpu/cpus", "CPUs to use, such as 0-2,4"),
    ("cpuset-mems", "/cpu/mems", "Memory nodes to use"),
];

fn flags(command: Command) -> Command {
    let numbers = NUMBERS.map(|(flag, _, value, help)| cli::text(flag, value, help));
    let amounts = AMOUNTS.map(|(flag, _, help)| cli::text(flag, "SIZE", help));
    let texts = TEXTS.map(|(flag, _, help)| cli::text(flag, "LIST", help));
    command.args(numbers).args(amounts).args(texts).args([
        cli::text(
            "resources",
            "FILE",
            "Read limits from FILE (linux.resources of config.json); '-' is standard input",
        )
        .short('r'),
        cli::text("l3-cache-schema", "SCHEMA", "Intel RDT cache allocation"),
        cli::text("mem-bw-schema", "SCHEMA", "Intel RDT memory bandwidth allocation"),
        cli::text("kernel-memory", "SIZE", "Accepted and ignored: the kernel has no such limit any more")
            .hide(true),
        cli::text("kernel-memory-tcp", "SIZE", "Accepted and ignored").hide(true),
        cli::id(),
    ])
}

fn run(context: &Context, matches: &ArgMatches) -> anyhow::Result<u8> {
    let id = matches.text("id").unwrap_or_default();
    let container = live::lock_for(&context.store, id, Event::Update)?;
    let wanted = match matches.text("resources") {
        Some(file) => from_file(file)?,
        None => serde_json::to_vec(&from_flags(matches)?)?,
    };
    let wanted: LinuxResources = bundle::read_json(&wanted).context("the new limits")?;
    let update = caisson_plan::plan_update(&wanted, &probe::host()?).context("the new limits")?;
    for warning in update.warnings.list() {
        context.log.warn(warning.to_string());
    }
    if !(update.settings.is_empty() && update.devices.is_none() && update.properties.is_empty()) {
        anyhow::ensure!(!container.state.cgroup.is_empty(), "update container {id}: it has no cgroup");
        Cgroup::open(container.state.cgroup.clone())
            .apply(&update.settings, update.devices.as_deref(), &update.properties)
            .with_context(|| format!("update container {id}"))?;
    }
    resctrl(&container.state, matches).with_context(|| format!("update container {id}"))?;
    Ok(0)
}

fn from_file(file: &str) -> anyhow::Result<Vec<u8>> {
    if file != "-" {
        return bundle::read_limited(Path::new(file));
    }
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes).context("read standard input")?;
    Ok(bytes)
}

/// The resources object that the flags describe.
fn from_flags(matches: &ArgMatches) -> anyhow::Result<Value> {
    let mut resources = json!({});
    for (flag, place, _, _) in NUMBERS {
        if let Some(text) = matches.text(flag) {
            let number: i64 = text.parse().with_context(|| format!("--{flag} {text}: expected a number"))?;
            put(&mut resources, place, json!(number));
        }
    }
    for (flag, place, _) in AMOUNTS {
        if let Some(text) = matches.text(flag) {
            put(&mut resources, place, json!(amount::bytes(text).with_context(|| format!("--{flag}"))?));
        }
    }
    for (flag, place, _) in TEXTS {
        if let Some(text) = matches.text(flag) {
            put(&mut resources, place, json!(text));
        }
    }
    Ok(resources)
}

/// Sets `/section/field`.
fn put(resources: &mut Value, place: &str, value: Value) {
    if let Some((section, field)) = place[1..].split_once('/') {
        resources[section][field] = value;
    }
}

fn resctrl(state: &State, matches: &ArgMatches) -> anyhow::Result<()> {
    let schemas = [matches.text("l3-cache-schema"), matches.text("mem-bw-schema")];
    for schema in schemas.into_iter().flatten() {
        let group = state.after.resctrl_group.as_ref().context("it has no resctrl group of its own")?;
        let file = group.join("schemata");
        // One write a line: the kernel reports the first wrong line of a write only.
        std::fs::write(file.as_path(), format!("{schema}\n"))
            .with_context(|| format!("write {schema:?} to {file}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resources(words: &[&str]) -> anyhow::Result<Value> {
        let command = flags(Command::new("update"));
        let matches = command.try_get_matches_from(["update"].iter().chain(words).chain(&["web"]))?;
        from_flags(&matches)
    }

    #[test]
    fn flags_become_resources() {
        let words = ["--memory", "64M", "--memory-swap", "-1", "--cpu-quota", "5000", "--cpuset-cpus", "0-1"];
        assert_eq!(
            resources(&words).unwrap(),
            json!({ "memory": { "limit": 67_108_864, "swap": -1 }, "cpu": { "quota": 5000, "cpus": "0-1" } })
        );
    }

    #[test]
    fn a_flag_with_a_wrong_value_is_named() {
        let error = resources(&["--pids-limit", "many"]).unwrap_err();
        assert!(error.to_string().starts_with("--pids-limit many"), "{error}");
    }
}

//! The flags of `caisson spec` for what is changed most often, and what each changes in config.json.

use anyhow::Context as _;
use clap::{Arg, ArgMatches};
use serde_json::{Value, json};

use crate::amount;
use crate::cli::{self, Given};

/// The flags.
#[must_use]
pub fn flags() -> Vec<Arg> {
    vec![
        cli::text("memory", "SIZE", "Memory limit: bytes, or with K, M, G"),
        cli::text("cpus", "N", "CPU limit in processors, such as 0.5"),
        cli::number::<i64>("pids", "N", "Limit on the number of processes"),
        cli::texts("cap-add", "CAP", "Add a capability, or ALL"),
        cli::texts("cap-drop", "CAP", "Drop a capability, or ALL"),
        cli::switch("tty", "Whether the program gets a terminal").default_value("true"),
        cli::switch("rw", "Leave the root file system writable"),
        cli::switch("readonly", "Make the root file system read-only (the default)"),
        cli::texts("env", "NAME=VALUE", "Set an environment variable").short('e'),
        cli::text("cwd", "DIR", "Working directory of the program"),
        cli::text("user", "UID[:GID]", "Numbers of the user and group of the program").short('u'),
        cli::text("hostname", "NAME", "Host name of the container"),
        cli::texts(
            "mount",
            "SOURCE:DESTINATION[:OPTIONS]",
            "Bind a path of the host, such as /data:/data:ro",
        ),
        cli::text("rootfs", "DIR", "The root file system"),
        cli::text("net", "host|none", "Share the host's network, or have one of its own"),
    ]
}

/// Changes `config` as the flags say.
///
/// # Errors
/// A value that means nothing; names the flag.
pub fn apply(config: &mut Value, matches: &ArgMatches) -> anyhow::Result<()> {
    resources(config, matches)?;
    capabilities(config, matches)?;
    process(config, matches)?;
    let writable = matches.on("rw") && !matches.on("readonly");
    config["root"]["readonly"] = json!(!writable);
    if let Some(rootfs) = matches.text("rootfs") {
        config["root"]["path"] = json!(rootfs);
    }
    if let Some(name) = matches.text("hostname") {
        config["hostname"] = json!(name);
    }
    for mount in matches.texts("mount") {
        let mount = bind(&mount).with_context(|| format!("--mount {mount}"))?;
        config["mounts"].as_array_mut().context("no list of mounts")?.push(mount);
    }
    match matches.text("net") {
        None | Some("none") => Ok(()),
        Some("host") => share_network(config),
        Some(other) => anyhow::bail!("--net {other}: expected host or none"),
    }
}

fn resources(config: &mut Value, matches: &ArgMatches) -> anyhow::Result<()> {
    let resources = &mut config["linux"]["resources"];
    if let Some(text) = matches.text("memory") {
        let limit = amount::bytes(text).with_context(|| format!("--memory {text}"))?;
        resources["memory"] = json!({ "limit": limit });
    }
    if let Some(text) = matches.text("cpus") {
        const PERIOD: f64 = 100_000.0;
        let cpus: f64 = text.parse().with_context(|| format!("--cpus {text}"))?;
        anyhow::ensure!(cpus.is_finite() && cpus >= 0.01, "--cpus {text}: expected at least 0.01");
        resources["cpu"] = json!({ "quota": (cpus * PERIOD).round() as i64, "period": PERIOD as u64 });
    }
    if let Some(limit) = matches.number::<i64>("pids") {
        resources["pids"] = json!({ "limit": limit });
    }
    Ok(())
}

fn process(config: &mut Value, matches: &ArgMatches) -> anyhow::Result<()> {
    let process = &mut config["process"];
    process["terminal"] = json!(matches.on("tty"));
    if let Some(dir) = matches.text("cwd") {
        process["cwd"] = json!(dir);
    }
    if let Some(user) = matches.text("user") {
        let (uid, gid) = parse_user(user).with_context(|| format!("--user {user}: expected numbers"))?;
        process["user"] = json!({ "uid": uid, "gid": gid.unwrap_or(0) });
    }
    let environment = process["env"].as_array_mut().context("no environment")?;
    for pair in matches.texts("env") {
        let (name, _) = pair.split_once('=').with_context(|| format!("--env {pair}: expected NAME=VALUE"))?;
        let prefix = format!("{name}=");
        environment.retain(|old| !old.as_str().unwrap_or_default().starts_with(&prefix));
        environment.push(json!(pair));
    }
    Ok(())
}

/// `UID[:GID]`, numbers only: names would have to be looked up in the image's own files, with its own lies.
///
/// # Errors
/// What is not a number.
pub fn parse_user(text: &str) -> Result<(u32, Option<u32>), std::num::ParseIntError> {
    match text.split_once(':') {
        None => Ok((text.parse()?, None)),
        Some((uid, gid)) => Ok((uid.parse()?, Some(gid.parse()?))),
    }
}

/// A capability's full name from any spelling: `net_admin`, `CAP_NET_ADMIN`.
#[must_use]
pub fn capability_name(text: &str) -> String {
    let upper = text.to_ascii_uppercase();
    if upper == "ALL" || upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") }
}

fn capabilities(config: &mut Value, matches: &ArgMatches) -> anyhow::Result<()> {
    let names = |flag| matches.texts(flag).iter().map(|cap| capability_name(cap)).collect::<Vec<_>>();
    let (add, drop) = (names("cap-add"), names("cap-drop"));
    let known = caisson_sys::caps::CapSet::up_to(caisson_sys::caps::last_cap()).names();
    for name in add.iter().chain(&drop) {
        anyhow::ensure!(
            name == "ALL" || known.contains(name),
            "capability {name}: this kernel has none of that name"
        );
    }
    for set in ["bounding", "effective", "permitted"] {
        let place = &mut config["process"]["capabilities"][set];
        let mut have: Vec<String> = serde_json::from_value(place.take())?;
        // Dropped before added: `--cap-drop ALL --cap-add KILL` is what people write.
        have.retain(|name| !drop.contains(name) && !drop.iter().any(|all| all == "ALL"));
        let wanted = if add.iter().any(|all| all == "ALL") { known.clone() } else { add.clone() };
        have.extend(wanted.into_iter().filter(|name| !drop.contains(name)));
        have.sort();
        have.dedup();
        *place = json!(have);
    }
    Ok(())
}

fn bind(text: &str) -> anyhow::Result<Value> {
    let mut parts = text.splitn(3, ':');
    let (source, destination) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    anyhow::ensure!(source.starts_with('/') && destination.starts_with('/'), "expected two absolute paths");
    let options = parts.next().unwrap_or_default().split(',').filter(|option| !option.is_empty());
    let options: Vec<&str> = std::iter::once("rbind").chain(options).collect();
    Ok(json!({ "destination": destination, "type": "bind", "source": source, "options": options }))
}

fn share_network(config: &mut Value) -> anyhow::Result<()> {
    let namespaces = config["linux"]["namespaces"].as_array_mut().context("no namespaces")?;
    namespaces.retain(|namespace| namespace["type"] != "network");
    // The host's network namespace is not the container's to mount a sysfs of when it has a user namespace.
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wishes(words: &[&str]) -> anyhow::Result<Value> {
        let command = clap::Command::new("spec").args(flags());
        let matches = command.try_get_matches_from(std::iter::once(&"spec").chain(words))?;
        let mut config = crate::spec_template::config();
        apply(&mut config, &matches)?;
        Ok(config)
    }

    #[test]
    fn limits_become_resources() {
        let config = wishes(&["--memory", "64M", "--cpus", "0.5", "--pids", "12"]).unwrap();
        let resources = &config["linux"]["resources"];
        assert_eq!(resources["memory"]["limit"], 67_108_864);
        assert_eq!(resources["cpu"], json!({ "quota": 50_000, "period": 100_000 }));
        assert_eq!(resources["pids"]["limit"], 12);
    }

    #[test]
    fn capabilities_are_dropped_before_added() {
        let config = wishes(&["--cap-drop", "all", "--cap-add", "net_admin"]).unwrap();
        assert_eq!(config["process"]["capabilities"]["bounding"], json!(["CAP_NET_ADMIN"]));
        assert!(wishes(&["--cap-add", "fly"]).is_err());
    }

    #[test]
    fn environment_replaces_and_terminal_goes_away() {
        let config = wishes(&["-e", "TERM=dumb", "--tty=false", "--rw"]).unwrap();
        let environment = config["process"]["env"].as_array().unwrap();
        assert_eq!(environment.iter().filter(|pair| pair.as_str().unwrap().starts_with("TERM=")).count(), 1);
        assert_eq!(config["process"]["terminal"], false);
        assert_eq!(config["root"]["readonly"], false);
    }

    #[test]
    fn mount_needs_absolute_paths() {
        let config = wishes(&["--mount", "/a:/b:ro,nosuid"]).unwrap();
        let last = config["mounts"].as_array().unwrap().last().unwrap().clone();
        assert_eq!(last["options"], json!(["rbind", "ro", "nosuid"]));
        assert!(wishes(&["--mount", "a:/b"]).is_err());
    }
}

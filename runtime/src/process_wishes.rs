//! The process that `exec` runs: from `--process FILE`, or the container's own with the flags laid over it.

use std::path::Path;

use anyhow::Context as _;
use clap::{Arg, ArgMatches};
use oci_spec::runtime::Process;
use serde_json::{Value, json};

use crate::bundle;
use crate::cli::{self, Given};
use crate::spec_wishes::{capability_name, parse_user};
use crate::store::Entry;

/// The flags that describe the process.
#[must_use]
pub fn flags() -> Vec<Arg> {
    vec![
        cli::path("process", "FILE", "Read the process from FILE (the process object of config.json)")
            .short('p'),
        cli::text("cwd", "DIR", "Working directory"),
        cli::texts("env", "NAME=VALUE", "Add an environment variable").short('e'),
        cli::switch("tty", "Give it a terminal").short('t'),
        cli::text("user", "UID[:GID]", "Numbers of its user and group").short('u'),
        cli::texts("additional-gids", "GID", "Add a supplementary group").short('g'),
        cli::text("process-label", "LABEL", "SELinux label"),
        cli::text("apparmor", "PROFILE", "AppArmor profile"),
        cli::switch("no-new-privs", "Set no_new_privs"),
        cli::texts("cap", "CAP", "Add a capability").short('c'),
        cli::rest("command", "COMMAND", "The program and its arguments"),
    ]
}

/// Reads the process.
///
/// # Errors
/// A file that is missing or holds something else; a flag whose value means nothing; no program at all.
pub fn process(entry: &Entry, matches: &ArgMatches) -> anyhow::Result<Process> {
    let json = match matches.path("process") {
        Some(file) => from_file(file)?,
        None => serde_json::to_vec(&overlaid(&entry.config()?, matches)?)?,
    };
    bundle::read_json(&json).context("the process to execute")
}

fn from_file(file: &Path) -> anyhow::Result<Vec<u8>> {
    if file.as_os_str() != "-" {
        return bundle::read_limited(file);
    }
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut std::io::stdin(), &mut bytes).context("read standard input")?;
    Ok(bytes)
}

/// The container's process with what the flags change.
fn overlaid(config: &[u8], matches: &ArgMatches) -> anyhow::Result<Value> {
    let mut config: Value = serde_json::from_slice(config).context("read the container's configuration")?;
    let mut process = config["process"].take();
    if process.is_null() {
        process = json!({ "cwd": "/", "user": { "uid": 0, "gid": 0 } });
    }
    let command = matches.rest("command")?;
    anyhow::ensure!(
        !command.is_empty(),
        "nothing to execute: give a COMMAND after the id, or --process FILE"
    );
    process["args"] = json!(command);
    process["terminal"] = json!(matches.on("tty"));
    let texts = [("cwd", "cwd"), ("process-label", "selinuxLabel"), ("apparmor", "apparmorProfile")];
    for (flag, field) in texts {
        if let Some(text) = matches.text(flag) {
            process[field] = json!(text);
        }
    }
    if matches.on("no-new-privs") {
        process["noNewPrivileges"] = json!(true);
    }
    user(&mut process, matches)?;
    extend(&mut process["env"], matches.texts("env").into_iter().map(Value::from));
    capabilities(&mut process, &matches.texts("cap"));
    Ok(process)
}

fn user(process: &mut Value, matches: &ArgMatches) -> anyhow::Result<()> {
    if let Some(text) = matches.text("user") {
        let (uid, gid) = parse_user(text).with_context(|| format!("--user {text}: expected numbers"))?;
        process["user"]["uid"] = json!(uid);
        if let Some(gid) = gid {
            process["user"]["gid"] = json!(gid);
        }
    }
    for text in matches.texts("additional-gids") {
        let gid: u32 = text.parse().with_context(|| format!("--additional-gids {text}"))?;
        extend(&mut process["user"]["additionalGids"], std::iter::once(json!(gid)));
    }
    Ok(())
}

/// As runc: into every set but the inheritable and the ambient ones, which an added capability must not reach
/// (CVE-2022-29162).
fn capabilities(process: &mut Value, added: &[String]) {
    for name in added.iter().map(|name| capability_name(name)) {
        for set in ["bounding", "effective", "permitted"] {
            extend(&mut process["capabilities"][set], std::iter::once(json!(name)));
        }
    }
}

fn extend(list: &mut Value, more: impl Iterator<Item = Value>) {
    let mut all = list.as_array().cloned().unwrap_or_default();
    for value in more {
        if !all.contains(&value) {
            all.push(value);
        }
    }
    if !all.is_empty() {
        *list = Value::Array(all);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lay(words: &[&str]) -> anyhow::Result<Value> {
        let command = clap::Command::new("exec").args(flags());
        let matches = command.try_get_matches_from(std::iter::once(&"exec").chain(words))?;
        overlaid(&serde_json::to_vec(&crate::spec_template::config())?, &matches)
    }

    #[test]
    fn flags_lie_over_the_containers_process() {
        let process = lay(&[
            "-u", "5:6", "-g", "7", "-g", "8", "-e", "A=b", "--cwd", "/tmp", "-c", "net_raw", "id", "-u",
        ])
        .unwrap();
        assert_eq!(process["args"], json!(["id", "-u"]));
        assert_eq!(process["user"], json!({ "uid": 5, "gid": 6, "additionalGids": [7, 8] }));
        assert_eq!(process["terminal"], false);
        assert_eq!(process["env"].as_array().unwrap().last().unwrap(), "A=b");
        assert!(process["capabilities"]["effective"].as_array().unwrap().contains(&json!("CAP_NET_RAW")));
        assert!(process["capabilities"]["inheritable"].is_null());
    }

    #[test]
    fn nothing_to_execute_is_an_error() {
        assert!(lay(&[]).unwrap_err().to_string().contains("COMMAND"));
    }
}

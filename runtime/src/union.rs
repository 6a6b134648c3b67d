//! `caisson run --lower DIR… --upper DIR --work DIR | --ephemeral`: a union root file system from the command line.
//!
//! The flags become the `dev.caisson.rootfs.*` annotations, so that the plan knows one way only.

use anyhow::Context as _;
use clap::{Arg, ArgMatches};
use serde_json::{Map, Value};

use crate::bundle::Bundle;
use crate::cli::{self, Given};

/// What the annotations start with.
const PREFIX: &str = "dev.caisson.rootfs.";

/// The flags.
#[must_use]
pub fn flags() -> Vec<Arg> {
    vec![
        cli::texts(
            "lower",
            "DIR",
            "A read-only layer of the root (a directory or an EROFS file), topmost first",
        ),
        cli::text("upper", "DIR", "Where changes to the root are kept"),
        cli::text("work", "DIR", "overlayfs work directory, on the file system of --upper"),
        cli::switch("ephemeral", "Keep changes to the root in memory; they go with the container"),
    ]
}

/// Adds what the flags ask for to the bundle's configuration.
///
/// # Errors
/// Flags that contradict each other; a configuration that is no JSON object.
pub fn apply(bundle: &mut Bundle, matches: &ArgMatches) -> anyhow::Result<()> {
    let annotations = annotations(matches)?;
    if annotations.is_empty() {
        return Ok(());
    }
    let shown = bundle.config_path.display().to_string();
    let mut config: Value = serde_json::from_slice(&bundle.config).with_context(|| shown.clone())?;
    let object = config.as_object_mut().with_context(|| format!("{shown}: it is not a JSON object"))?;
    let place = object.entry("annotations").or_insert_with(|| Value::Object(Map::new()));
    let place = place.as_object_mut().with_context(|| format!("{shown}: /annotations is not an object"))?;
    for (name, value) in annotations {
        place.insert(format!("{PREFIX}{name}"), Value::String(value));
    }
    bundle.config = serde_json::to_vec(&config)?;
    Ok(())
}

fn annotations(matches: &ArgMatches) -> anyhow::Result<Vec<(&'static str, String)>> {
    let lowers = matches.texts("lower");
    let (upper, work) = (matches.text("upper"), matches.text("work"));
    let ephemeral = matches.on("ephemeral");
    if lowers.is_empty() {
        let lonely = upper.is_some() || work.is_some() || ephemeral;
        anyhow::ensure!(!lonely, "--upper, --work and --ephemeral need at least one --lower DIR");
        return Ok(Vec::new());
    }
    anyhow::ensure!(!(ephemeral && upper.is_some()), "--ephemeral and --upper exclude each other");
    anyhow::ensure!(upper.is_some() == work.is_some(), "--upper and --work go together");
    let absolute = |path: &str| -> anyhow::Result<String> {
        let path = std::path::absolute(path).with_context(|| path.to_owned())?;
        Ok(path.to_string_lossy().into_owned())
    };
    let lowers = lowers.iter().map(|path| absolute(path)).collect::<anyhow::Result<Vec<_>>>()?;
    let mut all = vec![("lower", lowers.join(":"))];
    if let (Some(upper), Some(work)) = (upper, work) {
        all.push(("upper", absolute(upper)?));
        all.push(("work", absolute(work)?));
    }
    if ephemeral {
        all.push(("ephemeral", "true".to_owned()));
    }
    Ok(all)
}

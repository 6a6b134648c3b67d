//! `dev.caisson.landlock`: restrict the program's file system by Landlock (landlock(7)), opt-in.
//!
//! Two forms: JSON `{"read": ["/usr", "/etc"], "write": ["/tmp"]}`, or short `ro=/usr:/etc;rw=/tmp`. What lies beneath
//! a `read` path can be read and executed, beneath a `write` path also changed; everything else is out of reach.

use serde::Deserialize;

use crate::context::Context;
use crate::ids::ContainerPath;
use crate::problem::Problems;
use crate::rootfs::annotation_pointer;
use crate::step::process::LandlockPlan;

/// The annotation's key.
pub(crate) const ANNOTATION: &str = "dev.caisson.landlock";

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rules {
    #[serde(default)]
    read: Vec<String>,
    #[serde(default)]
    write: Vec<String>,
}

/// Reads the annotation.
pub(crate) fn plan(context: &Context<'_>, problems: &mut Problems) -> Option<LandlockPlan> {
    let text = context.annotation(ANNOTATION)?;
    let at = annotation_pointer(ANNOTATION);
    if context.facts.landlock_abi == 0 {
        problems.error_hint(
            &at,
            "this kernel has no Landlock",
            "boot with lsm=landlock,… or remove the annotation",
        );
    }
    let rules = match parse(text) {
        Ok(rules) => rules,
        Err(message) => {
            problems.error_hint(&at, message, "expected {\"read\": […], \"write\": […]} or ro=/a:/b;rw=/c");
            return None;
        }
    };
    if let Some(bad) = rules.read.iter().chain(&rules.write).find(|path| !path.starts_with('/')) {
        problems.error(&at, format!("{bad:?} is not an absolute path"));
    }
    if rules.read.is_empty() && rules.write.is_empty() {
        problems.error(&at, "no path is named: the program itself could not be read");
    }
    let paths = |list: Vec<String>| list.iter().map(ContainerPath::new).collect();
    Some(LandlockPlan { read: paths(rules.read), write: paths(rules.write) })
}

fn parse(text: &str) -> Result<Rules, String> {
    if text.trim_start().starts_with('{') {
        return serde_json::from_str(text).map_err(|error| error.to_string());
    }
    let mut rules = Rules::default();
    for part in text.split(';').filter(|part| !part.is_empty()) {
        let (list, paths) = match part.split_once('=') {
            Some(("ro", paths)) => (&mut rules.read, paths),
            Some(("rw", paths)) => (&mut rules.write, paths),
            _ => return Err(format!("{part:?} starts with neither ro= nor rw=")),
        };
        list.extend(paths.split(':').filter(|path| !path.is_empty()).map(str::to_owned));
    }
    Ok(rules)
}

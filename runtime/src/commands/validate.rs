//! `caisson validate BUNDLE`: everything that is wrong with a bundle, at once, each with its place. Nothing runs.

use caisson_plan::every_problem::{add_unrelated, parse_leniently};
use caisson_plan::ids::ContainerId;
use caisson_plan::problem::{Problem, Problems, Severity};
use clap::{ArgMatches, Command};

use super::{Verb, explain};
use crate::bundle::{self, Bundle};
use crate::cli::{self, Given};
use crate::context::Context;
use crate::{bundle_check, probe, report};

pub(super) const VERB: Verb =
    Verb::new("validate", "Show every problem of a bundle, without running it", flags, run);

fn flags(command: Command) -> Command {
    command.args(bundle::flags()).args([cli::switch("json", "Print the problems as JSON"), explain::place()])
}

fn run(context: &Context, matches: &ArgMatches) -> anyhow::Result<u8> {
    let bundle = explain::open(matches)?;
    let problems = problems(context, &bundle)?;
    if matches.on("json") {
        let valid = !problems.has_errors();
        report::print_json(&serde_json::json!({ "valid": valid, "problems": problems }))?;
    } else {
        report::print(&listing(&bundle.config_path.display().to_string(), problems.list()))?;
    }
    Ok(u8::from(problems.has_errors()))
}

/// What the document says, what this host can do, and what is missing beside the document.
fn problems(context: &Context, bundle: &Bundle) -> anyhow::Result<Problems> {
    let (spec, mut all) = parse_leniently(&bundle.config);
    let Some(spec) = spec else { return Ok(all) };
    let id = ContainerId::parse("validate")?;
    let facts = probe::host_in_full()?;
    let planned = caisson_plan::plan(&spec, &facts, &explain::options(context, id, bundle));
    let mut later = Problems::default();
    if let Err(errors) = planned.result {
        later.extend(errors);
    }
    bundle_check::missing_files(&spec, &bundle.dir, &mut later);
    later.extend(caisson_plan::host_support(&spec, &facts));
    later.extend(planned.warnings);
    later.extend(caisson_plan::unknown_keys(&bundle.config, &spec));
    add_unrelated(&mut all, &later);
    Ok(all)
}

fn listing(file: &str, problems: &[Problem]) -> String {
    let mut text = String::new();
    for problem in problems {
        let kind = match problem.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        text.push_str(&format!("{kind:<7}  {problem}\n"));
    }
    let count = |severity| problems.iter().filter(|problem| problem.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    text + &format!("{file}: {errors} errors, {warnings} warnings\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use caisson_plan::ids::Pointer;

    #[test]
    fn listing_shows_place_kind_and_count() {
        let mut problems = Problems::default();
        problems.error(&Pointer::new("/root/path"), "it is missing");
        problems.warn(&Pointer::new("/proces"), "unknown field");
        assert_eq!(
            listing("config.json", problems.list()),
            "error    /root/path: it is missing\nwarning  /proces: unknown field\nconfig.json: 1 errors, 1 warnings\n"
        );
    }
}

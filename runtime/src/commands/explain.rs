//! `caisson explain BUNDLE`: the ordered plan of what `run` would do. Nothing runs.

use std::path::Path;

use caisson_plan::explain;
use caisson_plan::ids::{ContainerId, HostPath};
use caisson_plan::options::{Command as Planned, Options};
use clap::{Arg, ArgMatches, Command, value_parser};

use super::Verb;
use crate::bundle::{self, Bundle};
use crate::cli::{self, Given};
use crate::context::Context;
use crate::{probe, report, union};

pub(super) const VERB: Verb =
    Verb::new("explain", "Show what would be done to run a bundle, without doing it", flags, run);

fn flags(command: Command) -> Command {
    command.args(bundle::flags()).args(union::flags()).args([
        cli::switch("json", "Print the plan as JSON"),
        cli::text("id", "ID", "The id to plan for").default_value("container"),
        place(),
    ])
}

/// The bundle as the first word, for people; engines give `--bundle`.
pub(super) fn place() -> Arg {
    Arg::new("place")
        .value_name("BUNDLE")
        .value_parser(value_parser!(std::path::PathBuf))
        .help("Same as --bundle")
}

/// The bundle from either.
pub(super) fn open(matches: &ArgMatches) -> anyhow::Result<Bundle> {
    let dir = matches.path("bundle").or(matches.path("place"));
    let config = matches.path("config").map(std::path::PathBuf::as_path);
    bundle::open_at(dir.map_or(Path::new("."), std::path::PathBuf::as_path), config)
}

fn run(context: &Context, matches: &ArgMatches) -> anyhow::Result<u8> {
    let mut bundle = open(matches)?;
    union::apply(&mut bundle, matches)?;
    let id = ContainerId::parse(matches.text("id").unwrap_or("container"))?;
    let parsed = caisson_plan::parse(&bundle.config)
        .map_err(|problems| anyhow::Error::new(problems).context(bundle.config_path.display().to_string()))?;
    let planned = caisson_plan::plan(&parsed.spec, &probe::host_in_full()?, &options(context, id, &bundle));
    let mut warnings = parsed.warnings;
    warnings.extend(planned.warnings);
    let plan = planned
        .result
        .map_err(|problems| anyhow::Error::new(problems).context(bundle.config_path.display().to_string()))?;
    if matches.on("json") {
        report::print_json(&serde_json::json!({ "plan": plan, "warnings": warnings }))?;
    } else {
        report::print(&explain::table(&plan, &warnings))?;
    }
    Ok(0)
}

/// The options of a plain `run` by this user.
pub(super) fn options(context: &Context, id: ContainerId, bundle: &Bundle) -> Options {
    Options {
        command: Planned::Run,
        cgroup_manager: context.cgroup_manager,
        rootless: context.rootless,
        systemd_user: !nix::unistd::geteuid().is_root(),
        ..Options::new(id, HostPath::new(&bundle.dir))
    }
}

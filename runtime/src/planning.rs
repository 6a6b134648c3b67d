//! From a bundle to a plan: parsing, probing and planning in one call.

use anyhow::Context as _;
use caisson_plan::options::Options;
use caisson_plan::step::Plan;

use crate::bundle::Bundle;
use crate::log::Log;
use crate::probe;

/// Reads the bundle's configuration and plans it for this host; warnings go to the log.
///
/// # Errors
/// Every error of the configuration, each with its pointer.
pub fn plan(log: &Log, bundle: &Bundle, options: &Options) -> anyhow::Result<Plan> {
    let shown = bundle.config_path.display();
    let parsed = caisson_plan::parse(&bundle.config).with_context(|| shown.to_string())?;
    let facts = probe::host()?;
    let planned = caisson_plan::plan(&parsed.spec, &facts, options);
    for warning in parsed.warnings.list().iter().chain(planned.warnings.list()) {
        log.warn(warning.to_string());
    }
    planned.result.with_context(|| shown.to_string())
}

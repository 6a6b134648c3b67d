//! Intel RDT through resctrl (config-linux.md, "IntelRdt").

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use caisson_plan::step::IntelRdtPlan;

use crate::error::{Act, Context, Failure};

/// A group that this run made, to be removed when the run fails.
#[derive(Debug)]
pub(crate) struct Made(pub(crate) PathBuf);

/// Makes the group when it may, and writes its schemata.
pub(crate) fn prepare(plan: &IntelRdtPlan) -> Act<Option<Made>> {
    let group = plan.group.as_path();
    let made = match fs::create_dir(group) {
        Ok(()) if !plan.create => {
            fs::remove_dir(group).on(|| format!("remove resctrl group {}", plan.group))?;
            return Err(Failure::new(format!("use resctrl group {}", plan.group)).detail(
                "closID names a group that does not exist, and neither schemata nor l3CacheSchema is given",
            ));
        }
        Ok(()) => Some(Made(group.to_owned())),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => None,
        Err(error) => return Err(error).on(|| format!("make resctrl group {}", plan.group)),
    };
    if !plan.schemata.is_empty() {
        let text = format!("{}\n", plan.schemata.join("\n"));
        fs::write(group.join("schemata"), &text)
            .on(|| format!("write {text:?} to {}/schemata", plan.group))?;
    }
    Ok(made)
}

/// Moves init into the group, and into a monitoring group of its own when asked.
pub(crate) fn join(plan: &IntelRdtPlan, id: &str, pid: i32) -> Act {
    let join = |dir: PathBuf| {
        fs::write(dir.join("tasks"), pid.to_string()).on(|| format!("join resctrl group {}", dir.display()))
    };
    join(plan.group.as_path().to_owned())?;
    if plan.monitoring {
        let monitor = plan.group.as_path().join("mon_groups").join(id);
        fs::create_dir_all(&monitor).on(|| format!("make resctrl monitoring group {}", monitor.display()))?;
        join(monitor)?;
    }
    Ok(())
}

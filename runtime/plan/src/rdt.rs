//! `linux.intelRdt`: a resctrl group for the container.

use crate::context::Context;
use crate::ids::Pointer;
use crate::problem::Problems;
use crate::step::IntelRdtPlan;

/// Reads `linux.intelRdt`.
pub(crate) fn plan(context: &Context<'_>, problems: &mut Problems) -> Option<IntelRdtPlan> {
    let wanted = context.linux()?.intel_rdt().as_ref()?;
    let at = Pointer::new("/linux/intelRdt");
    let Some(mount) = &context.facts.resctrl else {
        // config-linux.md: "the runtime MUST generate an error".
        problems.error_hint(
            &at,
            "resctrl is not mounted on this host",
            "mount -t resctrl resctrl /sys/fs/resctrl",
        );
        return None;
    };
    let clos = wanted.clos_id().as_deref().filter(|id| !id.is_empty());
    if let Some(id) = clos.filter(|id| *id != "/") {
        let reserved = ["info", "mon_groups", "mon_data"].contains(&id);
        if id == "." || id == ".." || id.contains(['/', '\n', '\0']) || reserved {
            problems.error(&at.child("closID"), format!("{id:?} is not the name of a directory"));
        }
    }
    let mut schemata = Vec::new();
    for (index, line) in wanted.schemata().iter().flatten().enumerate() {
        push_line(line, "", &at.child("schemata").child(index), &mut schemata, problems);
    }
    // "The runtimes MUST write l3CacheSchema first and memBwSchema last."
    if let Some(line) = wanted.l3_cache_schema().as_ref().filter(|line| !line.is_empty()) {
        push_line(line, "", &at.child("l3CacheSchema"), &mut schemata, problems);
    }
    if let Some(line) = wanted.mem_bw_schema().as_ref().filter(|line| !line.is_empty()) {
        push_line(line, "MB:", &at.child("memBwSchema"), &mut schemata, problems);
    }
    let monitoring_before = wanted.enable_cmt().unwrap_or(false) || wanted.enable_mbm().unwrap_or(false);
    let group = match clos {
        Some("/") => mount.clone(),
        Some(id) => mount.join(id),
        None => mount.join(context.options.id.as_str()),
    };
    Some(IntelRdtPlan {
        group,
        // "If closID is set, and neither of the schemas are: the directory MUST exist already."
        create: clos != Some("/") && (clos.is_none() || !schemata.is_empty()),
        schemata,
        monitoring: wanted.enable_monitoring().unwrap_or(false) || monitoring_before,
    })
}

fn push_line(line: &str, prefix: &str, at: &Pointer, schemata: &mut Vec<String>, problems: &mut Problems) {
    if line.contains('\n') {
        problems.error(at, "the value must be one line");
    } else if !line.starts_with(prefix) {
        problems.error(at, format!("the value must start with {prefix}"));
    } else {
        schemata.push(line.to_owned());
    }
}

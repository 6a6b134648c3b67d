//! `linux.uidMappings` and `gidMappings`: what is written, and by whom.

use oci_spec::runtime::LinuxIdMapping;

use crate::context::{Context, each};
use crate::ids::Pointer;
use crate::problem::Problems;
use crate::step::namespaces::{IdMap, IdMapWriter, IdMapsPlan, NamespaceKind};

/// user_namespaces(7): at most 340 lines since Linux 4.15.
const MAX_LINES: usize = 340;

/// The mapping of a new user namespace; `None` when there is none.
pub(crate) fn plan(context: &Context<'_>, problems: &mut Problems) -> Option<IdMapsPlan> {
    let linux = context.linux()?;
    let (at_uid, at_gid) = (Pointer::new("/linux/uidMappings"), Pointer::new("/linux/gidMappings"));
    let uid = lines(linux.uid_mappings(), &at_uid, problems);
    let gid = lines(linux.gid_mappings(), &at_gid, problems);
    if !context.shape.creates(NamespaceKind::User) {
        refuse_without_namespace(context, &uid, &gid, problems);
        return None;
    }
    for (list, at) in [(&uid, &at_uid), (&gid, &at_gid)] {
        if list.is_empty() {
            problems.error_hint(
                at,
                "a new user namespace without a mapping",
                "add {\"containerID\": 0, \"hostID\": …, \"size\": …}",
            );
        }
    }
    Some(writer(context, uid, gid, &at_uid, problems))
}

fn refuse_without_namespace(context: &Context<'_>, uid: &[IdMap], gid: &[IdMap], problems: &mut Problems) {
    // A joined namespace has its mappings already; engines repeat them in the config.
    if context.shape.joins(NamespaceKind::User) {
        return;
    }
    for (list, key) in [(uid, "uidMappings"), (gid, "gidMappings")] {
        if !list.is_empty() {
            problems.error_hint(
                &Pointer::new("/linux").child(key),
                "a mapping without a user namespace",
                "add {\"type\": \"user\"} to /linux/namespaces",
            );
        }
    }
}

/// An ordinary user may write one line that maps its own id (user_namespaces(7)); anything else takes the setuid
/// helpers, which check /etc/subuid.
fn writer(
    context: &Context<'_>,
    uid: Vec<IdMap>,
    gid: Vec<IdMap>,
    at: &Pointer,
    problems: &mut Problems,
) -> IdMapsPlan {
    let facts = context.facts;
    if facts.is_root() {
        return IdMapsPlan { uid, gid, writer: IdMapWriter::Direct, deny_setgroups: false };
    }
    let own = |list: &[IdMap], id: u32| matches!(list, [line] if line.host == id && line.size == 1);
    if own(&uid, facts.euid) && own(&gid, facts.egid) {
        return IdMapsPlan { uid, gid, writer: IdMapWriter::Direct, deny_setgroups: true };
    }
    match (&facts.newuidmap, &facts.newgidmap) {
        (Some(newuidmap), Some(newgidmap)) => {
            let writer = IdMapWriter::Helpers { newuidmap: newuidmap.clone(), newgidmap: newgidmap.clone() };
            IdMapsPlan { uid, gid, writer, deny_setgroups: false }
        }
        _ => {
            problems.error_hint(
                at,
                format!("user {} may map only its own id without newuidmap and newgidmap", facts.euid),
                "install uidmap and give the user a range in /etc/subuid and /etc/subgid, or map hostID to the own id with size 1",
            );
            IdMapsPlan { uid, gid, writer: IdMapWriter::Direct, deny_setgroups: true }
        }
    }
}

/// Checks one mapping list.
pub(crate) fn lines(list: &Option<Vec<LinuxIdMapping>>, at: &Pointer, problems: &mut Problems) -> Vec<IdMap> {
    let mut checked: Vec<IdMap> = Vec::new();
    for (index, line) in each(list).enumerate() {
        let at = at.child(index);
        let line = IdMap { container: line.container_id(), host: line.host_id(), size: line.size() };
        if line.size == 0 {
            problems.error(&at.child("size"), "a mapping of no ids");
        } else if [line.container, line.host].iter().any(|first| first.checked_add(line.size - 1).is_none()) {
            problems.error(&at.child("size"), "the range ends beyond the highest id");
        } else if checked.iter().any(|other| overlap(other.container, line.container, other.size, line.size))
        {
            problems.error(&at.child("containerID"), "the range overlaps an earlier one");
        } else if checked.iter().any(|other| overlap(other.host, line.host, other.size, line.size)) {
            problems.error(&at.child("hostID"), "the range overlaps an earlier one");
        } else {
            checked.push(line);
        }
    }
    if checked.len() > MAX_LINES {
        problems.error(at, format!("{} lines: the kernel takes at most {MAX_LINES}", checked.len()));
    }
    checked
}

fn overlap(a: u32, b: u32, a_size: u32, b_size: u32) -> bool {
    let (a, b, a_size, b_size) = (u64::from(a), u64::from(b), u64::from(a_size), u64::from(b_size));
    a < b + b_size && b < a + a_size
}

/// Whether setgroups(2) will be denied in the container.
pub(crate) fn setgroups_denied(plan: Option<&IdMapsPlan>) -> bool {
    plan.is_some_and(|plan| plan.deny_setgroups)
}

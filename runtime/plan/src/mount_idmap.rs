//! Idmapped mounts: `uidMappings`, `gidMappings`, `idmap`, `ridmap` of a mount (mount_setattr(2), MOUNT_ATTR_IDMAP).

use oci_spec::runtime::{LinuxIdMapping, Mount};

use crate::context::Context;
use crate::idmaps;
use crate::ids::Pointer;
use crate::mount_options::MountOptions;
use crate::problem::Problems;
use crate::step::mounts::{IdMapPair, MountIdMap};
use crate::step::namespaces::{IdMap, NamespaceKind};

/// Reads the mapping of one mount.
pub(crate) fn plan(
    context: &Context<'_>,
    mount: &Mount,
    options: &MountOptions,
    at: &Pointer,
    problems: &mut Problems,
) -> Option<MountIdMap> {
    let uid = lines(mount.uid_mappings(), &at.child("uidMappings"), problems);
    let gid = lines(mount.gid_mappings(), &at.child("gidMappings"), problems);
    if uid.is_empty() != gid.is_empty() {
        problems.error(at, "uidMappings and gidMappings of a mount go together");
        return None;
    }
    let given = IdMapPair { uid, gid };
    let (recursive, mapping) = match &options.idmap {
        None if given.uid.is_empty() => return None,
        None => (false, Some(given)),
        Some((recursive, Some(text))) if given.uid.is_empty() => {
            (*recursive, Some(parse(context, text, &at.child("options"), problems)?))
        }
        Some((_, Some(_))) => {
            problems.error(&at.child("options"), "idmap=… and uidMappings exclude each other");
            return None;
        }
        Some((recursive, None)) if given.uid.is_empty() => (*recursive, None),
        Some((recursive, None)) => (*recursive, Some(given)),
    };
    if mapping.is_none() && !context.shape.has(NamespaceKind::User) {
        problems.error_hint(
            &at.child("options"),
            "idmap without a mapping uses the container's user namespace, and there is none",
            "give uidMappings and gidMappings, or add a user namespace",
        );
        return None;
    }
    Some(MountIdMap { mapping, recursive })
}

fn lines(list: &Option<Vec<LinuxIdMapping>>, at: &Pointer, problems: &mut Problems) -> Vec<IdMap> {
    idmaps::lines(list, at, problems)
}

/// crun's form: `uids=0-1000-10#10-2000-5;gids=0-1000-10`, each `from-to-length`. With `@` before a number group, the
/// target is an id of the container, translated through its user namespace.
fn parse(context: &Context<'_>, text: &str, at: &Pointer, problems: &mut Problems) -> Option<IdMapPair> {
    let mut pair = IdMapPair::default();
    let linux = context.linux();
    for part in text.split(';').filter(|part| !part.is_empty()) {
        let parsed = match part.split_once('=') {
            Some(("uids", list)) => {
                let outer = linux.and_then(|linux| linux.uid_mappings().clone()).unwrap_or_default();
                group(list, &outer).map(|lines| pair.uid = lines)
            }
            Some(("gids", list)) => {
                let outer = linux.and_then(|linux| linux.gid_mappings().clone()).unwrap_or_default();
                group(list, &outer).map(|lines| pair.gid = lines)
            }
            _ => None,
        };
        if parsed.is_none() {
            let message = format!("idmap: {part:?} is not of the form uids=FROM-TO-LENGTH[#FROM-TO-LENGTH…]");
            problems.error(at, message);
            return None;
        }
    }
    if pair.uid.is_empty() || pair.gid.is_empty() {
        problems.error(at, "idmap needs both uids= and gids=");
        return None;
    }
    Some(pair)
}

fn group(list: &str, outer: &[LinuxIdMapping]) -> Option<Vec<IdMap>> {
    list.split('#').filter(|line| !line.is_empty()).map(|line| one_line(line, outer)).collect()
}

fn one_line(line: &str, outer: &[LinuxIdMapping]) -> Option<IdMap> {
    let (relative, line) = match line.strip_prefix('@') {
        Some(line) => (true, line),
        None => (false, line),
    };
    let mut numbers = line.split('-').map(|number| number.parse::<u32>().ok());
    let (container, target, size) = (numbers.next()??, numbers.next()??, numbers.next()??);
    if numbers.next().is_some() || size == 0 {
        return None;
    }
    let host = if relative { translate(target, size, outer)? } else { target };
    Some(IdMap { container, host, size })
}

/// The host's id of `id` of the container; the whole range has to lie in one line of the mapping.
fn translate(id: u32, size: u32, outer: &[LinuxIdMapping]) -> Option<u32> {
    let line = outer.iter().find(|line| {
        id >= line.container_id()
            && u64::from(id - line.container_id()) + u64::from(size) <= u64::from(line.size())
    })?;
    line.host_id().checked_add(id - line.container_id())
}

//! `checkpoint`: from a running container to images.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use caisson_cgroup::Location;
use caisson_sys::namespace::Namespaces;
use oci_spec::runtime::LinuxNamespaceType;

use super::Dir;
use super::outside::{self, NETWORK_KEY, Outside, PID_KEY};
use super::process::Criu;
use super::rpc::{Feature, Kind, Options};
use crate::store::{Entry, State};

/// The log's name in the work directory.
const LOG: &str = "dump.log";
/// Annotations of a root that is composed of layers: its upper layer may be gone with the container.
const COMPOSED: &str = "dev.caisson.rootfs.";

/// What is to be written and where.
#[derive(Debug)]
pub struct Dump {
    /// `--image-path`
    pub images: Dir,
    /// `--work-path`
    pub work: Dir,
    /// `--parent-path`, relative to the images.
    pub parent: Option<PathBuf>,
    /// `--pre-dump`
    pub pre_dump: bool,
    /// What the flags say.
    pub options: Options,
}

/// Writes the images of a container.
///
/// # Errors
/// What criu cannot write, in its words.
pub fn dump(entry: &Entry, state: &State, wanted: &Dump) -> anyhow::Result<()> {
    let composed = state.after.annotations.keys().any(|key| key.starts_with(COMPOSED));
    anyhow::ensure!(!composed, "a container whose root is composed of layers cannot be restored");
    if let Some(parent) = &wanted.parent {
        check_parent(&wanted.images.path, parent)?;
    }
    wanted.images.let_in(state.joining.id_maps.as_ref())?;
    let criu =
        Criu::start(Namespaces::empty(), Box::new(|| Ok(())), &[wanted.images.as_fd(), wanted.work.as_fd()])?;
    if wanted.pre_dump || wanted.parent.is_some() {
        criu.need(Feature::MemoryTracking)?;
    }
    if wanted.options.lazy_pages {
        criu.need(Feature::LazyPages)?;
    }
    let mut outside = Outside::of(state.pid)?;
    let joined = joined_namespaces(&entry.config()?, state.pid)?;
    outside.namespaces = joined.iter().map(|(key, _)| (*key).to_owned()).collect();
    let options = options(wanted, state, &outside, &joined);
    let descriptors = outside::descriptors(state.pid)?;
    let kind = if wanted.pre_dump { Kind::PreDump } else { Kind::Dump };
    if kind == Kind::Dump {
        outside.save(&wanted.images.path, &descriptors)?;
    }
    // Nothing of ours happens between criu's steps; it only has to be told to go on.
    criu.perform(kind, &options, &wanted.work.path, &mut |_, _| Ok(()))?;
    Ok(())
}

fn options(wanted: &Dump, state: &State, outside: &Outside, joined: &[(&str, u64)]) -> Options {
    let mounts = outside.mounts.iter().map(|point| format!("mnt[{0}]:{0}", point.display()));
    let files = outside.stdio.iter().filter(|key| key.starts_with("file[")).cloned();
    let sockets =
        outside.stdio.iter().filter_map(|key| Some(format!("unix{}", key.strip_prefix("socket:")?)));
    let namespaces = joined.iter().map(|(key, inode)| {
        let kind = if *key == PID_KEY { "pid" } else { "net" };
        format!("{kind}[{inode}]:{key}")
    });
    Options {
        images_dir: wanted.images.number(),
        work_dir: wanted.work.number(),
        log_file: LOG,
        pid: Some(state.pid),
        root: state.after.rootfs.clone(),
        parent_images: wanted.parent.as_ref().map(|path| path.display().to_string()),
        track_memory: wanted.pre_dump || wanted.parent.is_some(),
        external: mounts.chain(files).chain(sockets).chain(namespaces).collect(),
        freeze_cgroup: freezer(&state.cgroup),
        config_file: state.after.annotations.get("org.criu.config").cloned(),
        ..wanted.options.clone()
    }
}

/// All processes stop at one moment by the freezer; without it criu stops one after the other.
fn freezer(cgroup: &Location) -> Option<String> {
    let dir = cgroup.v1_dir("freezer").or_else(|| cgroup.v2_only())?;
    Some(dir.display().to_string())
}

/// runc's rule: criu looks for it beneath the images.
fn check_parent(images: &Path, parent: &Path) -> anyhow::Result<()> {
    let shown = parent.display();
    anyhow::ensure!(parent.is_relative(), "--parent-path {shown}: it must be relative to --image-path");
    let there = images.join(parent).is_dir();
    anyhow::ensure!(there, "--parent-path {shown}: no such directory in {}", images.display());
    Ok(())
}

/// The keys and inodes of network and pid namespaces that were joined: not the container's to be written.
fn joined_namespaces(config: &[u8], pid: i32) -> anyhow::Result<Vec<(&'static str, u64)>> {
    let parsed = caisson_plan::parse(config).context("the container's config.json")?;
    let linux = parsed.spec.linux().as_ref();
    let listed = linux.and_then(|linux| linux.namespaces().as_deref()).unwrap_or_default();
    let mut found = Vec::new();
    for namespace in listed.iter().filter(|namespace| namespace.path().is_some()) {
        let (key, kind) = match namespace.typ() {
            LinuxNamespaceType::Network => (NETWORK_KEY, "net"),
            LinuxNamespaceType::Pid => (PID_KEY, "pid"),
            _ => continue,
        };
        let path = format!("/proc/{pid}/ns/{kind}");
        let meta = std::fs::metadata(&path).with_context(|| format!("look at {path}"))?;
        found.push((key, std::os::unix::fs::MetadataExt::ino(&meta)));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_is_a_directory_relative_to_the_images() {
        let tmp = std::env::temp_dir();
        assert!(check_parent(&tmp, &tmp).is_err());
        assert!(check_parent(&tmp, Path::new("no-such-parent")).is_err());
        assert!(check_parent(&tmp.join("x"), Path::new("../..")).is_err());
        assert!(check_parent(&tmp, Path::new(".")).is_ok());
    }

    #[test]
    fn only_namespaces_with_a_path_are_outside() {
        let config = br#"{"ociVersion": "1.2.0", "root": {"path": "r"}, "linux": {"namespaces": [
            {"type": "network", "path": "/proc/self/ns/net"}, {"type": "pid"}, {"type": "uts", "path": "/x"}]}}"#;
        let own = i32::try_from(std::process::id()).unwrap();
        let found = joined_namespaces(config, own).unwrap();
        let inode = std::os::unix::fs::MetadataExt::ino(&std::fs::metadata("/proc/self/ns/net").unwrap());
        assert_eq!(found, [(NETWORK_KEY, inode)]);
    }
}

//! `root`: the root file system, from a directory or composed as an overlay by annotation.
//!
//! ```text
//! dev.caisson.rootfs.lower      /layers/top:/layers/base.erofs   top first; `.erofs` files are mounted as images
//! dev.caisson.rootfs.lower.N    /layers/with:colon               one layer each, lowest number on top
//! dev.caisson.rootfs.upper      /data/upper                      where changes go
//! dev.caisson.rootfs.work       /data/work                       on the same file system as upper
//! dev.caisson.rootfs.ephemeral  true | 64M                       changes go to a tmpfs (of that size) instead
//! ```

use std::path::PathBuf;

use crate::context::{Context, sorted};
use crate::ids::{HostPath, Pointer};
use crate::problem::Problems;
use crate::step::mounts::{
    LowerLayer, MountIdMap, OverlayUpper, Propagation, PropagationChange, RootSwitch, RootfsPlan,
    RootfsSource,
};
use crate::step::namespaces::NamespaceKind;

const LOWER: &str = "dev.caisson.rootfs.lower";
const UPPER: &str = "dev.caisson.rootfs.upper";
const WORK: &str = "dev.caisson.rootfs.work";
const EPHEMERAL: &str = "dev.caisson.rootfs.ephemeral";

/// What becomes of `/`.
#[derive(Clone, Debug)]
pub(crate) struct Root {
    /// Absolute path of `root.path`.
    pub path: HostPath,
    /// The preparation; `None` in a mount namespace that is not the container's own.
    pub plan: Option<RootfsPlan>,
    /// How it becomes the root.
    pub switch: RootSwitch,
    /// `root.readonly`.
    pub readonly: bool,
    /// `linux.rootfsPropagation`, when it has to be set on the new root.
    pub propagation: Option<PropagationChange>,
}

/// Reads `root`.
pub(crate) fn plan(context: &Context<'_>, problems: &mut Problems) -> Root {
    let Some(root) = context.spec.root() else {
        problems.error(&Pointer::new("/root"), "missing: a Linux container needs a root file system");
        return Root {
            path: context.options.bundle.clone(),
            plan: None,
            switch: RootSwitch::Chroot,
            readonly: false,
            propagation: None,
        };
    };
    if root.path().as_os_str().is_empty() {
        problems.error(&Pointer::new("/root/path"), "the path is empty");
    }
    // `.` is the bundle itself: without the component, so that `state` shows a plain path.
    let path =
        HostPath::new(context.options.bundle.join(root.path()).as_path().components().collect::<PathBuf>());
    let readonly = root.readonly().unwrap_or(false);
    let wanted = propagation(context, problems);
    let own_mounts = context.shape.has(NamespaceKind::Mount);
    if readonly && !own_mounts {
        problems.error_hint(
            &Pointer::new("/root/readonly"),
            "a read-only root needs a mount namespace of its own",
            "add {\"type\": \"mount\"} to /linux/namespaces",
        );
    }
    let switch = switch(context);
    let source = source(context, &path, problems);
    if !own_mounts && !matches!(source, RootfsSource::Directory(_)) {
        problems.error(&annotation_pointer(LOWER), "an overlay root needs a mount namespace of its own");
    }
    let plan = own_mounts.then(|| RootfsPlan {
        idmap: overlay_idmap(context, &source),
        source,
        host_propagation: host_propagation(wanted),
        opened_by_host: context.opens_for_init(),
    });
    Root { path, plan, switch, readonly, propagation: wanted.filter(|_| own_mounts) }
}

/// In the runtime's own mount namespace nothing is mounted; the root is entered by chroot(2), as all that can be done
/// without changing what others see. A joined one is set up like a new one: it was made for this container.
fn switch(context: &Context<'_>) -> RootSwitch {
    if !context.shape.has(NamespaceKind::Mount) {
        RootSwitch::Chroot
    } else if context.options.no_pivot {
        RootSwitch::MoveAndChroot
    } else {
        RootSwitch::Pivot
    }
}

/// `linux.rootfsPropagation`.
fn propagation(context: &Context<'_>, problems: &mut Problems) -> Option<PropagationChange> {
    let word = context.linux()?.rootfs_propagation().as_deref().filter(|word| !word.is_empty())?;
    let at = Pointer::new("/linux/rootfsPropagation");
    let change = |to, recursive| Some(PropagationChange { to, recursive });
    match word {
        "private" => change(Propagation::Private, false),
        "rprivate" => change(Propagation::Private, true),
        "slave" => change(Propagation::Slave, false),
        "rslave" => change(Propagation::Slave, true),
        "shared" => change(Propagation::Shared, false),
        "rshared" => change(Propagation::Shared, true),
        "unbindable" => change(Propagation::Unbindable, false),
        "runbindable" => change(Propagation::Unbindable, true),
        _ => {
            problems.error(
                &at,
                format!("{word:?} is none of shared, slave, private, unbindable or their r-forms"),
            );
            None
        }
    }
}

/// What the copied mount table gets before anything is mounted. Slave unless asked otherwise: the container's mounts
/// never reach the host, and unmounts of the host reach the container, so that its copy keeps no disk busy. A shared
/// root keeps its peers on the host; private cuts both ways.
fn host_propagation(wanted: Option<PropagationChange>) -> PropagationChange {
    let to = match wanted.map(|change| change.to) {
        Some(Propagation::Shared) => Propagation::Shared,
        Some(Propagation::Private) => Propagation::Private,
        Some(Propagation::Slave | Propagation::Unbindable) | None => Propagation::Slave,
    };
    PropagationChange { to, recursive: true }
}

fn source(context: &Context<'_>, root: &HostPath, problems: &mut Problems) -> RootfsSource {
    let lowers = lowers(context, problems);
    let upper = upper(context, problems);
    if !lowers.is_empty() {
        return RootfsSource::Overlay { lowers, upper };
    }
    match upper {
        OverlayUpper::None => RootfsSource::Directory(root.clone()),
        // Only a place for changes is given: the bundle's root is the one lower layer.
        upper => RootfsSource::Overlay { lowers: vec![layer(root.clone())], upper },
    }
}

fn lowers(context: &Context<'_>, problems: &mut Problems) -> Vec<LowerLayer> {
    let bundle = &context.options.bundle;
    let mut list: Vec<LowerLayer> = Vec::new();
    if let Some(text) = context.annotation(LOWER) {
        list.extend(text.split(':').filter(|path| !path.is_empty()).map(|path| layer(bundle.join(path))));
        if list.is_empty() {
            problems.error(&annotation_pointer(LOWER), "no directory is named");
        }
    }
    let mut numbered: Vec<(u32, &str)> = Vec::new();
    for (key, path) in context.spec.annotations().iter().flat_map(sorted) {
        let Some(number) = key.strip_prefix(LOWER).and_then(|tail| tail.strip_prefix('.')) else {
            continue;
        };
        match number.parse() {
            Ok(number) if !path.is_empty() => numbered.push((number, path)),
            _ => problems
                .error(&annotation_pointer(key), "expected a number after .lower. and a path as value"),
        }
    }
    numbered.sort_unstable();
    list.extend(numbered.into_iter().map(|(_, path)| layer(bundle.join(path))));
    list
}

fn layer(path: HostPath) -> LowerLayer {
    if path.as_path().extension().is_some_and(|extension| extension == "erofs") {
        LowerLayer::Erofs(path)
    } else {
        LowerLayer::Directory(path)
    }
}

fn upper(context: &Context<'_>, problems: &mut Problems) -> OverlayUpper {
    let bundle = &context.options.bundle;
    let upper = context.annotation(UPPER).map(|path| bundle.join(path));
    let work = context.annotation(WORK).map(|path| bundle.join(path));
    let ephemeral = context.annotation(EPHEMERAL).filter(|value| *value != "false");
    match (upper, work, ephemeral) {
        (None, None, None) => OverlayUpper::None,
        (None, None, Some(size)) => OverlayUpper::Ephemeral { size: ephemeral_size(size, problems) },
        (Some(upper), Some(work), None) => OverlayUpper::Directory { upper, work },
        (_, _, Some(_)) => {
            problems.error(
                &annotation_pointer(EPHEMERAL),
                "an ephemeral root has no upper and no work directory",
            );
            OverlayUpper::None
        }
        (Some(_), None, None) => {
            problems.error_hint(
                &annotation_pointer(UPPER),
                "an upper directory needs a work directory",
                format!("set {WORK}"),
            );
            OverlayUpper::None
        }
        (None, Some(_), None) => {
            problems.error_hint(
                &annotation_pointer(WORK),
                "a work directory without an upper one",
                format!("set {UPPER}"),
            );
            OverlayUpper::None
        }
    }
}

fn ephemeral_size(text: &str, problems: &mut Problems) -> Option<u64> {
    if text == "true" {
        return None;
    }
    let size = parse_size(text);
    if size.is_none() {
        problems
            .error(&annotation_pointer(EPHEMERAL), format!("{text:?} is neither true nor a size like 64M"));
    }
    size
}

/// Bytes, with an optional K, M, G or T (base 1024).
pub(crate) fn parse_size(text: &str) -> Option<u64> {
    let (digits, shift) = match text.chars().last()? {
        'k' | 'K' => (&text[..text.len() - 1], 10),
        'm' | 'M' => (&text[..text.len() - 1], 20),
        'g' | 'G' => (&text[..text.len() - 1], 30),
        't' | 'T' => (&text[..text.len() - 1], 40),
        _ => (text, 0),
    };
    let number: u64 = digits.parse().ok()?;
    number.checked_mul(1 << shift).filter(|size| *size > 0)
}

/// Layers are the host's files: with a user namespace of its own the container sees them through its mapping, so that
/// nothing has to be chowned. An ordinary user may not make such mounts; the layers are its own then.
fn overlay_idmap(context: &Context<'_>, source: &RootfsSource) -> Option<MountIdMap> {
    let layered = matches!(source, RootfsSource::Overlay { .. });
    let mapped = context.shape.creates(NamespaceKind::User) && !context.facts.is_rootless();
    (layered && mapped).then_some(MountIdMap { mapping: None, recursive: false })
}

/// Where an annotation stands in config.json.
pub(crate) fn annotation_pointer(key: &str) -> Pointer {
    Pointer::new("/annotations").child(key)
}

//! `mounts`: each entry of config.json as one typed mount.

use std::path::Path;

use oci_spec::runtime::Mount;

use crate::cgroup_mount;
use crate::context::{Context, each};
use crate::ids::{CgroupPath, ContainerPath, HostPath, Pointer};
use crate::mount_idmap;
use crate::mount_options::{self, MountOptions, NODEV, NOEXEC, NOSUID, RDONLY};
use crate::problem::Problems;
use crate::step::mounts::{AttrChange, LinkPolicy, MountKind, MountPlan};
use crate::step::namespaces::NamespaceKind;

/// Where the container finds the directory of the notify socket, and the socket.
const NOTIFY_DIR: &str = "/run/notify";
pub(crate) const NOTIFY_SOCKET: &str = "/run/notify/notify.sock";

/// File systems without a block device behind them. `ro` on one of these is a property of the mount alone: the
/// superblock may be shared with the host (sysfs, cgroup), or has to be written once before (tmpcopyup).
const VIRTUAL: &[&str] = &[
    "binder",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "fusectl",
    "hugetlbfs",
    "mqueue",
    "proc",
    "pstore",
    "ramfs",
    "securityfs",
    "selinuxfs",
    "sysfs",
    "tmpfs",
    "tracefs",
];

/// One entry of `mounts` and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Planned {
    pub mount: MountPlan,
    pub from: Pointer,
}

impl Planned {
    /// Whether it can only be made inside the container's cgroup.
    pub fn needs_cgroup(&self) -> bool {
        matches!(self.mount.kind, MountKind::Cgroup(_))
    }
}

/// Reads `mounts`, in order.
pub(crate) fn plan(context: &Context<'_>, cgroup: &CgroupPath, problems: &mut Problems) -> Vec<Planned> {
    let mut list = Vec::new();
    for (index, mount) in each(context.spec.mounts()).enumerate() {
        let from = Pointer::new("/mounts").child(index);
        if let Some(mount) = one(context, cgroup, mount, &from, problems) {
            list.push(Planned { mount, from });
        }
    }
    list.extend(context.options.notify_dir.as_ref().map(notify_dir));
    list
}

/// sd_notify(3): the program writes to the socket that `NOTIFY_SOCKET` names. Its directory is bound, as nobody listens
/// yet: a socket that is made there later is seen inside.
fn notify_dir(dir: &HostPath) -> Planned {
    let mount = MountPlan {
        destination: ContainerPath::new(NOTIFY_DIR),
        kind: MountKind::Bind {
            source: dir.clone(),
            recursive: false,
            link: LinkPolicy::Follow,
            opened_by_host: true,
        },
        attrs: AttrChange { set: NOSUID | NODEV | NOEXEC, clear: 0 },
        recursive_attrs: AttrChange::default(),
        propagation: Vec::new(),
        idmap: None,
        copy_up: false,
        destination_link: LinkPolicy::Follow,
    };
    Planned { mount, from: Pointer::default() }
}

fn one(
    context: &Context<'_>,
    cgroup: &CgroupPath,
    mount: &Mount,
    at: &Pointer,
    problems: &mut Problems,
) -> Option<MountPlan> {
    check_destination(mount, at, problems);
    let words = mount.options().clone().unwrap_or_default();
    let mut options = mount_options::read(&words, &at.child("options"), problems);
    let kind = kind(context, cgroup, mount, &mut options, at, problems)?;
    if options.copy_up && !matches!(&kind, MountKind::Filesystem { fstype, .. } if fstype == "tmpfs") {
        problems.error(&at.child("options"), "tmpcopyup is for tmpfs");
    }
    let idmap = mount_idmap::plan(context, mount, &options, at, problems);
    let follow = if options.destination_nofollow { LinkPolicy::NoFollow } else { LinkPolicy::Follow };
    Some(MountPlan {
        // runc's rule for configs before 1.0: a relative destination starts at the root.
        destination: ContainerPath::new(mount.destination()),
        kind,
        attrs: options.attrs,
        recursive_attrs: options.recursive_attrs,
        propagation: options.propagation,
        idmap,
        copy_up: options.copy_up,
        destination_link: follow,
    })
}

fn check_destination(mount: &Mount, at: &Pointer, problems: &mut Problems) {
    let destination = mount.destination();
    let at = at.child("destination");
    if destination.as_os_str().is_empty() {
        problems.error(&at, "the destination is empty");
    } else if !destination.is_absolute() {
        problems
            .warn(&at, format!("{} is not absolute: taken from the container's root", destination.display()));
    }
}

fn kind(
    context: &Context<'_>,
    cgroup: &CgroupPath,
    mount: &Mount,
    options: &mut MountOptions,
    at: &Pointer,
    problems: &mut Problems,
) -> Option<MountKind> {
    if options.remount {
        return Some(MountKind::Remount);
    }
    let fstype = mount.typ().as_deref().unwrap_or("");
    if options.bind.is_some() || fstype == "bind" {
        return bind(context, mount, options, at, problems);
    }
    match fstype {
        "" | "none" if !options.propagation.is_empty() && options.data.is_empty() => Some(MountKind::Remount),
        "" | "none" => {
            problems.error_hint(
                &at.child("type"),
                "no file system type",
                "name one, or add the option bind or rbind",
            );
            None
        }
        "cgroup" | "cgroup2" => {
            cgroup_mount::plan(context, cgroup, fstype, options, at, problems).map(MountKind::Cgroup)
        }
        _ => Some(filesystem(context, fstype, mount, options, at, problems)),
    }
}

fn bind(
    context: &Context<'_>,
    mount: &Mount,
    options: &mut MountOptions,
    at: &Pointer,
    problems: &mut Problems,
) -> Option<MountKind> {
    let Some(source) = mount.source().as_ref().filter(|source| !source.as_os_str().is_empty()) else {
        problems.error(&at.child("source"), "a bind mount needs a source");
        return None;
    };
    if !options.data.is_empty() {
        // mount(2) ignores data on a bind, and real configs have it; so it is said and passed over.
        let words: Vec<&str> = options.data.iter().map(|(key, _)| key.as_str()).collect();
        problems
            .warn(&at.child("options"), format!("{}: no meaning on a bind mount, ignored", words.join(", ")));
        options.data.clear();
    }
    over_proc(mount.destination(), at, problems);
    Some(MountKind::Bind {
        // config.md: "a path relative to the bundle".
        source: context.options.bundle.join(source),
        recursive: options.bind.unwrap_or(false),
        link: options.source_link,
        // The container's root may not be allowed to reach the source once it is another user: opened before.
        opened_by_host: context.opens_for_init(),
    })
}

/// Files of procfs that tools replace on purpose (lxcfs and the like).
const PROC_FILES: [&str; 11] = [
    "cpuinfo",
    "diskstats",
    "meminfo",
    "stat",
    "swaps",
    "uptime",
    "loadavg",
    "slabinfo",
    "net/dev",
    "sys/kernel/ns_last_pid",
    "sys/crypto/fips_enabled",
];

/// A volume over procfs could stand in for the files by which labels and limits are set (CVE-2019-16884).
fn over_proc(destination: &Path, at: &Pointer, problems: &mut Problems) {
    let clean = crate::ids::CgroupPath::new(destination);
    let Ok(below) = clean.as_path().strip_prefix("/proc") else { return };
    let allowed = below.as_os_str().is_empty() || PROC_FILES.iter().any(|file| below == Path::new(file));
    if !allowed {
        problems.error_hint(
            &at.child("destination"),
            format!("{}: a bind mount inside /proc is not allowed", destination.display()),
            format!("only these files of it may be replaced: {}", PROC_FILES.join(", ")),
        );
    }
}

fn filesystem(
    context: &Context<'_>,
    fstype: &str,
    mount: &Mount,
    options: &mut MountOptions,
    at: &Pointer,
    problems: &mut Problems,
) -> MountKind {
    let mut data = std::mem::take(&mut options.data);
    if options.read_only() && !VIRTUAL.contains(&fstype) {
        // A device that cannot be written is refused unless the file system itself is read-only.
        data.push(("ro".to_owned(), None));
    }
    if fstype == "devpts" {
        check_devpts_group(context, &mut data, at, problems);
    }
    add_mount_label(context, fstype, &mut data);
    let own_network = context.shape.creates(NamespaceKind::Network);
    let fallback = fstype == "sysfs" && context.in_user_namespace() && !own_network;
    let fallback_bind = fallback.then(|| HostPath::new("/sys"));
    let source = mount.source().as_ref().filter(|source| !source.as_os_str().is_empty());
    MountKind::Filesystem {
        fstype: fstype.to_owned(),
        source: source.map_or_else(|| fstype.to_owned(), |source| source.display().to_string()),
        options: data,
        no_symlink: matches!(fstype, "proc" | "sysfs"),
        fallback_bind,
    }
}

/// devpts refuses a group that has no mapping (EINVAL). The usual `gid=5` (tty) is of no consequence there, so it is
/// dropped with a warning rather than failing every rootless config that was made for root.
fn check_devpts_group(
    context: &Context<'_>,
    data: &mut Vec<(String, Option<String>)>,
    at: &Pointer,
    problems: &mut Problems,
) {
    if !context.shape.creates(NamespaceKind::User) {
        return;
    }
    let map = context.linux().and_then(|linux| linux.gid_mappings().clone()).unwrap_or_default();
    data.retain(|(key, value)| {
        let gid = value.as_deref().filter(|_| key == "gid").and_then(|gid| gid.parse().ok());
        let unmapped = gid.is_some_and(|gid| !crate::process::covers(&map, gid));
        if unmapped {
            problems.warn(&at.child("options"), "gid is not mapped in the user namespace: ignored");
        }
        !unmapped
    });
}

/// `linux.mountLabel` goes to file systems that take a label of their own.
fn add_mount_label(context: &Context<'_>, fstype: &str, data: &mut Vec<(String, Option<String>)>) {
    let label =
        context.linux().and_then(|linux| linux.mount_label().as_ref()).filter(|label| !label.is_empty());
    let takes = matches!(fstype, "tmpfs" | "devpts" | "mqueue" | "ramfs" | "overlay");
    let given = data.iter().any(|(key, _)| key == "context");
    if let Some(label) = label.filter(|_| takes && !given && context.facts.selinux) {
        data.push(("context".to_owned(), Some(label.clone())));
    }
}

/// Read-only, whatever else was asked.
pub(crate) fn force_read_only(options: &mut MountOptions) {
    options.attrs.set |= RDONLY;
    options.attrs.clear &= !RDONLY;
}

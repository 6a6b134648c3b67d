//! `linux.devices` and the nodes every container has; `linux.resources.devices` and the rules every container has.

use std::path::Path;

use oci_spec::runtime::{LinuxDevice, LinuxDeviceCgroup, LinuxDeviceType};

use crate::context::{Context, each};
use crate::ids::{ContainerPath, Pointer};
use crate::mounts::Planned;
use crate::problem::Problems;
use crate::step::cgroup::{DeviceKind, DeviceRule};
use crate::step::mounts::{DevicePlan, MountKind};
use crate::step::namespaces::NamespaceKind;

const S_IFIFO: u32 = 0o010_000;
const S_IFCHR: u32 = 0o020_000;
const S_IFBLK: u32 = 0o060_000;

/// config-linux.md, "Default Devices" (`/dev/console` comes with the terminal, `/dev/ptmx` is a link).
const DEFAULT_NODES: &[(&str, u32, u32)] = &[
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

/// Nodes to make.
pub(crate) fn nodes(context: &Context<'_>, mounts: &[Planned], problems: &mut Problems) -> Vec<DevicePlan> {
    let bind = context.in_user_namespace() || !context.facts.is_root();
    let mut list = Vec::new();
    if has_own_dev(mounts) {
        list.extend(DEFAULT_NODES.iter().map(|(path, major, minor)| DevicePlan {
            path: ContainerPath::new(path),
            node_type: S_IFCHR,
            major: *major,
            minor: *minor,
            mode: 0o666,
            uid: 0,
            gid: 0,
            bind,
        }));
    }
    let wanted = context.linux().map(|linux| linux.devices());
    for (index, device) in wanted.into_iter().flat_map(each).enumerate() {
        let at = Pointer::new("/linux/devices").child(index);
        if !context.shape.has(NamespaceKind::Mount) {
            problems.error_hint(
                &at,
                "device nodes need a mount namespace of the container's own",
                "add {\"type\": \"mount\"} to /linux/namespaces",
            );
        }
        if let Some(node) = node(device, bind, &at, problems) {
            // A node named in the config stands in for the default of the same path.
            list.retain(|other: &DevicePlan| other.path != node.path);
            list.push(node);
        }
    }
    list
}

/// Whether the container's `/dev` is to be filled: a tmpfs on it, or the root file system's own directory
/// (config-linux.md: the default devices "MUST" be there). A bind, or devtmpfs, brings its nodes along.
pub(crate) fn has_own_dev(mounts: &[Planned]) -> bool {
    let on_dev = mounts.iter().rev().find(|planned| {
        let remount = matches!(planned.mount.kind, MountKind::Remount);
        !remount && planned.mount.destination.as_path() == Path::new("/dev")
    });
    on_dev.is_none_or(|planned| match &planned.mount.kind {
        MountKind::Filesystem { fstype, .. } => fstype != "devtmpfs",
        MountKind::Bind { .. } | MountKind::Cgroup(_) | MountKind::Remount => false,
    })
}

fn node(device: &LinuxDevice, bind: bool, at: &Pointer, problems: &mut Problems) -> Option<DevicePlan> {
    let node_type = match device.typ() {
        LinuxDeviceType::C | LinuxDeviceType::U => S_IFCHR,
        LinuxDeviceType::B => S_IFBLK,
        LinuxDeviceType::P => S_IFIFO,
        LinuxDeviceType::A => {
            problems.error(&at.child("type"), "a node is of type c, b, u or p");
            return None;
        }
    };
    if !device.path().is_absolute() {
        problems.error(&at.child("path"), format!("{} is not an absolute path", device.path().display()));
    }
    let mut number = |value: i64, key: &str, max: u32| match u32::try_from(value) {
        Ok(number) if number <= max => number,
        _ if node_type == S_IFIFO => 0,
        _ => {
            problems.error(&at.child(key), format!("{value} is not from 0 to {max}"));
            0
        }
    };
    // The kernel's dev_t: 12 bits of major, 20 of minor.
    let (major, minor) = (number(device.major(), "major", 0xfff), number(device.minor(), "minor", 0xf_ffff));
    let mode = device.file_mode().unwrap_or(0o666);
    if mode & !0o170_7777 != 0 {
        problems.error(&at.child("fileMode"), format!("{mode:#o} has bits beyond permissions"));
    }
    Some(DevicePlan {
        path: ContainerPath::new(device.path()),
        node_type,
        major,
        minor,
        mode: mode & 0o7777,
        uid: device.uid().unwrap_or(0),
        gid: device.gid().unwrap_or(0),
        // A fifo is no device: mkfifo needs no privilege, and the host has none to bind.
        bind: bind && node_type != S_IFIFO,
    })
}

/// Device rules of the config.
pub(crate) fn rules(
    list: &Option<Vec<LinuxDeviceCgroup>>,
    at: &Pointer,
    problems: &mut Problems,
) -> Vec<DeviceRule> {
    each(list).enumerate().filter_map(|(index, rule)| one_rule(rule, &at.child(index), problems)).collect()
}

fn one_rule(rule: &LinuxDeviceCgroup, at: &Pointer, problems: &mut Problems) -> Option<DeviceRule> {
    let kind = match rule.typ() {
        None | Some(LinuxDeviceType::A) => DeviceKind::All,
        Some(LinuxDeviceType::C | LinuxDeviceType::U) => DeviceKind::Char,
        Some(LinuxDeviceType::B) => DeviceKind::Block,
        Some(LinuxDeviceType::P) => {
            problems.error(&at.child("type"), "a rule is for a, c or b");
            return None;
        }
    };
    let mut number = |value: Option<i64>, key: &str| match value {
        // Engines write -1 for "all".
        None | Some(-1) => None,
        Some(value) => {
            let number = u32::try_from(value).ok();
            if number.is_none() {
                problems.error(&at.child(key), format!("{value} is not a device number"));
            }
            number
        }
    };
    let (major, minor) = (number(rule.major(), "major"), number(rule.minor(), "minor"));
    // No access named means all of it, as on v1.
    let access = rule.access().as_deref().filter(|access| !access.is_empty()).unwrap_or("rwm");
    if let Some(bad) = access.chars().find(|letter| !"rwm".contains(*letter)) {
        problems.error(&at.child("access"), format!("{bad:?} is none of r, w, m"));
    }
    let has = |letter| access.contains(letter);
    // "a" on v1 is everything, whatever numbers are beside it.
    let (major, minor) = if kind == DeviceKind::All { (None, None) } else { (major, minor) };
    Some(DeviceRule {
        allow: rule.allow(),
        kind,
        major,
        minor,
        read: has('r'),
        write: has('w'),
        mknod: has('m'),
    })
}

/// Denies everything.
pub(crate) fn deny_all() -> DeviceRule {
    DeviceRule {
        allow: false,
        kind: DeviceKind::All,
        major: None,
        minor: None,
        read: true,
        write: true,
        mknod: true,
    }
}

/// What every container may use, after the config's own rules: the default nodes, terminals, tun; making nodes harms
/// no one as opening them is what is checked.
pub(crate) fn default_rules() -> Vec<DeviceRule> {
    let rule = |kind, major, minor, read_write| DeviceRule {
        allow: true,
        kind,
        major,
        minor,
        read: read_write,
        write: read_write,
        mknod: true,
    };
    let char = |major, minor| rule(DeviceKind::Char, Some(major), minor, true);
    let mut list =
        vec![rule(DeviceKind::Char, None, None, false), rule(DeviceKind::Block, None, None, false)];
    list.extend(DEFAULT_NODES.iter().map(|(_, major, minor)| char(*major, Some(*minor))));
    // /dev/console, /dev/ptmx, every /dev/pts/N, /dev/net/tun
    list.extend([char(5, Some(1)), char(5, Some(2)), char(136, None), char(10, Some(200))]);
    list
}

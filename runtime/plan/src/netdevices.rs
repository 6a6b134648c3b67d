//! `linux.netDevices`: interfaces of the host that move into the container.

use crate::context::{Context, sorted};
use crate::ids::Pointer;
use crate::problem::Problems;
use crate::step::namespaces::{NamespaceKind, NetDevicePlan};

/// Reads `linux.netDevices`, sorted by name.
pub(crate) fn plan(context: &Context<'_>, problems: &mut Problems) -> Vec<NetDevicePlan> {
    let at = Pointer::new("/linux/netDevices");
    let Some(devices) = context.linux().and_then(|linux| linux.net_devices().as_ref()) else {
        return Vec::new();
    };
    if !devices.is_empty() && !context.shape.has(NamespaceKind::Network) {
        problems.error_hint(
            &at,
            "network devices need a network namespace of the container's own",
            "add {\"type\": \"network\"} to /linux/namespaces",
        );
    }
    let list: Vec<NetDevicePlan> = sorted(devices)
        .map(|(host_name, device)| NetDevicePlan {
            host_name: host_name.clone(),
            container_name: device
                .name()
                .clone()
                .filter(|name| !name.is_empty())
                .unwrap_or_else(|| host_name.clone()),
        })
        .collect();
    for (index, device) in list.iter().enumerate() {
        let here = at.child(&device.host_name);
        for name in [&device.host_name, &device.container_name] {
            if !valid(name) {
                let message =
                    format!("{name:?} is no interface name: 1 to 15 bytes without '/', ':' and blanks");
                problems.error(&here, message);
                break;
            }
        }
        if list[..index].iter().any(|other| other.container_name == device.container_name) {
            problems.error(&here.child("name"), format!("a second device named {}", device.container_name));
        }
    }
    list
}

/// The kernel's dev_valid_name(): below IFNAMSIZ, not "." or "..".
fn valid(name: &str) -> bool {
    let length = (1..16).contains(&name.len());
    length
        && name != "."
        && name != ".."
        && !name.contains(|c: char| c == '/' || c == ':' || c == '\0' || c.is_whitespace())
}

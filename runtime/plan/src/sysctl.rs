//! `linux.sysctl`: only those that belong to a namespace of the container.

use crate::context::{Context, sorted};
use crate::ids::Pointer;
use crate::namespaces::name_of;
use crate::problem::Problems;
use crate::step::namespaces::NamespaceKind;

/// Parameters of the IPC namespace below `kernel.`.
const IPC: &[&str] = &[
    "kernel.auto_msgmni",
    "kernel.msg_next_id",
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.sem_next_id",
    "kernel.shm_next_id",
    "kernel.shm_rmid_forced",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
];

/// Reads `linux.sysctl`: paths below `/proc/sys` and values, sorted.
pub(crate) fn plan(context: &Context<'_>, problems: &mut Problems) -> Vec<(String, String)> {
    let Some(sysctl) = context.linux().and_then(|linux| linux.sysctl().as_ref()) else {
        return Vec::new();
    };
    let mut list: Vec<(String, String)> = Vec::new();
    for (key, value) in sorted(sysctl) {
        let at = Pointer::new("/linux/sysctl").child(key);
        let name = normalise(key);
        check(context, &name, &at, problems);
        if list.iter().any(|(other, _)| *other == name) {
            problems.error(&at, format!("{name} is set twice"));
        }
        list.push((name, value.clone()));
    }
    list
}

/// sysctl(8): when the first separator is a slash, slashes separate and dots are part of names
/// (`net/ipv4/conf/eth0.100/forwarding`); else the other way round. The result has slashes as separators: it is the
/// path below /proc/sys.
fn normalise(key: &str) -> String {
    match key.find(['.', '/']) {
        Some(first) if key[first..].starts_with('.') => key
            .chars()
            .map(|c| {
                if c == '.' {
                    '/'
                } else if c == '/' {
                    '.'
                } else {
                    c
                }
            })
            .collect(),
        _ => key.to_owned(),
    }
}

fn check(context: &Context<'_>, path: &str, at: &Pointer, problems: &mut Problems) {
    if path.split('/').any(|part| part.is_empty() || part == ".." || part == ".") {
        problems.error(at, "not a name of a kernel parameter");
        return;
    }
    let dotted = path.replace('/', ".");
    if matches!(dotted.as_str(), "kernel.hostname" | "kernel.domainname") {
        let field = dotted.trim_start_matches("kernel.");
        if !context.shape.has(NamespaceKind::Uts) {
            need(at, &dotted, NamespaceKind::Uts, problems);
        } else if field == "hostname" && context.spec.hostname().is_some() {
            problems.error_hint(at, "the host name is set twice", "use /hostname alone");
        }
        return;
    }
    let kind = if dotted.starts_with("net.") {
        NamespaceKind::Network
    } else if dotted.starts_with("fs.mqueue.") || IPC.contains(&dotted.as_str()) {
        NamespaceKind::Ipc
    } else if dotted.starts_with("user.") {
        NamespaceKind::User
    } else {
        problems.error_hint(
            at,
            format!("{dotted} is not bound to a namespace: setting it would change the host"),
            "set it on the host",
        );
        return;
    };
    if !context.shape.has(kind) {
        need(at, &dotted, kind, problems);
    }
}

fn need(at: &Pointer, name: &str, kind: NamespaceKind, problems: &mut Problems) {
    let kind = name_of(kind);
    problems.error_hint(
        at,
        format!("{name} needs the container's own {kind} namespace: setting it would change the host"),
        format!("add {{\"type\": \"{kind}\"}} to /linux/namespaces"),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalise_takes_the_first_separator() {
        assert_eq!(normalise("net.ipv4.ip_forward"), "net/ipv4/ip_forward");
        assert_eq!(normalise("net/ipv4/conf/eth0.100/forwarding"), "net/ipv4/conf/eth0.100/forwarding");
        assert_eq!(normalise("net.ipv4.conf.eth0/100.forwarding"), "net/ipv4/conf/eth0.100/forwarding");
    }
}

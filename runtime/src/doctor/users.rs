//! User namespaces and subordinate ids: what rootless containers need.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use caisson_plan::facts::HostFacts;
use caisson_plan::ids::HostPath;

use super::{Finding, trial};
use crate::live;

pub(super) fn examine(facts: &HostFacts) -> Vec<Finding> {
    let mut findings = vec![user_namespaces()];
    findings.extend(ranges(facts));
    findings.push(helper("newuidmap", facts.newuidmap.as_ref()));
    findings.push(helper("newgidmap", facts.newgidmap.as_ref()));
    findings
}

/// The knobs by which distributions forbid user namespaces: file, the value that forbids, the command that allows.
const KNOBS: [(&str, &str, &str); 3] = [
    ("/proc/sys/user/max_user_namespaces", "0", "sysctl -w user.max_user_namespaces=15000"),
    ("/proc/sys/kernel/unprivileged_userns_clone", "0", "sysctl -w kernel.unprivileged_userns_clone=1"),
    (
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or give caisson an AppArmor profile with userns",
    ),
];

fn user_namespaces() -> Finding {
    let forbidding = KNOBS.iter().find(|(file, forbids, _)| read(file).as_deref() == Some(*forbids));
    match (trial::attempt("userns"), forbidding) {
        (Ok(()), None) => Finding::good("user namespaces", "work (tried)"),
        (Ok(()), Some((file, value, fix))) => {
            Finding::missing("user namespaces", format!("work for this user, but {file} is {value}"), *fix)
        }
        (Err(error), Some((_, _, fix))) => Finding::missing("user namespaces", format!("{error:#}"), *fix),
        (Err(error), None) => Finding::absent("user namespaces", format!("{error:#}")),
    }
}

fn read(file: &str) -> Option<String> {
    fs::read_to_string(file).ok().map(|text| text.trim().to_owned())
}

/// /etc/subuid and /etc/subgid: containers with more than one user need ids to map.
fn ranges(facts: &HostFacts) -> Vec<Finding> {
    if facts.euid == 0 {
        return vec![Finding::good("subordinate ids", "root maps any")];
    }
    let name = live::user_name(facts.euid);
    [("subuid", "/etc/subuid", "--add-subuids"), ("subgid", "/etc/subgid", "--add-subgids")]
        .map(|(what, file, flag)| {
            let text = fs::read_to_string(file).unwrap_or_default();
            match range_of(&text, &name, facts.euid) {
                Some((first, count)) => Finding::good(what, format!("{count} ids from {first}")),
                None => Finding::missing(
                    what,
                    format!("{file} has no range for {name}"),
                    format!("usermod {flag} 100000-165535 {name}"),
                ),
            }
        })
        .into()
}

/// The first range of a user, by name or number: `name:100000:65536`.
fn range_of(text: &str, name: &str, uid: u32) -> Option<(u32, u32)> {
    text.lines().find_map(|line| {
        let mut fields = line.trim().split(':');
        let owner = fields.next()?;
        let range = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        (owner == name || owner == uid.to_string()).then_some(range)
    })
}

/// The setuid programs of shadow; Fedora gives them file capabilities instead.
fn helper(name: &'static str, path: Option<&HostPath>) -> Finding {
    let Some(path) = path else {
        return Finding::missing(
            name,
            "not installed: rootless containers get one id only",
            "apt install uidmap",
        );
    };
    let meta = fs::metadata(path.as_path());
    let setuid = meta.is_ok_and(|meta| meta.permissions().mode() & 0o4000 != 0 && meta.uid() == 0);
    if setuid || has_file_capabilities(path.as_path()) {
        Finding::good(name, format!("{path}"))
    } else {
        Finding::missing(
            name,
            format!("{path} is neither setuid nor has capabilities"),
            format!("chmod u+s {path}"),
        )
    }
}

/// Whether getcap(8), where installed, shows any.
fn has_file_capabilities(path: &Path) -> bool {
    let output = std::process::Command::new("/usr/sbin/getcap").arg(path).output();
    output.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("cap_setuid"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn range_is_found_by_name_or_number() {
        let text = "other:1:2\nweb:100000:65536\n1001:200000:1000\n";
        assert_eq!(range_of(text, "web", 33), Some((100_000, 65_536)));
        assert_eq!(range_of(text, "nobody", 1001), Some((200_000, 1000)));
        assert_eq!(range_of(text, "nobody", 7), None);
    }
}

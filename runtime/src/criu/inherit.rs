//! Descriptors that criu inherits on restore: namespaces that the bundle joins, and standard input, output and error.

use std::fs;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use anyhow::Context as _;
use caisson_plan::step::namespaces::NamespaceKind;
use caisson_plan::step::{Action, Plan};

use super::outside::{NETWORK_KEY, Outside, PID_KEY};
use super::rpc::Options;

/// Gives our standard input, output and error to the container, where they were from outside of it.
///
/// # Errors
/// When a descriptor cannot be copied.
pub fn stdio(keys: Vec<String>, options: &mut Options, open: &mut Vec<OwnedFd>) -> anyhow::Result<()> {
    for (key, fd) in keys.into_iter().zip(0..).filter(|(key, _)| !key.is_empty() && !key.starts_with('/')) {
        if let Some(name) = key.strip_prefix('f') {
            // criu looks a file's own descriptor up by its name without the first letter (most names are paths). By the
            // key it only finds what it opens anew, and compares with the old file's size and mode.
            let own = [std::io::stdin().as_fd(), std::io::stdout().as_fd(), std::io::stderr().as_fd()]
                .into_iter()
                .nth(fd)
                .map(|own| caisson_sys::fd::dup_above(own, 3))
                .transpose()
                .context("copy a standard descriptor")?;
            options.inherit_fds.extend(own.iter().map(|own| (name.to_owned(), own.as_raw_fd())));
            open.extend(own);
        }
        options.inherit_fds.push((key, i32::try_from(fd)?));
    }
    Ok(())
}

/// Namespaces that the bundle joins by path.
///
/// # Errors
/// A namespace that is gone, or of a kind that criu cannot enter.
pub fn namespaces(
    plan: &Plan,
    stored: Option<&Outside>,
    options: &mut Options,
) -> anyhow::Result<Vec<OwnedFd>> {
    let was_joined = |key: &str| stored.is_none_or(|stored| stored.namespaces.iter().any(|name| name == key));
    let joins = plan.steps.iter().find_map(|step| match &step.action {
        Action::Clone(clone) => Some(clone.join.as_slice()),
        _ => None,
    });
    let mut open = Vec::new();
    for namespace in joins.unwrap_or_default() {
        let path = namespace.path.as_path();
        let key = match namespace.kind {
            NamespaceKind::Network => Some(NETWORK_KEY),
            NamespaceKind::Pid => Some(PID_KEY),
            _ => None,
        };
        let name = match namespace.kind {
            NamespaceKind::Network => "net",
            NamespaceKind::Ipc => "ipc",
            NamespaceKind::Uts => "uts",
            NamespaceKind::User => "user",
            NamespaceKind::Time => "time",
            NamespaceKind::Pid if was_joined(PID_KEY) => "pid",
            NamespaceKind::Pid | NamespaceKind::Mount | NamespaceKind::Cgroup => {
                anyhow::bail!(
                    "restore cannot join the namespace {} (from {})",
                    namespace.path,
                    namespace.from
                )
            }
        };
        match key.filter(|key| was_joined(key)) {
            Some(key) => {
                let file = fs::File::open(path).with_context(|| format!("open {}", path.display()))?;
                options.inherit_fds.push((key.to_owned(), file.as_raw_fd()));
                open.push(file.into());
            }
            None => options.join_namespaces.push((name, path.display().to_string())),
        }
    }
    Ok(open)
}

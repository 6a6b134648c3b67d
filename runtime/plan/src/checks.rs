//! Checks that no single section can make: combinations, and what this host cannot do.

use crate::context::Context;
use crate::ids::Pointer;
use crate::options::Command;
use crate::problem::Problems;
use crate::step::namespaces::NamespaceKind;

/// Checks the config as a whole.
pub(crate) fn whole(context: &Context<'_>, problems: &mut Problems) {
    version(context, problems);
    platform(context, problems);
    names(context, problems);
    paths_need_mounts(context, problems);
    security_modules(context, problems);
    terminal(context, problems);
    privileges(context, problems);
    if context.process().is_none() && context.options.command == Command::Run {
        problems.error(&Pointer::new("/process"), "missing: there is nothing to run");
    }
}

/// Semantic versioning: another major version may mean anything.
fn version(context: &Context<'_>, problems: &mut Problems) {
    let version = context.spec.version();
    let at = Pointer::new("/ociVersion");
    let core = version.split(['-', '+']).next().unwrap_or("");
    let numbers: Option<Vec<u64>> = core.split('.').map(|part| part.parse().ok()).collect();
    match numbers.as_deref() {
        Some([1, _, _]) => {}
        Some([0, _, _]) => {
            problems.warn(&at, format!("{version} is older than the first release of the specification"));
        }
        Some([_, _, _]) => {
            problems.error_hint(&at, format!("version {version} is not supported"), "expected 1.x.y");
        }
        _ if version.is_empty() => problems.error(&at, "missing"),
        _ => problems.error(&at, format!("{version:?} is not a version like 1.3.0")),
    }
}

fn platform(context: &Context<'_>, problems: &mut Problems) {
    if context.spec.vm().is_some() {
        problems.error_hint(
            &Pointer::new("/vm"),
            "needs the vm backend (not built yet)",
            "remove the vm section",
        );
    }
    let others = [
        (context.spec.solaris().is_some(), "/solaris"),
        (context.spec.windows().is_some(), "/windows"),
        (context.spec.zos().is_some(), "/zos"),
    ];
    for (_, pointer) in others.into_iter().filter(|(given, _)| *given) {
        problems.warn(&Pointer::new(pointer), "for another platform: it has no effect");
    }
    let misplaced = [
        (context.spec.uid_mappings().is_some(), "/uidMappings"),
        (context.spec.gid_mappings().is_some(), "/gidMappings"),
    ];
    for (_, pointer) in misplaced.into_iter().filter(|(given, _)| *given) {
        problems.warn(&Pointer::new(pointer), format!("no field of config.json: /linux{pointer} is meant?"));
    }
}

fn names(context: &Context<'_>, problems: &mut Problems) {
    let names = [(context.spec.hostname(), "/hostname"), (context.spec.domainname(), "/domainname")];
    for (name, pointer) in names {
        let Some(name) = name.as_ref().filter(|name| !name.is_empty()) else { continue };
        let at = Pointer::new(pointer);
        if !context.shape.has(NamespaceKind::Uts) {
            problems.error_hint(
                &at,
                "needs a uts namespace: setting it would change the host's name",
                "add {\"type\": \"uts\"} to /linux/namespaces",
            );
        }
        if name.len() > 64 {
            // uts_namespaces(7): __NEW_UTS_LEN.
            problems.error(&at, format!("{} bytes: the kernel takes at most 64", name.len()));
        }
    }
}

fn paths_need_mounts(context: &Context<'_>, problems: &mut Problems) {
    let own = context.shape.has(NamespaceKind::Mount);
    let Some(linux) = context.linux() else { return };
    for (list, key) in [(linux.masked_paths(), "maskedPaths"), (linux.readonly_paths(), "readonlyPaths")] {
        let at = Pointer::new("/linux").child(key);
        let list = list.as_deref().unwrap_or(&[]);
        if !list.is_empty() && !own {
            problems.error_hint(
                &at,
                "needs a mount namespace: it would change the host's mounts",
                "add {\"type\": \"mount\"} to /linux/namespaces",
            );
        }
        for (index, _) in list.iter().enumerate().filter(|(_, path)| !path.starts_with('/')) {
            problems.error(&at.child(index), "not an absolute path");
        }
    }
    let mounts = context.spec.mounts().as_ref().map_or(0, Vec::len);
    if mounts > 0 && !own {
        problems.warn(
            &Pointer::new("/mounts"),
            "no mount namespace of the container's own: none of these is mounted",
        );
    }
}

fn security_modules(context: &Context<'_>, problems: &mut Problems) {
    let given = |label: &Option<String>| label.as_ref().is_some_and(|label| !label.is_empty());
    let mount_label = context.linux().is_some_and(|linux| given(linux.mount_label()));
    let process = context.process();
    let apparmor = process.is_some_and(|process| given(process.apparmor_profile()));
    let selinux = process.is_some_and(|process| given(process.selinux_label()));
    let asked = [
        (apparmor && !context.facts.apparmor, "/process/apparmorProfile", "AppArmor"),
        (selinux && !context.facts.selinux, "/process/selinuxLabel", "SELinux"),
    ];
    for (_, pointer, module) in asked.into_iter().filter(|(missing, ..)| *missing) {
        problems.error_hint(
            &Pointer::new(pointer),
            format!("{module} is not active on this host"),
            format!("boot with {module}, or remove the field"),
        );
    }
    if mount_label && !context.facts.selinux {
        problems
            .warn(&Pointer::new("/linux/mountLabel"), "SELinux is not active on this host: no label is set");
    }
}

fn terminal(context: &Context<'_>, problems: &mut Problems) {
    let terminal = context.process().is_some_and(|process| process.terminal().unwrap_or(false));
    let at = Pointer::new("/process/terminal");
    let detached = context.options.command == Command::Create || context.options.detach;
    if terminal && detached && !context.options.console_socket {
        problems.error_hint(
            &at,
            "no one to give the terminal to",
            "use --console-socket, run in the foreground, or set /process/terminal to false",
        );
    }
    if !terminal && context.options.console_socket {
        problems.error_hint(
            &at,
            "a console socket without a terminal",
            "drop --console-socket, or set /process/terminal to true",
        );
    }
}

fn privileges(context: &Context<'_>, problems: &mut Problems) {
    if !context.facts.is_root() && !context.shape.has(NamespaceKind::User) {
        problems.error_hint(
            &Pointer::new("/linux/namespaces"),
            format!("user {} cannot make a container without a user namespace", context.facts.euid),
            "run as root, or use a config made by: caisson spec --rootless",
        );
    }
}

//! What a configuration names on the host and is not there: for `validate`, before anybody tries.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use caisson_plan::ids::Pointer;
use caisson_plan::problem::Problems;
use oci_spec::runtime::{Hook, Spec};

/// Adds an error for every file of the host that the container needs and that is missing.
pub fn missing_files(spec: &Spec, bundle: &Path, problems: &mut Problems) {
    root(spec, bundle, problems);
    for (index, mount) in spec.mounts().iter().flatten().enumerate() {
        let options = mount.options().iter().flatten();
        let bind = options.clone().any(|option| option == "bind" || option == "rbind")
            || mount.typ().as_deref() == Some("bind");
        let Some(source) = mount.source().as_ref().filter(|_| bind) else { continue };
        if fs::symlink_metadata(bundle.join(source)).is_err() {
            let at = Pointer::new("/mounts").child(index).child("source");
            problems.error(&at, format!("{} does not exist", source.display()));
        }
    }
    if let Some(all) = spec.hooks() {
        let prestart = all.prestart();
        let kinds = [
            ("prestart", prestart),
            ("createRuntime", all.create_runtime()),
            ("poststart", all.poststart()),
            ("poststop", all.poststop()),
        ];
        for (name, list) in kinds {
            for (index, hook) in list.iter().flatten().enumerate() {
                check_hook(hook, &Pointer::new("/hooks").child(name).child(index).child("path"), problems);
            }
        }
    }
}

fn root(spec: &Spec, bundle: &Path, problems: &mut Problems) {
    let union = spec.annotations().iter().flatten().any(|(key, _)| key.starts_with("dev.caisson.rootfs."));
    let Some(root) = spec.root().as_ref().filter(|_| !union) else { return };
    let path: PathBuf = bundle.join(root.path());
    let at = Pointer::new("/root/path");
    match fs::metadata(&path) {
        Ok(meta) if meta.is_dir() => {}
        Ok(_) => problems.error(&at, format!("{} is not a directory", path.display())),
        Err(error) => problems.error(&at, format!("{}: {error}", path.display())),
    }
}

/// Hooks of the runtime's namespaces are files of the host; the others are the container's.
fn check_hook(hook: &Hook, at: &Pointer, problems: &mut Problems) {
    let path = hook.path();
    match fs::metadata(path) {
        Ok(meta) if meta.is_file() && meta.permissions().mode() & 0o111 != 0 => {}
        Ok(_) => problems.error(at, format!("{} is not an executable file", path.display())),
        Err(error) => problems.error(at, format!("{}: {error}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_root_source_and_hook_are_named_by_pointer() {
        let config = br#"{"ociVersion":"1.0.2","root":{"path":"nowhere"},
            "mounts":[{"destination":"/a","source":"/nonexistent/a","options":["bind"]}],
            "hooks":{"poststop":[{"path":"/nonexistent/hook"}]}}"#;
        let spec = caisson_plan::parse(config).unwrap().spec;
        let mut problems = Problems::default();
        missing_files(&spec, Path::new("/nonexistent"), &mut problems);
        let places: Vec<&str> = problems.list().iter().map(|problem| problem.pointer.as_str()).collect();
        assert_eq!(places, ["/root/path", "/mounts/0/source", "/hooks/poststop/0/path"]);
    }
}

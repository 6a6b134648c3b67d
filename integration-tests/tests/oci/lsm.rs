//! AppArmor labels, on hosts whose kernel has it. (SELinux: see `errors`, for hosts without.)

use std::process::Command;

use caisson_integration_tests::prelude::*;

/// A profile loaded into the kernel, removed with the value.
struct Profile {
    name: String,
    file: std::path::PathBuf,
    _scratch: Scratch,
}

impl Profile {
    fn load() -> Self {
        let scratch = Scratch::new();
        let name = scratch.name().to_owned();
        let text = format!(
            "profile {name} flags=(attach_disconnected,mediate_deleted) {{
               file, capability, signal, network, ptrace, unix, umount,
               deny /secret r,
             }}\n"
        );
        let file = scratch.file("profile", &text);
        parser("-r", &file);
        Self { name, file, _scratch: scratch }
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        parser("-R", &self.file);
    }
}

#[track_caller]
fn parser(action: &str, file: &std::path::Path) {
    let out = Command::new("apparmor_parser").arg(action).arg(file).output().expect("run apparmor_parser");
    assert!(out.status.success(), "apparmor_parser {action}: {}", String::from_utf8_lossy(&out.stderr));
}

#[test]
fn the_process_runs_under_its_apparmor_profile() {
    needs!(root, apparmor, program("apparmor_parser"));
    let profile = Profile::load();
    let bundle = Bundle::sh("cat /proc/self/attr/current; cat /secret").file("/secret", "secret");
    let out = bundle.set("/process/apparmorProfile", json!(profile.name)).container().run().fails();
    assert_eq!(out.text(), format!("{} (enforce)", profile.name));
    assert!(out.stderr.contains("Permission denied"), "{out}");
}

#[test]
fn exec_runs_under_the_containers_profile_or_the_one_asked_for() {
    needs!(root, apparmor, program("apparmor_parser"));
    let (first, second) = (Profile::load(), Profile::load());
    let c = Bundle::sleeper().set("/process/apparmorProfile", json!(first.name)).container().up();
    let words = ["cat", "/proc/self/attr/current"];
    assert_eq!(c.exec(&words).ok().text(), format!("{} (enforce)", first.name));
    let out = c.verb_then("exec", &["--apparmor", &second.name], &words).ok();
    assert_eq!(out.text(), format!("{} (enforce)", second.name));
}

#[test]
fn a_profile_that_is_not_loaded_is_an_error_that_names_it() {
    needs!(root, apparmor);
    let c = Bundle::sh("true").set("/process/apparmorProfile", json!("no-such-profile")).container();
    c.run().fails().says("no-such-profile");
}

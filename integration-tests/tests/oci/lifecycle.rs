//! create, start, state, kill, delete, run, list: the life of a container.

use caisson_integration_tests::prelude::*;

#[test]
fn a_container_is_created_then_running_then_stopped_then_gone() {
    needs!(root);
    let c = Bundle::sleeper().container();
    c.create().ok();
    assert_eq!(c.status(), "created");
    c.start().ok();
    assert_eq!(c.status(), "running");
    c.kill_and_wait();
    assert_eq!(c.status(), "stopped");
    c.delete().ok();
    c.verb("state", &[]).fails();
}

#[test]
fn a_whole_life_leaves_the_host_as_it_was() {
    needs!(root);
    let c = Bundle::sleeper().container();
    let before = HostSnapshot::take(&c);
    c.create().ok();
    c.start().ok();
    c.kill_and_wait();
    c.delete().ok();
    before.assert_unchanged(&c);
}

#[test]
fn the_process_does_not_start_before_start() {
    needs!(root);
    let c = Bundle::sh("echo begun").container();
    c.create().ok();
    assert_eq!(c.stdout(), "");
    assert_eq!(c.finish(), "begun\n");
}

#[test]
fn state_has_the_fields_of_the_specification() {
    needs!(root);
    let c = Bundle::sleeper().set("/annotations", json!({"org.example.key": "value"})).container();
    c.create().ok();
    let state = c.state();
    assert!(state["ociVersion"].as_str().is_some_and(|version| version.starts_with("1.")), "{state}");
    assert_eq!(state["id"], c.id());
    assert_eq!(state["status"], "created");
    assert_eq!(state["bundle"], c.bundle());
    assert_eq!(state["annotations"]["org.example.key"], "value");
    let cmdline = std::fs::read(format!("/proc/{}/cmdline", c.pid()));
    assert!(cmdline.is_ok(), "the pid is the host's");
}

#[test]
fn state_of_a_running_container_has_its_process() {
    needs!(root);
    let c = Bundle::sleeper().container().up();
    let pid = c.pid();
    eventually("init to become sleep", || {
        std::fs::read(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|line| line.starts_with(b"sleep\0"))
            .then_some(())
    });
}

#[test]
fn state_of_a_stopped_container_is_stopped_without_a_live_pid() {
    needs!(root);
    let c = Bundle::of(&["true"]).container();
    c.create().ok();
    c.finish();
    let state = c.state();
    assert_eq!(state["status"], "stopped");
    assert_eq!(state["pid"].as_i64().unwrap_or(0), 0);
}

#[test]
fn state_of_an_unknown_id_fails() {
    needs!(root);
    let c = Bundle::sleeper().container();
    c.verb("state", &[]).fails();
}

#[test]
fn run_passes_the_output_and_the_exit_code_on() {
    needs!(root);
    let out = Bundle::sh("echo to stdout; echo to stderr >&2; exit 42").container().run();
    assert_eq!((out.code, out.stdout.as_str()), (42, "to stdout\n"));
    assert!(out.stderr.contains("to stderr"), "{out}");
}

#[test]
fn run_turns_a_deadly_signal_into_128_plus_its_number() {
    needs!(root);
    let out = Bundle::sh("sh -c 'kill -SEGV $$'; exit $?").container().run();
    assert_eq!(out.code, 139);
    let c = Bundle::sleeper().container();
    let running = c.spawn_run(&[]);
    eventually("the container to run", || (c.verb("state", &[]).stdout.contains("running")).then_some(()));
    c.kill("KILL").ok();
    assert_eq!(running.wait().code, 137);
}

#[test]
fn run_deletes_the_container_at_its_end() {
    needs!(root);
    let c = Bundle::of(&["true"]).container();
    let before = HostSnapshot::take(&c);
    c.run().ok();
    c.verb("state", &[]).fails();
    before.assert_unchanged(&c);
}

#[test]
fn run_with_keep_leaves_a_stopped_container() {
    needs!(root);
    peer_lacks!(Crun: "--keep came after 1.8");
    let c = Bundle::of(&["true"]).container();
    c.run_with(&["--keep"]).ok();
    assert_eq!(c.status(), "stopped");
    c.delete().ok();
}

#[test]
fn run_detached_returns_while_the_container_runs() {
    needs!(root);
    let c = Bundle::sleeper().container();
    c.run_with(&["--detach"]).ok();
    assert_eq!(c.status(), "running");
    c.kill_and_wait();
    c.delete().ok();
}

#[test]
fn run_forwards_signals_to_the_container() {
    needs!(root);
    let c = Bundle::sh("trap 'exit 7' TERM; echo ready; while :; do sleep 1 & wait $!; done").container();
    let running = c.spawn_run(&[]);
    eventually("the trap to be set", || running.stdout().contains("ready").then_some(()));
    caisson_integration_tests::os::kill(running.pid(), libc::SIGTERM).expect("signal our own child");
    assert_eq!(running.wait().code, 7);
}

#[test]
fn run_passes_standard_input_on() {
    needs!(root);
    let c = Bundle::of(&["cat"]).container();
    let input = std::fs::File::open(c.scratch().file("input", "from outside")).expect("open our own file");
    let bundle = c.bundle();
    let out = c.runtime().call_with(&["run", "--bundle", &bundle, c.id()], input.into()).ok();
    assert_eq!(out.stdout, "from outside");
}

#[test]
fn pid_file_has_the_pid_of_state_and_nothing_else() {
    needs!(root);
    let c = Bundle::sleeper().container();
    let path = c.scratch().join("pid");
    c.create_with(&["--pid-file", path.to_str().expect("UTF-8")]).ok();
    assert_eq!(c.scratch().read("pid"), c.pid().to_string());
}

#[test]
fn the_bundle_is_the_current_directory_by_default() {
    needs!(root);
    let c = Bundle::sh("echo here").container();
    let bundle = c.bundle();
    let out = c.runtime().clone().after_shell(&format!("cd {bundle}")).call(&["run", c.id()]).ok();
    assert_eq!(out.stdout, "here\n");
}

#[test]
fn start_of_a_running_container_fails() {
    needs!(root);
    let c = Bundle::sleeper().container().up();
    c.start().fails();
    assert_eq!(c.status(), "running");
}

#[test]
fn start_of_a_stopped_container_fails() {
    needs!(root);
    let c = Bundle::of(&["true"]).container();
    c.create().ok();
    c.finish();
    c.start().fails();
}

#[test]
fn delete_of_a_running_container_is_refused() {
    needs!(root);
    let c = Bundle::sleeper().container().up();
    c.delete().fails();
    assert_eq!(c.status(), "running");
    c.exec(&["true"]).ok();
}

#[test]
fn delete_with_force_ends_a_running_container() {
    needs!(root);
    let c = Bundle::sleeper().container();
    let before = HostSnapshot::take(&c);
    c.create().ok();
    c.start().ok();
    c.verb("delete", &["--force"]).ok();
    before.assert_unchanged(&c);
}

#[test]
fn delete_with_force_of_an_unknown_id_succeeds() {
    needs!(root);
    Bundle::sleeper().container().verb("delete", &["--force"]).ok();
}

#[test]
fn delete_without_force_of_an_unknown_id_fails() {
    needs!(root);
    Bundle::sleeper().container().delete().fails();
}

#[test]
fn a_created_container_can_be_killed() {
    needs!(root);
    let c = Bundle::sleeper().container();
    c.create().ok();
    c.kill_and_wait();
    assert_eq!(c.status(), "stopped");
    c.delete().ok();
}

#[test]
fn kill_of_a_stopped_container_fails() {
    needs!(root);
    let c = Bundle::of(&["true"]).container();
    c.create().ok();
    c.finish();
    c.kill("TERM").fails();
}

#[test]
fn kill_sends_term_by_default_and_knows_names_and_numbers() {
    needs!(root);
    let script = "trap 'echo TERM' TERM; trap 'echo USR1' USR1; trap 'echo HUP; exit' HUP; echo ready
        while :; do sleep 1 & wait $!; done";
    let c = Bundle::sh(script).container().up();
    let saw = |word: &str| eventually(word, || c.stdout().contains(word).then_some(()));
    saw("ready");
    c.verb("kill", &[]).ok();
    saw("TERM");
    c.kill("SIGUSR1").ok();
    saw("USR1");
    let pid = c.pid();
    c.kill("1").ok();
    saw("HUP");
    assert!(caisson_integration_tests::wait::process_end(pid));
}

#[test]
fn kill_with_an_unknown_signal_fails() {
    needs!(root);
    peer_lacks!(Crun: "1.8.1 ignores unknown names");
    let c = Bundle::sleeper().container().up();
    c.kill("NOSUCH").fails();
    assert_eq!(c.status(), "running");
}

#[test]
fn kill_all_reaches_every_process_of_a_container_without_pid_namespace() {
    needs!(root);
    let c = Bundle::sh("sleep 1001 & echo $!; exec sleep 1002").without_namespace("pid").container().up();
    let other: i32 = eventually("the second process", || c.stdout().trim().parse().ok());
    let init = c.pid();
    c.verb_then("kill", &["--all"], &["KILL"]).ok();
    assert!(caisson_integration_tests::wait::process_end(init));
    assert!(caisson_integration_tests::wait::process_end(other));
}

#[test]
fn a_second_container_of_the_same_id_is_refused_and_the_first_unharmed() {
    needs!(root);
    let c = Bundle::sleeper().container().up();
    c.create().fails().says("exist");
    assert_eq!(c.status(), "running");
    c.exec(&["true"]).ok();
}

#[test]
fn an_id_can_be_used_again_after_delete() {
    needs!(root);
    let c = Bundle::of(&["true"]).container();
    c.run().ok();
    c.run().ok();
}

#[test]
fn ids_that_would_leave_the_state_directory_are_refused() {
    needs!(root);
    peer_lacks!(Crun: "1.8.1 accepts slashes");
    let c = Bundle::sleeper().container();
    let bundle = c.bundle();
    for id in ["", ".", "..", "a/b", "/abs", "../up", "with space", "new\nline"] {
        let out = c.runtime().call(&["create", "--bundle", &bundle, id]);
        assert_ne!(out.code, 0, "id {id:?} was accepted");
    }
    let left: Vec<_> = std::fs::read_dir(c.runtime().state_dir()).into_iter().flatten().collect();
    assert!(left.is_empty(), "left in the state directory: {left:?}");
}

#[test]
fn ids_with_the_allowed_punctuation_are_accepted() {
    needs!(root);
    let c = Bundle::of(&["true"]).container();
    let bundle = c.bundle();
    for id in ["a_b", "a+b", "a-b", "a.b", "A1"] {
        c.runtime().call(&["run", "--bundle", &bundle, id]).ok();
    }
}

fn list_ids(c: &Container) -> Vec<String> {
    let out = c.runtime().call(&["list", "--quiet"]).ok();
    out.lines().iter().map(|line| (*line).to_owned()).collect()
}

#[test]
fn list_has_the_id_pid_status_and_bundle() {
    needs!(root);
    let c = Bundle::sleeper().container().up();
    assert_eq!(list_ids(&c), [c.id()]);
    let table = c.runtime().call(&["list"]).ok();
    let lines = table.lines();
    assert!(
        lines[0].contains("PID") && lines[0].contains("STATUS") && lines[0].contains("BUNDLE"),
        "{table}"
    );
    assert!(lines[1].contains(c.id()) && lines[1].contains(&c.pid().to_string()), "{table}");
    let json = c.runtime().call(&["list", "--format", "json"]).ok().json();
    assert_eq!(json[0]["id"], c.id());
    assert_eq!(json[0]["pid"], c.pid());
    assert_eq!(json[0]["status"], "running");
    assert_eq!(json[0]["bundle"], c.bundle());
}

#[test]
fn list_survives_a_corrupt_entry() {
    needs!(root);
    let c = Bundle::sleeper().container().up();
    let corrupt = c.runtime().state_dir().join("corrupt");
    std::fs::create_dir_all(&corrupt).expect("make a directory in the state directory");
    for name in ["state.json", "status", "config.json"] {
        std::fs::write(corrupt.join(name), "{ not json").expect("write a corrupt entry");
    }
    let out = c.runtime().call(&["list", "--quiet"]);
    assert!(out.lines().contains(&c.id()), "{out}");
}

#[test]
fn ps_lists_the_processes_of_the_container() {
    needs!(root, program("ps"));
    let c = Bundle::sleeper().container().up();
    let json = c.verb("ps", &["--format", "json"]).ok().json();
    assert_eq!(json, json!([c.pid()]));
    let table = c.verb("ps", &[]).ok();
    assert!(table.lines()[0].contains("PID"), "{table}");
    assert!(table.stdout.contains(&c.pid().to_string()), "{table}");
}

#[test]
fn ps_passes_its_arguments_to_ps() {
    needs!(root, program("ps"));
    peer_lacks!(Crun: "no arguments for ps(1)");
    let c = Bundle::sleeper().container().up();
    let table = c.verb_then("ps", &[], &["-o", "pid,comm"]).ok();
    assert!(table.lines()[0].contains("COMMAND"), "{table}");
    assert!(table.lines()[1].ends_with("sleep"), "{table}");
}

#[test]
fn a_log_in_json_names_the_error() {
    needs!(root);
    let c = Bundle::sleeper().set("/process/args/0", json!("/no/such/program")).container();
    let log = c.scratch().join("log.json");
    let runtime =
        c.runtime().clone().global(&["--log", log.to_str().expect("UTF-8"), "--log-format", "json"]);
    runtime.call(&["run", "--bundle", &c.bundle(), c.id()]).fails();
    let text = c.scratch().read("log.json");
    let last: Value = serde_json::from_str(text.lines().last().unwrap_or_default()).expect("JSON lines");
    assert_eq!(last["level"], "error", "{text}");
    assert!(last["msg"].as_str().is_some_and(|msg| msg.contains("/no/such/program")), "{text}");
    assert!(last["time"].is_string(), "{text}");
}

use super::*;

/// Parses a call as engines write it; gives the global matches, the verb and its matches.
fn parse(words: &str) -> Result<(ArgMatches, String, ArgMatches), clap::Error> {
    let matches = command().try_get_matches_from(std::iter::once("caisson").chain(words.split(' ')))?;
    let (name, sub) = matches.subcommand().unwrap();
    let (name, sub) = (name.to_owned(), sub.clone());
    Ok((matches, name, sub))
}

#[test]
fn definitions_are_consistent() {
    let mut command = command();
    command.build();
    command.debug_assert();
}

#[test]
fn containerd_create() {
    let (global, verb, sub) = parse(
        "--root /run/containerd/runc/default --log /b/log.json --log-format json --systemd-cgroup create \
         --bundle /b --pid-file /b/init.pid --console-socket /tmp/pty.sock web",
    )
    .unwrap();
    assert_eq!(global.path("root").unwrap().to_str(), Some("/run/containerd/runc/default"));
    assert_eq!(global.text("log-format"), Some("json"));
    assert!(global.on("systemd-cgroup"));
    assert_eq!(verb, "create");
    assert_eq!(sub.path("console-socket").unwrap().to_str(), Some("/tmp/pty.sock"));
    assert_eq!(sub.text("id"), Some("web"));
}

#[test]
fn containerd_exec() {
    let (_, verb, sub) =
        parse("exec --process /tmp/p.json --console-socket /tmp/s --detach --pid-file /tmp/pid web").unwrap();
    assert_eq!(verb, "exec");
    assert!(sub.on("detach"));
    assert_eq!(sub.path("process").unwrap().to_str(), Some("/tmp/p.json"));
    assert!(sub.rest("command").unwrap().is_empty());
}

#[test]
fn containerd_kill_delete_update_events() {
    let (_, _, kill) = parse("kill --all web 9").unwrap();
    assert!(kill.on("all"));
    assert_eq!((kill.text("id"), kill.text("signal")), (Some("web"), Some("9")));
    let (_, _, delete) = parse("delete --force web").unwrap();
    assert!(delete.on("force"));
    let (_, _, update) = parse("update --resources - web").unwrap();
    assert_eq!(update.text("resources"), Some("-"));
    let (_, _, events) = parse("events --stats web").unwrap();
    assert!(events.on("stats"));
}

#[test]
fn plain_verbs_of_engines_parse() {
    for words in [
        "state web",
        "start web",
        "pause web",
        "resume web",
        "list --format json",
        "ps --format json web",
        "list -q",
    ] {
        assert!(parse(words).is_ok(), "{words}");
    }
}

#[test]
fn conmon_create_with_equals_signs() {
    let (global, _, sub) =
        parse("--log=/l --log-format=json create --bundle=/b --pid-file=/p --no-pivot web").unwrap();
    assert_eq!(global.text("log"), Some("/l"));
    assert!(sub.on("no-pivot"));
    assert_eq!(sub.path("bundle").unwrap().to_str(), Some("/b"));
}

#[test]
fn words_after_the_id_belong_to_the_program() {
    let (_, _, sub) = parse("exec -t -u 5:6 -e A=b --tty=true web sh -c --detach -d").unwrap();
    assert_eq!(sub.rest("command").unwrap(), ["sh", "-c", "--detach", "-d"]);
    assert!(sub.on("tty") && !sub.on("detach"));
    assert_eq!(sub.text("user"), Some("5:6"));
}

#[test]
fn boolean_flags_take_go_values() {
    let (_, _, sub) = parse("run --detach=false --keep=true web").unwrap();
    assert!(!sub.on("detach") && sub.on("keep"));
    assert!(parse("run --detach=perhaps web").is_err());
}

#[test]
fn values_may_be_negative() {
    let (_, _, sub) = parse("update --memory-swap -1 --pids-limit -1 --cpu-quota -1 web").unwrap();
    assert_eq!(sub.text("memory-swap"), Some("-1"));
}

#[test]
fn spec_takes_a_command_after_two_dashes() {
    let (_, _, sub) = parse("spec --tty=false --memory 64M -- sh -c true").unwrap();
    assert_eq!(sub.rest("command").unwrap(), ["sh", "-c", "true"]);
    assert!(!sub.on("tty"));
    let (_, _, plain) = parse("spec").unwrap();
    assert!(plain.on("tty"));
}

#[test]
fn version_is_runcs_layout() {
    let text = parse("--version").unwrap_err().to_string();
    assert!(text.starts_with("caisson version 0."), "{text}");
    assert!(text.contains("\nspec: 1.3.0"), "{text}");
}

#[test]
fn a_missing_id_and_an_unknown_flag_are_misuse() {
    assert!(parse("state").is_err());
    assert!(parse("state --fast web").is_err());
}

//! The client against a fake systemd over a socket pair, and against a real bus where there is one.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use caisson_plan::step::cgroup::UnitValue;

use super::message::tests::incoming;
use super::*;

const RETURN: u8 = 2;
const ERROR: u8 = 3;
const SIGNAL: u8 = 4;

fn unit() -> SystemdUnit {
    SystemdUnit {
        unit: "caisson-x.scope".into(),
        slice: "system.slice".into(),
        user: false,
        runtime_dir: None,
    }
}

/// What the fake does with one call.
type Script = Vec<(&'static str, Vec<Vec<u8>>)>;

/// Plays the server's side: authentication, then for each expected method its messages. Returns the bodies received.
fn serve(mut stream: UnixStream, script: Script) -> Vec<Vec<u8>> {
    let mut auth = vec![0; 29];
    stream.read_exact(&mut auth).unwrap();
    assert_eq!(auth, b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n");
    stream.write_all(b"DATA\r\nOK 0123456789abcdef0123456789abcdef\r\n").unwrap();
    let mut bodies = Vec::new();
    for (method, answers) in script {
        let mut fixed = [0; 16];
        stream.read_exact(&mut fixed).unwrap();
        let length = message::length(&fixed).unwrap();
        let mut rest = vec![0; length - 16];
        stream.read_exact(&mut rest).unwrap();
        let text = String::from_utf8_lossy(&rest);
        assert!(text.contains(&format!("{method}\0")), "{method} in {text}");
        let body = u32::from_le_bytes(fixed[4..8].try_into().unwrap()) as usize;
        bodies.push(rest[rest.len() - body..].to_vec());
        for answer in answers {
            stream.write_all(&answer).unwrap();
        }
    }
    bodies
}

fn body(texts: &[&str]) -> Vec<u8> {
    let mut writer = Writer::default();
    for text in texts {
        writer.text(text);
    }
    writer.0
}

fn job_removed(job: &str, result: &str) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.u32(1).text(job).text("caisson-x.scope").text(result);
    incoming(SIGNAL, 0, [MANAGER, "JobRemoved", ""], "uoss", &writer.0)
}

/// Runs `client` against `script`; what the client got, and the bodies the server saw.
fn play<T>(peer: Peer, script: Script, client: impl FnOnce(Manager) -> T) -> (T, Vec<Vec<u8>>) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    std::thread::scope(|scope| {
        let server = scope.spawn(|| serve(theirs, script));
        let connection = Connection::over(ours, peer, Duration::from_secs(5)).unwrap();
        let result = client(Manager::over(connection, peer).unwrap());
        (result, server.join().unwrap())
    })
}

#[test]
fn a_unit_is_started_even_when_the_signal_is_faster_than_the_reply() {
    let script: Script = vec![
        ("Hello", vec![incoming(RETURN, 1, ["", "", ""], "s", &body(&[":1.7"]))]),
        ("AddMatch", vec![incoming(RETURN, 2, ["", "", ""], "", &[])]),
        ("Subscribe", vec![incoming(RETURN, 3, ["", "", ""], "", &[])]),
        (
            "StartTransientUnit",
            vec![
                job_removed("/job/other", "failed"),
                job_removed("/job/9", "done"),
                incoming(RETURN, 4, ["", "", ""], "o", &body(&["/job/9"])),
            ],
        ),
    ];
    let extra = UnitProperty { name: "Delegate".into(), value: UnitValue::Bool(false) };
    let (result, bodies) =
        play(Peer::Bus, script, |mut m| m.start(&unit(), std::slice::from_ref(&extra), 42));
    result.unwrap();
    let text = String::from_utf8_lossy(&bodies[1]);
    assert!(
        text.contains("type='signal',interface='org.freedesktop.systemd1.Manager',member='JobRemoved'"),
        "{text}"
    );
    assert_eq!(bodies[3], transient_unit(&unit(), &[extra], 42).0);
    // The plan's value replaces the default of the same name.
    assert_eq!(String::from_utf8_lossy(&bodies[3]).matches("Delegate").count(), 1);
    assert!(bodies[3].windows(15).any(|w| w == b"\x02au\0\0\0\0\x04\0\0\0\x2a\0\0\0"), "PIDs=[42]");
}

#[test]
fn a_failed_scope_of_the_same_name_is_reset() {
    let script: Script = vec![
        (
            "StartTransientUnit",
            vec![incoming(
                ERROR,
                1,
                ["", "", "org.freedesktop.systemd1.UnitExists"],
                "s",
                &body(&["exists"]),
            )],
        ),
        ("ResetFailedUnit", vec![incoming(RETURN, 2, ["", "", ""], "", &[])]),
        (
            "StartTransientUnit",
            vec![incoming(RETURN, 3, ["", "", ""], "o", &body(&["/job/1"])), job_removed("/job/1", "done")],
        ),
    ];
    play(Peer::Systemd, script, |mut m| m.start(&unit(), &[], 42)).0.unwrap();
}

#[test]
fn a_failed_job_tells_where_to_look() {
    let reply = incoming(RETURN, 1, ["", "", ""], "o", &body(&["/job/1"]));
    let script: Script = vec![("StartTransientUnit", vec![reply, job_removed("/job/1", "dependency")])];
    let error = play(Peer::Systemd, script, |mut m| m.start(&unit(), &[], 42)).0.unwrap_err();
    assert_eq!(
        error.to_string(),
        "systemd job for caisson-x.scope: dependency; hint: systemctl status caisson-x.scope, journalctl -u caisson-x.scope"
    );
}

#[test]
fn systemds_words_reach_the_user() {
    let words = "Interactive authentication required.";
    let name = "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired";
    let script: Script = vec![("StopUnit", vec![incoming(ERROR, 1, ["", "", name], "s", &body(&[words]))])];
    let error = play(Peer::Systemd, script, |mut m| m.stop(&unit())).0.unwrap_err();
    assert_eq!(error.to_string(), format!("systemd StopUnit: {words} ({name})"));
}

#[test]
fn a_silent_systemd_does_not_hang_the_runtime() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let error = Connection::over(ours, Peer::Bus, Duration::from_millis(50)).unwrap_err();
    assert!(matches!(error, SystemdError::Timeout { what: "authenticate", .. }), "{error}");
    drop(theirs);
}

#[test]
fn a_refusal_and_a_closed_connection_are_told_apart() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    theirs.write_all(b"REJECTED EXTERNAL\r\n").unwrap();
    let error = Connection::over(ours, Peer::Bus, Duration::from_secs(5)).unwrap_err();
    assert_eq!(error.to_string(), "authenticate with the bus: it answered \"REJECTED EXTERNAL\"");
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    theirs.write_all(b"DATA\r\nOK 0\r\n").unwrap();
    theirs.shutdown(std::net::Shutdown::Write).unwrap();
    let error = Connection::over(ours, Peer::Bus, Duration::from_secs(5)).unwrap_err();
    assert!(matches!(error, SystemdError::Closed { what: "Hello" }), "{error}");
}

#[test]
fn nobody_listening_names_the_sockets() {
    let socket = PathBuf::from("/nonexistent/bus");
    let error = Connection::open(&[(socket, Peer::Bus)], Duration::from_secs(1)).unwrap_err();
    assert!(error.to_string().contains("tried /nonexistent/bus (No such file or directory"), "{error}");
}

#[test]
fn a_real_bus_takes_our_messages() {
    let spawned = Command::new("dbus-daemon")
        .args(["--session", "--nofork", "--nopidfile", "--print-address=1", "--address=unix:tmpdir=/tmp"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut daemon) = spawned else { return eprintln!("SKIP: needs dbus-daemon") };
    let mut address = String::new();
    BufReader::new(daemon.stdout.take().unwrap()).read_line(&mut address).unwrap();
    let socket =
        address.trim().split([':', ',']).find_map(|part| part.strip_prefix("path=")).map(PathBuf::from);
    let result =
        Connection::open(&[(socket.unwrap(), Peer::Bus)], Duration::from_secs(5)).and_then(|(mut bus, _)| {
            bus.match_signals(MANAGER, "JobRemoved")?;
            let mut body = Writer::default();
            body.text("x.scope").text("replace");
            let method = Method {
                destination: "dev.caisson.Nobody",
                path: "/org/freedesktop/systemd1",
                interface: MANAGER,
                name: "StopUnit",
                signature: "ss",
            };
            bus.call(&method, &body.0)
        });
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    // Nobody has that name: the bus itself says so, which shows that it understood the call.
    let error = result.unwrap_err();
    assert!(
        matches!(&error, SystemdError::Call { name, .. } if name.ends_with(".ServiceUnknown")),
        "{error}"
    );
}

//! What an engine or systemd hands through a runtime: LISTEN_FDS, NOTIFY_SOCKET, a pidfd socket, preserved descriptors,
//! and the session keyring.

use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;

use caisson_integration_tests::os;
use caisson_integration_tests::prelude::*;
use caisson_integration_tests::wait::LIMIT;

#[test]
fn listen_fds_come_through_with_the_containers_pid() {
    needs!(root);
    peer_lacks!(Crun: "1.8.1 sets only one of the two variables");
    let c = Bundle::sh("echo $LISTEN_FDS $LISTEN_PID; cat <&3; cat <&4").container();
    let one = c.scratch().file("one", "first\n");
    let two = c.scratch().file("two", "second\n");
    let script = format!("exec 3<{} 4<{}; export LISTEN_FDS=2 LISTEN_PID=$$", one.display(), two.display());
    let c = c.with(|runtime| runtime.after_shell(&script));
    assert_eq!(c.run().ok().lines(), ["2 1", "first", "second"]);
}

#[test]
fn listen_fds_for_another_process_do_not_come_through() {
    needs!(root);
    peer_lacks!(Crun: "1.8.1 lets them through");
    peer_lacks!(Runc: "does not look at LISTEN_PID");
    let c = Bundle::sh("echo \"[$LISTEN_FDS]\"; ls /proc/self/fd").container();
    let one = c.scratch().file("one", "first\n");
    let script = format!("exec 3<{}; export LISTEN_FDS=1 LISTEN_PID=1", one.display());
    let c = c.with(|runtime| runtime.after_shell(&script));
    assert_eq!(c.run().ok().lines(), ["[]", "0", "1", "2", "3"]);
}

#[test]
fn preserved_descriptors_come_through_and_others_do_not() {
    needs!(root);
    let c = Bundle::sh("cat <&3; ls /proc/self/fd | wc -l").container();
    let one = c.scratch().file("one", "kept\n");
    let script = format!("exec 3<{0} 4<{0} 5<{0}", one.display());
    let c = c.with(|runtime| runtime.after_shell(&script));
    assert_eq!(c.run_with(&["--preserve-fds", "1"]).ok().lines(), ["kept", "5"]);
}

#[test]
fn a_preserved_descriptor_that_is_not_open_is_an_error() {
    needs!(root);
    peer_lacks!(Crun: "1.8.1 does not check");
    let c = Bundle::sh("true").container();
    c.run_with(&["--preserve-fds", "40"]).fails();
}

#[test]
fn a_ready_message_reaches_the_notify_socket() {
    needs!(root, program("busybox"));
    let c = Bundle::sh(
        "test -n \"$NOTIFY_SOCKET\" && test -S \"$NOTIFY_SOCKET\" && echo $NOTIFY_SOCKET; exec sleep 1000",
    );
    let c = c.container();
    let path = c.scratch().join("notify.sock");
    let socket = UnixDatagram::bind(&path).expect("bind a datagram socket");
    let c = c.with(|runtime| runtime.env("NOTIFY_SOCKET", path.to_str().expect("UTF-8")));
    c.create().ok();
    let pid = c.pid();
    let starting = c.runtime().spawn(&["start", c.id()], std::process::Stdio::null());
    let inside = eventually("the socket in the container", || {
        let text = c.stdout();
        text.lines().next().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty())
    });
    // The container says READY=1: sent from here, through its own mount table.
    let client = UnixDatagram::unbound().expect("a datagram socket");
    client
        .send_to(b"READY=1\n", format!("/proc/{pid}/root{inside}"))
        .expect("send to the container's socket");
    assert!(os::poll_readable(socket.as_fd(), LIMIT), "nothing came on the notify socket");
    let mut buffer = [0; 256];
    let mut seen = String::new();
    while !seen.contains("READY=1") {
        assert!(os::poll_readable(socket.as_fd(), LIMIT), "no READY=1: {seen:?}");
        let count = socket.recv(&mut buffer).expect("receive a datagram");
        seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
    c.verb("delete", &["--force"]).ok();
    starting.wait();
}

#[test]
fn a_pidfd_of_init_comes_on_the_pidfd_socket() {
    needs!(root);
    peer_lacks!(Runc, Crun: "--pidfd-socket came later");
    let bundle = Bundle::sleeper();
    let socket = FdSocket::bind(&bundle.scratch().join("pidfd.sock"));
    let c = bundle.container();
    c.create_with(&["--pidfd-socket", socket.arg()]).ok();
    let pidfd = socket.receive_fd();
    let info =
        std::fs::read_to_string(format!("/proc/self/fdinfo/{}", std::os::fd::AsRawFd::as_raw_fd(&pidfd)));
    let info = info.expect("our own descriptor");
    assert!(info.contains(&format!("Pid:\t{}\n", c.pid())), "{info}");
    assert!(!os::poll_readable(pidfd.as_fd(), std::time::Duration::ZERO));
    c.kill("KILL").ok();
    assert!(os::poll_readable(pidfd.as_fd(), LIMIT));
}

#[test]
fn a_pidfd_of_exec_comes_on_the_pidfd_socket() {
    needs!(root);
    peer_lacks!(Runc, Crun: "--pidfd-socket came later");
    let bundle = Bundle::sleeper();
    let socket = FdSocket::bind(&bundle.scratch().join("pidfd.sock"));
    let c = bundle.container().up();
    c.verb_then("exec", &["--detach", "--pidfd-socket", socket.arg()], &["true"]).ok();
    assert!(os::poll_readable(socket.receive_fd().as_fd(), LIMIT));
}

/// A container that sees /proc/keys, with the name of its session keyring.
fn keys(bundle: Bundle) -> Bundle {
    bundle.set("/linux/maskedPaths", json!([]))
}

#[test]
fn the_container_has_a_session_keyring_of_its_own() {
    needs!(root);
    let c = keys(Bundle::sh("grep keyring /proc/keys")).container();
    let out = c.run().ok();
    assert!(out.lines().iter().any(|line| line.contains(&format!("{}: ", c.id()))), "{out}");
}

#[test]
fn no_new_keyring_leaves_the_callers() {
    needs!(root);
    let c = keys(Bundle::sh("grep keyring /proc/keys; true")).container();
    let out = c.run_with(&["--no-new-keyring"]).ok();
    assert!(!out.lines().iter().any(|line| line.contains(&format!("{}: ", c.id()))), "{out}");
}

#[test]
fn no_pivot_runs_the_container_in_its_root() {
    needs!(root);
    let c = Bundle::sh("ls /; pwd").container();
    let out = c.run_with(&["--no-pivot"]).ok();
    assert!(out.lines().contains(&"proc") && !out.lines().contains(&"boot"), "{out}");
}

#[test]
fn another_config_file_can_be_named() {
    needs!(root);
    peer_lacks!(Runc: "no --config");
    let c = Bundle::sh("echo other").container();
    let other = c.scratch().join("other.json");
    std::fs::rename(c.scratch().join("bundle/config.json"), &other).expect("move our own file");
    assert_eq!(c.run_with(&["--config", other.to_str().expect("UTF-8")]).ok().text(), "other");
}

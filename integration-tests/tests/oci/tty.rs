//! Terminals: handed to the engine over a socket, or passed through from the runtime's own.

use caisson_integration_tests::prelude::*;

fn console(bundle: &Bundle) -> FdSocket {
    FdSocket::bind(&bundle.scratch().join("console.sock"))
}

fn with_terminal(script: &str) -> Bundle {
    Bundle::sh(script).set("/process/terminal", json!(true))
}

#[test]
fn create_sends_the_terminal_to_the_console_socket() {
    needs!(root);
    let bundle =
        with_terminal("tty; test -t 0 && test -t 1 && test -t 2 && echo all; read line; echo got $line");
    let socket = console(&bundle);
    let c = bundle.container();
    c.create_with(&["--console-socket", socket.arg()]).ok();
    let mut terminal = socket.receive_terminal();
    c.start().ok();
    terminal.read_until("all");
    terminal.type_in("hello\n");
    let seen = terminal.read_until("got hello");
    assert!(seen.contains("/dev/pts/0") || seen.contains("/dev/console"), "{seen:?}");
}

#[test]
fn the_terminal_is_the_controlling_one() {
    needs!(root);
    let bundle = with_terminal("trap 'echo interrupted; exit' INT; echo ready; while :; do sleep 1; done");
    let socket = console(&bundle);
    let c = bundle.container();
    c.create_with(&["--console-socket", socket.arg()]).ok();
    let mut terminal = socket.receive_terminal();
    c.start().ok();
    terminal.read_until("ready");
    terminal.type_in("\u{3}");
    terminal.read_until("interrupted");
}

#[test]
fn dev_console_is_the_terminal() {
    needs!(root);
    let bundle = with_terminal("echo through the console >/dev/console");
    let socket = console(&bundle);
    let c = bundle.container();
    c.create_with(&["--console-socket", socket.arg()]).ok();
    let mut terminal = socket.receive_terminal();
    c.start().ok();
    terminal.read_until("through the console");
}

#[test]
fn console_size_is_the_terminals_size() {
    needs!(root);
    let bundle = with_terminal("stty size").set("/process/consoleSize", json!({"height": 33, "width": 101}));
    let socket = console(&bundle);
    let c = bundle.container();
    c.create_with(&["--console-socket", socket.arg()]).ok();
    let mut terminal = socket.receive_terminal();
    assert_eq!(terminal.size(), (33, 101));
    c.start().ok();
    terminal.read_until("33 101");
}

#[test]
fn the_terminal_belongs_to_the_user() {
    needs!(root);
    let bundle =
        with_terminal("stat -c %u $(readlink /proc/self/fd/0)").set("/process/user/uid", json!(1000));
    let socket = console(&bundle);
    let c = bundle.container();
    c.create_with(&["--console-socket", socket.arg()]).ok();
    let mut terminal = socket.receive_terminal();
    c.start().ok();
    terminal.read_until("1000");
}

#[test]
fn create_with_a_terminal_but_no_socket_is_refused() {
    needs!(root);
    with_terminal("true").container().create().fails();
}

#[test]
fn create_with_a_socket_but_no_terminal_is_refused() {
    needs!(root);
    peer_lacks!(Crun: "ignores the socket");
    let bundle = Bundle::sh("true");
    let socket = console(&bundle);
    bundle.container().create_with(&["--console-socket", socket.arg()]).fails();
}

#[test]
fn run_detached_sends_the_terminal_to_the_console_socket() {
    needs!(root);
    let bundle = with_terminal("echo detached; exec sleep 1000");
    let socket = console(&bundle);
    let c = bundle.container();
    c.run_with(&["--detach", "--console-socket", socket.arg()]).ok();
    socket.receive_terminal().read_until("detached");
}

#[test]
fn run_passes_its_own_terminal_through() {
    needs!(root);
    let c = with_terminal("echo hello from $(tty); read line; echo got $line; exit 5").container();
    let mut terminal = Pty::open();
    let bundle = c.bundle();
    let mut child = c.runtime().spawn_on(
        &["run", "--bundle", &bundle, c.id()],
        terminal.stream(),
        terminal.stream(),
        terminal.stream(),
    );
    terminal.close_process_end();
    terminal.read_until("hello from /dev/");
    terminal.type_in("typed\n");
    terminal.read_until("got typed");
    let limit = caisson_integration_tests::wait::LIMIT;
    let status =
        caisson_integration_tests::runtime_under_test::wait_in_time(&mut child, limit, "run on a terminal");
    assert_eq!(status.code(), Some(5));
}

#[test]
fn exec_sends_its_terminal_to_the_console_socket() {
    needs!(root);
    let bundle = Bundle::sleeper();
    let socket = console(&bundle);
    let c = bundle.container().up();
    let options = ["--tty", "--detach", "--console-socket", socket.arg()];
    c.verb_then("exec", &options, &["sh", "-c", "tty; read line; echo got $line"]).ok();
    let mut terminal = socket.receive_terminal();
    terminal.read_until("/dev/pts/");
    terminal.type_in("words\n");
    terminal.read_until("got words");
}

#[test]
fn exec_passes_its_own_terminal_through() {
    needs!(root);
    let c = Bundle::sleeper().container().up();
    let mut terminal = Pty::open();
    let mut child = c.runtime().spawn_on(
        &["exec", "--tty", c.id(), "sh", "-c", "test -t 0 && echo a terminal"],
        terminal.stream(),
        terminal.stream(),
        terminal.stream(),
    );
    terminal.close_process_end();
    terminal.read_until("a terminal");
    let limit = caisson_integration_tests::wait::LIMIT;
    let status =
        caisson_integration_tests::runtime_under_test::wait_in_time(&mut child, limit, "exec on a terminal");
    assert_eq!(status.code(), Some(0));
}

#[test]
fn a_terminal_that_hangs_up_ends_the_shell() {
    needs!(root);
    let bundle = with_terminal("exec sh");
    let socket = console(&bundle);
    let c = bundle.container();
    c.create_with(&["--console-socket", socket.arg()]).ok();
    let terminal = socket.receive_terminal();
    let pid = c.pid();
    c.start().ok();
    drop(terminal);
    assert!(caisson_integration_tests::wait::process_end(pid));
}

//! Staying with a process: `run` and `exec` without `--detach`.
//!
//! One poll(2) loop over four descriptors: the process's pidfd, a signalfd, and with a terminal its master and our
//! standard input. Signals are passed on; SIGWINCH resizes the terminal.
//! The caller's terminal is raw meanwhile and is given back on every way out.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::Context as _;
use caisson_sys::signal::{self, SigSet};
use caisson_sys::tty::{self, RawMode};
use caisson_sys::{Errno, pidfd};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{read, write};

use crate::notify_socket::Proxy;

/// Signals that are about this program, not for the user's.
const KEPT: [i32; 8] =
    [libc_signal::ILL, libc_signal::TRAP, libc_signal::BUS, libc_signal::FPE, libc_signal::SEGV, 6, 9, 19];

/// Numbers that are the same on every Linux architecture caisson runs on.
mod libc_signal {
    pub(super) const ILL: i32 = 4;
    pub(super) const TRAP: i32 = 5;
    pub(super) const BUS: i32 = 7;
    pub(super) const FPE: i32 = 8;
    pub(super) const PIPE: i32 = 13;
    pub(super) const SEGV: i32 = 11;
    pub(super) const CHLD: i32 = 17;
    pub(super) const URG: i32 = 23;
    pub(super) const WINCH: i32 = 28;
}

/// The signals of this process, caught instead of acted on.
#[derive(Debug)]
pub struct Signals(OwnedFd);

impl Signals {
    /// Catches every signal that can be passed on. From now on Ctrl-C does not end this program.
    ///
    /// # Errors
    /// When the kernel refuses the signalfd.
    pub fn catch() -> anyhow::Result<Self> {
        let caught = SigSet(SigSet::ALL.0 & !SigSet::of(&KEPT).0);
        let fd = signal::signalfd(caught).context("make a signalfd")?;
        signal::set_mask(caught).context("block signals")?;
        Ok(Self(fd))
    }
}

/// The terminal of the process, and ours.
#[derive(Debug)]
pub struct Terminal {
    master: OwnedFd,
    /// Typed, not yet taken by the process.
    typed: Vec<u8>,
    input_open: bool,
    output_open: bool,
    _raw: Option<RawMode>,
}

impl Terminal {
    /// Takes the master; makes our own terminal raw if we have one.
    ///
    /// # Errors
    /// When the descriptors refuse their flags.
    pub fn new(master: OwnedFd) -> anyhow::Result<Self> {
        // A process that does not read must not stop us from showing what it writes.
        fcntl(&master, FcntlArg::F_SETFL(OFlag::O_RDWR | OFlag::O_NONBLOCK))
            .context("set up the terminal")?;
        let stdin = std::io::stdin();
        let raw = if tty::isatty(&stdin) { tty::raw_mode(&stdin).ok() } else { None };
        let terminal = Self { master, typed: Vec::new(), input_open: true, output_open: true, _raw: raw };
        terminal.resize();
        Ok(terminal)
    }

    /// Gives the process's terminal the size of ours; without one of our own there is nothing to copy.
    fn resize(&self) {
        if let Ok(size) = tty::get_winsize(std::io::stdin())
            && size.rows > 0
        {
            tty::set_winsize(&self.master, size).unwrap_or_default(); // a terminal that is gone has no size
        }
    }

    fn wanted(&self) -> PollFlags {
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::POLLIN, self.output_open);
        flags.set(PollFlags::POLLOUT, !self.typed.is_empty());
        flags
    }

    /// Shows what the process wrote.
    fn show(&mut self) -> anyhow::Result<()> {
        let mut buffer = [0; 8192];
        loop {
            match read(&self.master, &mut buffer) {
                // EIO: every other holder of the terminal is gone.
                Ok(0) | Err(Errno::EIO) => {
                    self.output_open = false;
                    return Ok(());
                }
                Ok(n) => write_all(std::io::stdout().as_fd(), &buffer[..n])?,
                Err(Errno::EAGAIN) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno).context("read from the terminal"),
            }
        }
    }

    fn take_input(&mut self) -> anyhow::Result<()> {
        let mut buffer = [0; 4096];
        match read(std::io::stdin(), &mut buffer) {
            Ok(0) | Err(Errno::EIO) => self.input_open = false,
            Ok(n) => self.typed.extend_from_slice(&buffer[..n]),
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            Err(errno) => return Err(errno).context("read from standard input"),
        }
        self.pass_input();
        Ok(())
    }

    fn pass_input(&mut self) {
        match write(&self.master, &self.typed) {
            Ok(n) => drop(self.typed.drain(..n)),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            // Nobody will read it any more.
            Err(_) => self.typed.clear(),
        }
    }
}

fn write_all(fd: BorrowedFd<'_>, mut bytes: &[u8]) -> anyhow::Result<()> {
    while !bytes.is_empty() {
        match write(fd, bytes) {
            Ok(n) => bytes = &bytes[n..],
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => {
                let mut ready = [PollFd::new(fd, PollFlags::POLLOUT)];
                poll(&mut ready, PollTimeout::NONE).context("wait for standard output")?;
            }
            // A reader that went away is no error of the container.
            Err(Errno::EPIPE) => return Ok(()),
            Err(errno) => return Err(errno).context("write to standard output"),
        }
    }
    Ok(())
}

/// Stays until the process has ended; gives the exit code a shell would.
///
/// # Errors
/// When the loop cannot go on: the process is left running then.
pub fn attend(
    process: &OwnedFd,
    mut terminal: Option<Terminal>,
    signals: &Signals,
    proxy: Option<&Proxy>,
) -> anyhow::Result<u8> {
    loop {
        let ready = wait(process, terminal.as_ref(), signals, proxy)?;
        if let (true, Some(proxy)) = (ready.notified, proxy) {
            proxy.pass_on()?;
        }
        if ready.signal {
            pass_signals(process, terminal.as_ref(), signals)?;
        }
        if let Some(terminal) = &mut terminal {
            if ready.input {
                terminal.take_input()?;
            }
            if ready.room {
                terminal.pass_input();
            }
            if ready.output {
                terminal.show()?;
            }
        }
        if ready.ended {
            // What it wrote last is still in the terminal.
            terminal.as_mut().map_or(Ok(()), Terminal::show)?;
            let status = pidfd::wait(process).context("wait for the process")?;
            return Ok(u8::try_from(status.code()).unwrap_or(u8::MAX));
        }
    }
}

/// Which descriptors have something.
#[derive(Debug, Default)]
struct Ready {
    ended: bool,
    signal: bool,
    notified: bool,
    input: bool,
    room: bool,
    output: bool,
}

fn wait(
    process: &OwnedFd,
    terminal: Option<&Terminal>,
    signals: &Signals,
    proxy: Option<&Proxy>,
) -> anyhow::Result<Ready> {
    let stdin = std::io::stdin();
    let mut fds = vec![
        PollFd::new(process.as_fd(), PollFlags::POLLIN),
        PollFd::new(signals.0.as_fd(), PollFlags::POLLIN),
    ];
    if let Some(terminal) = terminal {
        fds.push(PollFd::new(terminal.master.as_fd(), terminal.wanted()));
        // poll(2) reports POLLHUP whether asked or not: a closed input is left out altogether.
        if terminal.input_open && terminal.typed.is_empty() {
            fds.push(PollFd::new(stdin.as_fd(), PollFlags::POLLIN));
        }
        // The same for a master whose other side is gone: wait for the process alone.
        if !terminal.output_open && terminal.typed.is_empty() {
            fds.remove(2);
        }
    }
    if let Some(proxy) = proxy {
        fds.push(PollFd::new(proxy.as_fd(), PollFlags::POLLIN));
    }
    match poll(&mut fds, PollTimeout::NONE) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(errno) => return Err(errno).context("wait for the process"),
    }
    let hit = |fd: BorrowedFd<'_>, flags: PollFlags| {
        use std::os::fd::AsRawFd;
        let found = fds.iter().find(|ready| ready.as_fd().as_raw_fd() == fd.as_raw_fd());
        found.and_then(PollFd::revents).is_some_and(|events| events.intersects(flags))
    };
    let any = PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR;
    let master = terminal.map(|terminal| terminal.master.as_fd());
    Ok(Ready {
        ended: hit(process.as_fd(), any),
        signal: hit(signals.0.as_fd(), any),
        notified: proxy.is_some_and(|proxy| hit(proxy.as_fd(), any)),
        input: terminal.is_some() && hit(stdin.as_fd(), any),
        room: master.is_some_and(|master| hit(master, PollFlags::POLLOUT)),
        output: master.is_some_and(|master| hit(master, any)),
    })
}

fn pass_signals(process: &OwnedFd, terminal: Option<&Terminal>, signals: &Signals) -> anyhow::Result<()> {
    while let Some(caught) = signal::read_signalfd(&signals.0).context("read a signal")? {
        match caught.signal {
            // About us, not for the process.
            libc_signal::CHLD | libc_signal::PIPE | libc_signal::URG => {}
            libc_signal::WINCH => terminal.map_or((), Terminal::resize),
            number => match pidfd::send_signal(process, number) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(errno) => return Err(errno).with_context(|| format!("pass on signal {number}")),
            },
        }
    }
    Ok(())
}

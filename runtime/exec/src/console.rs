//! The terminal: made in the container's own devpts, its master sent out, its slave made stdio.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use caisson_plan::step::ConsolePlan;
use caisson_sys::mount::OpenTree;
use caisson_sys::path::{self, OFlag};
use caisson_sys::{Errno, mount, socket, tty};

use crate::error::{Act, Context, Failure};

/// Makes the terminal. `root`: the container's root, or `None` in a process that has it as `/` already.
pub(crate) fn set_up(root: Option<&OwnedFd>, plan: &ConsolePlan, socket: Option<&OwnedFd>) -> Act {
    let pts = open_devpts(root)?;
    // The slave comes from the master by ioctl, never from a name in /dev/pts (CVE-2025-52565).
    let pty = tty::open_pty(pts.as_fd()).map_err(|errno| {
        Failure::errno("open a terminal in the container's /dev/pts", errno)
            .hint("a terminal needs a devpts mounted on /dev/pts")
    })?;
    if let Some((cols, rows)) = plan.size {
        let size = tty::WinSize { rows, cols };
        tty::set_winsize(pty.master.as_fd(), size).on(|| "set the terminal's size")?;
    }
    if let (Some(root), true) = (root, plan.dev_console) {
        bind_console(root, &pty.slave)?;
    }
    let what = || "give the terminal to the container's user";
    match path::fchown(pty.slave.as_fd(), Some(plan.uid), None) {
        // A user namespace in which the id is not mapped, or a devpts that is not ours: the mode still serves.
        Ok(()) | Err(Errno::EINVAL | Errno::EPERM | Errno::EROFS) => {}
        Err(errno) => return Err(Failure::errno(what(), errno)),
    }
    if let Some(socket) = socket {
        let sent = socket::send(socket.as_fd(), b"/dev/ptmx", &[pty.master.as_fd()]);
        sent.on(|| "send the terminal to the console socket")?;
    }
    for target in 0..=2 {
        caisson_sys::fd::dup_onto(pty.slave.as_fd(), target)
            .on(|| "make the terminal standard input and output")?;
    }
    tty::make_controlling(pty.slave.as_fd()).on(|| "make the terminal the controlling terminal")
}

fn open_devpts(root: Option<&OwnedFd>) -> Act<OwnedFd> {
    let what = || "open /dev/pts";
    match root {
        Some(root) => path::open_dir_nofollow_in_root(root.as_fd(), Path::new("dev/pts")).on(what),
        None => {
            path::open(Path::new("/dev/pts"), OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW).on(what)
        }
    }
}

fn bind_console(root: &OwnedFd, slave: &OwnedFd) -> Act {
    let what = || "bind the terminal onto /dev/console";
    let target = path::create_file_in_root(root.as_fd(), Path::new("dev/console"), 0o620).on(what)?;
    let flags = OpenTree::CLONE | OpenTree::EMPTY_PATH;
    let tree = mount::open_tree(Some(slave.as_fd()), Path::new(""), flags).on(what)?;
    mount::move_mount(tree.as_fd(), target.as_fd()).on(what)
}

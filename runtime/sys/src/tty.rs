//! Pseudo-terminals.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::fcntl::OFlag;
use nix::sys::termios::{self, SetArg, Termios};

use crate::path::{self, Resolve};
use crate::raw::num;
use crate::{Errno, Result};

/// A pair of terminal ends.
#[derive(Debug)]
pub struct Pty {
    /// The end a terminal program holds.
    pub master: OwnedFd,
    /// The end the workload has as its terminal.
    pub slave: OwnedFd,
    /// The N in `/dev/pts/N` of the devpts instance.
    pub number: u32,
}

/// Opens `ptmx` in the root of a devpts instance, unlocks it and opens its peer by `ioctl(TIOCGPTPEER)`.
///
/// Neither end is opened by a path an image could have prepared: `ptmx` must be the device 5:2 on a devpts,
/// and the other end comes from the first (CVE-2025-52565).
///
/// # Errors
/// `EXDEV` when the file is not on a devpts, `ENODEV` when it is not the master multiplexer, `EACCES` when
/// the instance was mounted with `ptmxmode=000`.
///
/// # References
/// - [pts(4)](https://man7.org/linux/man-pages/man4/pts.4.html), [TIOCGPTPEER(2const)](https://man7.org/linux/man-pages/man2/TIOCGPTPEER.2const.html)
pub fn open_pty(devpts_root: BorrowedFd<'_>) -> Result<Pty> {
    let resolve = Resolve::BENEATH | Resolve::NO_SYMLINKS | Resolve::NO_MAGICLINKS | Resolve::NO_XDEV;
    // Looked at before it is opened for real: opening an unknown device may have effects.
    let found = path::openat2(devpts_root, "ptmx", OFlag::O_PATH | OFlag::O_NOFOLLOW, 0, resolve)?;
    if path::fs_magic(&found)? != libc::DEVPTS_SUPER_MAGIC {
        return Err(Errno::EXDEV);
    }
    let master = path::openat2(devpts_root, "ptmx", OFlag::O_RDWR | OFlag::O_NOCTTY, 0, resolve)?;
    let stat = path::fstat(&master)?;
    if path::fs_magic(&master)? != libc::DEVPTS_SUPER_MAGIC
        || !stat.is_char()
        || stat.rdev != libc::makedev(5, 2)
    {
        return Err(Errno::ENODEV);
    }
    let (mut number, unlock) = (0_u32, 0_i32);
    let flags = (OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).bits();
    // SAFETY: a pty master (checked): the requests read an int, and store an unsigned int, at the addresses
    // given.
    unsafe {
        sys!(SYS_ioctl, num(&master), libc::TIOCSPTLCK, &raw const unlock)?;
        sys!(SYS_ioctl, num(&master), libc::TIOCGPTN, &raw mut number)?;
    }
    // SAFETY: a pty master; the request takes open flags by value and returns a new descriptor.
    let slave = unsafe { sys_fd!(SYS_ioctl, num(&master), libc::TIOCGPTPEER, flags) }?;
    Ok(Pty { master, slave, number })
}

/// The size of a terminal in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WinSize {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub cols: u16,
}

/// Terminal requests are for terminals: another device may understand their numbers otherwise.
fn check_tty(fd: &impl AsFd) -> Result<()> {
    if isatty(fd) { Ok(()) } else { Err(Errno::ENOTTY) }
}

/// `ioctl(fd, TIOCSWINSZ, size)`
///
/// # References
/// - [TIOCSWINSZ(2const)](https://man7.org/linux/man-pages/man2/TIOCSWINSZ.2const.html)
pub fn set_winsize(fd: impl AsFd, size: WinSize) -> Result<()> {
    check_tty(&fd)?;
    let raw = libc::winsize { ws_row: size.rows, ws_col: size.cols, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: a terminal (checked); the request reads a winsize at the address given.
    unsafe { sys!(SYS_ioctl, num(&fd), libc::TIOCSWINSZ, &raw const raw) }.map(drop)
}

/// `ioctl(fd, TIOCGWINSZ, size)`
///
/// # References
/// - [TIOCSWINSZ(2const)](https://man7.org/linux/man-pages/man2/TIOCSWINSZ.2const.html)
pub fn get_winsize(fd: impl AsFd) -> Result<WinSize> {
    check_tty(&fd)?;
    let mut raw = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: a terminal (checked); the request stores a winsize at the address given.
    unsafe { sys!(SYS_ioctl, num(&fd), libc::TIOCGWINSZ, &raw mut raw) }?;
    Ok(WinSize { rows: raw.ws_row, cols: raw.ws_col })
}

/// `ioctl(fd, TIOCSCTTY, 0)`: makes it the controlling terminal of the session this process leads (setsid
/// first).
///
/// # Errors
/// `EPERM` when this process leads no session, has a terminal, or another session has this one.
///
/// # References
/// - [TIOCSCTTY(2const)](https://man7.org/linux/man-pages/man2/TIOCSCTTY.2const.html)
pub fn make_controlling(fd: impl AsFd) -> Result<()> {
    check_tty(&fd)?;
    // SAFETY: a terminal (checked); the argument is a number.
    unsafe { sys!(SYS_ioctl, num(&fd), libc::TIOCSCTTY, 0) }.map(drop)
}

/// `isatty(fd)`
///
/// # References
/// - [isatty(3)](https://man7.org/linux/man-pages/man3/isatty.3.html)
pub fn isatty(fd: impl AsFd) -> bool {
    nix::unistd::isatty(fd.as_fd()).unwrap_or(false)
}

/// A terminal in raw mode; dropping the value gives it back as it was.
#[derive(Debug)]
pub struct RawMode {
    fd: OwnedFd,
    before: Termios,
}

/// `tcgetattr`, `cfmakeraw`, `tcsetattr(TCSADRAIN)`
///
/// # Errors
/// `ENOTTY` when it is no terminal.
///
/// # References
/// - [termios(3)](https://man7.org/linux/man-pages/man3/termios.3.html)
pub fn raw_mode(fd: impl AsFd) -> Result<RawMode> {
    let fd = crate::fd::dup_above(fd.as_fd(), 3)?;
    let before = termios::tcgetattr(&fd)?;
    let mut raw = before.clone();
    termios::cfmakeraw(&mut raw);
    termios::tcsetattr(&fd, SetArg::TCSADRAIN, &raw)?;
    Ok(RawMode { fd, before })
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // A terminal that is gone cannot be restored, and needs not.
        termios::tcsetattr(&self.fd, SetArg::TCSADRAIN, &self.before).unwrap_or_default();
    }
}

impl AsRawFd for RawMode {
    fn as_raw_fd(&self) -> i32 {
        self.fd.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mount::{FsContext, MountAttrs};

    fn devpts() -> OwnedFd {
        let fs = FsContext::open("devpts").unwrap();
        fs.string("ptmxmode", "0666").unwrap();
        fs.create().unwrap();
        fs.mount(MountAttrs::NOSUID | MountAttrs::NOEXEC).unwrap()
    }

    #[test]
    fn a_pty_of_an_instance_has_size_mode_and_session() {
        require_root!();
        let pty = open_pty(devpts().as_fd()).unwrap();
        assert_eq!(pty.number, 0);
        assert!(isatty(&pty.slave));
        set_winsize(&pty.master, WinSize { rows: 24, cols: 80 }).unwrap();
        assert_eq!(get_winsize(&pty.slave).unwrap(), WinSize { rows: 24, cols: 80 });
        let echo =
            |fd: &OwnedFd| termios::tcgetattr(fd).unwrap().local_flags.contains(termios::LocalFlags::ECHO);
        let raw = raw_mode(&pty.slave).unwrap();
        assert!(!echo(&pty.slave));
        drop(raw);
        assert!(echo(&pty.slave));
        crate::testing::in_child(|| {
            assert_eq!(make_controlling(&pty.slave), Err(Errno::EPERM));
            crate::creds::setsid().unwrap();
            make_controlling(&pty.slave).unwrap();
        });
        assert_eq!(get_winsize(devpts()), Err(Errno::ENOTTY));
    }

    #[test]
    fn a_ptmx_that_is_not_on_a_devpts_is_refused() {
        require_root!();
        let fs = FsContext::open("tmpfs").unwrap();
        fs.create().unwrap();
        let dir = fs.mount(MountAttrs::empty()).unwrap();
        path::mknodat(&dir, "ptmx", path::NodeKind::Char, 0o666, libc::makedev(5, 2)).unwrap();
        assert_eq!(open_pty(dir.as_fd()).unwrap_err(), Errno::EXDEV);
        path::unlinkat(&dir, "ptmx").unwrap();
        path::symlinkat("/dev/pts/ptmx", &dir, "ptmx").unwrap();
        assert_eq!(open_pty(dir.as_fd()).unwrap_err(), Errno::EXDEV);
    }
}

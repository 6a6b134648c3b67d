//! `tmpcopyup`: a new tmpfs starts with what the directory it covers holds.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use caisson_sys::path::{self, NodeKind, OFlag, Stat};

use crate::error::{Act, Context, Failure};

/// Deeper trees are refused rather than the stack overrun by a hostile image.
const MAX_DEPTH: usize = 128;

/// Copies the tree at `from` into the directory `to`: files, directories, links and nodes with owner and mode.
pub(crate) fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Act {
    let readable = path::readable_dir(from).on(|| "read the destination's content")?;
    directory(&readable, to, 0)?;
    let stat = path::fstat(from).on(|| "read the destination's content")?;
    own(to, &stat)
}

fn directory(from: &OwnedFd, to: BorrowedFd<'_>, depth: usize) -> Act {
    if depth > MAX_DEPTH {
        return Err(Failure::new(format!("copy a directory tree deeper than {MAX_DEPTH}")));
    }
    for name in path::list(from.as_fd()).on(|| "list a directory to copy")? {
        entry(from, to, Path::new(&name), depth)?;
    }
    Ok(())
}

fn entry(from: &OwnedFd, to: BorrowedFd<'_>, name: &Path, depth: usize) -> Act {
    let what = || format!("copy {}", name.display());
    let stat = path::fstatat(from.as_fd(), name, false).on(what)?;
    if stat.is_dir() {
        let source =
            path::open_beneath(from.as_fd(), name, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW)
                .on(what)?;
        path::mkdirat(to, name, 0o700).on(what)?;
        let made = path::dir_beneath(to, name).on(what)?;
        directory(&source, made.as_fd(), depth + 1)?;
        own(made.as_fd(), &stat)
    } else if stat.is_symlink() {
        let text = path::readlinkat(from.as_fd(), name).on(what)?;
        path::symlinkat(Path::new(&text), to, name).on(what)?;
        path::fchownat(to, name, Some(stat.uid), Some(stat.gid)).on(what)
    } else if stat.is_file() {
        let source = path::open_beneath(from.as_fd(), name, OFlag::O_RDONLY | OFlag::O_NOFOLLOW).on(what)?;
        let made = path::create_at(to, name, 0o600).on(what)?;
        let mut target = File::from(made);
        io::copy(&mut File::from(source), &mut target).on(what)?;
        own(target.as_fd(), &stat)
    } else {
        path::mknodat(to, name, node_kind(&stat), stat.permissions(), stat.rdev).on(what)?;
        path::fchownat(to, name, Some(stat.uid), Some(stat.gid)).on(what)
    }
}

fn node_kind(stat: &Stat) -> NodeKind {
    if stat.is_char() {
        NodeKind::Char
    } else if stat.is_block() {
        NodeKind::Block
    } else {
        NodeKind::Fifo
    }
}

fn own(fd: BorrowedFd<'_>, stat: &Stat) -> Act {
    let what = || "keep owner and mode of a copied file";
    path::fchown(fd, Some(stat.uid), Some(stat.gid)).on(what)?;
    // After chown, which clears set-user-ID.
    path::fchmod(fd, stat.mode & 0o7777).on(what)
}

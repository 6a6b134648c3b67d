//! openat2(2) and what is built on it: opening, and making directories and files, beneath a root descriptor.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use nix::NixPath;
use nix::fcntl::{AT_FDCWD, OFlag};

use super::{NodeKind, fstat, mkdirat, mknodat, readlinkat};
use crate::raw::num;
use crate::{Errno, Result};

bitflags::bitflags! {
    /// How openat2(2) may resolve a path (`RESOLVE_*`).
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Resolve: u64 {
        /// No crossing of mount points.
        const NO_XDEV = libc::RESOLVE_NO_XDEV;
        /// No magic links (`/proc/PID/fd/N` and the like).
        const NO_MAGICLINKS = libc::RESOLVE_NO_MAGICLINKS;
        /// No symbolic links at all, magic ones included.
        const NO_SYMLINKS = libc::RESOLVE_NO_SYMLINKS;
        /// Everything beneath the directory; absolute paths and escapes fail with `EXDEV`.
        const BENEATH = libc::RESOLVE_BENEATH;
        /// The directory is the root: absolute paths, links and `..` end in it.
        const IN_ROOT = libc::RESOLVE_IN_ROOT;
        /// Only from the name cache; fails with `EAGAIN` otherwise.
        const CACHED = libc::RESOLVE_CACHED;
    }
}

/// How often a scoped look-up that raced with a rename or mount elsewhere on the system is tried again.
const RACE_RETRIES: u32 = 128;
/// As the kernel: more symbolic links than this are a loop.
const MAX_SYMLINKS: u32 = 40;

/// `openat2(dir, path, {flags | O_CLOEXEC, mode, resolve})`
///
/// The kernel answers `EAGAIN` when a rename or mount anywhere on the system raced with a `..` in a scoped
/// look-up; that is tried again, a bounded number of times.
///
/// # References
/// - [openat2(2)](https://man7.org/linux/man-pages/man2/openat2.2.html)
pub fn openat2<P: NixPath + ?Sized>(
    dir: impl AsFd,
    path: &P,
    flags: OFlag,
    mode: u32,
    resolve: Resolve,
) -> Result<OwnedFd> {
    // SAFETY: open_how is plain integers, for which zero is valid; the structure may grow, so it is not
    // written out.
    let mut how: libc::open_how = unsafe { std::mem::zeroed() };
    how.flags = (flags | OFlag::O_CLOEXEC).bits() as u64;
    how.mode = u64::from(mode);
    how.resolve = resolve.bits();
    let size = size_of::<libc::open_how>();
    path.with_nix_path(|path| {
        let mut attempt = 0;
        loop {
            // SAFETY: path and structure live through the call, and `size` is the structure's.
            match unsafe { sys_fd!(SYS_openat2, num(&dir), path.as_ptr(), &raw const how, size) } {
                Err(Errno::EAGAIN) if attempt < RACE_RETRIES && !resolve.contains(Resolve::CACHED) => {
                    attempt += 1;
                }
                other => return other,
            }
        }
    })?
}

/// `openat(dir, name, flags | O_CLOEXEC)`: for names the runtime itself has chosen.
///
/// # References
/// - [open(2)](https://man7.org/linux/man-pages/man2/open.2.html)
pub fn openat<P: NixPath + ?Sized>(dir: impl AsFd, name: &P, flags: OFlag, mode: u32) -> Result<OwnedFd> {
    let flags = (flags | OFlag::O_CLOEXEC).bits();
    // SAFETY: the path is NUL-terminated and lives through the call.
    name.with_nix_path(|name| unsafe { sys_fd!(SYS_openat, num(&dir), name.as_ptr(), flags, mode) })?
}

/// `open(path, flags | O_CLOEXEC)`: for paths of the host.
///
/// # References
/// - [open(2)](https://man7.org/linux/man-pages/man2/open.2.html)
pub fn open<P: NixPath + ?Sized>(path: &P, flags: OFlag) -> Result<OwnedFd> {
    openat(AT_FDCWD, path, flags, 0)
}

/// [`openat2`] with `RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS`: a path of a container, read as the container
/// reads it.
pub fn open_in_root<P: NixPath + ?Sized>(root: impl AsFd, path: &P, flags: OFlag) -> Result<OwnedFd> {
    openat2(root, path, flags, 0, Resolve::IN_ROOT | Resolve::NO_MAGICLINKS)
}

/// [`openat2`] with `O_PATH | O_DIRECTORY | O_NOFOLLOW`, no link anywhere on the way.
///
/// # Errors
/// `ELOOP` for a symbolic link on the way, `ENOTDIR` for one at the end and anything else that is no
/// directory: `/proc` and `/sys` of an image must be real directories (CVE-2019-19921, CVE-2023-28642).
pub fn open_dir_nofollow_in_root<P: NixPath + ?Sized>(root: impl AsFd, path: &P) -> Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
    openat2(root, path, flags, 0, Resolve::IN_ROOT | Resolve::NO_SYMLINKS | Resolve::NO_MAGICLINKS)
}

const DIR: OFlag = OFlag::O_PATH.union(OFlag::O_DIRECTORY);

/// The components of a path as a container means it: no root, no `.`.
fn components(path: &Path) -> Vec<OsString> {
    let wanted = |c| match c {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().filter_map(wanted).collect()
}

fn joined(parts: &[OsString]) -> PathBuf {
    if parts.is_empty() { PathBuf::from(".") } else { parts.iter().collect() }
}

/// `mkdirat` for each missing component of `path` beneath `root`; gives the last one as an `O_PATH`
/// descriptor.
///
/// Existing symbolic links are resolved inside the root as the kernel does with `RESOLVE_IN_ROOT`, dangling
/// ones included (their target is made). New directories are made one component at a time relative to a
/// descriptor, and opened again without following links, so nothing is made outside of the root whatever a
/// concurrent process does to the names (CVE-2024-45310). The umask applies to `mode`.
///
/// # Errors
/// `ENOTDIR` when something that is no directory is in the way, `ELOOP` after 40 dangling links.
pub fn mkdir_all_in_root(root: impl AsFd, path: &Path, mode: u32) -> Result<OwnedFd> {
    let root = root.as_fd();
    let mut parts = components(path);
    for _ in 0..MAX_SYMLINKS {
        match make_parts(root, &parts, mode)? {
            Made::Directory(fd) => return Ok(fd),
            Made::Redirected(rest) => parts = rest,
        }
    }
    Err(Errno::ELOOP)
}

enum Made {
    /// All components exist.
    Directory(OwnedFd),
    /// A dangling link was met: start again with its target spliced in.
    Redirected(Vec<OsString>),
}

fn make_parts(root: BorrowedFd<'_>, parts: &[OsString], mode: u32) -> Result<Made> {
    let (mut dir, existing) = longest_existing(root, parts)?;
    for (i, name) in parts.iter().enumerate().skip(existing) {
        if name.as_bytes() == b".." {
            dir = open_in_root(root, &joined(&parts[..=i]), DIR)?;
            continue;
        }
        match mkdirat(&dir, name.as_os_str(), mode) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(errno),
        }
        let resolve = Resolve::BENEATH | Resolve::NO_SYMLINKS | Resolve::NO_MAGICLINKS;
        dir = match openat2(&dir, name.as_os_str(), DIR | OFlag::O_NOFOLLOW, 0, resolve) {
            Ok(fd) => fd,
            Err(Errno::ELOOP | Errno::ENOTDIR) => {
                return redirect(&dir, &parts[..i], name, &parts[i + 1..]).map(Made::Redirected);
            }
            Err(errno) => return Err(errno),
        };
    }
    Ok(Made::Directory(dir))
}

/// The deepest directory of the path that is there, and how many components it took.
fn longest_existing(root: BorrowedFd<'_>, parts: &[OsString]) -> Result<(OwnedFd, usize)> {
    for n in (0..=parts.len()).rev() {
        match open_in_root(root, &joined(&parts[..n]), DIR) {
            Ok(fd) => return Ok((fd, n)),
            Err(Errno::ENOENT) if n > 0 => {}
            Err(errno) => return Err(errno),
        }
    }
    Err(Errno::ENOENT)
}

/// Replaces the dangling link `name` in `dir` by its target in the list of components.
fn redirect(dir: &OwnedFd, before: &[OsString], name: &OsStr, after: &[OsString]) -> Result<Vec<OsString>> {
    let target = match readlinkat(dir, name) {
        Ok(target) => PathBuf::from(OsString::from_vec(target.into_vec())),
        // Not a link: a file or device in the way.
        Err(Errno::EINVAL) => return Err(Errno::ENOTDIR),
        Err(errno) => return Err(errno),
    };
    let mut parts = if target.is_absolute() { Vec::new() } else { before.to_vec() };
    parts.extend(components(&target));
    parts.extend_from_slice(after);
    Ok(parts)
}

/// `mknodat(…, S_IFREG)` beneath `root`, parents as [`mkdir_all_in_root`] makes them (mode 0755); gives an
/// `O_PATH` descriptor of the file, which may have existed.
///
/// The last component may be an existing symbolic link, which is resolved inside the root. The new file is
/// made without opening it and never through a link.
///
/// # Errors
/// `EISDIR` when a directory has the name; `EINVAL` for a path without a file name.
pub fn create_file_in_root(root: impl AsFd, path: &Path, mode: u32) -> Result<OwnedFd> {
    let root = root.as_fd();
    let mut parts = components(path);
    for _ in 0..MAX_SYMLINKS {
        match open_in_root(root, &joined(&parts), OFlag::O_PATH) {
            Ok(fd) if fstat(&fd)?.is_dir() => return Err(Errno::EISDIR),
            Ok(fd) => return Ok(fd),
            Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno),
        }
        let Some((name, parents)) = parts.split_last().filter(|(name, _)| name.as_bytes() != b"..") else {
            return Err(Errno::EINVAL);
        };
        let dir = mkdir_all_in_root(root, &joined(parents), 0o755)?;
        match mknodat(&dir, name.as_os_str(), NodeKind::File, mode, 0) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(errno),
        }
        let fd = openat(&dir, name.as_os_str(), OFlag::O_PATH | OFlag::O_NOFOLLOW, 0)?;
        if !fstat(&fd)?.is_symlink() {
            return Ok(fd);
        }
        let (name, parents) = (name.clone(), parents.to_vec());
        parts = redirect(&dir, &parents, &name, &[])?;
    }
    Err(Errno::ELOOP)
}

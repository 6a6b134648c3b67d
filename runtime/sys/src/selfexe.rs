//! Keeps the runtime's own binary out of a container's reach.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{FcntlArg, OFlag, SealFlag, fcntl};

use crate::mount::{self, MountAttrs, OpenTree, SetAttr};
use crate::raw::num;
use crate::{Errno, Result, exec, path, procfs};

/// The environment variable that tells the second life from the first.
pub const MARKER: &str = "_CAISSON_SEALED";

/// Makes sure that this process runs from a file nobody can write through `/proc/PID/exe`, executing itself
/// again if need be (CVE-2019-5736).
///
/// A process that joins a container can be reached there, and with it the host's binary. So the program goes
/// on from a read-only clone of the mount its binary is on (no copy, shared page cache), or, where mounts may
/// not be cloned (rootless), from a sealed copy in memory. Arguments and environment stay the same. `marker`
/// is the name of the environment variable which guards against a loop ([`MARKER`]); it is removed when the
/// process is sealed.
///
/// Gives the path the binary was started from, to find its siblings: `/proc/self/exe` does not say any more
/// after a second start. To be called first in `main`, before there is a second thread. Host side only.
///
/// # Errors
/// `ELOOP` when the second start is still not sealed; what open_tree(2), memfd_create(2) or execveat(2) say.
///
/// # References
/// - [open_tree(2)](https://man7.org/linux/man-pages/man2/open_tree.2.html), [memfd_create(2)](https://man7.org/linux/man-pages/man2/memfd_create.2.html), [execveat(2)](https://man7.org/linux/man-pages/man2/execveat.2.html)
pub fn seal_and_reexec(marker: &str) -> Result<PathBuf> {
    let exe = own_binary()?;
    let second = std::env::var_os(marker).map(PathBuf::from);
    if is_sealed(&exe)? {
        let Some(original) = second else { return own_path() };
        // SAFETY: the caller has one thread, so nobody reads the environment at this time.
        unsafe { std::env::remove_var(marker) };
        restore_name(&original)?;
        return Ok(original);
    }
    if second.is_some() {
        return Err(Errno::ELOOP);
    }
    let sealed = match readonly_clone(&exe) {
        Err(Errno::EPERM | Errno::ENOSYS | Errno::EINVAL | Errno::EACCES) => sealed_copy(&exe)?,
        other => other?,
    };
    let argv = strings(std::env::args_os().map(OsStringExt::into_vec))?;
    let environment = std::env::vars_os().map(|(key, value)| [key.into_vec(), value.into_vec()].join(&b'='));
    let guard = [marker.as_bytes().to_vec(), own_path()?.into_os_string().into_vec()].join(&b'=');
    let envp = strings(environment.chain([guard]))?;
    Err(exec::execveat(sealed, &argv, &envp))
}

fn strings(texts: impl Iterator<Item = Vec<u8>>) -> Result<Vec<CString>> {
    texts.map(|text| CString::new(text).or(Err(Errno::EINVAL))).collect()
}

fn own_path() -> Result<PathBuf> {
    path::readlinkat(procfs::Procfs::of_host()?, "self/exe").map(PathBuf::from)
}

/// `prctl(PR_SET_NAME)`: a program executed by descriptor is called after the descriptor's number or its
/// link.
fn restore_name(binary: &Path) -> Result<()> {
    let name = strings(binary.file_name().map(|name| name.as_bytes().to_vec()).into_iter())?;
    let Some(name) = name.first() else { return Ok(()) };
    // SAFETY: the name is NUL-terminated; the kernel reads at most 16 bytes, none after the NUL.
    unsafe { sys!(SYS_prctl, libc::PR_SET_NAME, name.as_ptr(), 0, 0, 0) }.map(drop)
}

fn own_binary() -> Result<OwnedFd> {
    // The link is magic; before following it, see that it is procfs which has it.
    let proc = procfs::Procfs::of_host()?;
    path::openat(&proc, "self/exe", OFlag::O_RDONLY, 0)
}

/// Whether writing to the file is impossible: a read-only mount or a memfd sealed against writing.
fn is_sealed(exe: impl AsFd) -> Result<bool> {
    if path::fs_readonly(&exe)? {
        return Ok(true);
    }
    match fcntl(&exe, FcntlArg::F_GET_SEALS) {
        Ok(seals) => Ok(SealFlag::from_bits_truncate(seals).contains(SEALS)),
        // Not a file that can have seals.
        Err(Errno::EINVAL) => Ok(false),
        Err(errno) => Err(errno),
    }
}

fn readonly_clone(exe: impl AsFd) -> Result<OwnedFd> {
    let tree = mount::open_tree(Some(exe.as_fd()), c"", OpenTree::CLONE | OpenTree::EMPTY_PATH)?;
    mount::set_attr(&tree, false, &SetAttr { set: MountAttrs::RDONLY, ..SetAttr::default() })?;
    Ok(tree)
}

const SEALS: SealFlag = SealFlag::F_SEAL_SEAL
    .union(SealFlag::F_SEAL_SHRINK)
    .union(SealFlag::F_SEAL_GROW)
    .union(SealFlag::F_SEAL_WRITE);

fn sealed_copy(exe: impl AsFd) -> Result<OwnedFd> {
    let copy = executable_memfd()?;
    let size = path::fstat(&exe)?.size;
    let mut done = 0_u64;
    while done < size {
        let left = (size - done) as usize;
        // SAFETY: no pointers: the offset is null, so the descriptor's own position counts.
        match unsafe { sys!(SYS_sendfile, num(&copy), num(&exe), 0, left) }? {
            0 => return Err(Errno::EIO),
            n => done += n as u64,
        }
    }
    fcntl(&copy, FcntlArg::F_ADD_SEALS(SEALS))?;
    // A file open for writing cannot be executed (ETXTBSY), so it is opened again for reading.
    path::open(procfs::fd_path(&copy).as_str(), OFlag::O_RDONLY)
}

fn executable_memfd() -> Result<OwnedFd> {
    let name = c"caisson".as_ptr();
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // SAFETY: the name is NUL-terminated.
    match unsafe { sys_fd!(SYS_memfd_create, name, flags | libc::MFD_EXEC) } {
        // MFD_EXEC came with Linux 6.3; before, every memfd may be executed.
        // SAFETY: as above.
        Err(Errno::EINVAL) => unsafe { sys_fd!(SYS_memfd_create, name, flags) },
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_of_sealing_give_a_file_that_runs_and_cannot_be_written() {
        require_root!();
        // Not this test's binary: one that runs cannot be written anyway.
        let file = std::env::temp_dir().join(format!("caisson-sys-seal-{}", std::process::id()));
        std::fs::write(&file, "contents").unwrap();
        let exe = path::open(&file, OFlag::O_RDONLY).unwrap();
        std::fs::remove_file(&file).unwrap();
        if is_sealed(&exe).unwrap() {
            return println!("skipped: the directory for temporary files is on a read-only mount");
        }
        for sealed in [readonly_clone(&exe).unwrap(), sealed_copy(&exe).unwrap()] {
            assert!(is_sealed(&sealed).unwrap());
            let link = procfs::fd_path(&sealed);
            let written = path::open(link.as_str(), OFlag::O_WRONLY).and_then(|fd| path::write_all(fd, b"x"));
            assert!(matches!(written, Err(Errno::EROFS | Errno::EPERM)), "{written:?}");
        }
    }

    /// Not a test of its own: the program the next test runs, which seals itself twice over.
    #[test]
    fn reexec_subject() {
        let Ok(how) = std::env::var("CAISSON_SYS_TEST_REEXEC") else { return };
        if how == "memfd" {
            // Without the right to clone mounts.
            crate::caps::capset(Default::default(), Default::default(), Default::default()).unwrap();
        }
        let first = std::env::var_os(MARKER).is_none();
        let original = std::env::args_os().next().map(PathBuf::from);
        assert_eq!(seal_and_reexec(MARKER).ok(), original);
        let name = std::fs::read_to_string("/proc/thread-self/comm").unwrap();
        assert!(name.starts_with("caisson_sys"), "{name}");
        assert!(!first, "the first life must not get here");
        assert!(std::env::var_os(MARKER).is_none());
        assert!(is_sealed(own_binary().unwrap()).unwrap());
        let link = std::fs::read_link("/proc/self/exe").unwrap();
        assert_eq!(link.to_string_lossy().starts_with("/memfd:"), how == "memfd", "{link:?}");
        println!("sealed by {how}, {link:?}");
    }

    #[test]
    fn the_program_goes_on_sealed_with_its_arguments_and_environment() {
        require_root!();
        if is_sealed(own_binary().unwrap()).unwrap() {
            return println!("skipped: the test binary is on a read-only mount");
        }
        for how in ["clone", "memfd"] {
            let output = std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "--nocapture", "selfexe::tests::reexec_subject"])
                .env("CAISSON_SYS_TEST_REEXEC", how)
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && text.contains(&format!("sealed by {how}")), "{output:?}");
        }
    }
}

//! Finding the user's program, and saying exactly what is missing when it cannot be run.
//!
//! execve(2) answers ENOENT for a missing file, a missing interpreter and a missing ELF loader alike.

use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use caisson_plan::step::process::ExecPlan;
use caisson_sys::Errno;
use caisson_sys::path::{self, OFlag};

use crate::error::{Act, Failure};

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The kernel reads no further for a `#!` line (BINPRM_BUF_SIZE).
const HEAD: u64 = 4096;

/// Finds `args[0]` the way execvp(3) would, with the PATH of the process's own environment.
pub(crate) fn find(plan: &ExecPlan) -> Act<PathBuf> {
    let name = plan.args.first().map_or("", String::as_str);
    let what = || format!("exec: {name:?}");
    if name.contains('/') {
        let file = PathBuf::from(name);
        return match check(&file) {
            Ok(()) => Ok(file),
            Err(failure) => Err(Failure { what: format!("{}: {}", what(), failure.what), ..failure }),
        };
    }
    if name.is_empty() {
        return Err(Failure::new(what()).detail("the name of the program is empty"));
    }
    let mut refused = None;
    for directory in search_path(plan).split(':') {
        let file =
            if directory.is_empty() { Path::new(".").join(name) } else { Path::new(directory).join(name) };
        match check(&file) {
            Ok(()) => return Ok(file),
            Err(failure) if failure.errno == Some(Errno::EACCES as i32) => refused = Some(failure),
            Err(_) => {}
        }
    }
    match refused {
        Some(failure) => Err(Failure { what: format!("{}: {}", what(), failure.what), ..failure }),
        None => Err(Failure::new(what())
            .detail(format!("executable file not found in $PATH ({})", search_path(plan)))),
    }
}

fn search_path(plan: &ExecPlan) -> &str {
    plan.env.iter().rev().find_map(|pair| pair.strip_prefix("PATH=")).unwrap_or(DEFAULT_PATH)
}

/// Whether the file is there, a regular file, and executable by somebody.
fn check(file: &Path) -> Act {
    let failure = |errno| Failure::errno(format!("run {}", file.display()), errno);
    let handle = path::open(file, OFlag::O_PATH).map_err(failure)?;
    let stat = path::fstat(handle.as_fd()).map_err(failure)?;
    if stat.is_dir() {
        return Err(failure(Errno::EACCES).detail("it is a directory"));
    }
    if !stat.is_file() {
        return Err(failure(Errno::EACCES).detail("it is not a regular file"));
    }
    if stat.mode & 0o111 == 0 {
        return Err(failure(Errno::EACCES).detail("no execute permission"));
    }
    Ok(())
}

/// Explains why execve(2) of `file` failed; works on the container's root, with the container's rights.
pub(crate) fn diagnose(file: &Path, errno: Errno) -> Failure {
    let failure = Failure::errno(format!("exec {}", file.display()), errno);
    match errno {
        Errno::ENOENT => match missing_interpreter(file) {
            Some(detail) => failure.detail(detail),
            None => failure,
        },
        Errno::EACCES => match path::open(file, OFlag::O_PATH).and_then(|f| path::is_noexec(f.as_fd())) {
            Ok(true) => failure.detail("the file lies on a mount with noexec"),
            _ => match missing_interpreter(file) {
                Some(detail) => failure.detail(detail),
                None => failure,
            },
        },
        Errno::ENOEXEC => failure.detail(not_a_program(file)),
        _ => failure,
    }
}

fn head(file: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    // Only a regular file: an image could bring a FIFO or a device to hang on.
    let opened = path::open(file, OFlag::O_RDONLY | OFlag::O_NONBLOCK).ok()?;
    if !path::fstat(opened.as_fd()).ok()?.is_file() {
        return None;
    }
    File::from(opened).take(HEAD).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

fn missing_interpreter(file: &Path) -> Option<String> {
    let head = head(file)?;
    let (kind, interpreter) = match shebang(&head) {
        Some(interpreter) => ("#! interpreter", interpreter),
        None => ("ELF interpreter (dynamic loader)", elf_interpreter(&head)?),
    };
    let shown = interpreter.to_string_lossy().into_owned();
    match path::open(Path::new(&interpreter), OFlag::O_PATH) {
        Err(Errno::ENOENT) if shown.ends_with('\r') => Some(format!(
            "its first line ends with a carriage return: no interpreter {shown:?} (DOS line ends)"
        )),
        Err(errno) => Some(format!("its {kind} {shown} cannot be used: {}", errno.desc().to_lowercase())),
        Ok(handle) => match path::fstat(handle.as_fd()) {
            Ok(stat) if stat.mode & 0o111 == 0 => {
                Some(format!("its {kind} {shown} has no execute permission"))
            }
            _ => None,
        },
    }
}

fn shebang(head: &[u8]) -> Option<OsString> {
    let line = head.strip_prefix(b"#!")?.split(|b| *b == b'\n').next()?;
    let word = line.split(|b| matches!(b, b' ' | b'\t')).find(|w| !w.is_empty())?;
    Some(OsString::from_vec(word.to_vec()))
}

/// PT_INTERP of a 64-bit little-endian ELF file, when it lies within the first page, where linkers put it.
fn elf_interpreter(head: &[u8]) -> Option<OsString> {
    const PT_INTERP: u32 = 3;
    if head.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    let word = |at: usize, n: usize| -> Option<u64> {
        let bytes = head.get(at..at.checked_add(n)?)?;
        Some(bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    };
    let table = usize::try_from(word(32, 8)?).ok()?;
    let size = usize::try_from(word(54, 2)?).ok()?;
    let count = usize::try_from(word(56, 2)?).ok()?;
    let entry = (0..count)
        .filter_map(|i| table.checked_add(i.checked_mul(size)?))
        .find(|at| word(*at, 4) == Some(u64::from(PT_INTERP)))?;
    let offset = usize::try_from(word(entry.checked_add(8)?, 8)?).ok()?;
    let length = usize::try_from(word(entry.checked_add(32)?, 8)?).ok()?;
    let bytes = head.get(offset..offset.checked_add(length)?)?;
    Some(OsString::from_vec(bytes.split(|b| *b == 0).next()?.to_vec()))
}

fn not_a_program(file: &Path) -> String {
    match head(file) {
        Some(head) if head.is_empty() => "the file is empty".to_owned(),
        Some(head) if head.starts_with(b"\x7fELF") => {
            "an ELF file for another architecture, or a damaged one".to_owned()
        }
        Some(head) if head.is_ascii() => "a text file without a #! line".to_owned(),
        Some(_) => "neither an ELF file nor a script".to_owned(),
        None => "it cannot be read".to_owned(),
    }
}

/// The environment for execve(2): the process's own, with HOME from the container's /etc/passwd when unset.
pub(crate) fn environment(plan: &ExecPlan, uid: u32) -> Vec<CString> {
    let mut env = plan.env.clone();
    if !env.iter().any(|pair| pair.starts_with("HOME=")) {
        env.push(format!("HOME={}", home(uid)));
    }
    env.into_iter().filter_map(|pair| CString::new(pair).ok()).collect()
}

/// Field 6 of the first line of /etc/passwd with this uid; `/` without one.
fn home(uid: u32) -> String {
    const LIMIT: u64 = 1 << 20;
    let mut text = Vec::new();
    let opened = path::open(Path::new("/etc/passwd"), OFlag::O_RDONLY | OFlag::O_NONBLOCK);
    // Only a regular file: an image could bring a FIFO or a device to hang on.
    let regular = opened.ok().filter(|f| path::fstat(f.as_fd()).is_ok_and(|s| s.is_file()));
    let read = regular.map(|file| File::from(file).take(LIMIT).read_to_end(&mut text));
    if !matches!(read, Some(Ok(_))) {
        return "/".to_owned();
    }
    let line = text.split(|b| *b == b'\n').find_map(|line| {
        let fields: Vec<&[u8]> = line.split(|b| *b == b':').collect();
        let id = std::str::from_utf8(fields.get(2)?).ok()?.parse::<u32>().ok()?;
        (id == uid)
            .then(|| fields.get(5).map(|f| std::ffi::OsStr::from_bytes(f).to_string_lossy().into_owned()))?
    });
    line.filter(|home| !home.is_empty()).unwrap_or_else(|| "/".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shebang_is_the_first_word() {
        assert_eq!(shebang(b"#! /usr/bin/env python\nx"), Some("/usr/bin/env".into()));
        assert_eq!(shebang(b"#!/bin/sh\r\n"), Some("/bin/sh\r".into()));
        assert_eq!(shebang(b"hello"), None);
    }

    #[test]
    fn elf_interpreter_survives_damage() {
        let mut elf = std::fs::read("/bin/ls").unwrap();
        elf.truncate(4096);
        assert_eq!(elf_interpreter(&elf), Some("/lib64/ld-linux-x86-64.so.2".into()));
        for at in 0..elf.len().min(700) {
            let mut damaged = elf.clone();
            damaged[at] = 0xff;
            let _ = elf_interpreter(&damaged);
        }
    }
}

//! eBPF, as far as cgroup v2 needs it: device programs.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use crate::raw::num;
use crate::{Errno, Result};

// enum bpf_cmd, bpf_prog_type and bpf_attach_type of linux/bpf.h
const PROG_LOAD: u32 = 5;
const PROG_ATTACH: u32 = 8;
const PROG_DETACH: u32 = 9;
const PROG_GET_FD_BY_ID: u32 = 13;
const PROG_QUERY: u32 = 16;
const TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_CGROUP_DEVICE: u32 = 6;

/// `BPF_F_ALLOW_OVERRIDE`: a descendant's program replaces this one.
pub const ALLOW_OVERRIDE: u32 = 1 << 0;
/// `BPF_F_ALLOW_MULTI`: programs of ancestors and several of one cgroup all run, and each must allow.
pub const ALLOW_MULTI: u32 = 1 << 1;
/// `BPF_F_REPLACE`: used by [`replace_cgroup`].
const REPLACE: u32 = 1 << 2;

/// Size of a `struct bpf_insn`.
const INSTRUCTION: usize = 8;
/// The verifier gives `EAGAIN` when a signal is pending.
const LOAD_ATTEMPTS: u32 = 5;
const LOG_SIZE: usize = 64 * 1024;
/// More programs than a cgroup can have attached (`BPF_CGROUP_MAX_PROGS`).
const MAX_PROGS: usize = 64;

/// A program the kernel did not take.
#[derive(Debug, thiserror::Error)]
#[error("load a cgroup device program of {instructions} instructions{}", self.verifier())]
pub struct LoadError {
    /// Length of the program.
    pub instructions: usize,
    /// What the verifier said; empty when it was not reached.
    pub log: String,
    /// The error of bpf(2).
    #[source]
    pub source: Errno,
}

impl LoadError {
    fn verifier(&self) -> String {
        if self.log.is_empty() { String::new() } else { format!(" (verifier: {})", self.log.trim_end()) }
    }
}

/// `union bpf_attr` for `BPF_PROG_LOAD`.
#[repr(C)]
struct LoadAttr {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
}

/// `bpf(BPF_PROG_LOAD, {BPF_PROG_TYPE_CGROUP_DEVICE, …})` of a program given as the kernel's 8-byte
/// instructions.
///
/// `name` shows in `bpftool prog`; 15 letters, digits, `_` and `.` count.
///
/// # Errors
/// With the verifier's log. `EPERM` without `CAP_BPF` and `CAP_NET_ADMIN`/`CAP_SYS_ADMIN`.
///
/// # References
/// - [bpf(2)](https://man7.org/linux/man-pages/man2/bpf.2.html)
pub fn load_cgroup_device(insns: &[u8], name: &str) -> std::result::Result<OwnedFd, LoadError> {
    let instructions = insns.len() / INSTRUCTION;
    let fail = |log, source| Err(LoadError { instructions, log, source });
    if instructions == 0 || !insns.len().is_multiple_of(INSTRUCTION) {
        return fail(String::new(), Errno::EINVAL);
    }
    let mut attr = LoadAttr {
        prog_type: TYPE_CGROUP_DEVICE,
        insn_cnt: instructions as u32,
        insns: insns.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buf: 0,
        kern_version: 0,
        prog_flags: 0,
        prog_name: [0; 16],
        prog_ifindex: 0,
        expected_attach_type: ATTACH_CGROUP_DEVICE,
    };
    let short = name.bytes().filter(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.')).take(15);
    attr.prog_name.iter_mut().zip(short).for_each(|(to, from)| *to = from);
    match load(&attr) {
        Ok(fd) => return Ok(fd),
        Err(errno @ (Errno::EPERM | Errno::ENOSYS)) => return fail(String::new(), errno),
        Err(_) => {}
    }
    // Once more, now with the log: collecting it slows the verifier down, so the first attempt goes without.
    let mut log = vec![0_u8; LOG_SIZE];
    (attr.log_level, attr.log_size, attr.log_buf) = (1, LOG_SIZE as u32, log.as_mut_ptr() as u64);
    load(&attr).or_else(|errno| {
        let end = log.iter().position(|b| *b == 0).unwrap_or(log.len());
        fail(String::from_utf8_lossy(&log[..end]).into_owned(), errno)
    })
}

fn load(attr: &LoadAttr) -> Result<OwnedFd> {
    let mut attempt = 1;
    loop {
        // SAFETY: `insns` and `license` point to what the structure says, alive in the caller; so does
        // `log_buf`, writable, or its size is zero.
        match unsafe { sys_fd!(SYS_bpf, PROG_LOAD, std::ptr::from_ref(attr), size_of::<LoadAttr>()) } {
            Err(Errno::EAGAIN) if attempt < LOAD_ATTEMPTS => attempt += 1,
            other => return other,
        }
    }
}

/// `union bpf_attr` for `BPF_PROG_ATTACH` and `BPF_PROG_DETACH`.
#[repr(C)]
struct AttachAttr {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
    replace_bpf_fd: u32,
}

fn attach_command(command: u32, cgroup: usize, prog: usize, flags: u32, replaced: usize) -> Result<()> {
    let attr = AttachAttr {
        target_fd: cgroup as u32,
        attach_bpf_fd: prog as u32,
        attach_type: ATTACH_CGROUP_DEVICE,
        attach_flags: flags,
        replace_bpf_fd: replaced as u32,
    };
    // SAFETY: the structure lives through the call and holds no pointers.
    unsafe { sys!(SYS_bpf, command, &raw const attr, size_of::<AttachAttr>()) }.map(drop)
}

/// `bpf(BPF_PROG_ATTACH, {cgroup, prog, BPF_CGROUP_DEVICE, flags})`
///
/// # References
/// - [bpf(2)](https://man7.org/linux/man-pages/man2/bpf.2.html)
pub fn attach_cgroup(cgroup: impl AsFd, prog: impl AsFd, flags: u32) -> Result<()> {
    attach_command(PROG_ATTACH, num(&cgroup), num(&prog), flags, 0)
}

/// `bpf(BPF_PROG_ATTACH, {…, BPF_F_ALLOW_MULTI | BPF_F_REPLACE, old})`: swaps programs without a moment in
/// which neither or both hold (Linux 5.6).
///
/// # References
/// - [bpf(2)](https://man7.org/linux/man-pages/man2/bpf.2.html)
pub fn replace_cgroup(cgroup: impl AsFd, old: impl AsFd, new: impl AsFd) -> Result<()> {
    attach_command(PROG_ATTACH, num(&cgroup), num(&new), ALLOW_MULTI | REPLACE, num(&old))
}

/// `bpf(BPF_PROG_DETACH, {cgroup, prog, BPF_CGROUP_DEVICE})`
///
/// # References
/// - [bpf(2)](https://man7.org/linux/man-pages/man2/bpf.2.html)
pub fn detach(cgroup: impl AsFd, prog: impl AsFd) -> Result<()> {
    attach_command(PROG_DETACH, num(&cgroup), num(&prog), 0, 0)
}

/// `union bpf_attr` for `BPF_PROG_QUERY`.
#[repr(C)]
struct QueryAttr {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
}

/// `bpf(BPF_PROG_QUERY, {cgroup, BPF_CGROUP_DEVICE})`: the ids of the device programs attached to this very
/// cgroup.
///
/// # References
/// - [bpf(2)](https://man7.org/linux/man-pages/man2/bpf.2.html)
pub fn query_cgroup_device(cgroup: impl AsFd) -> Result<Vec<u32>> {
    let mut ids = vec![0_u32; MAX_PROGS];
    let mut attr = QueryAttr {
        target_fd: num(&cgroup) as u32,
        attach_type: ATTACH_CGROUP_DEVICE,
        query_flags: 0,
        attach_flags: 0,
        prog_ids: ids.as_mut_ptr() as u64,
        prog_cnt: MAX_PROGS as u32,
    };
    // SAFETY: `ids` is valid for writes of `prog_cnt` numbers; both live through the call.
    unsafe { sys!(SYS_bpf, PROG_QUERY, &raw mut attr, size_of::<QueryAttr>()) }?;
    ids.truncate(attr.prog_cnt as usize);
    Ok(ids)
}

/// `bpf(BPF_PROG_GET_FD_BY_ID, {id})`
///
/// # References
/// - [bpf(2)](https://man7.org/linux/man-pages/man2/bpf.2.html)
pub fn prog_fd_by_id(id: u32) -> Result<OwnedFd> {
    // prog_id, next_id, open_flags
    let attr = MaybeUninit::new([id, 0, 0]);
    // SAFETY: the structure lives through the call and holds no pointers.
    unsafe { sys_fd!(SYS_bpf, PROG_GET_FD_BY_ID, attr.as_ptr(), size_of::<[u32; 3]>()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `r0 = value; exit`
    fn program(value: u8) -> Vec<u8> {
        [[0xb7, 0, 0, 0, value, 0, 0, 0], [0x95, 0, 0, 0, 0, 0, 0, 0]].concat()
    }

    #[test]
    fn a_program_is_loaded_and_a_bad_one_is_refused_with_the_log() {
        require_root!();
        match load_cgroup_device(&program(1), "allow all!") {
            Ok(_) => {}
            Err(LoadError { source: Errno::EPERM | Errno::ENOSYS | Errno::EINVAL, .. }) => {
                return println!("skipped: no cgroup device programs in this kernel");
            }
            Err(error) => panic!("{error}"),
        }
        let error = load_cgroup_device(&program(1)[..8], "x").unwrap_err();
        assert!(error.log.contains("0: (b7) r0 = 1") || error.log.contains("last insn"), "{error}");
        assert_eq!(load_cgroup_device(&[0; 7], "x").unwrap_err().source, Errno::EINVAL);
    }

    #[test]
    fn an_attached_program_decides_about_devices_and_is_replaced_and_detached() {
        require_root!();
        let Some(cgroup) = crate::testing::Cgroup::new("devices") else { return };
        let deny = match load_cgroup_device(&program(0), "deny") {
            Err(LoadError { source: Errno::EPERM | Errno::ENOSYS | Errno::EINVAL, .. }) => {
                return println!("skipped: no cgroup device programs in this kernel");
            }
            other => other.unwrap(),
        };
        // The errno of opening /dev/null in the cgroup, 0 for success.
        let open_null = || {
            let into_cgroup = Some(cgroup.fd.as_fd());
            let child =
                crate::clone::clone3(crate::clone::CloneArgs { into_cgroup, ..Default::default() }, || {
                    crate::fd::dev_null(crate::OFlag::O_RDWR).map_or_else(|errno| errno as i32, |_| 0)
                });
            crate::pidfd::wait(child.unwrap().pidfd).unwrap().code()
        };
        attach_cgroup(&cgroup.fd, &deny, ALLOW_MULTI).unwrap();
        assert_eq!(open_null(), Errno::EPERM as i32);
        let allow = load_cgroup_device(&program(1), "allow").unwrap();
        let ids = query_cgroup_device(&cgroup.fd).unwrap();
        assert_eq!(ids.len(), 1);
        replace_cgroup(&cgroup.fd, prog_fd_by_id(ids[0]).unwrap(), &allow).unwrap();
        assert_eq!(open_null(), 0);
        assert_ne!(query_cgroup_device(&cgroup.fd).unwrap(), ids);
        detach(&cgroup.fd, &allow).unwrap();
        assert!(query_cgroup_device(&cgroup.fd).unwrap().is_empty());
        assert_eq!(prog_fd_by_id(u32::MAX).unwrap_err(), Errno::ENOENT);
    }
}

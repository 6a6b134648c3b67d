//! Loading seccomp filters. Compiling them is done elsewhere (libseccomp).

use std::os::fd::OwnedFd;

use crate::{Errno, Result};

// linux/seccomp.h
const SET_MODE_FILTER: u32 = 1;
const GET_ACTION_AVAIL: u32 = 2;
const GET_NOTIF_SIZES: u32 = 3;
/// `SECCOMP_FILTER_FLAG_TSYNC`
pub const FLAG_TSYNC: u32 = 1 << 0;
/// `SECCOMP_FILTER_FLAG_LOG`
pub const FLAG_LOG: u32 = 1 << 1;
/// `SECCOMP_FILTER_FLAG_SPEC_ALLOW`
pub const FLAG_SPEC_ALLOW: u32 = 1 << 2;
/// `SECCOMP_FILTER_FLAG_NEW_LISTENER`
pub const FLAG_NEW_LISTENER: u32 = 1 << 3;
/// `SECCOMP_FILTER_FLAG_TSYNC_ESRCH`
pub const FLAG_TSYNC_ESRCH: u32 = 1 << 4;
/// `SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV`
pub const FLAG_WAIT_KILLABLE_RECV: u32 = 1 << 5;

/// Size of a `struct sock_filter`.
const INSTRUCTION: usize = 8;

/// `seccomp(SECCOMP_SET_MODE_FILTER, flags, program)`: installs a classic BPF program given as the kernel's
/// 8-byte instructions; gives the listener with [`FLAG_NEW_LISTENER`].
///
/// # Errors
/// `EINVAL` for a length that is no whole number of instructions, a program the kernel refuses or unknown
/// flags; `EACCES` without no_new_privs or `CAP_SYS_ADMIN`; `EBUSY` when a second listener is asked for;
/// `ESRCH` when [`FLAG_TSYNC`] could not reach a thread.
///
/// # References
/// - [seccomp(2)](https://man7.org/linux/man-pages/man2/seccomp.2.html)
pub fn load(program: &[u8], flags: u32) -> Result<Option<OwnedFd>> {
    if !program.len().is_multiple_of(INSTRUCTION) {
        return Err(Errno::EINVAL);
    }
    let len = u16::try_from(program.len() / INSTRUCTION).or(Err(Errno::EINVAL))?;
    let prog = libc::sock_fprog { len, filter: program.as_ptr().cast_mut().cast() };
    // SAFETY: the program is valid for `len` instructions and only read, byte-wise, so its alignment does not
    // matter.
    let ret = unsafe { sys!(SYS_seccomp, SET_MODE_FILTER, flags, &raw const prog) }?;
    if flags & FLAG_NEW_LISTENER != 0 {
        // SAFETY: with this flag the call returns a new descriptor, close-on-exec.
        return Ok(Some(unsafe { crate::raw::own(ret) }));
    }
    // With TSYNC alone, a positive value is the id of a thread that could not follow.
    if ret == 0 { Ok(None) } else { Err(Errno::ESRCH) }
}

/// `seccomp(SECCOMP_GET_ACTION_AVAIL, 0, &action)`: whether the kernel knows a return action.
///
/// # References
/// - [seccomp(2)](https://man7.org/linux/man-pages/man2/seccomp.2.html)
pub fn action_available(action: u32) -> Result<bool> {
    // SAFETY: `action` lives through the call and is only read.
    match unsafe { sys!(SYS_seccomp, GET_ACTION_AVAIL, 0, &raw const action) } {
        Ok(_) => Ok(true),
        Err(Errno::EOPNOTSUPP) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// The sizes of the structures a listener reads and writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotifSizes {
    /// `struct seccomp_notif`
    pub notif: u16,
    /// `struct seccomp_notif_resp`
    pub response: u16,
    /// `struct seccomp_data`
    pub data: u16,
}

/// `seccomp(SECCOMP_GET_NOTIF_SIZES, 0, &sizes)`
///
/// # References
/// - [seccomp_unotify(2)](https://man7.org/linux/man-pages/man2/seccomp_unotify.2.html)
pub fn get_notif_sizes() -> Result<NotifSizes> {
    let mut sizes = libc::seccomp_notif_sizes { seccomp_notif: 0, seccomp_notif_resp: 0, seccomp_data: 0 };
    // SAFETY: `sizes` is valid for writes.
    unsafe { sys!(SYS_seccomp, GET_NOTIF_SIZES, 0, &raw mut sizes) }?;
    Ok(NotifSizes {
        notif: sizes.seccomp_notif,
        response: sizes.seccomp_notif_resp,
        data: sizes.seccomp_data,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `seccomp_data.nr == nr ? action : allow`, as bytes.
    fn deny(nr: u32, action: u32) -> Vec<u8> {
        let code = |code: u16, jt: u8, jf: u8, k: u32| {
            let mut bytes = code.to_ne_bytes().to_vec();
            bytes.extend([jt, jf]);
            bytes.extend(k.to_ne_bytes());
            bytes
        };
        [code(0x20, 0, 0, 0), code(0x15, 0, 1, nr), code(0x06, 0, 0, action), code(0x06, 0, 0, 0x7fff_0000)]
            .concat()
    }

    #[test]
    fn a_filter_denies_and_a_listener_is_a_descriptor() {
        crate::testing::in_child(|| {
            crate::creds::set_no_new_privs().unwrap();
            let denied = deny(libc::SYS_getpriority as u32, 0x0005_0000 | libc::EXDEV as u32);
            assert!(load(&denied, 0).unwrap().is_none());
            // SAFETY: no pointers.
            assert_eq!(unsafe { sys!(SYS_getpriority, 0, 0) }, Err(Errno::EXDEV));
            assert!(load(&deny(libc::SYS_ustat as u32, 0x7fc0_0000), FLAG_NEW_LISTENER).unwrap().is_some());
            assert_eq!(load(&denied[..7], 0).unwrap_err(), Errno::EINVAL);
        });
        assert!(action_available(0x7fff_0000).unwrap());
        assert!(!action_available(0x1234_0000).unwrap());
        assert_eq!(get_notif_sizes().unwrap().data, 64);
    }
}

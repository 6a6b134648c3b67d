//! The session keyring: a container gets its own, so that it does not see the keys of who started it.

use std::ffi::CString;

use crate::{Errno, Result};

// linux/keyctl.h
const JOIN_SESSION_KEYRING: usize = 1;
const SETPERM: usize = 5;
const DESCRIBE: usize = 6;
/// `KEY_USR_SEARCH`: processes of the owning user may find the keyring.
const USER_SEARCH: u32 = 0x0008_0000;

/// `keyctl(KEYCTL_JOIN_SESSION_KEYRING, name)`: joins or makes the session keyring of that name; without a
/// name, a new one. Gives its serial number.
///
/// # Errors
/// `ENOSYS` without keyrings in the kernel or under an outer seccomp filter, `EDQUOT` at the user's limit of
/// keys.
///
/// # References
/// - [keyctl(2)](https://man7.org/linux/man-pages/man2/keyctl.2.html)
pub fn join_session(name: Option<&str>) -> Result<i32> {
    let name = name.map(CString::new).transpose().or(Err(Errno::EINVAL))?;
    let pointer = name.as_ref().map_or(std::ptr::null(), |name| name.as_ptr());
    // SAFETY: the name is null or NUL-terminated and lives through the call.
    unsafe { sys!(SYS_keyctl, JOIN_SESSION_KEYRING, pointer) }.map(|serial| serial as i32)
}

/// `keyctl(KEYCTL_SETPERM, serial, permissions)`
///
/// # References
/// - [keyctl(2)](https://man7.org/linux/man-pages/man2/keyctl.2.html)
pub fn set_perm(serial: i32, permissions: u32) -> Result<()> {
    // SAFETY: no pointers.
    unsafe { sys!(SYS_keyctl, SETPERM, serial, permissions) }.map(drop)
}

/// `keyctl(KEYCTL_DESCRIBE, serial, …)`: the permissions of a key.
///
/// # Errors
/// `EINVAL` when the kernel's description has no permissions in it.
///
/// # References
/// - [keyctl(2)](https://man7.org/linux/man-pages/man2/keyctl.2.html)
pub fn permissions(serial: i32) -> Result<u32> {
    let mut buf = [0_u8; 1024];
    // SAFETY: `buf` is valid for writes of the length given.
    let length = unsafe { sys!(SYS_keyctl, DESCRIBE, serial, buf.as_mut_ptr(), buf.len()) }?;
    // "keyring;uid;gid;permissions in hex;name"
    let text = std::str::from_utf8(&buf[..length.min(buf.len())]).or(Err(Errno::EINVAL))?;
    let field = text.split(';').nth(3).ok_or(Errno::EINVAL)?;
    u32::from_str_radix(field, 16).or(Err(Errno::EINVAL))
}

/// Lets the owning user's processes search the keyring: without it, a container whose user is not root cannot
/// use the session keyring root has joined for it.
///
/// # References
/// - [keyrings(7)](https://man7.org/linux/man-pages/man7/keyrings.7.html)
pub fn allow_user_search(serial: i32) -> Result<()> {
    set_perm(serial, permissions(serial)? | USER_SEARCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_session_keyring_becomes_searchable() {
        crate::testing::in_child(|| {
            let serial = match join_session(Some("caisson-sys-test")) {
                Err(errno @ (Errno::ENOSYS | Errno::EPERM)) => {
                    return println!("skipped: no keyrings: {errno}");
                }
                other => other.unwrap(),
            };
            let before = permissions(serial).unwrap();
            set_perm(serial, before & !USER_SEARCH).unwrap();
            allow_user_search(serial).unwrap();
            assert_eq!(permissions(serial).unwrap(), before | USER_SEARCH);
        });
    }
}

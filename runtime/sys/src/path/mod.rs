//! Paths beneath a root descriptor, file metadata and small whole-file reads and writes.
//!
//! Everything a container's image can influence is resolved by openat2(2) from a directory descriptor;
//! nothing here joins host paths with container paths.

mod dir;
mod file;
mod node;
mod root;
mod stat;

pub use dir::{
    create_at, dir_beneath, is_absent, is_noexec, list, major, makedev, minor, open_beneath, readable_dir,
};
pub use file::{chdir, chroot, cwd_is_reachable, fchdir, read_to_end, write_all};
pub use nix::fcntl::OFlag;
pub use node::{
    NodeKind, fchmod, fchown, fchownat, mkdirat, mknodat, readlinkat, renameat, rmdirat, symlinkat, unlinkat,
};
pub use root::{
    Resolve, create_file_in_root, mkdir_all_in_root, open, open_dir_nofollow_in_root, open_in_root, openat,
    openat2,
};
pub use stat::{Stat, fs_magic, fs_readonly, fstat, fstatat, mount_id};

#[cfg(test)]
mod tests;

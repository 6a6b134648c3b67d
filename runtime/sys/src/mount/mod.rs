//! The mount API of Linux 5.2 and later, and the few calls of the old one that are still needed.

mod context;
mod legacy;
mod tree;

pub use context::{FsContext, fspick};
pub use legacy::{MsFlags, legacy_mount, pivot_root_dot, umount, umount_detach, unshare_mounts};
pub use tree::{
    MountAttrs, OpenTree, Propagation, SetAttr, move_mount, move_mount_at, open_tree, set_attr,
    set_propagation,
};

#[cfg(test)]
mod tests;

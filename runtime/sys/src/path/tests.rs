//! Tests of the path functions, on a detached tmpfs.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use super::*;
use crate::mount::{FsContext, MountAttrs};
use crate::{Errno, OFlag};

fn tmpfs() -> OwnedFd {
    let fs = FsContext::open("tmpfs").unwrap();
    fs.string("mode", "0755").unwrap();
    fs.create().unwrap();
    fs.mount(MountAttrs::empty()).unwrap()
}

/// A tmpfs with `root/` and, beside it, `outside/`, which nothing done beneath `root` may touch.
fn root_and_outside() -> (OwnedFd, OwnedFd) {
    let base = tmpfs();
    for name in ["root", "outside"] {
        mkdirat(&base, name, 0o755).unwrap();
    }
    let open = |name: &str| openat(&base, name, OFlag::O_RDONLY | OFlag::O_DIRECTORY, 0).unwrap();
    (open("root"), open("outside"))
}

fn is_empty(dir: &OwnedFd) -> bool {
    std::fs::read_dir(crate::procfs::fd_path(dir)).unwrap().next().is_none()
}

fn ino(root: &OwnedFd, path: &str) -> u64 {
    fstat(open_in_root(root, path, OFlag::O_PATH).unwrap()).unwrap().ino
}

#[test]
fn directories_are_made_where_the_container_sees_them() {
    require_root!();
    let (root, outside) = root_and_outside();
    let made = mkdir_all_in_root(&root, Path::new("/a/b/../c/./d"), 0o711).unwrap();
    assert_eq!(fstat(&made).unwrap().ino, ino(&root, "a/c/d"));
    assert_eq!(fstat(&made).unwrap().permissions(), 0o711);
    // An absolute link, an escape and a dangling link all end inside.
    symlinkat("/a", &root, "abs").unwrap();
    symlinkat("../../../outside", &root, "up").unwrap();
    symlinkat("/not/yet", &root, "dangling").unwrap();
    assert_eq!(
        fstat(mkdir_all_in_root(&root, Path::new("abs/x"), 0o755).unwrap()).unwrap().ino,
        ino(&root, "a/x")
    );
    assert_eq!(
        fstat(mkdir_all_in_root(&root, Path::new("up/y"), 0o755).unwrap()).unwrap().ino,
        ino(&root, "outside/y")
    );
    let z = mkdir_all_in_root(&root, Path::new("dangling/z"), 0o755).unwrap();
    assert_eq!(fstat(z).unwrap().ino, ino(&root, "not/yet/z"));
    assert!(is_empty(&outside));
    // The root itself, whatever it is called.
    for name in ["", "/", ".", "../.."] {
        let same = mkdir_all_in_root(&root, Path::new(name), 0o755).unwrap();
        assert_eq!(fstat(same).unwrap().ino, fstat(&root).unwrap().ino, "{name:?}");
    }
}

#[test]
fn what_is_in_the_way_is_an_error() {
    require_root!();
    let (root, _) = root_and_outside();
    create_file_in_root(&root, Path::new("file"), 0o644).unwrap();
    assert_eq!(mkdir_all_in_root(&root, Path::new("file/x"), 0o755).unwrap_err(), Errno::ENOTDIR);
    assert_eq!(mkdir_all_in_root(&root, Path::new("file"), 0o755).unwrap_err(), Errno::ENOTDIR);
    symlinkat("loop", &root, "loop").unwrap();
    assert_eq!(mkdir_all_in_root(&root, Path::new("loop/x"), 0o755).unwrap_err(), Errno::ELOOP);
    // Dangling links which make each other longer for ever.
    symlinkat("grow2/x", &root, "grow1").unwrap();
    symlinkat("grow1/x", &root, "grow2").unwrap();
    assert_eq!(mkdir_all_in_root(&root, Path::new("grow1"), 0o755).unwrap_err(), Errno::ELOOP);
}

#[test]
fn files_are_made_once_and_never_through_a_link_out_of_the_root() {
    require_root!();
    let (root, outside) = root_and_outside();
    let first = create_file_in_root(&root, Path::new("/etc/deep/hosts"), 0o600).unwrap();
    let again = create_file_in_root(&root, Path::new("etc/deep/hosts"), 0o644).unwrap();
    assert_eq!(fstat(&first).unwrap(), fstat(&again).unwrap());
    assert!(fstat(&first).unwrap().is_file());
    symlinkat("../../outside/made", &root, "link").unwrap();
    let made = create_file_in_root(&root, Path::new("link"), 0o644).unwrap();
    assert_eq!(fstat(made).unwrap().ino, ino(&root, "outside/made"));
    assert!(is_empty(&outside));
    assert_eq!(create_file_in_root(&root, Path::new("etc"), 0o644).unwrap_err(), Errno::EISDIR);
    symlinkat("loop", &root, "loop").unwrap();
    assert_eq!(create_file_in_root(&root, Path::new("loop"), 0o644).unwrap_err(), Errno::ELOOP);
}

#[test]
fn nothing_is_made_outside_while_another_process_swaps_a_directory_with_a_link() {
    require_root!();
    let (root, outside) = root_and_outside();
    mkdirat(&root, "dir", 0o755).unwrap();
    symlinkat("../outside", &root, "link").unwrap();
    let swapper = crate::clone::clone3(Default::default(), || {
        loop {
            let exchange = libc::RENAME_EXCHANGE;
            let (a, b, fd) = (c"dir".as_ptr(), c"link".as_ptr(), crate::raw::num(&root));
            // SAFETY: both names are NUL-terminated.
            if unsafe { sys!(SYS_renameat2, fd, a, fd, b, exchange) }.is_err() {
                return 1;
            }
        }
    })
    .unwrap();
    for i in 0..2000 {
        let path = format!("dir/{i}/x");
        // Losing the race with an error is allowed; leaving the root is not.
        match mkdir_all_in_root(&root, Path::new(&path), 0o755) {
            Ok(_) | Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::EAGAIN) => {}
            Err(errno) => panic!("{errno}"),
        }
    }
    crate::pidfd::send_signal(&swapper.pidfd, libc::SIGKILL).unwrap();
    crate::pidfd::wait(&swapper.pidfd).unwrap();
    assert!(is_empty(&outside));
}

#[test]
fn proc_of_an_image_must_be_a_directory() {
    require_root!();
    let (root, _) = root_and_outside();
    mkdirat(&root, "real", 0o755).unwrap();
    mkdirat(&root, "real/sub", 0o755).unwrap();
    symlinkat("real", &root, "proc").unwrap();
    open_dir_nofollow_in_root(&root, "/real/sub").unwrap();
    assert_eq!(open_dir_nofollow_in_root(&root, "proc").unwrap_err(), Errno::ENOTDIR);
    assert_eq!(open_dir_nofollow_in_root(&root, "proc/sub").unwrap_err(), Errno::ELOOP);
    let beneath = openat2(&root, "../outside", OFlag::O_PATH, 0, Resolve::BENEATH);
    assert_eq!(beneath.unwrap_err(), Errno::EXDEV);
}

#[test]
fn owners_modes_and_nodes_by_path_descriptor() {
    require_root!();
    let dir = tmpfs();
    mknodat(&dir, "null", NodeKind::Char, 0o600, libc::makedev(1, 3)).unwrap();
    let node = openat(&dir, "null", OFlag::O_PATH | OFlag::O_NOFOLLOW, 0).unwrap();
    fchown(&node, Some(7), Some(8)).unwrap();
    fchmod(&node, 0o4666).unwrap();
    let stat = fstatat(&dir, "null", false).unwrap();
    assert!(stat.is_char());
    assert_eq!((stat.uid, stat.gid, stat.permissions(), stat.rdev), (7, 8, 0o4666, libc::makedev(1, 3)));
    fchmod(&dir, 0o700).unwrap();
    assert_eq!(fstat(&dir).unwrap().permissions(), 0o700);
    symlinkat("null", &dir, "link").unwrap();
    fchownat(&dir, "link", Some(9), None).unwrap();
    assert_eq!(fstatat(&dir, "link", false).unwrap().uid, 9);
    assert_eq!(fstatat(&dir, "link", true).unwrap().uid, 7);
    assert_eq!(readlinkat(&dir, "link").unwrap(), "null");
    renameat(&dir, "link", "other").unwrap();
    unlinkat(&dir, "other").unwrap();
    mkdirat(&dir, "d", 0o755).unwrap();
    assert_eq!(unlinkat(&dir, "d"), Err(Errno::EISDIR));
    rmdirat(&dir, "d").unwrap();
}

#[test]
fn mounts_and_file_systems_are_told_apart() {
    require_root!();
    let (a, b) = (tmpfs(), tmpfs());
    assert_eq!(fs_magic(&a).unwrap(), libc::TMPFS_MAGIC);
    assert!(!fs_readonly(&a).unwrap());
    assert_ne!(mount_id(&a).unwrap(), mount_id(&b).unwrap());
    let change = crate::mount::SetAttr { set: MountAttrs::RDONLY, ..Default::default() };
    crate::mount::set_attr(&a, false, &change).unwrap();
    assert!(fs_readonly(&a).unwrap());
}

#[test]
fn reading_is_bounded_and_writing_is_whole() {
    require_root!();
    let dir = tmpfs();
    let file = openat(&dir, "f", OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL, 0o600).unwrap();
    write_all(&file, &[b'x'; 10_000]).unwrap();
    let reading = || openat(&dir, "f", OFlag::O_RDONLY, 0).unwrap();
    assert_eq!(read_to_end(reading(), 10_000).unwrap().len(), 10_000);
    assert_eq!(read_to_end(reading(), 9_999), Err(Errno::EFBIG));
    assert_eq!(write_all(crate::fd::dev_null(OFlag::O_RDONLY).unwrap(), b"x"), Err(Errno::EBADF));
}

#[test]
fn a_working_directory_outside_of_the_root_is_noticed() {
    require_root!();
    let (root, outside) = root_and_outside();
    crate::testing::in_child(|| {
        assert!(cwd_is_reachable().unwrap());
        chdir("/").unwrap();
        chroot(crate::procfs::fd_path(root.as_fd()).as_str()).unwrap();
        // The old "/" lies outside of the new root, and so does a descriptor's directory on another mount.
        assert!(!cwd_is_reachable().unwrap());
        fchdir(&root).unwrap();
        assert!(cwd_is_reachable().unwrap());
        fchdir(&outside).unwrap();
        assert!(!cwd_is_reachable().unwrap());
        mkdirat(&root, "gone", 0o755).unwrap();
        chdir("/gone").unwrap();
        rmdirat(&root, "gone").unwrap();
        assert!(!cwd_is_reachable().unwrap());
    });
}

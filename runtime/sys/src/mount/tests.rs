//! Tests of the mount functions, each in a mount namespace of its own.

use std::os::fd::{AsFd, OwnedFd};

use super::*;
use crate::namespace::Namespaces;
use crate::procfs::{Procfs, fd_path};
use crate::testing::in_namespaces;
use crate::{Errno, OFlag, path};

fn tmpfs() -> OwnedFd {
    let fs = FsContext::open("tmpfs").unwrap();
    fs.string("size", "65536").unwrap();
    fs.create().unwrap();
    fs.mount(MountAttrs::NOSUID | MountAttrs::NODEV).unwrap()
}

fn mounts_at(point: &str) -> Vec<String> {
    let info = std::fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
    info.lines().filter(|line| line.split(' ').nth(4) == Some(point)).map(str::to_owned).collect()
}

#[test]
fn a_detached_mount_is_attached_bound_and_detached_again() {
    require_root!();
    in_namespaces(Namespaces::MNT, || {
        let target = path::open("/mnt", OFlag::O_PATH).unwrap();
        let new = tmpfs();
        move_mount(new.as_fd(), target.as_fd()).unwrap();
        assert!(mounts_at("/mnt")[0].contains("nosuid,nodev"), "{:?}", mounts_at("/mnt"));
        path::mkdirat(&new, "a", 0o755).unwrap();
        path::mkdirat(&new, "b", 0o755).unwrap();
        let bind = open_tree(Some(new.as_fd()), "a", OpenTree::CLONE | OpenTree::NOFOLLOW).unwrap();
        let atime = SetAttr {
            set: MountAttrs::RDONLY | MountAttrs::NOATIME,
            clear: MountAttrs::empty(),
            propagation: Some(Propagation::Slave),
            userns: None,
        };
        set_attr(&bind, true, &atime).unwrap();
        move_mount_at(bind.as_fd(), &new, "b").unwrap();
        assert!(mounts_at("/mnt/b")[0].contains(" ro,nosuid,nodev,noatime "), "{:?}", mounts_at("/mnt/b"));
        assert_eq!(path::mkdirat(&new, "b/x", 0o755), Err(Errno::EROFS));
        assert_eq!(umount("/mnt/b"), Err(Errno::EBUSY));
        drop(bind);
        umount("/mnt/b").unwrap();
        umount_detach("/mnt").unwrap();
        assert!(mounts_at("/mnt").is_empty());
    });
}

#[test]
fn the_kernels_words_reach_the_caller() {
    require_root!();
    let fs = FsContext::open("tmpfs").unwrap();
    assert_eq!(fs.string("nonsense", "1"), Err(Errno::EINVAL));
    let log = fs.log();
    assert!(log.iter().any(|line| line.starts_with("e ") && line.contains("nonsense")), "{log:?}");
    assert!(fs.log().is_empty());
    assert_eq!(FsContext::open("no-such-fs").unwrap_err(), Errno::ENODEV);
}

#[test]
fn overlay_takes_layers_as_descriptors() {
    require_root!();
    in_namespaces(Namespaces::MNT, || {
        move_mount(tmpfs().as_fd(), path::open("/mnt", OFlag::O_PATH).unwrap().as_fd()).unwrap();
        let dir = |name: &str| {
            path::mkdirat(nix::fcntl::AT_FDCWD, name, 0o755).unwrap();
            path::open(name, OFlag::O_PATH).unwrap()
        };
        let (one, two) = (dir("/mnt/1"), dir("/mnt/2"));
        path::mkdirat(&two, "from-two", 0o755).unwrap();
        let overlay = FsContext::open("overlay").unwrap();
        if let Err(errno) = overlay.fd("lowerdir+", &one) {
            return println!("skipped: overlayfs takes no descriptors (Linux 6.13): {errno}");
        }
        overlay.fd("lowerdir+", &two).unwrap();
        overlay.create().unwrap();
        let merged = overlay.mount(MountAttrs::RDONLY).unwrap();
        path::fstatat(&merged, "from-two", false).unwrap();
    });
}

#[test]
fn a_superblock_is_reconfigured_through_its_root() {
    require_root!();
    let mount = tmpfs();
    let context = fspick(&mount).unwrap();
    context.flag("ro").unwrap();
    context.reconfigure().unwrap();
    assert_eq!(path::mkdirat(&mount, "x", 0o755), Err(Errno::EROFS));
}

fn kernel_is_at_least(major: u32, minor: u32) -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|word| word.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (major, minor)
}

#[test]
fn an_idmapped_mount_shows_shifted_owners() {
    require_root!();
    let child = crate::clone::clone3(
        crate::clone::CloneArgs { namespaces: Namespaces::USER, ..Default::default() },
        || {
            crate::creds::set_parent_death_signal(libc::SIGKILL).unwrap();
            crate::socket::poll_readable(&[], -1).unwrap();
            0
        },
    )
    .unwrap();
    for file in ["uid_map", "gid_map"] {
        std::fs::write(format!("/proc/{}/{file}", child.pid), "0 1000 10").unwrap();
    }
    let userns = crate::namespace::open_ns(child.pid, Namespaces::USER).unwrap();
    let source = tmpfs();
    path::mkdirat(&source, "d", 0o755).unwrap();
    // The clone of a mount attached nowhere needs Linux 6.15; the mount itself may be mapped while detached.
    let change = SetAttr { userns: Some(userns.as_fd()), ..SetAttr::default() };
    match set_attr(&source, false, &change) {
        Err(Errno::EINVAL) if !kernel_is_at_least(6, 3) => println!("skipped: needs Linux 6.3 for a tmpfs"),
        other => {
            other.unwrap();
            assert_eq!(path::fstatat(&source, "d", false).unwrap().uid, 1000);
        }
    }
    crate::pidfd::send_signal(&child.pidfd, libc::SIGKILL).unwrap();
    crate::pidfd::wait(&child.pidfd).unwrap();
}

#[test]
fn the_root_is_pivoted_without_a_place_for_the_old_one() {
    require_root!();
    in_namespaces(Namespaces::MNT, || {
        let new = tmpfs();
        move_mount(new.as_fd(), path::open("/mnt", OFlag::O_PATH).unwrap().as_fd()).unwrap();
        path::mkdirat(&new, "marker", 0o755).unwrap();
        path::fchdir(path::open("/mnt", OFlag::O_PATH).unwrap()).unwrap();
        pivot_root_dot().unwrap();
        umount_detach(".").unwrap();
        path::chdir("/").unwrap();
        path::open("/marker", OFlag::O_PATH).unwrap();
        assert_eq!(path::open("/proc/self", OFlag::O_PATH).unwrap_err(), Errno::ENOENT);
    });
}

#[test]
fn propagation_is_set_by_path() {
    require_root!();
    in_namespaces(Namespaces::MNT, || {
        move_mount(tmpfs().as_fd(), path::open("/mnt", OFlag::O_PATH).unwrap().as_fd()).unwrap();
        set_propagation("/mnt", Propagation::Shared, false).unwrap();
        assert!(mounts_at("/mnt")[0].contains("shared:"));
        // Kept: with its last peer gone, a slave would be private.
        let _peers = crate::namespace::open_ns(nix::unistd::Pid::from_raw(0), Namespaces::MNT).unwrap();
        unshare_mounts().unwrap();
        set_propagation("/", Propagation::Slave, true).unwrap();
        assert!(mounts_at("/mnt")[0].contains("master:"));
        set_propagation("/mnt", Propagation::Unbindable, false).unwrap();
        assert!(mounts_at("/mnt")[0].contains("unbindable"));
        legacy_mount(Some("none"), "/mnt", Some("tmpfs"), MsFlags::MS_NOEXEC, Some("size=4096")).unwrap();
        assert_eq!(mounts_at("/mnt").len(), 2);
    });
}

#[test]
fn a_private_procfs_is_not_misled_by_mounts_on_proc() {
    require_root!();
    in_namespaces(Namespaces::MNT, || {
        let proc = Procfs::private().unwrap();
        let pid = std::process::id().to_string();
        move_mount(tmpfs().as_fd(), path::open("/proc", OFlag::O_PATH).unwrap().as_fd()).unwrap();
        assert!(proc.read_to_string("thread-self/stat").unwrap().starts_with(&pid));
        proc.write("self/comm", "renamed").unwrap();
        assert_eq!(proc.read_to_string("self/comm").unwrap(), "renamed\n");
        assert_eq!(proc.open("self/root", OFlag::O_PATH).unwrap_err(), Errno::ELOOP);
        assert_eq!(proc.open("../etc", OFlag::O_PATH).unwrap_err(), Errno::EXDEV);
        assert_eq!(Procfs::of_host().unwrap_err(), Errno::EXDEV);
        umount_detach("/proc").unwrap();
        // A file covered by another one is refused, not read.
        let cover = open_tree(None, "/proc/version", OpenTree::CLONE).unwrap();
        move_mount(cover.as_fd(), path::open("/proc/cpuinfo", OFlag::O_PATH).unwrap().as_fd()).unwrap();
        assert_eq!(Procfs::of_host().unwrap().read_to_string("cpuinfo").unwrap_err(), Errno::EXDEV);
        assert!(proc.read_to_string("cpuinfo").unwrap().contains("processor"));
        assert!(fd_path(&proc).starts_with("/proc/self/fd/"));
    });
}

#[test]
fn without_the_right_to_mount_the_procfs_in_place_is_used() {
    require_root!();
    in_namespaces(Namespaces::USER, || {
        assert_eq!(FsContext::open("proc").unwrap_err(), Errno::EPERM);
        let proc = Procfs::private().unwrap();
        assert!(proc.read_to_string("self/stat").unwrap().starts_with(&std::process::id().to_string()));
    });
}

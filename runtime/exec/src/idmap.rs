//! Writing id mappings: of the container's user namespace, and of idmapped mounts.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::Command;

use caisson_plan::ids::HostPath;
use caisson_plan::step::mounts::IdMapPair;
use caisson_plan::step::namespaces::{IdMap, IdMapWriter, IdMapsPlan};
use caisson_sys::clone::{CloneArgs, clone3};
use caisson_sys::namespace::{self, Namespaces};
use caisson_sys::path::{self, OFlag};
use caisson_sys::{Errno, pidfd, socket};

use crate::error::{Act, Context, Failure, best_effort};

/// Writes the maps of process `pid` (user_namespaces(7)).
pub(crate) fn write(plan: &IdMapsPlan, pid: i32) -> Act {
    if plan.deny_setgroups {
        put(pid, "setgroups", "deny")?;
    }
    match &plan.writer {
        IdMapWriter::Direct => {
            put(pid, "uid_map", &lines(&plan.uid)).map_err(|f| refused(f, &plan.uid, "user"))?;
            put(pid, "gid_map", &lines(&plan.gid)).map_err(|f| refused(f, &plan.gid, "group"))
        }
        IdMapWriter::Helpers { newuidmap, newgidmap } => {
            helper(newuidmap, pid, &plan.uid, "/etc/subuid")?;
            helper(newgidmap, pid, &plan.gid, "/etc/subgid")
        }
    }
}

fn lines(maps: &[IdMap]) -> String {
    maps.iter().fold(String::new(), |mut text, map| {
        // Writing to a String cannot fail.
        best_effort(writeln!(text, "{} {} {}", map.container, map.host, map.size));
        text
    })
}

fn put(pid: i32, file: &str, text: &str) -> Act {
    let name = format!("/proc/{pid}/{file}");
    let what = || format!("write {:?} to {name}", text.trim_end());
    let file = path::open(Path::new(&name), OFlag::O_WRONLY).on(what)?;
    // One write: the kernel takes a map whole or not at all.
    path::write_all(file.as_fd(), text.as_bytes()).on(what)
}

fn refused(failure: Failure, maps: &[IdMap], whose: &str) -> Failure {
    match failure.errno.map(Errno::from_raw) {
        Some(Errno::EPERM) => failure.hint(format!(
            "mapping these {whose} ids needs root, or newuidmap and newgidmap with entries in /etc/subuid and /etc/subgid"
        )),
        Some(Errno::EINVAL) if maps.len() > 340 => failure.hint("the kernel takes at most 340 lines"),
        _ => failure,
    }
}

fn helper(program: &HostPath, pid: i32, maps: &[IdMap], subids: &str) -> Act {
    let mut args = vec![OsString::from(pid.to_string())];
    for map in maps {
        args.extend([map.container, map.host, map.size].map(|n| OsString::from(n.to_string())));
    }
    let what = || format!("{program} {pid} {}", lines(maps).replace('\n', " ").trim_end());
    let output = Command::new(program.as_path()).args(&args).output().on(what)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Failure::new(what()).detail(said).hint(format!("the ids must be given to this user in {subids}")))
}

/// A user namespace that exists only as an fd, for MOUNT_ATTR_IDMAP.
pub(crate) fn namespace_for(pair: &IdMapPair) -> Act<OwnedFd> {
    let what = "make a user namespace for an idmapped mount";
    let (ours, theirs) = socket::pair_seqpacket().on(|| what)?;
    let args = CloneArgs { namespaces: Namespaces::USER, ..CloneArgs::default() };
    let child = clone3(args, || {
        // Lives until the other end is closed.
        let mut byte = [0; 1];
        best_effort(socket::recv(theirs.as_fd(), &mut byte));
        0
    })
    .on(|| what)?;
    let pid = child.pid.as_raw();
    let maps = IdMapsPlan {
        uid: pair.uid.clone(),
        gid: pair.gid.clone(),
        writer: IdMapWriter::Direct,
        deny_setgroups: false,
    };
    let userns = write(&maps, pid).and_then(|()| namespace::open_ns(child.pid, Namespaces::USER).on(|| what));
    drop(ours);
    pidfd::send_signal(child.pidfd.as_fd(), 9).on(|| what)?;
    pidfd::wait(child.pidfd.as_fd()).on(|| what)?;
    userns
}

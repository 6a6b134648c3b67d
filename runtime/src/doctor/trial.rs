//! Things tried for real, each in a process of its own that dies with what it made.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::Context as _;
use caisson_sys::mount::{self, FsContext, MountAttrs, Propagation, SetAttr};
use caisson_sys::namespace::{self, Namespaces};

/// Tries `what` in a child; the error is what the child said.
///
/// # Errors
/// It does not work here, and why.
pub fn attempt(what: &str) -> anyhow::Result<()> {
    let program = std::env::current_exe().context("find this program")?;
    let output =
        Command::new(program).args(["doctor", "--try", what]).output().context("run this program")?;
    let said = String::from_utf8_lossy(&output.stderr);
    let reason = said.trim().strip_prefix("caisson: ").unwrap_or(said.trim()).to_owned();
    anyhow::ensure!(output.status.success(), "{reason}");
    Ok(())
}

/// Does it, in this process.
///
/// # Errors
/// The system call that failed.
pub fn run(what: &str) -> anyhow::Result<()> {
    match what {
        "userns" => namespace::unshare(Namespaces::USER).context("make a user namespace"),
        "mount-api" => private_mounts().and_then(|()| tmpfs().map(drop)),
        "idmap" => idmap(),
        "overlay" => overlay(),
        "rootless-overlay" => {
            own_user_namespace()?;
            overlay()
        }
        "hold-userns" => hold_user_namespace(),
        other => anyhow::bail!("nothing called {other:?} to try"),
    }
}

fn private_mounts() -> anyhow::Result<()> {
    // An ordinary user may have one only inside a user namespace; `rootless-overlay` is in one already.
    if !nix::unistd::geteuid().is_root() {
        own_user_namespace()?;
    }
    mount::unshare_mounts().context("make a private mount namespace")?;
    // systemd shares all mounts: what is mounted here would be mounted on the host, too.
    mount::set_propagation("/", Propagation::Private, true).context("keep mounts to ourselves")
}

/// A user namespace in which this user is root.
fn own_user_namespace() -> anyhow::Result<()> {
    let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
    namespace::unshare(Namespaces::USER).context("make a user namespace")?;
    fs::write("/proc/self/setgroups", "deny").context("deny setgroups")?;
    fs::write("/proc/self/uid_map", format!("0 {uid} 1")).context("map the user")?;
    fs::write("/proc/self/gid_map", format!("0 {gid} 1")).context("map the group")
}

/// A tmpfs that is mounted nowhere.
fn tmpfs() -> anyhow::Result<OwnedFd> {
    let context = FsContext::open("tmpfs").context("fsopen tmpfs")?;
    context.create().context("make a tmpfs")?;
    context.mount(MountAttrs::empty()).context("fsmount a tmpfs")
}

fn idmap() -> anyhow::Result<()> {
    private_mounts()?;
    let tree = tmpfs()?;
    // The mapping is a user namespace's: of a helper, as this process must stay privileged in its own.
    let mut holder = Command::new("/proc/self/exe")
        .args(["doctor", "--try", "hold-userns"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("start the holder of a user namespace")?;
    let tried = map_by(&tree, &mut holder);
    // Its input closes: it leaves.
    drop(holder.stdin.take());
    holder.wait().context("wait for the holder of a user namespace")?;
    tried
}

fn map_by(tree: &OwnedFd, holder: &mut Child) -> anyhow::Result<()> {
    let mut ready = [0; 1];
    let stdout = holder.stdout.as_mut().context("no output of the holder")?;
    stdout.read_exact(&mut ready).context("make a user namespace")?;
    let pid = holder.id();
    for file in ["uid_map", "gid_map"] {
        fs::write(format!("/proc/{pid}/{file}"), "0 100000 65536")
            .with_context(|| format!("write {file}"))?;
    }
    let namespace = fs::File::open(format!("/proc/{pid}/ns/user")).context("open the user namespace")?;
    let change = SetAttr { userns: Some(namespace.as_fd()), ..SetAttr::default() };
    mount::set_attr(tree, false, &change).context("map the ids of a tmpfs mount")
}

/// Stays in a new user namespace until standard input closes.
fn hold_user_namespace() -> anyhow::Result<()> {
    namespace::unshare(Namespaces::USER).context("make a user namespace")?;
    let mut out = std::io::stdout();
    out.write_all(b"r").and_then(|()| out.flush()).context("say so")?;
    std::io::stdin().read_to_end(&mut Vec::new()).context("wait")?;
    Ok(())
}

fn overlay() -> anyhow::Result<()> {
    private_mounts()?;
    let base = tmpfs()?;
    let place = mount_on_tmp(&base)?;
    for dir in ["lower", "upper", "work"] {
        fs::create_dir(place.join(dir)).with_context(|| format!("make {dir}"))?;
    }
    let context = FsContext::open("overlay").context("fsopen overlay")?;
    for (key, dir) in [("lowerdir", "lower"), ("upperdir", "upper"), ("workdir", "work")] {
        let path = place.join(dir);
        context.string(key, &path.to_string_lossy()).with_context(|| format!("overlay {key}"))?;
    }
    context.create().with_context(|| format!("make an overlay: {}", context.log().join("; ")))?;
    context.mount(MountAttrs::empty()).context("fsmount an overlay").map(drop)
}

/// Overlay takes paths: the tmpfs is put on /tmp of this process's own mount namespace.
fn mount_on_tmp(tree: &OwnedFd) -> anyhow::Result<&'static Path> {
    let place = Path::new("/tmp");
    let dir = caisson_sys::path::open(place, caisson_sys::OFlag::O_PATH).context("open /tmp")?;
    mount::move_mount(tree.as_fd(), dir.as_fd()).context("mount a tmpfs on /tmp")?;
    Ok(place)
}

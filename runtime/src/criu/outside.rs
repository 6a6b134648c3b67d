//! What of a container lies outside of it: criu must be told of each such thing, when it writes the images and when it
//! reads them.
//!
//! A mount comes from outside when its file system is mounted in the runtime's own mount namespace too (bind mounts, the
//! host's cgroups, the host's /dev/null over masked files). On restore, the bundle's mounts say where it comes from
//! then. Standard input and output are the other things: pipes, and files that no path in the container leads to.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

/// Name of our own file among the images.
const FILE: &str = "caisson.json";
/// The file that runc and crun write there and expect: what standard input, output and error were.
const DESCRIPTORS: &str = "descriptors.json";
/// Keys of joined namespaces, as runc names them.
pub const NETWORK_KEY: &str = "extRootNetNS";
/// See [`NETWORK_KEY`].
pub const PID_KEY: &str = "extRootPidNS";

/// The outside of a container whose images are written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Outside {
    /// Mount points, as the container sees them.
    pub mounts: Vec<PathBuf>,
    /// Keys under which criu knows standard input, output and error; empty for what the container can open itself.
    pub stdio: Vec<String>,
    /// Joined namespaces, by their keys.
    pub namespaces: Vec<String>,
}

impl Outside {
    /// Looks at the container's first process.
    ///
    /// # Errors
    /// When its /proc files cannot be read.
    pub fn of(pid: i32) -> anyhow::Result<Self> {
        let read = |path: &str| fs::read_to_string(path).with_context(|| format!("read {path}"));
        let inside = mounts(&read(&format!("/proc/{pid}/mountinfo"))?);
        let host = mounts(&read("/proc/self/mountinfo")?);
        let stdio = (0..=2).map(|fd| stdio_key(pid, fd, &inside)).collect::<anyhow::Result<_>>()?;
        Ok(Self { mounts: external(&inside, &host), stdio, namespaces: Vec::new() })
    }

    /// Writes it among the images, beside what other runtimes look for.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, images: &Path, descriptors: &[String]) -> anyhow::Result<()> {
        let write = |name: &str, json: serde_json::Result<Vec<u8>>| {
            let path = images.join(name);
            fs::write(&path, json?).with_context(|| format!("write {}", path.display()))
        };
        write(DESCRIPTORS, serde_json::to_vec(descriptors))?;
        write(FILE, serde_json::to_vec(self))
    }

    /// Reads it; `None` for images of another runtime.
    ///
    /// # Errors
    /// A file that is damaged or cannot be read.
    pub fn load(images: &Path) -> anyhow::Result<Option<Self>> {
        read_json(&images.join(FILE))
    }
}

/// What standard input, output and error of `pid` are: `pipe:[123]`, `/dev/null`, …
///
/// # Errors
/// When it has none.
pub fn descriptors(pid: i32) -> anyhow::Result<Vec<String>> {
    (0..=2).map(|fd| link_of(pid, fd).map(|link| link.unwrap_or_default())).collect()
}

/// What they were when the images were written; empty without the file.
///
/// # Errors
/// A file that is damaged or cannot be read.
pub fn load_descriptors(images: &Path) -> anyhow::Result<Vec<String>> {
    Ok(read_json(&images.join(DESCRIPTORS))?.unwrap_or_default())
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> anyhow::Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => {
            serde_json::from_slice(&bytes).map(Some).with_context(|| format!("{}: damaged", path.display()))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
    }
}

/// A closed descriptor is no error.
fn link_of(pid: i32, fd: RawFd) -> anyhow::Result<Option<String>> {
    let path = format!("/proc/{pid}/fd/{fd}");
    match fs::read_link(&path) {
        Ok(link) => Ok(Some(link.to_string_lossy().into_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("read {path}")),
    }
}

/// The key by which criu knows a descriptor from outside.
fn stdio_key(pid: i32, fd: RawFd, inside: &[Mount]) -> anyhow::Result<String> {
    let Some(link) = link_of(pid, fd)? else { return Ok(String::new()) };
    if link.starts_with("pipe:") || link.starts_with("socket:") {
        return Ok(link);
    }
    if !link.starts_with('/') || link.starts_with("/dev/pts/") {
        return Ok(String::new()); // a terminal is --shell-job's, or the console socket's
    }
    let path = format!("/proc/{pid}/fdinfo/{fd}");
    let info = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let mount = info.lines().find_map(|line| line.strip_prefix("mnt_id:"));
    let mount: u32 =
        mount.and_then(|id| id.trim().parse().ok()).with_context(|| format!("{path}: no mnt_id"))?;
    if inside.iter().any(|known| known.id == mount) {
        return Ok(String::new());
    }
    let path = format!("/proc/{pid}/fd/{fd}");
    let meta = fs::metadata(&path).with_context(|| format!("look at {path}"))?;
    Ok(format!("file[{mount:x}:{:x}]", std::os::unix::fs::MetadataExt::ino(&meta)))
}

/// One line of mountinfo, see proc_pid_mountinfo(5).
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mount {
    id: u32,
    device: String,
    point: PathBuf,
}

fn mounts(mountinfo: &str) -> Vec<Mount> {
    let parse = |line: &str| {
        let mut words = line.split(' ');
        let id = words.next()?.parse().ok()?;
        let device = words.nth(1)?.to_owned();
        let point = PathBuf::from(unescape(words.nth(1)?));
        Some(Mount { id, device, point })
    };
    mountinfo.lines().filter_map(parse).collect()
}

/// Spaces, tabs, newlines and backslashes are written as `\040` and so on.
fn unescape(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.get(..3).and_then(|octal| u8::from_str_radix(octal, 8).ok()) {
            Some(byte) => {
                plain.push(char::from(byte));
                plain.push_str(&part[3..]);
            }
            None => {
                plain.push('\\');
                plain.push_str(part);
            }
        }
    }
    plain
}

/// The mount points whose file systems the host has mounted as well, the root apart: criu takes that as given.
fn external(inside: &[Mount], host: &[Mount]) -> Vec<PathBuf> {
    let known: BTreeSet<&str> = host.iter().map(|mount| mount.device.as_str()).collect();
    let from_outside =
        |mount: &&Mount| mount.point != Path::new("/") && known.contains(mount.device.as_str());
    let points: BTreeSet<&PathBuf> = inside.iter().filter(from_outside).map(|mount| &mount.point).collect();
    points.into_iter().cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "22 1 254:1 / / rw - ext4 /dev/vda1 rw\n23 22 0:5 / /dev rw - devtmpfs udev rw\n\
                        24 22 0:30 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
    const INSIDE: &str = "100 99 254:1 /bundle/rootfs / rw - ext4 /dev/vda1 rw\n\
                          101 100 0:50 / /proc rw - proc proc rw\n102 101 0:5 /null /proc/kcore ro - devtmpfs udev rw\n\
                          103 101 0:50 /sys /proc/sys ro - proc proc rw\n104 100 0:51 / /dev rw - tmpfs tmpfs rw\n\
                          105 100 254:1 /data /my\\040data rw - ext4 /dev/vda1 rw\n\
                          106 100 0:30 /web /sys/fs/cgroup ro - cgroup2 cgroup rw\n";

    #[test]
    fn mounts_of_the_hosts_file_systems_are_external() {
        let found = external(&mounts(INSIDE), &mounts(HOST));
        assert_eq!(found, ["/my data", "/proc/kcore", "/sys/fs/cgroup"].map(PathBuf::from));
    }

    #[test]
    fn odd_names_in_mountinfo_are_read() {
        assert_eq!(unescape(r"a\040b\134c"), r"a b\c");
        assert_eq!(unescape(r"a\b"), r"a\b");
    }

    #[test]
    fn a_file_of_the_same_mount_namespace_is_no_outside() {
        let own = i32::try_from(std::process::id()).unwrap();
        let inside = mounts(&fs::read_to_string("/proc/self/mountinfo").unwrap());
        let file = fs::File::open("/etc/passwd").unwrap();
        let fd = std::os::fd::AsRawFd::as_raw_fd(&file);
        assert_eq!(stdio_key(own, fd, &inside).unwrap(), "");
        let key = stdio_key(own, fd, &[]).unwrap();
        assert!(key.starts_with("file[") && key.ends_with(']'), "{key}");
        assert_eq!(stdio_key(own, 9999, &inside).unwrap(), "");
    }
}

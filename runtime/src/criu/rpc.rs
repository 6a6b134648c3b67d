//! criu's messages: requests and answers of its RPC protocol (`rpc.proto` of criu, "criu swrk").

use std::os::fd::RawFd;

use super::wire::{self, Malformed, Value, Writer};

/// What is asked of criu, by the number of `criu_req_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Write the images of a process tree.
    Dump = 1,
    /// Make the processes of the images.
    Restore = 2,
    /// Write memory only; the processes go on.
    PreDump = 4,
    /// The answer to a notification.
    Notify = 6,
    /// Whether kernel and criu can do something.
    FeatureCheck = 9,
    /// Which criu it is.
    Version = 10,
}

/// How criu treats cgroups, by the number of `criu_cg_mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CgroupMode {
    /// Not at all.
    Ignore = 0,
    /// Settings of the cgroups that criu makes itself.
    Soft = 3,
    /// All settings.
    Full = 4,
    /// All settings; cgroups that exist already are an error.
    Strict = 5,
}

impl CgroupMode {
    /// The word of `--manage-cgroups-mode`.
    ///
    /// # Errors
    /// A word that is none.
    pub fn parse(word: &str) -> anyhow::Result<Self> {
        Ok(match word {
            "soft" => Self::Soft,
            "full" => Self::Full,
            "strict" => Self::Strict,
            "ignore" => Self::Ignore,
            _ => anyhow::bail!("--manage-cgroups-mode {word}: expected soft, full, strict or ignore"),
        })
    }
}

/// `CLONE_NEWNET`, the one namespace that criu can leave empty.
const CLONE_NEWNET: i64 = 0x4000_0000;

/// The options of a request (`criu_opts`). Descriptors are those that criu has inherited.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Where the images are.
    pub images_dir: RawFd,
    /// Where logs and other by-products go.
    pub work_dir: RawFd,
    /// Name of the log in the work directory.
    pub log_file: &'static str,
    /// First process of the tree to dump.
    pub pid: Option<i32>,
    /// The container's root: on restore a mount point.
    pub root: String,
    /// Directory of the images this dump adds to, relative to the image directory.
    pub parent_images: Option<String>,
    /// Remember which memory was written to: for the next dump of a series.
    pub track_memory: bool,
    /// `--leave-running`
    pub leave_running: bool,
    /// `--ext-unix-sk`
    pub ext_unix_sk: bool,
    /// `--tcp-established`
    pub tcp_established: bool,
    /// `--tcp-skip-in-flight`
    pub tcp_skip_in_flight: bool,
    /// `--shell-job`
    pub shell_job: bool,
    /// `--file-locks`
    pub file_locks: bool,
    /// `--auto-dedup`
    pub auto_dedup: bool,
    /// `--lazy-pages`
    pub lazy_pages: bool,
    /// `--status-fd`
    pub status_fd: Option<RawFd>,
    /// `--page-server`
    pub page_server: Option<(String, u16)>,
    /// `--empty-ns network`
    pub empty_network: bool,
    /// `--manage-cgroups-mode`
    pub cgroup_mode: Option<CgroupMode>,
    /// Cgroup whose freezer stops the tree.
    pub freeze_cgroup: Option<String>,
    /// Controller (none: every other) and the container's cgroup in its hierarchy.
    pub cgroup_roots: Vec<(Option<String>, String)>,
    /// What lies outside of the container: `mnt[KEY]:VALUE`, `net[INODE]:KEY`, `file[MOUNT:INODE]`.
    pub external: Vec<String>,
    /// Descriptors that criu has inherited, by what they replace.
    pub inherit_fds: Vec<(String, RawFd)>,
    /// Namespaces to enter instead of making them: kind and file.
    pub join_namespaces: Vec<(&'static str, String)>,
    /// The terminal's master is held outside.
    pub orphan_pts_master: bool,
    /// The restored process is a child of criu's parent: of us.
    pub as_sibling: bool,
    /// `--lsm-profile`
    pub lsm_profile: Option<String>,
    /// `--lsm-mount-context`
    pub lsm_mount_context: Option<String>,
    /// A configuration file of criu's (annotation `org.criu.config`).
    pub config_file: Option<String>,
}

impl Options {
    fn encode(&self) -> Writer {
        let mut opts = Writer::default();
        opts.int(1, self.images_dir.into());
        self.pid.map(|pid| opts.int(2, pid.into()));
        opts.flag(3, self.leave_running).flag(4, self.ext_unix_sk).flag(5, self.tcp_established);
        opts.flag(6, true); // evasive_devices: a device node may have another path by now
        opts.flag(7, self.shell_job).flag(8, self.file_locks);
        opts.int(9, 4).text(10, self.log_file); // debug, as criu's own bug reports want it
        if let Some((address, port)) = &self.page_server {
            let mut server = Writer::default();
            server.text(1, address).int(2, (*port).into());
            opts.message(11, &server);
        }
        opts.flag(12, true); // notifications
        if !self.root.is_empty() {
            opts.text(13, &self.root);
        }
        self.parent_images.as_ref().map(|path| opts.text(14, path));
        opts.flag(15, self.track_memory).flag(16, self.auto_dedup);
        opts.int(17, self.work_dir.into());
        opts.flag(18, true); // link_remap: open files that were deleted come back
        for (controller, path) in &self.cgroup_roots {
            let mut root = Writer::default();
            controller.as_ref().map(|name| root.text(1, name));
            root.text(2, path);
            opts.message(25, &root);
        }
        opts.flag(26, self.as_sibling);
        for (key, fd) in &self.inherit_fds {
            let mut inherited = Writer::default();
            inherited.text(1, key).int(2, (*fd).into());
            opts.message(27, &inherited);
        }
        self.encode_rest(&mut opts);
        opts
    }

    fn encode_rest(&self, opts: &mut Writer) {
        self.cgroup_mode.map(|mode| opts.int(34, mode as i64));
        for external in &self.external {
            opts.text(37, external);
        }
        if self.empty_network {
            opts.int(38, CLONE_NEWNET);
        }
        for (kind, file) in &self.join_namespaces {
            let mut namespace = Writer::default();
            namespace.text(1, kind).text(2, file);
            opts.message(39, &namespace);
        }
        self.freeze_cgroup.as_ref().map(|path| opts.text(44, path));
        opts.flag(46, self.tcp_skip_in_flight).flag(48, self.lazy_pages);
        self.status_fd.map(|fd| opts.int(49, fd.into()));
        opts.flag(50, self.orphan_pts_master);
        self.config_file.as_ref().map(|path| opts.text(51, path));
        self.lsm_profile.as_ref().map(|profile| opts.text(53, profile));
        self.lsm_mount_context.as_ref().map(|context| opts.text(63, context));
    }
}

/// A request with options.
#[must_use]
pub fn request(kind: Kind, options: &Options) -> Vec<u8> {
    let mut request = Writer::default();
    request.int(1, kind as i64).message(2, &options.encode());
    request.bytes()
}

/// Asks for the version; the connection stays open for what follows.
#[must_use]
pub fn version_request() -> Vec<u8> {
    let mut request = Writer::default();
    request.int(1, Kind::Version as i64).flag(4, true);
    request.bytes()
}

/// Asks whether memory tracking and lazy pages work here; the connection stays open.
#[must_use]
pub fn feature_request(feature: Feature) -> Vec<u8> {
    let mut features = Writer::default();
    features.flag(feature as u32, true);
    let mut request = Writer::default();
    request.int(1, Kind::FeatureCheck as i64).flag(4, true).message(5, &features);
    request.bytes()
}

/// Tells criu that a notification was dealt with, or that it has to give up.
#[must_use]
pub fn notify_answer(success: bool) -> Vec<u8> {
    let mut request = Writer::default();
    // Written in both cases: criu takes a missing word for a failure, but says so in its log as another one.
    request.int(1, Kind::Notify as i64).int(3, success.into());
    request.bytes()
}

/// What criu and the kernel may lack, by its field in `criu_features`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// Memory tracking: `--pre-dump`, `--parent-path`.
    MemoryTracking = 1,
    /// `--lazy-pages`
    LazyPages = 2,
}

/// An answer (`criu_resp`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// Number of the request's kind.
    pub kind: i32,
    /// Whether it was done.
    pub success: bool,
    /// Pid of the restored first process, in our pid namespace.
    pub restored_pid: Option<i32>,
    /// What is happening: criu waits for our word.
    pub notify: Option<Notification>,
    /// What went wrong, in criu's words.
    pub message: String,
    /// An errno, for some failures.
    pub errno: i32,
    /// Features that are there, by field number.
    pub features: Vec<u32>,
    /// criu's version.
    pub version: Version,
}

/// A point in criu's work at which it waits for us.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notification {
    /// Which: `setup-namespaces`, `post-restore`, …
    pub script: String,
    /// The restored first process, where it is known.
    pub pid: i32,
}

/// A version of criu.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// First number.
    pub major: i32,
    /// Second number.
    pub minor: i32,
    /// Third number.
    pub sublevel: i32,
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)?;
        if self.sublevel > 0 { write!(f, ".{}", self.sublevel) } else { Ok(()) }
    }
}

impl Response {
    /// Reads an answer; fields that this program does not know are passed over.
    ///
    /// # Errors
    /// [`Malformed`]
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut response = Self::default();
        for (field, value) in wire::fields(bytes)? {
            match (field, value) {
                (1, value) => response.kind = value.int(),
                (2, value) => response.success = value.flag(),
                (4, Value::Bytes(bytes)) => {
                    response.restored_pid = find(bytes, 1)?.map(Value::int);
                }
                (5, Value::Bytes(bytes)) => {
                    let script = find(bytes, 1)?.map(Value::text).unwrap_or_default();
                    let pid = find(bytes, 2)?.map(Value::int).unwrap_or_default();
                    response.notify = Some(Notification { script, pid });
                }
                (7, value) => response.errno = value.int(),
                (8, Value::Bytes(bytes)) => {
                    let there = wire::fields(bytes)?.into_iter().filter(|(_, value)| value.flag());
                    response.features = there.map(|(field, _)| field).collect();
                }
                (9, value) => response.message = value.text(),
                (10, Value::Bytes(bytes)) => {
                    let number =
                        |field| find(bytes, field).map(|value| value.map(Value::int).unwrap_or_default());
                    response.version = Version { major: number(1)?, minor: number(2)?, sublevel: number(4)? };
                }
                _ => {}
            }
        }
        Ok(response)
    }
}

/// The last value of a field, as the encoding says.
fn find(bytes: &[u8], field: u32) -> Result<Option<Value<'_>>, Malformed> {
    Ok(wire::fields(bytes)?.into_iter().rev().find(|(number, _)| *number == field).map(|(_, value)| value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_with_its_parts() {
        let mut version = Writer::default();
        version.int(1, 4).int(2, 2).text(3, "git").int(4, 1);
        let mut notify = Writer::default();
        notify.text(1, "post-restore").int(2, 77);
        let mut restored = Writer::default();
        restored.int(1, 77);
        let mut answer = Writer::default();
        answer.int(1, 2).flag(2, true).message(4, &restored).message(5, &notify);
        answer.int(7, -3).text(9, "no").message(10, &version).text(99, "later");
        let response = Response::decode(&answer.bytes()).unwrap();
        assert_eq!(response.kind, Kind::Restore as i32);
        assert!(response.success);
        assert_eq!(response.restored_pid, Some(77));
        assert_eq!(response.notify, Some(Notification { script: "post-restore".into(), pid: 77 }));
        assert_eq!((response.errno, response.message.as_str()), (-3, "no"));
        assert_eq!(response.version.to_string(), "4.2.1");
        assert!(response.version > Version { major: 3, minor: 17, sublevel: 9 });
    }

    #[test]
    fn a_request_says_what_the_options_say() {
        let options = Options {
            images_dir: 5,
            log_file: "dump.log",
            pid: Some(9),
            cgroup_mode: Some(CgroupMode::Ignore),
            external: vec!["mnt[/a]:/a".into()],
            page_server: Some(("::1".into(), 27)),
            ..Options::default()
        };
        let bytes = request(Kind::Dump, &options);
        let fields = wire::fields(&bytes).unwrap();
        assert_eq!(fields[0], (1, Value::Number(1)));
        let Value::Bytes(opts) = fields[1].1 else { panic!() };
        assert_eq!(find(opts, 1), Ok(Some(Value::Number(5))));
        assert_eq!(find(opts, 2), Ok(Some(Value::Number(9))));
        assert_eq!(find(opts, 3), Ok(None));
        assert_eq!(find(opts, 34), Ok(Some(Value::Number(0))));
        assert_eq!(find(opts, 37), Ok(Some(Value::Bytes(b"mnt[/a]:/a"))));
        let Ok(Some(Value::Bytes(server))) = find(opts, 11) else { panic!() };
        assert_eq!(find(server, 2), Ok(Some(Value::Number(27))));
    }

    #[test]
    fn modes_are_runcs_words() {
        assert_eq!(CgroupMode::parse("strict").unwrap(), CgroupMode::Strict);
        assert!(CgroupMode::parse("hard").is_err());
    }
}

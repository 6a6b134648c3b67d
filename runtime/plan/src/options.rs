//! What the command line asks for, as data.

use crate::ids::{ContainerId, HostPath};

/// The user's wishes beside config.json.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The container's id.
    pub id: ContainerId,
    /// The bundle directory, absolute: relative paths of config.json start here.
    pub bundle: HostPath,
    /// Which command is planned for.
    pub command: Command,
    /// `--cgroup-manager`, `--systemd-cgroup`.
    pub cgroup_manager: CgroupManager,
    /// `--rootless`.
    pub rootless: Rootless,
    /// `--no-pivot`.
    pub no_pivot: bool,
    /// `--no-new-keyring`.
    pub no_new_keyring: bool,
    /// `--preserve-fds`: how many fds after stderr the program inherits.
    pub preserve_fds: u32,
    /// How many fds systemd passed (`LISTEN_FDS`); they come before the preserved ones.
    pub listen_fds: u32,
    /// Whether `--console-socket` was given.
    pub console_socket: bool,
    /// Whether the process is left alone (`run --detach`, `create`, `exec --detach`).
    pub detach: bool,
    /// Talk to the user's systemd rather than the system's.
    pub systemd_user: bool,
    /// Directory on the host in which the runtime's proxy for `NOTIFY_SOCKET` will listen as `notify.sock`. It is bound
    /// into the container, so it has to exist before the clone.
    pub notify_dir: Option<HostPath>,
}

impl Options {
    /// The options of a plain `create` of `id` in `bundle`.
    #[must_use]
    pub fn new(id: ContainerId, bundle: HostPath) -> Self {
        Self {
            id,
            bundle,
            command: Command::Create,
            cgroup_manager: CgroupManager::default(),
            rootless: Rootless::default(),
            no_pivot: false,
            no_new_keyring: false,
            preserve_fds: 0,
            listen_fds: 0,
            console_socket: false,
            detach: false,
            systemd_user: false,
            notify_dir: None,
        }
    }
}

/// The command that is planned for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Command {
    /// Init waits for `start`.
    #[default]
    Create,
    /// Init goes on by itself.
    Run,
}

/// Who makes cgroups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CgroupManager {
    /// The runtime, through the file system.
    #[default]
    Cgroupfs,
    /// systemd.
    Systemd,
    /// Nobody.
    Disabled,
}

/// Whether to expect an unprivileged set-up (which cgroup errors are forgiven).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rootless {
    /// Decided by user id and user namespace.
    #[default]
    Auto,
    /// Always.
    True,
    /// Never.
    False,
}

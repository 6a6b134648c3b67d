//! The pure half of caisson: from a config.json and facts about the host to an ordered list of steps.
//!
//! Nothing here touches the host: no system call, no clock, no environment. All deciding happens here
//! (defaults, order, checks); `caisson-exec` only acts.
//!
//! ```text
//! Spec ──────┐
//! HostFacts ─┼─▶ plan() ─▶ Plan { steps } or Problems, each with the JSON pointer of the field that caused it
//! Options ───┘
//! ```
#![forbid(unsafe_code)]

mod caps;
mod cgroup;
mod cgroup_mount;
mod checks;
mod context;
mod devices;
pub mod every_problem;
pub mod exec;
pub mod explain;
pub mod facts;
mod gvariant;
mod hooks;
pub mod host_support;
mod idmaps;
pub mod ids;
mod init_steps;
mod landlock;
mod mount_idmap;
pub mod mount_options;
mod mounts;
mod namespaces;
mod netdevices;
pub mod options;
mod place;
pub mod plan;
pub mod problem;
mod process;
mod rdt;
mod resources;
mod resources_io;
mod resources_memory;
mod resources_v1;
mod resources_v2;
mod rootfs;
mod scheduling;
mod seccomp;
pub mod spec;
pub mod step;
mod sysctl;
mod systemd;
mod systemd_unified;
pub mod update;

pub use exec::{ExecContext, plan_exec};
pub use host_support::host_support;
pub use plan::{Planned, plan};
pub use spec::{Parsed, parse, unknown_keys};
pub use update::{Update, plan_update};

//! All features of an OCI runtime, one module a feature. One program, so that it links once and is copied once.
mod capabilities;
mod cgroups;
mod devices;
mod exec;
mod hooks;
mod lifecycle;
mod mounts;
mod namespaces;
mod process;
mod rootfs;
mod seccomp;
mod sysctl;
mod tty;
mod userns;

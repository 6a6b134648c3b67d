//! Safe wrappers around the Linux system calls a container runtime makes: the one host-side crate with
//! `unsafe`.
//!
//! Shape of the API: file descriptors come in as `impl AsFd` or `BorrowedFd` and go out as `OwnedFd`, each
//! born close-on-exec; `EINTR` is retried here; errors are plain [`Errno`], to which the caller adds what was
//! tried on which object. Nothing here decides anything: no policy, no logging, no state.
//!
//! | who | modules |
//! |---|---|
//! | everybody | [`fd`], [`path`], [`procfs`], [`clock`], [`pidfd`], [`signal`] |
//! | executor, host side (before and around the clone) | [`clone`], [`namespace`], [`mount`], [`net`], [`seccomp`] |
//! | executor, init side (inside the new process) | [`mount`], [`creds`], [`caps`], [`rlimit`], [`sched`], [`keyring`], [`landlock`], [`tty`], [`exec`] |
//! | cgroup crate | [`bpf`], [`path`] |
//! | CLI | [`selfexe`], [`socket`], [`tty`] |
//!
//! "Host side only" in a function's doc means that it goes through the `/proc` of the caller's mount
//! namespace and so must not be used where a container's image decides what `/proc` is.

#![allow(
    unsafe_code,
    reason = "the one crate that talks to the kernel directly; see the SAFETY comment at each block"
)]

#[macro_use]
mod raw;

#[cfg(test)]
#[macro_use]
mod testing;

pub mod bpf;
pub mod caps;
pub mod clock;
pub mod clone;
pub mod creds;
pub mod exec;
pub mod fd;
pub mod keyring;
pub mod landlock;
pub mod mount;
pub mod namespace;
pub mod net;
pub mod path;
pub mod pidfd;
pub mod procfs;
pub mod rlimit;
pub mod sched;
pub mod seccomp;
pub mod selfexe;
pub mod signal;
pub mod socket;
pub mod tty;

pub use nix::NixPath;
pub use nix::errno::Errno;
pub use nix::fcntl::OFlag;
pub use nix::unistd::Pid;

/// The result of a system call.
pub type Result<T> = std::result::Result<T, Errno>;

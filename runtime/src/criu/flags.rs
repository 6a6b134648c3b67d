//! The flags that `checkpoint` and `restore` share, by runc's names.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Arg, ArgMatches};

use super::rpc::{CgroupMode, Options};
use crate::cli::{self, Given};

/// Where images are without `--image-path`.
const IMAGES: &str = "checkpoint";

/// The flags of both verbs.
#[must_use]
pub fn common() -> Vec<Arg> {
    vec![
        cli::path("image-path", "DIR", "Directory of the images (default: ./checkpoint)"),
        cli::path("work-path", "DIR", "Directory of criu's log and other by-products"),
        cli::switch("tcp-established", "Allow TCP connections that are open"),
        cli::switch("ext-unix-sk", "Allow Unix sockets whose other end is outside of the container"),
        cli::switch("shell-job", "Allow processes of a shell's session, with its terminal"),
        cli::switch("lazy-pages", "Copy memory when it is used: see criu(8), lazy-pages"),
        cli::switch("file-locks", "Allow file locks"),
        cli::text(
            "manage-cgroups-mode",
            "MODE",
            "How criu treats cgroups: soft (default), full, strict or ignore",
        ),
        cli::text("empty-ns", "KIND", "Leave a namespace empty: network").value_parser(["network"]),
        cli::switch("auto-dedup", "Remove memory from older images that newer ones hold"),
    ]
}

/// `--image-path`
#[must_use]
pub fn image_path(matches: &ArgMatches) -> PathBuf {
    matches.path("image-path").map_or(Path::new(IMAGES), PathBuf::as_path).to_owned()
}

/// The options that these flags mean.
///
/// # Errors
/// A cgroup mode that is none.
pub fn options(matches: &ArgMatches) -> anyhow::Result<Options> {
    let mode = matches.text("manage-cgroups-mode").map(CgroupMode::parse).transpose()?;
    Ok(Options {
        tcp_established: matches.on("tcp-established"),
        ext_unix_sk: matches.on("ext-unix-sk"),
        shell_job: matches.on("shell-job"),
        lazy_pages: matches.on("lazy-pages"),
        file_locks: matches.on("file-locks"),
        cgroup_mode: Some(mode.unwrap_or(CgroupMode::Soft)),
        empty_network: matches.text("empty-ns").is_some(),
        auto_dedup: matches.on("auto-dedup"),
        // A terminal's master is the engine's, always outside.
        orphan_pts_master: true,
        ..Options::default()
    })
}

/// `--page-server ADDRESS:PORT`; an IPv6 address may stand in brackets.
///
/// # Errors
/// Text that is none.
pub fn page_server(text: &str) -> anyhow::Result<(String, u16)> {
    let wrong = || format!("--page-server {text}: expected ADDRESS:PORT");
    let (address, port) = text.rsplit_once(':').with_context(wrong)?;
    let address = address.trim_start_matches('[').trim_end_matches(']');
    let port = port.parse().ok().with_context(wrong)?;
    anyhow::ensure!(!address.is_empty(), wrong());
    Ok((address.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_servers_have_an_address_and_a_port() {
        assert_eq!(page_server("10.0.0.1:27").unwrap(), ("10.0.0.1".to_owned(), 27));
        assert_eq!(page_server("[::1]:27").unwrap(), ("::1".to_owned(), 27));
        for wrong in ["", "host", ":1", "host:port", "host:99999"] {
            assert!(page_server(wrong).is_err(), "{wrong}");
        }
    }
}

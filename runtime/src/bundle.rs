//! A bundle: a directory with a config.json.

use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::ArgMatches;
use serde::de::DeserializeOwned;

use crate::cli::{self, Given};

/// The largest config.json that is read. The largest ones that engines write are below 100 KiB.
const LIMIT: u64 = 16 << 20;

/// A bundle's place and its config.json, unparsed.
#[derive(Debug)]
pub struct Bundle {
    /// The directory, absolute.
    pub dir: PathBuf,
    /// Where the configuration was read.
    pub config_path: PathBuf,
    /// The bytes of config.json.
    pub config: Vec<u8>,
}

/// `--bundle` and `--config`.
#[must_use]
pub fn flags() -> [clap::Arg; 2] {
    [
        cli::path("bundle", "DIR", "The bundle's directory (default: the current directory)").short('b'),
        cli::path("config", "FILE", "Read FILE instead of the bundle's config.json").short('f'),
    ]
}

/// Opens what `--bundle` and `--config` name.
///
/// # Errors
/// When the directory or the file is missing, or the file is too large.
pub fn open(matches: &ArgMatches) -> anyhow::Result<Bundle> {
    let dir = matches.path("bundle").map_or(Path::new("."), PathBuf::as_path);
    open_at(dir, matches.path("config").map(PathBuf::as_path))
}

/// Reads the bundle in `dir`, with the configuration in `config` when given.
///
/// # Errors
/// See [`open`].
pub fn open_at(dir: &Path, config: Option<&Path>) -> anyhow::Result<Bundle> {
    let shown = dir.display();
    // What `state` reports must be absolute (runtime.md); symbolic links stay as the engine gave them.
    let dir = std::path::absolute(dir).with_context(|| format!("bundle {shown}"))?;
    let dir: PathBuf = dir.components().collect();
    anyhow::ensure!(
        dir.to_str().is_some(),
        "bundle {shown}: a path that is not UTF-8 cannot be kept in the state"
    );
    let is_dir = std::fs::metadata(&dir).with_context(|| format!("bundle {shown}"))?.is_dir();
    anyhow::ensure!(is_dir, "bundle {shown}: it is not a directory");
    let config_path = config.map_or_else(|| dir.join("config.json"), Path::to_owned);
    let config = read_limited(&config_path)?;
    Ok(Bundle { dir, config_path, config })
}

/// Reads a file of at most [`LIMIT`] bytes.
///
/// # Errors
/// When it cannot be read or is larger.
pub fn read_limited(path: &Path) -> anyhow::Result<Vec<u8>> {
    let shown = path.display();
    // A FIFO in a bundle must not make an engine wait, nor a device be read for ever.
    let opened = OpenOptions::new().read(true).custom_flags(nix::fcntl::OFlag::O_NONBLOCK.bits()).open(path);
    let file = opened.with_context(|| format!("read {shown}"))?;
    let meta = file.metadata().with_context(|| format!("read {shown}"))?;
    let kind = meta.file_type();
    anyhow::ensure!(kind.is_file() || kind.is_dir(), "read {shown}: it is not a regular file");
    anyhow::ensure!(meta.len() <= LIMIT, "read {shown}: {} bytes, more than the {LIMIT} allowed", meta.len());
    let mut bytes = Vec::with_capacity(usize::try_from(meta.len()).unwrap_or_default());
    file.take(LIMIT).read_to_end(&mut bytes).with_context(|| format!("read {shown}"))?;
    Ok(bytes)
}

/// Reads a part of config.json that came by itself, with the place of an error. By the same types as the whole
/// document is read: each other kind of deserializer would put a second copy of the model into the binary.
///
/// # Errors
/// Where it departs from the specification, and how.
pub fn read_json<T: DeserializeOwned>(json: &[u8]) -> anyhow::Result<T> {
    Ok(caisson_plan::spec::from_json(json)?)
}

//! A directory of one test's own, removed with the value.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// `/tmp/caisson-test-PID-N`, traversable by everybody so that mapped and ordinary users reach what is theirs.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    name: String,
}

impl Scratch {
    /// Makes an empty directory.
    #[expect(clippy::new_without_default, reason = "it makes a directory: no default value")]
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("caisson-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(&name);
        fs::create_dir_all(&path).unwrap_or_else(|error| panic!("make {}: {error}", path.display()));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("chmod of a new directory");
        Self { path, name }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its last component, unique to this test: also the name of the test's parent cgroup.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A path inside.
    pub fn join(&self, inside: impl AsRef<Path>) -> PathBuf {
        self.path.join(inside)
    }

    /// Makes a directory inside and returns its path.
    pub fn dir(&self, inside: &str) -> PathBuf {
        let path = self.join(inside);
        fs::create_dir_all(&path).unwrap_or_else(|error| panic!("make {}: {error}", path.display()));
        path
    }

    /// Writes a file inside and returns its path.
    pub fn file(&self, inside: &str, content: &str) -> PathBuf {
        let path = self.join(inside);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).unwrap_or_else(|error| panic!("make {}: {error}", parent.display()));
        }
        fs::write(&path, content).unwrap_or_else(|error| panic!("write {}: {error}", path.display()));
        path
    }

    /// Writes an executable script inside and returns its path.
    pub fn script(&self, inside: &str, body: &str) -> PathBuf {
        let path = self.file(inside, &format!("#!/bin/sh\n{body}\n"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("chmod of a new file");
        path
    }

    /// The content of a file inside, empty when there is none.
    pub fn read(&self, inside: &str) -> String {
        fs::read_to_string(self.join(inside)).unwrap_or_default()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            eprintln!("left behind {}: {error}", self.path.display());
        }
    }
}

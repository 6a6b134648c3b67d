//! Names and numbers with a meaning: parsed once at the edge, trusted afterwards.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// A container's id: letters, digits and `_+-.`, not `.` or `..`, at most 1024 bytes (runc's rule).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContainerId(String);

/// Why a string is not a container id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "container id {found:?}: expected 1 to 1024 letters, digits or any of \"_+-.\", and neither \".\" nor \"..\""
)]
pub struct InvalidId {
    found: String,
}

impl ContainerId {
    /// Checks `id` and takes it.
    ///
    /// # Errors
    /// `InvalidId` names what was found and what is allowed.
    pub fn parse(id: &str) -> Result<Self, InvalidId> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_+-.".contains(c);
        let well_formed = !id.is_empty() && id.len() <= 1024 && id.chars().all(allowed);
        if well_formed && id != "." && id != ".." {
            Ok(Self(id.to_owned()))
        } else {
            Err(InvalidId { found: id.to_owned() })
        }
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ContainerId {
    type Error = InvalidId;
    fn try_from(id: String) -> Result<Self, InvalidId> {
        Self::parse(&id)
    }
}

impl From<ContainerId> for String {
    fn from(id: ContainerId) -> Self {
        id.0
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An absolute path as the runtime sees it, before any namespace is entered.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HostPath(PathBuf);

impl HostPath {
    /// Wraps a path; a relative one must have been joined to its base by the caller.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The path.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        &self.0
    }

    /// This path with `tail` appended.
    #[must_use]
    pub fn join(&self, tail: impl AsRef<Path>) -> Self {
        Self(self.0.join(tail))
    }
}

impl fmt::Display for HostPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

/// A path inside the container: a name only, resolved beneath the root's fd when it is used.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ContainerPath(PathBuf);

impl ContainerPath {
    /// Wraps a path of the container; `mnt` and `/mnt` are the same place.
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self(Path::new("/").join(path))
    }

    /// The absolute path as the container sees it.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        &self.0
    }

    /// The path without its leading slash, for use beneath a root fd; the root itself is `.`.
    #[must_use]
    pub fn beneath(&self) -> &Path {
        match self.0.strip_prefix("/") {
            Ok(tail) if tail.as_os_str().is_empty() => Path::new("."),
            Ok(tail) => tail,
            Err(_) => &self.0,
        }
    }
}

impl fmt::Display for ContainerPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

/// A cgroup's path below the root of its hierarchy, always absolute, without `..`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CgroupPath(PathBuf);

impl CgroupPath {
    /// Makes the path absolute and drops `.` and `..` components, so that it cannot leave its hierarchy.
    pub fn new(path: impl AsRef<Path>) -> Self {
        let mut clean = PathBuf::from("/");
        for part in path.as_ref().components() {
            match part {
                std::path::Component::Normal(name) => clean.push(name),
                std::path::Component::ParentDir => {
                    clean.pop();
                }
                _ => {}
            }
        }
        Self(clean)
    }

    /// The absolute path.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        &self.0
    }

    /// The path to join to a hierarchy's mount point.
    #[must_use]
    pub fn relative(&self) -> &Path {
        self.0.strip_prefix("/").unwrap_or(&self.0)
    }

    /// This path with `tail` appended.
    #[must_use]
    pub fn join(&self, tail: impl AsRef<Path>) -> Self {
        Self::new(self.0.join(tail.as_ref().strip_prefix("/").unwrap_or(tail.as_ref())))
    }
}

impl fmt::Display for CgroupPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

/// A JSON pointer (RFC 6901) into config.json: where a step or a problem comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pointer(String);

impl Pointer {
    /// A pointer such as `/linux/namespaces/2/path`.
    pub fn new(pointer: impl Into<String>) -> Self {
        Self(pointer.into())
    }

    /// The pointer one level deeper; `~` and `/` in `key` are escaped.
    #[must_use]
    pub fn child(&self, key: impl fmt::Display) -> Self {
        let key = key.to_string().replace('~', "~0").replace('/', "~1");
        Self(format!("{}/{key}", self.0))
    }

    /// The pointer's text; empty for the whole document.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "/" } else { &self.0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn container_id_rejects_path_parts() {
        for bad in ["", ".", "..", "a/b", "a b", "ä"] {
            assert!(ContainerId::parse(bad).is_err(), "{bad:?}");
        }
        assert_eq!(ContainerId::parse("web-1_a+b.c").map(String::from), Ok("web-1_a+b.c".into()));
    }

    #[test]
    fn cgroup_path_cannot_leave_its_hierarchy() {
        assert_eq!(CgroupPath::new("../../a/./b/../c").as_path(), Path::new("/a/c"));
    }

    #[test]
    fn pointer_escapes_slashes() {
        assert_eq!(Pointer::new("/annotations").child("a/b~c").as_str(), "/annotations/a~1b~0c");
    }
}

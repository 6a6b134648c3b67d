//! The words of a mount's `options`: one table, and what they add up to.
//!
//! Words of mount(8) that concern one mount become `MOUNT_ATTR_*` bits; those that concern the file system go to
//! fsconfig(2); propagation, binds and the extensions of the field (`rro`, `idmap`, `tmpcopyup`, `src-nofollow`, …)
//! have places of their own. What is in no table is data of the file system.

use crate::ids::Pointer;
use crate::problem::Problems;
use crate::step::mounts::{AttrChange, LinkPolicy, Propagation, PropagationChange};

pub(crate) const RDONLY: u64 = 0x0000_0001;
pub(crate) const NOSUID: u64 = 0x0000_0002;
pub(crate) const NODEV: u64 = 0x0000_0004;
pub(crate) const NOEXEC: u64 = 0x0000_0008;
/// The three access time modes share these bits; 0 is relatime.
const ATIME: u64 = 0x0000_0070;
const NOATIME: u64 = 0x0000_0010;
const STRICTATIME: u64 = 0x0000_0020;
const NODIRATIME: u64 = 0x0000_0080;
const NOSYMFOLLOW: u64 = 0x0020_0000;

/// What one word does.
#[derive(Clone, Copy, Debug)]
enum Word {
    /// Sets and clears attributes of the mount.
    Attr(u64, u64),
    /// The same for the whole subtree.
    Recursive(u64, u64),
    /// A flag of the superblock.
    Superblock,
    Propagation(Propagation, bool),
    Bind(bool),
    Remount,
    IdMap(bool),
    CopyUp,
    Source(LinkPolicy),
    DestinationNoFollow,
    Ignored,
}

const TABLE: &[(&str, Word)] = &[
    ("ro", Word::Attr(RDONLY, 0)),
    ("rw", Word::Attr(0, RDONLY)),
    ("nosuid", Word::Attr(NOSUID, 0)),
    ("suid", Word::Attr(0, NOSUID)),
    ("nodev", Word::Attr(NODEV, 0)),
    ("dev", Word::Attr(0, NODEV)),
    ("noexec", Word::Attr(NOEXEC, 0)),
    ("exec", Word::Attr(0, NOEXEC)),
    ("noatime", Word::Attr(NOATIME, ATIME)),
    ("atime", Word::Attr(0, ATIME)),
    ("relatime", Word::Attr(0, ATIME)),
    ("norelatime", Word::Attr(0, ATIME)),
    ("strictatime", Word::Attr(STRICTATIME, ATIME)),
    ("nostrictatime", Word::Attr(0, ATIME)),
    ("nodiratime", Word::Attr(NODIRATIME, 0)),
    ("diratime", Word::Attr(0, NODIRATIME)),
    ("nosymfollow", Word::Attr(NOSYMFOLLOW, 0)),
    ("symfollow", Word::Attr(0, NOSYMFOLLOW)),
    ("rro", Word::Recursive(RDONLY, 0)),
    ("rrw", Word::Recursive(0, RDONLY)),
    ("rnosuid", Word::Recursive(NOSUID, 0)),
    ("rsuid", Word::Recursive(0, NOSUID)),
    ("rnodev", Word::Recursive(NODEV, 0)),
    ("rdev", Word::Recursive(0, NODEV)),
    ("rnoexec", Word::Recursive(NOEXEC, 0)),
    ("rexec", Word::Recursive(0, NOEXEC)),
    ("rnoatime", Word::Recursive(NOATIME, ATIME)),
    ("ratime", Word::Recursive(0, ATIME)),
    ("rrelatime", Word::Recursive(0, ATIME)),
    ("rnorelatime", Word::Recursive(0, ATIME)),
    ("rstrictatime", Word::Recursive(STRICTATIME, ATIME)),
    ("rnostrictatime", Word::Recursive(0, ATIME)),
    ("rnodiratime", Word::Recursive(NODIRATIME, 0)),
    ("rdiratime", Word::Recursive(0, NODIRATIME)),
    ("rnosymfollow", Word::Recursive(NOSYMFOLLOW, 0)),
    ("rsymfollow", Word::Recursive(0, NOSYMFOLLOW)),
    ("sync", Word::Superblock),
    ("async", Word::Superblock),
    ("dirsync", Word::Superblock),
    ("lazytime", Word::Superblock),
    ("nolazytime", Word::Superblock),
    ("mand", Word::Superblock),
    ("nomand", Word::Superblock),
    ("private", Word::Propagation(Propagation::Private, false)),
    ("rprivate", Word::Propagation(Propagation::Private, true)),
    ("slave", Word::Propagation(Propagation::Slave, false)),
    ("rslave", Word::Propagation(Propagation::Slave, true)),
    ("shared", Word::Propagation(Propagation::Shared, false)),
    ("rshared", Word::Propagation(Propagation::Shared, true)),
    ("unbindable", Word::Propagation(Propagation::Unbindable, false)),
    ("runbindable", Word::Propagation(Propagation::Unbindable, true)),
    ("bind", Word::Bind(false)),
    ("rbind", Word::Bind(true)),
    ("remount", Word::Remount),
    ("idmap", Word::IdMap(false)),
    ("ridmap", Word::IdMap(true)),
    ("tmpcopyup", Word::CopyUp),
    ("copy-symlink", Word::Source(LinkPolicy::Copy)),
    ("src-nofollow", Word::Source(LinkPolicy::NoFollow)),
    ("dest-nofollow", Word::DestinationNoFollow),
    // Words of fstab(5) that say nothing to the kernel, and flags that the new mount API has no place for.
    ("defaults", Word::Ignored),
    ("auto", Word::Ignored),
    ("noauto", Word::Ignored),
    ("user", Word::Ignored),
    ("nouser", Word::Ignored),
    ("users", Word::Ignored),
    ("group", Word::Ignored),
    ("owner", Word::Ignored),
    ("nofail", Word::Ignored),
    ("_netdev", Word::Ignored),
    ("silent", Word::Ignored),
    ("loud", Word::Ignored),
    ("iversion", Word::Ignored),
    ("noiversion", Word::Ignored),
];

/// All words known to the table, for `features`.
#[must_use]
pub fn known_words() -> Vec<&'static str> {
    let mut words: Vec<&str> = TABLE.iter().map(|(word, _)| *word).collect();
    words.sort_unstable();
    words
}

/// The words of `rro` and its like, for `features` (`recursiveAttributes`).
#[must_use]
pub fn recursive_words() -> Vec<&'static str> {
    TABLE.iter().filter(|(_, effect)| matches!(effect, Word::Recursive(..))).map(|(word, _)| *word).collect()
}

/// The words for attribute bits, for `explain`.
pub(crate) fn attr_words(set: u64, recursive: bool) -> Vec<String> {
    let bits = |effect: &Word| match effect {
        Word::Attr(bits, _) if !recursive => *bits,
        Word::Recursive(bits, _) if recursive => *bits,
        _ => 0,
    };
    let named = TABLE.iter().filter(|(_, effect)| bits(effect) != 0 && set & bits(effect) == bits(effect));
    named.map(|(word, _)| (*word).to_owned()).collect()
}

/// What the words of one mount add up to.
#[derive(Clone, Debug, Default)]
pub(crate) struct MountOptions {
    pub attrs: AttrChange,
    pub recursive_attrs: AttrChange,
    pub propagation: Vec<PropagationChange>,
    /// `bind` (false) or `rbind` (true).
    pub bind: Option<bool>,
    pub remount: bool,
    /// `idmap` (false) or `ridmap` (true), and crun's mapping text.
    pub idmap: Option<(bool, Option<String>)>,
    pub copy_up: bool,
    pub source_link: LinkPolicy,
    pub destination_nofollow: bool,
    /// Flags and data of the file system, in order.
    pub data: Vec<(String, Option<String>)>,
}

impl MountOptions {
    /// Whether `ro` is in force.
    pub fn read_only(&self) -> bool {
        self.attrs.set & RDONLY != 0
    }

    /// Whether `rw` was asked for in so many words.
    pub fn writable(&self) -> bool {
        self.attrs.clear & RDONLY != 0
    }
}

/// Reads the words at `at`.
pub(crate) fn read(words: &[String], at: &Pointer, problems: &mut Problems) -> MountOptions {
    let mut options = MountOptions::default();
    for (index, word) in words.iter().enumerate() {
        let here = at.child(index);
        if word.contains('\0') {
            problems.error(&here, "the option has a NUL byte");
        }
        let known = TABLE.iter().find(|(name, _)| name == word).map(|(_, effect)| *effect);
        match known {
            Some(effect) => apply(effect, word, &mut options),
            None => apply_unlisted(word, &mut options),
        }
    }
    options
}

fn apply(effect: Word, word: &str, options: &mut MountOptions) {
    match effect {
        Word::Attr(set, clear) => change(&mut options.attrs, set, clear),
        Word::Recursive(set, clear) => change(&mut options.recursive_attrs, set, clear),
        Word::Superblock => options.data.push((word.to_owned(), None)),
        Word::Propagation(to, recursive) => options.propagation.push(PropagationChange { to, recursive }),
        Word::Bind(recursive) => options.bind = Some(recursive || options.bind == Some(true)),
        Word::Remount => options.remount = true,
        Word::IdMap(recursive) => options.idmap = Some((recursive, None)),
        Word::CopyUp => options.copy_up = true,
        Word::Source(policy) => options.source_link = policy,
        Word::DestinationNoFollow => options.destination_nofollow = true,
        Word::Ignored => {}
    }
}

/// The last word wins. Access time bits are cleared whole before one is set: mount_setattr(2) wants it so.
fn change(attrs: &mut AttrChange, set: u64, clear: u64) {
    attrs.set = (attrs.set & !clear) | set;
    attrs.clear = (attrs.clear & !(set & !ATIME)) | clear;
}

fn apply_unlisted(word: &str, options: &mut MountOptions) {
    let (key, value) = match word.split_once('=') {
        Some((key, value)) => (key, Some(value.to_owned())),
        None => (word, None),
    };
    match key {
        "" => {}
        "idmap" | "ridmap" => options.idmap = Some((key == "ridmap", value)),
        // Comments for user space (mount(8): "x-", "X-" and "comment=").
        _ if key.starts_with("x-") || key.starts_with("X-") || key == "comment" => {}
        _ => options.data.push((key.to_owned(), value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_words(words: &[&str]) -> MountOptions {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        read(&words, &Pointer::default(), &mut Problems::default())
    }

    #[test]
    fn last_word_wins() {
        assert_eq!(read_words(&["ro", "rw"]).attrs, AttrChange { set: 0, clear: RDONLY });
        assert_eq!(read_words(&["rw", "ro"]).attrs, AttrChange { set: RDONLY, clear: 0 });
    }

    #[test]
    fn access_time_is_cleared_whole() {
        let attrs = read_words(&["noatime", "strictatime"]).attrs;
        assert_eq!(attrs, AttrChange { set: STRICTATIME, clear: ATIME });
    }

    #[test]
    fn unknown_words_are_data_and_comments_are_dropped() {
        let options = read_words(&["mode=755", "newinstance", "x-mount.mkdir", "X-foo=1", "defaults"]);
        let data = vec![("mode".to_owned(), Some("755".to_owned())), ("newinstance".to_owned(), None)];
        assert_eq!(options.data, data);
    }

    #[test]
    fn words_are_listed_once() {
        let mut words = known_words();
        words.dedup();
        assert_eq!(words.len(), TABLE.len());
        assert!(recursive_words().contains(&"rro"));
    }
}

//! Device rules on cgroup v1: lines for `devices.allow` and `devices.deny`.

use std::fs::File;
use std::path::Path;

use caisson_plan::step::cgroup::{DeviceKind, DeviceRule};

use crate::error::{Error, Result};
use crate::files;

/// Puts the rules in force, in their order, over "everything denied".
pub(crate) fn write(dir: &Path, rules: &[DeviceRule]) -> Result<()> {
    let mut allow = Lazy::new(dir, "devices.allow");
    let mut deny = Lazy::new(dir, "devices.deny");
    if !rules.first().is_some_and(covers_all) {
        // A new cgroup has its parent's list, which is usually "everything allowed".
        deny.write("a *:* rwm")?;
    }
    for rule in rules {
        for line in lines(rule) {
            if rule.allow { allow.write(&line)? } else { deny.write(&line)? }
        }
    }
    Ok(())
}

/// Whether the rule replaces all before it: the kernel clears its list on `a`.
pub(crate) fn covers_all(rule: &DeviceRule) -> bool {
    let every_access = rule.read && rule.write && rule.mknod;
    rule.kind == DeviceKind::All && rule.major.is_none() && rule.minor.is_none() && every_access
}

/// A rule as the kernel reads it: `c 1:3 rwm`.
///
/// The kernel takes any line that begins with `a` for all devices and all accesses, whatever follows, so a narrower
/// rule for both types becomes one line for each.
pub(crate) fn lines(rule: &DeviceRule) -> Vec<String> {
    let kinds: &[char] = match rule.kind {
        DeviceKind::All if covers_all(rule) => &['a'],
        DeviceKind::All => &['b', 'c'],
        DeviceKind::Char => &['c'],
        DeviceKind::Block => &['b'],
    };
    let rest = format!("{}:{} {}", number(rule.major), number(rule.minor), access(rule));
    kinds.iter().map(|kind| format!("{kind} {rest}")).collect()
}

fn number(number: Option<u32>) -> String {
    number.map_or_else(|| "*".into(), |n| n.to_string())
}

fn access(rule: &DeviceRule) -> String {
    [(rule.read, 'r'), (rule.write, 'w'), (rule.mknod, 'm')]
        .iter()
        .filter(|(on, _)| *on)
        .map(|(_, c)| *c)
        .collect()
}

/// A file opened at its first write: each write(2) is one rule, so one open serves all.
struct Lazy<'a> {
    dir: &'a Path,
    name: &'static str,
    file: Option<File>,
}

impl<'a> Lazy<'a> {
    fn new(dir: &'a Path, name: &'static str) -> Self {
        Self { dir, name, file: None }
    }

    fn write(&mut self, line: &str) -> Result<()> {
        let path = || self.dir.join(self.name);
        let failed = |errno| Error::write(&path(), line, None, errno);
        let file = match self.file.take() {
            Some(file) => file,
            None => files::open_write(&path()).map_err(failed)?,
        };
        files::write_to(&file, line).map_err(failed)?;
        self.file = Some(file);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(allow: bool, kind: DeviceKind, numbers: (Option<u32>, Option<u32>), access: &str) -> DeviceRule {
        DeviceRule {
            allow,
            kind,
            major: numbers.0,
            minor: numbers.1,
            read: access.contains('r'),
            write: access.contains('w'),
            mknod: access.contains('m'),
        }
    }

    #[test]
    fn lines_are_what_the_kernel_reads() {
        let found: Vec<String> = [
            rule(false, DeviceKind::All, (None, None), "rwm"),
            rule(true, DeviceKind::Char, (Some(1), Some(3)), "rwm"),
            rule(true, DeviceKind::Block, (Some(8), None), "r"),
            rule(true, DeviceKind::Char, (None, None), "m"),
        ]
        .iter()
        .flat_map(lines)
        .collect();
        assert_eq!(found, ["a *:* rwm", "c 1:3 rwm", "b 8:* r", "c *:* m"]);
    }

    #[test]
    fn a_narrow_rule_for_both_types_is_not_widened() {
        assert_eq!(lines(&rule(true, DeviceKind::All, (Some(1), None), "rwm")), ["b 1:* rwm", "c 1:* rwm"]);
        assert_eq!(lines(&rule(false, DeviceKind::All, (None, None), "r")), ["b *:* r", "c *:* r"]);
    }
}

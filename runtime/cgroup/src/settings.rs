//! Writing limits: each to its hierarchy, in the order of the plan, with a second try for those that depend on each other.

use std::path::{Path, PathBuf};

use caisson_plan::step::cgroup::{Setting, SettingMode};
use nix::errno::Errno;

use crate::error::{Error, Result};
use crate::location::Location;
use crate::{files, v2};

/// Writes all settings.
///
/// The kernel checks some files against each other at every write: memory against memory+swap, quota against period
/// and burst, CPUs against the parent's. Which of two must go first depends on the values in force, so one refused
/// with EINVAL or EBUSY is written again after all others; only the second refusal is an error.
pub(crate) fn write_all(location: &Location, settings: &[Setting]) -> Result<()> {
    let mut refused = Vec::new();
    for setting in settings {
        let Some(path) = place(location, setting)? else { continue };
        if setting.mode == SettingMode::NotBelowUsage {
            refuse_below_usage(&path, setting)?;
        }
        match write(&path, setting) {
            Err(error) if matches!(error.errno(), Some(Errno::EINVAL | Errno::EBUSY)) => {
                refused.push((path, setting));
            }
            other => other?,
        }
    }
    refused.iter().try_for_each(|(path, setting)| write(path, setting))
}

/// The file a setting is written to; `None` when it may be left out.
fn place(location: &Location, setting: &Setting) -> Result<Option<PathBuf>> {
    let dir = match location.v1_dir(&setting.controller) {
        Some(dir) => Some(dir),
        None => location.v2.as_deref(),
    };
    match dir {
        Some(dir) => Ok(Some(dir.join(&setting.file))),
        None if setting.mode == SettingMode::IfPresent => Ok(None),
        None => Err(Error::NoHierarchy {
            controller: setting.controller.clone(),
            file: setting.file.clone(),
            from: setting.from.clone(),
            present: location.v1.iter().flat_map(|dir| dir.controllers.iter().cloned()).collect(),
        }),
    }
}

fn write(path: &Path, setting: &Setting) -> Result<()> {
    match files::write(path, &setting.value) {
        Ok(()) => Ok(()),
        Err(Errno::ENOENT) if setting.mode == SettingMode::IfPresent => Ok(()),
        // Limits of kernel memory were taken out of the kernel (5.16); what it did was never what it promised.
        Err(Errno::EOPNOTSUPP | Errno::ENOENT) if setting.file == "memory.kmem.limit_in_bytes" => Ok(()),
        Err(Errno::ENOENT) => Err(missing(path, setting)),
        Err(errno) => Err(Error::write(path, &setting.value, Some(&setting.from), errno)),
    }
}

/// A file that is not there: on v2 this usually means a controller that is not enabled.
fn missing(path: &Path, setting: &Setting) -> Error {
    let dir = path.parent().unwrap_or(path);
    match files::read_value(&dir.join("cgroup.controllers")) {
        Ok(have)
            if setting.controller != "cgroup"
                && !have.split_whitespace().any(|c| c == setting.controller) =>
        {
            Error::ControllerUnavailable {
                controller: setting.controller.clone(),
                file: setting.file.clone(),
                from: setting.from.clone(),
                cgroup: dir.to_owned(),
                why: v2::lacking(dir, &setting.controller),
            }
        }
        _ => Error::write(path, &setting.value, Some(&setting.from), Errno::ENOENT),
    }
}

/// `linux.resources.memory.checkBeforeUpdate`: the kernel would reclaim, and kill on v2, to get below the limit.
fn refuse_below_usage(path: &Path, setting: &Setting) -> Result<()> {
    let Ok(limit) = setting.value.parse::<u64>() else { return Ok(()) };
    let usage_file = match setting.file.as_str() {
        "memory.limit_in_bytes" => "memory.usage_in_bytes",
        "memory.memsw.limit_in_bytes" => "memory.memsw.usage_in_bytes",
        "memory.max" => "memory.current",
        "memory.swap.max" => "memory.swap.current",
        _ => return Ok(()),
    };
    let usage_path = path.with_file_name(usage_file);
    let usage = files::read_value(&usage_path).map_err(|errno| Error::file("read", &usage_path, errno))?;
    match usage.parse::<u64>() {
        Ok(usage) if usage > limit => Err(Error::BelowUsage {
            file: path.to_owned(),
            value: setting.value.clone(),
            usage,
            from: setting.from.clone(),
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::location::V1Dir;
    use crate::testing::{Scratch, setting};

    fn memory(root: &Scratch) -> Location {
        let dir = V1Dir { controllers: vec!["memory".into()], dir: root.path().to_owned() };
        Location { v1: vec![dir], ..Location::default() }
    }

    #[test]
    fn a_setting_without_a_hierarchy_is_an_error_unless_it_may_be_missing() {
        let root = Scratch::new("no-hierarchy");
        let wish = setting("hugetlb", "hugetlb.2MB.limit_in_bytes", "0", SettingMode::Required);
        let text = write_all(&memory(&root), std::slice::from_ref(&wish)).unwrap_err().to_string();
        assert!(text.contains("hugetlb controller") && text.contains("/linux/resources/hugetlb"), "{text}");
        let lenient = Setting { mode: SettingMode::IfPresent, ..wish };
        assert!(write_all(&memory(&root), &[lenient]).is_ok());
    }

    #[test]
    fn a_missing_file_is_an_error_unless_it_may_be_missing() {
        let root = Scratch::new("no-file");
        let wish = setting("memory", "memory.swappiness", "10", SettingMode::Required);
        let error = write_all(&memory(&root), std::slice::from_ref(&wish)).unwrap_err();
        assert_eq!(error.errno(), Some(Errno::ENOENT));
        assert!(error.to_string().contains("this kernel has no such file"), "{error}");
        let lenient = Setting { mode: SettingMode::IfPresent, ..wish };
        assert!(write_all(&memory(&root), &[lenient]).is_ok());
        assert!(!root.path().join("memory.swappiness").exists());
    }

    #[test]
    fn a_limit_below_the_usage_is_refused_before_it_is_written() {
        let root = Scratch::new("below");
        root.file("memory.limit_in_bytes", "max").file("memory.usage_in_bytes", "4096\n");
        let wish = setting("memory", "memory.limit_in_bytes", "4095", SettingMode::NotBelowUsage);
        let error = write_all(&memory(&root), std::slice::from_ref(&wish)).unwrap_err();
        assert!(matches!(error, Error::BelowUsage { usage: 4096, .. }));
        assert_eq!(root.read("memory.limit_in_bytes"), "max");
        write_all(&memory(&root), &[Setting { value: "4096".into(), ..wish }]).unwrap();
        assert_eq!(root.read("memory.limit_in_bytes"), "4096");
    }
}

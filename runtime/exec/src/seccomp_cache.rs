//! Compiled seccomp filters on disk.
//!
//! A file holds the plan it was compiled from and the program. The name is only a hash; the plan inside is
//! compared whole, so a collision costs a compilation and nothing else. The directory belongs to the runtime's
//! user alone; anything else found there is not used.

use std::collections::hash_map::DefaultHasher;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::hash::{Hash, Hasher};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use crate::error::best_effort;
use caisson_plan::step::process::SeccompPlan;

/// BPF_MAXINSNS times the size of an instruction, and room for the plan.
const MAX_FILE: u64 = 4096 * 8 + (1 << 20);
const MAGIC: &str = concat!("caisson-seccomp ", env!("CARGO_PKG_VERSION"), " 1\n");

/// Looks the filter up; any doubt is a miss.
pub(crate) fn find(dir: &Path, plan: &SeccompPlan) -> Option<Vec<u8>> {
    let wanted = key(plan)?;
    let file = File::open(dir.join(name(&wanted))).ok()?;
    let meta = file.metadata().ok()?;
    let ours = meta.uid() == caisson_sys::creds::geteuid() && meta.mode() & 0o022 == 0;
    if !meta.is_file() || !ours || meta.len() > MAX_FILE {
        return None;
    }
    let mut content = Vec::new();
    file.take(MAX_FILE).read_to_end(&mut content).ok()?;
    let program = content.strip_prefix(wanted.as_slice())?;
    let whole = !program.is_empty() && program.len() % 8 == 0 && program.len() <= 4096 * 8;
    whole.then(|| program.to_vec())
}

/// Keeps the filter; failure to do so is no failure of the container.
pub(crate) fn store(dir: &Path, plan: &SeccompPlan, program: &[u8]) {
    let Some(key) = key(plan) else { return };
    best_effort(try_store(dir, &key, program));
}

fn try_store(dir: &Path, key: &[u8], program: &[u8]) -> std::io::Result<()> {
    if !dir.exists() {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    }
    let target = dir.join(name(key));
    let temporary = dir.join(format!(".{}.{}", name(key), std::process::id()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    let written = file.write_all(key).and_then(|()| file.write_all(program));
    let outcome = written.and_then(|()| fs::rename(&temporary, &target));
    if outcome.is_err() {
        fs::remove_file(&temporary)?;
    }
    outcome
}

/// Everything the program depends on.
fn key(plan: &SeccompPlan) -> Option<Vec<u8>> {
    let version = libseccomp::ScmpVersion::current().ok()?;
    let mut key = format!("{MAGIC}{} {}\n", std::env::consts::ARCH, version).into_bytes();
    let filter_only = SeccompPlan { listener: None, flags: 0, ..plan.clone() };
    serde_json::to_writer(&mut key, &filter_only).ok()?;
    key.push(b'\n');
    Some(key)
}

fn name(key: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    format!("{:016x}.bpf", hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use caisson_plan::step::process::SeccompAction;

    #[test]
    fn only_the_same_plan_hits() {
        let dir = std::env::temp_dir().join(format!("caisson-cache-{}", std::process::id()));
        let plan = |action| SeccompPlan {
            default: action,
            architectures: vec![],
            flags: 0,
            rules: vec![],
            listener: None,
        };
        store(&dir, &plan(SeccompAction::Allow), &[0; 16]);
        assert_eq!(find(&dir, &plan(SeccompAction::Allow)), Some(vec![0; 16]));
        assert_eq!(find(&dir, &plan(SeccompAction::Trap)), None);
        fs::remove_dir_all(dir).unwrap();
    }
}

//! The formats of counter files.

use std::collections::BTreeMap;
use std::path::Path;

use nix::errno::Errno;

use super::{BlkioEntry, Psi, PsiData};
use crate::error::{Error, Result};
use crate::files;

/// The text of a counter file; empty when this kernel or this cgroup does not have it.
pub(super) fn text(dir: &Path, file: &str) -> Result<String> {
    let path = dir.join(file);
    match files::read(&path) {
        Ok(text) => Ok(text),
        // EOPNOTSUPP: pressure files with PSI switched off (psi=0).
        Err(Errno::ENOENT | Errno::ENODEV | Errno::EOPNOTSUPP) => Ok(String::new()),
        Err(errno) => Err(Error::file("read", &path, errno)),
    }
}

/// A number; `max` is the largest, a missing file 0.
pub(super) fn number(dir: &Path, file: &str) -> Result<u64> {
    Ok(number_of(&text(dir, file)?))
}

pub(super) fn number_of(text: &str) -> u64 {
    match text.trim() {
        "max" => u64::MAX,
        // v1 has -1 for "no limit" in a few files.
        "-1" => u64::MAX,
        number => number.parse().unwrap_or(0),
    }
}

/// Lines of `name value`.
pub(crate) fn table(text: &str) -> BTreeMap<String, u64> {
    let pair = |line: &str| {
        let (name, value) = line.split_once(' ')?;
        Some((name.to_owned(), value.trim().parse().ok()?))
    };
    text.lines().filter_map(pair).collect()
}

/// `cpuset.cpus`: `0-2,5`.
pub(super) fn list(text: &str) -> Vec<u16> {
    let range = |part: &str| {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        Some(from.trim().parse::<u16>().ok()?..=to.trim().parse::<u16>().ok()?)
    };
    text.split(',').filter_map(range).flatten().collect()
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, and the same for `full`.
pub(super) fn pressure(text: &str) -> Option<Psi> {
    let mut psi = Psi::default();
    let mut found = false;
    for line in text.lines() {
        let Some((kind, rest)) = line.split_once(' ') else { continue };
        let data = match kind {
            "some" => &mut psi.some,
            "full" => &mut psi.full,
            _ => continue,
        };
        *data = pressure_line(rest);
        found = true;
    }
    found.then_some(psi)
}

fn pressure_line(rest: &str) -> PsiData {
    let mut data = PsiData::default();
    for (name, value) in rest.split_whitespace().filter_map(|word| word.split_once('=')) {
        match name {
            "avg10" => data.avg10 = value.parse().unwrap_or(0.0),
            "avg60" => data.avg60 = value.parse().unwrap_or(0.0),
            "avg300" => data.avg300 = value.parse().unwrap_or(0.0),
            "total" => data.total = value.parse().unwrap_or(0),
            _ => {}
        }
    }
    data
}

/// v1: `8:0 Read 4096`; the sum in the last line names no device and is left out.
pub(super) fn blkio(text: &str) -> Vec<BlkioEntry> {
    let entry = |line: &str| {
        let mut words = line.split_whitespace();
        let (major, minor) = device(words.next()?)?;
        let op = words.next()?.to_owned();
        Some(BlkioEntry { major, minor, op, value: words.next()?.parse().ok()? })
    };
    text.lines().filter_map(entry).collect()
}

/// v2: `8:0 rbytes=4096 wbytes=0 rios=1 wios=0 dbytes=0 dios=0`, and more words with some policies. Bytes and
/// operations.
pub(super) fn io(text: &str) -> (Vec<BlkioEntry>, Vec<BlkioEntry>) {
    let (mut bytes, mut operations) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let Some((major, minor)) = words.next().and_then(device) else { continue };
        for (name, value) in words.filter_map(|word| word.split_once('=')) {
            let (list, op) = match name {
                "rbytes" => (&mut bytes, "Read"),
                "wbytes" => (&mut bytes, "Write"),
                "dbytes" => (&mut bytes, "Discard"),
                "rios" => (&mut operations, "Read"),
                "wios" => (&mut operations, "Write"),
                "dios" => (&mut operations, "Discard"),
                _ => continue,
            };
            list.push(BlkioEntry { major, minor, op: op.to_owned(), value: number_of(value) });
        }
    }
    (bytes, operations)
}

fn device(text: &str) -> Option<(u64, u64)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// `rdma.current`: `mlx4_0 hca_handle=2 hca_object=2000`.
pub(super) fn rdma(text: &str) -> BTreeMap<String, BTreeMap<String, u64>> {
    let device = |line: &str| {
        let (name, rest) = line.split_once(' ')?;
        let pairs = rest.split_whitespace().filter_map(|word| word.split_once('='));
        Some((name.to_owned(), pairs.map(|(name, value)| (name.to_owned(), number_of(value))).collect()))
    };
    text.lines().filter_map(device).collect()
}

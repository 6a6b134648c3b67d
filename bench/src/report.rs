//! Medians, 95th percentiles and ratios, as a table and as JSON.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};

use crate::compare::{FLOOR, Operation, Options, Results};
use crate::stopwatch::Sample;

/// The runtime that the others are held against.
const REFERENCE: &str = "crun";

/// The figures of one operation of one contestant.
struct Figures {
    median: f64,
    p95: f64,
    min: f64,
    cpu: f64,
    rss_kib: u64,
}

/// The value below which `percent` of the sorted `values` lie (nearest rank).
fn percentile(values: &[f64], percent: usize) -> f64 {
    let rank = (values.len() * percent).div_ceil(100).max(1);
    values.get(rank - 1).copied().unwrap_or(f64::NAN)
}

fn sorted(samples: &[Sample], of: impl Fn(&Sample) -> f64) -> Vec<f64> {
    let mut values: Vec<f64> = samples.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values
}

fn figures(results: &Results, operation: Operation) -> Option<Figures> {
    let samples = results.samples.get(&operation).filter(|samples| !samples.is_empty())?;
    let wall = sorted(samples, |s| s.wall_ms);
    Some(Figures {
        median: percentile(&wall, 50),
        p95: percentile(&wall, 95),
        min: percentile(&wall, 0),
        cpu: percentile(&sorted(samples, |s| s.cpu_ms), 50),
        rss_kib: samples.iter().map(|s| s.peak_rss_kib).max().unwrap_or(0),
    })
}

/// The contestants: the floor, then the runtimes in the order given.
fn names(options: &Options) -> impl Iterator<Item = &str> {
    std::iter::once(FLOOR).chain(options.runtimes.iter().map(|runtime| runtime.name.as_str()))
}

fn ratio(of: f64, to: Option<&Figures>) -> String {
    to.map_or_else(|| "-".to_owned(), |to| format!("{:.2}", of / to.median))
}

/// The report for people.
pub fn table(options: &Options, results: &BTreeMap<String, Results>) -> String {
    let mut out = String::new();
    let mut line = |text: String| {
        out.push_str(text.trim_end());
        out.push('\n');
    };
    line(format!(
        "{} rounds, interleaved; milliseconds of wall time but for `cpu` (user and system)",
        options.rounds
    ));
    for operation in Operation::ALL {
        let of = |name: &str| results.get(name).and_then(|result| figures(result, operation));
        let (reference, floor) = (of(REFERENCE), of(FLOOR));
        line(format!(
            "\n{:<16} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8}  RSS KiB",
            operation.name(),
            "median",
            "p95",
            "min",
            "cpu",
            "x crun",
            "x floor"
        ));
        for (name, f) in names(options).filter_map(|name| of(name).map(|f| (name, f))) {
            line(format!(
                "  {name:<14} {:>8.2} {:>8.2} {:>8.2} {:>8.2} {:>8} {:>8}  {}",
                f.median,
                f.p95,
                f.min,
                f.cpu,
                ratio(f.median, reference.as_ref()),
                ratio(f.median, floor.as_ref()),
                f.rss_kib
            ));
        }
    }
    line("\nbinary".to_owned());
    for runtime in &options.runtimes {
        let size = fs::metadata(&runtime.path).map_or(0, |meta| meta.len());
        line(format!("  {:<14} {:>8} KiB  {}", runtime.name, size.div_ceil(1024), runtime.path.display()));
    }
    for (name, result) in results {
        for (group, error) in &result.errors {
            line(format!("\n{name} dropped out of {}: {error}", group.name()));
        }
    }
    out
}

/// The report for programs.
pub fn json(options: &Options, results: &BTreeMap<String, Results>) -> Value {
    let mut contestants = serde_json::Map::new();
    for name in names(options) {
        let Some(result) = results.get(name) else { continue };
        let mut operations = serde_json::Map::new();
        for operation in Operation::ALL {
            if let Some(f) = figures(result, operation) {
                operations.insert(
                    operation.key().to_owned(),
                    json!({ "median_ms": f.median, "p95_ms": f.p95, "min_ms": f.min, "cpu_ms": f.cpu,
                            "peak_rss_kib": f.rss_kib }),
                );
            }
        }
        let path = options.runtimes.iter().find(|runtime| runtime.name == name).map(|runtime| &runtime.path);
        let size = path.and_then(|path| fs::metadata(path).ok()).map(|meta| meta.len());
        let errors: serde_json::Map<_, _> =
            result.errors.iter().map(|(group, error)| (group.name().to_owned(), json!(error))).collect();
        contestants.insert(
            name.to_owned(),
            json!({ "path": path, "binary_bytes": size, "errors": errors, "operations": operations }),
        );
    }
    json!({ "rounds": options.rounds, "contestants": contestants })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentile_takes_the_nearest_rank() {
        let values = [1.0, 2.0, 3.0, 4.0];
        assert_eq!(percentile(&values, 0), 1.0);
        assert_eq!(percentile(&values, 50), 2.0);
        assert_eq!(percentile(&values, 95), 4.0);
        assert!(percentile(&[], 50).is_nan());
    }
}

//! All that is wrong with a document's shape, not only the first thing: what the model refuses is taken out and the
//! rest read again.

use oci_spec::runtime::Spec;
use serde_json::Value;

use crate::ids::Pointer;
use crate::problem::{Problem, Problems, Severity};
use crate::spec::{from_json, parse};

/// A document with more wrong values than this is of another kind altogether.
const MOST: usize = 64;

/// Reads as much of config.json as makes sense, with a problem for every value that does not.
///
/// The specification is `None` when nothing sensible is left: the text is no JSON, or the root lacks a required key.
#[must_use]
pub fn parse_leniently(json: &[u8]) -> (Option<Spec>, Problems) {
    let first = match parse(json) {
        Ok(parsed) => return (Some(parsed.spec), parsed.warnings),
        Err(first) => first,
    };
    let Ok(mut tree) = serde_json::from_slice::<Value>(json) else { return (None, first) };
    let mut found = first.clone();
    let mut removed: Vec<Pointer> = Vec::new();
    let mut next = first;
    for _ in 0..MOST {
        let Some(at) = next.list().first().map(|problem| problem.pointer.clone()) else { break };
        if !remove(&mut tree, &at) {
            return (None, found);
        }
        removed.push(at);
        match from_json::<Spec>(tree.to_string().as_bytes()) {
            Ok(spec) => return (Some(spec), found),
            Err(problems) => {
                record(&problems, &removed, &mut found);
                next = problems;
            }
        }
    }
    (None, found)
}

/// The same problem in the original's terms: list items that were taken out count again, and the line and column of
/// the shortened text mean nothing.
fn record(problems: &Problems, removed: &[Pointer], found: &mut Problems) {
    for problem in problems.list() {
        let pointer = removed.iter().rev().fold(problem.pointer.clone(), |at, gone| shifted(&at, gone));
        // The key that is missing now is the one that was taken out.
        if removed.iter().any(|gone| gone != &problem.pointer && beneath(gone, &problem.pointer)) {
            continue;
        }
        let text = problem.message.split_once(": ").map_or(problem.message.as_str(), |(_, text)| text);
        found.error(&pointer, text);
    }
}

/// `at` after the list item `gone` has been put back.
fn shifted(at: &Pointer, gone: &Pointer) -> Pointer {
    let Some((list, index)) = gone.as_str().rsplit_once('/') else { return at.clone() };
    let (Ok(index), Some(rest)) = (index.parse::<usize>(), at.as_str().strip_prefix(&format!("{list}/")))
    else {
        return at.clone();
    };
    let (here, below) = rest.split_once('/').map_or((rest, None), |(here, below)| (here, Some(below)));
    match here.parse::<usize>() {
        Ok(here) if here >= index => {
            let moved = format!("{list}/{}", here + 1);
            Pointer::new(below.map_or(moved.clone(), |below| format!("{moved}/{below}")))
        }
        _ => at.clone(),
    }
}

fn remove(tree: &mut Value, at: &Pointer) -> bool {
    let Some((parent, last)) = at.as_str().rsplit_once('/') else { return false };
    match tree.pointer_mut(parent) {
        Some(Value::Object(map)) => map.remove(&last.replace("~1", "/").replace("~0", "~")).is_some(),
        Some(Value::Array(list)) => match last.parse::<usize>() {
            Ok(index) if index < list.len() => {
                list.remove(index);
                true
            }
            _ => false,
        },
        _ => false,
    }
}

/// Adds `later` without what only follows from values that were taken out: problems at, above or below their places.
pub fn add_unrelated(found: &mut Problems, later: &Problems) {
    let known: Vec<Pointer> =
        found.list().iter().filter(|p| p.severity == Severity::Error).map(|p| p.pointer.clone()).collect();
    let related = |problem: &Problem| {
        known.iter().any(|at| beneath(at, &problem.pointer) || beneath(&problem.pointer, at))
    };
    let fresh: Vec<Problem> = later.list().iter().filter(|problem| !related(problem)).cloned().collect();
    found.extend(Problems::from(fresh));
}

fn beneath(inner: &Pointer, outer: &Pointer) -> bool {
    inner.as_str().strip_prefix(outer.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pointers(json: &str) -> Vec<String> {
        let (_, problems) = parse_leniently(json.as_bytes());
        problems.list().iter().map(|p| p.pointer.as_str().to_owned()).collect()
    }

    #[test]
    fn every_wrong_value_is_named_at_its_own_place() {
        let json = r#"{"ociVersion":"1.0.0","root":{"path":"r"},"hostname":5,
            "process":{"cwd":"/","args":["a",1,"b",2],"user":{"uid":"x","gid":0}}}"#;
        let found = pointers(json);
        for wanted in ["/hostname", "/process/args/1", "/process/args/3", "/process/user/uid"] {
            assert!(found.iter().any(|at| at == wanted), "{wanted} in {found:?}");
        }
    }

    #[test]
    fn text_that_is_no_json_has_one_problem() {
        assert_eq!(pointers("{\"a\": ").len(), 1);
    }

    #[test]
    fn a_taken_out_item_moves_the_later_ones() {
        let shift = |at: &str| shifted(&Pointer::new(at), &Pointer::new("/mounts/1")).as_str().to_owned();
        assert_eq!(shift("/mounts/0/type"), "/mounts/0/type");
        assert_eq!(shift("/mounts/1/type"), "/mounts/2/type");
        assert_eq!(shift("/mounts/4"), "/mounts/5");
        assert_eq!(shift("/process"), "/process");
    }
}

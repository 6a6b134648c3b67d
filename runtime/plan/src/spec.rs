//! Reading config.json: where it is broken, as a JSON pointer with line and column.

use oci_spec::runtime::{Capability, Spec};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::ids::Pointer;
use crate::place::pointer_at;
use crate::problem::Problems;

/// A config.json that could be read.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// The model.
    pub spec: Spec,
    /// What was passed over: capabilities that this runtime does not know.
    pub warnings: Problems,
}

/// Reads config.json.
///
/// The ordinary way is one pass. Only when that fails, or an old name is used, is the document looked at as a tree: names
/// that the model spells otherwise are amended, and capabilities newer than the model are dropped with a warning
/// (config.md: "Any value which cannot be mapped to a relevant kernel interface … MUST be logged as a warning").
///
/// # Errors
/// One problem that says where the document departs from the specification.
pub fn parse(json: &[u8]) -> Result<Parsed, Problems> {
    let first = match read(json) {
        Ok(spec) if !has_old_names(&spec, json) => return Ok(Parsed { spec, warnings: Problems::default() }),
        Ok(_) => Problems::default(),
        Err(problem) => problem,
    };
    let Ok(mut tree) = serde_json::from_slice::<Value>(json) else {
        return Err(first);
    };
    let mut warnings = Problems::default();
    if !amend(&mut tree, &mut warnings) {
        return if first.has_errors() {
            Err(first)
        } else {
            read(json).map(|spec| Parsed { spec, warnings })
        };
    }
    match serde_json::to_vec(&tree) {
        Ok(amended) => match read(&amended) {
            Ok(spec) => Ok(Parsed { spec, warnings }),
            // Not its own problem: the lines and columns are those of the amended text.
            Err(_) if first.has_errors() => Err(first),
            Err(problem) => Err(problem),
        },
        Err(_) => Err(first),
    }
}

/// Keys of `linux.intelRdt` before runtime-spec 1.3, and as the model has them.
const RENAMED_KEYS: &[(&str, &str)] = &[("enableCMT", "enableCmt"), ("enableMBM", "enableMbm")];

/// Scheduler flags of the specification, and as the model has them.
const RENAMED_FLAGS: &[(&str, &str)] = &[
    ("SCHED_FLAG_RESET_ON_FORK", "SCHED_RESET_ON_FORK"),
    ("SCHED_FLAG_DL_OVERRUN", "SCHED_FLAG_D_L_OVERRUN"),
];

fn has_old_names(spec: &Spec, json: &[u8]) -> bool {
    let rdt = spec.linux().as_ref().is_some_and(|linux| linux.intel_rdt().is_some());
    let occurs = |word: &[u8]| json.windows(word.len()).any(|window| window == word);
    rdt && RENAMED_KEYS.iter().any(|(old, _)| occurs(old.as_bytes()))
}

/// Brings the document to the model's spelling; tells whether it changed anything.
fn amend(tree: &mut Value, warnings: &mut Problems) -> bool {
    let mut changed = false;
    if let Some(Value::Object(rdt)) = tree.pointer_mut("/linux/intelRdt") {
        for (old, new) in RENAMED_KEYS {
            if let Some(value) = rdt.remove(*old) {
                rdt.insert((*new).to_owned(), value);
                changed = true;
            }
        }
    }
    if let Some(Value::Array(flags)) = tree.pointer_mut("/process/scheduler/flags") {
        for flag in flags {
            if let Some((_, new)) = RENAMED_FLAGS.iter().find(|(old, _)| flag == old) {
                *flag = Value::from(*new);
                changed = true;
            }
        }
    }
    drop_unknown_capabilities(tree, warnings) || changed
}

fn read(json: &[u8]) -> Result<Spec, Problems> {
    from_json(json)
}

/// Reads any part of the model; the pointer of a problem starts at this document's root.
///
/// # Errors
/// One problem with pointer, line and column.
pub fn from_json<T: DeserializeOwned>(json: &[u8]) -> Result<T, Problems> {
    serde_json::from_slice(json).map_err(|error| {
        let mut problems = Problems::default();
        let pointer = pointer_at(json, error.line(), error.column());
        // serde_json ends its text with "at line L column C": put in front, where a user looks for it.
        let text = error.to_string();
        let what = text.split(" at line ").next().unwrap_or(&text);
        let place = format!("line {}, column {}: {what}", error.line(), error.column());
        if error.is_eof() {
            problems.error_hint(&pointer, place, "the file is cut short");
        } else {
            problems.error(&pointer, place);
        }
        problems
    })
}

fn drop_unknown_capabilities(tree: &mut Value, warnings: &mut Problems) -> bool {
    let at = Pointer::new("/process/capabilities");
    let Some(Value::Object(sets)) = tree.pointer_mut(at.as_str()) else {
        return false;
    };
    let before = warnings.list().len();
    for (set, names) in sets {
        let Value::Array(names) = names else { continue };
        names.retain(|name| {
            let known = !name.is_string() || serde_json::from_value::<Capability>(name.clone()).is_ok();
            if !known {
                warnings.warn(&at.child(set), format!("unknown capability {name} is ignored"));
            }
            known
        });
    }
    warnings.list().len() > before
}

/// Keys of the document that the model does not have, as warnings: a misspelt field is otherwise lost in silence.
///
/// `spec` is what [`parse`] made of `json`. The `vm.hwConfig` of runtime-spec 1.3 is known though the model lacks it.
#[must_use]
pub fn unknown_keys(json: &[u8], spec: &Spec) -> Problems {
    let mut problems = Problems::default();
    if let (Ok(mut given), Ok(kept)) = (serde_json::from_slice::<Value>(json), serde_json::to_value(spec)) {
        amend(&mut given, &mut Problems::default());
        compare(&given, &kept, &Pointer::default(), &mut problems);
    }
    problems
}

fn compare(given: &Value, kept: &Value, at: &Pointer, problems: &mut Problems) {
    match (given, kept) {
        (Value::Object(given), Value::Object(kept)) => {
            for (key, value) in given {
                let here = at.child(key);
                match kept.get(key) {
                    Some(kept) => compare(value, kept, &here, problems),
                    // null and empty lists are left out when the model is written again.
                    None if is_void(value) || here.as_str() == "/vm/hwConfig" => {}
                    None => problems.warn(&here, "unknown field: it has no effect"),
                }
            }
        }
        (Value::Array(given), Value::Array(kept)) if given.len() == kept.len() => {
            for (index, (given, kept)) in given.iter().zip(kept).enumerate() {
                compare(given, kept, &at.child(index), problems);
            }
        }
        _ => {}
    }
}

fn is_void(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_names_the_place() {
        let problems = parse(b"{\n \"ociVersion\": \"1.0.0\",\n \"linux\": {\"maskedPaths\": [1]}}")
            .expect_err("a number");
        assert_eq!(
            problems.to_string(),
            "/linux/maskedPaths/0: line 3, column 28: invalid type: integer `1`, expected a string"
        );
    }

    #[test]
    fn parse_takes_the_names_of_the_specification() {
        let json = br#"{"process": {"user": {}, "cwd": "/", "scheduler": {"policy": "SCHED_OTHER",
            "flags": ["SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_DL_OVERRUN"]}}, "linux": {"intelRdt": {"enableCMT": true}}}"#;
        let parsed = parse(json).expect("names of the specification");
        let rdt = parsed.spec.linux().as_ref().and_then(|linux| linux.intel_rdt().as_ref());
        assert_eq!(rdt.and_then(|rdt| *rdt.enable_cmt()), Some(true));
        assert!(unknown_keys(json, &parsed.spec).list().is_empty());
    }

    #[test]
    fn unknown_keys_are_named_and_hw_config_is_known() {
        let json = br#"{"proces": {}, "root": {"path": "r", "readOnly": true}, "linux": {"seccomp": null},
            "vm": {"kernel": {"path": "/k"}, "hwConfig": {"vcpus": 1}}, "x": 1}"#;
        let parsed = parse(json).expect("unknown keys are no errors");
        let problems = unknown_keys(json, &parsed.spec);
        let pointers: Vec<&str> = problems.list().iter().map(|problem| problem.pointer.as_str()).collect();
        assert_eq!(pointers, ["/root/readOnly", "/x"]);
    }
}

//! Reading config.json: where it is broken, as a JSON pointer with line and column.

use oci_spec::runtime::Spec;
use serde_json::Value;

use crate::ids::Pointer;
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
/// The ordinary way is one pass. Only when that fails is the document looked at as a tree: names of capabilities
/// newer than the model are dropped with a warning (config.md: "ignored if unknown to the kernel").
///
/// # Errors
/// One problem that says where the document departs from the specification.
pub fn parse(json: &[u8]) -> Result<Parsed, Problems> {
    let first = match read(json) {
        Ok(spec) => return Ok(Parsed { spec, warnings: Problems::default() }),
        Err(problem) => problem,
    };
    let Ok(mut tree) = serde_json::from_slice::<Value>(json) else {
        return Err(first);
    };
    let mut warnings = Problems::default();
    drop_unknown_capabilities(&mut tree, &mut warnings);
    if warnings.list().is_empty() {
        return Err(first);
    }
    match serde_json::to_vec(&tree) {
        Ok(cleaned) => read(&cleaned).map(|spec| Parsed { spec, warnings }),
        Err(_) => Err(first),
    }
}

fn read(json: &[u8]) -> Result<Spec, Problems> {
    let mut document = serde_json::Deserializer::from_slice(json);
    let spec = serde_path_to_error::deserialize(&mut document).map_err(|error| {
        let pointer = pointer_of(error.path());
        one_problem(&pointer, error.inner())
    })?;
    document.end().map_err(|error| one_problem(&Pointer::default(), &error))?;
    Ok(spec)
}

fn one_problem(pointer: &Pointer, error: &serde_json::Error) -> Problems {
    let mut problems = Problems::default();
    // serde_json ends its text with "at line L column C": put in front, where a user looks for it.
    let text = error.to_string();
    let what = text.split(" at line ").next().unwrap_or(&text);
    let place = format!("line {}, column {}: {what}", error.line(), error.column());
    if error.is_eof() {
        problems.error_hint(pointer, place, "the file is cut short");
    } else {
        problems.error(pointer, place);
    }
    problems
}

fn pointer_of(path: &serde_path_to_error::Path) -> Pointer {
    use serde_path_to_error::Segment;
    path.iter().fold(Pointer::default(), |pointer, segment| match segment {
        Segment::Seq { index } => pointer.child(index),
        Segment::Map { key } => pointer.child(key),
        Segment::Enum { variant } => pointer.child(variant),
        Segment::Unknown => pointer,
    })
}

fn drop_unknown_capabilities(tree: &mut Value, warnings: &mut Problems) {
    let at = Pointer::new("/process/capabilities");
    let Some(Value::Object(sets)) = tree.pointer_mut(at.as_str()) else {
        return;
    };
    for (set, names) in sets {
        let Value::Array(names) = names else { continue };
        names.retain(|name| {
            let known = !name.is_string()
                || serde_json::from_value::<oci_spec::runtime::Capability>(name.clone()).is_ok();
            if !known {
                warnings.warn(&at.child(set), format!("unknown capability {name} is ignored"));
            }
            known
        });
    }
}

/// Keys of the document that the model does not have, as warnings: a misspelt field is otherwise lost in silence.
///
/// `spec` is what [`parse`] made of `json`. The `vm.hwConfig` of runtime-spec 1.3 is known though the model lacks it.
#[must_use]
pub fn unknown_keys(json: &[u8], spec: &Spec) -> Problems {
    let mut problems = Problems::default();
    if let (Ok(given), Ok(kept)) = (serde_json::from_slice::<Value>(json), serde_json::to_value(spec)) {
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

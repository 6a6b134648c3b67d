//! No field is forgotten: every field of the model is in `full.json` or a variant of it, survives being read, and makes
//! a difference to the plan or to the problems.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops at what it did not expect"
)]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use caisson_plan::facts::HostFacts;
use caisson_plan::{Planned, plan};
use common::fields::Fields;
use oci_spec::runtime::Spec;
use serde::Deserialize as _;
use serde_json::Value;

/// The full config and its variants, each with its host.
fn configs() -> Vec<(String, Value, HostFacts)> {
    let full = common::json("full.json");
    let mut list = vec![("full".to_owned(), full.clone(), common::complete(common::v1()))];
    for (name, variant) in common::json("full_variants.json").as_object().unwrap() {
        let mut config = full.clone();
        common::merge(&mut config, &variant["config"]);
        let host = variant.get("host").map_or("complete_v1", |host| host.as_str().unwrap());
        list.push((name.clone(), config, common::host(host)));
    }
    list
}

fn planned(config: &Value, facts: &HostFacts) -> Result<Planned, String> {
    let parsed =
        caisson_plan::parse(&serde_json::to_vec(config).unwrap()).map_err(|problems| problems.to_string())?;
    let options = common::options(&[Value::from("console-socket")]);
    let mut planned = plan(&parsed.spec, facts, &options);
    planned.warnings.extend(parsed.warnings);
    Ok(planned)
}

#[test]
fn configs_are_planned_unless_they_are_refused_by_name() {
    for (name, config, facts) in configs() {
        let planned = planned(&config, &facts).unwrap();
        let refused = name.starts_with("refused_");
        match planned.result {
            Ok(_) if refused => {
                assert!(!planned.warnings.list().is_empty(), "{name}: neither refused nor warned of");
            }
            Ok(_) => {}
            Err(problems) => assert!(refused, "{name}: {problems}"),
        }
    }
}

#[test]
fn model_keeps_every_key() {
    for (name, config, _) in configs() {
        let spec: Spec = serde_json::from_value(config.clone()).unwrap();
        let unknown = caisson_plan::unknown_keys(&serde_json::to_vec(&config).unwrap(), &spec);
        assert!(unknown.list().is_empty(), "{name}: {:?}", unknown.list());
    }
}

#[test]
fn every_field_of_the_model_is_filled() {
    let mut fields: BTreeMap<&'static str, (BTreeSet<&'static str>, BTreeSet<String>)> = BTreeMap::new();
    for (_, config, _) in configs() {
        Spec::deserialize(Fields::new(&config, &mut fields)).unwrap();
    }
    // Sections of other platforms are reported as a whole.
    let others = |name: &str| ["Solaris", "Windows", "ZOS"].iter().any(|platform| name.starts_with(platform));
    let mut missing = Vec::new();
    for (name, (known, seen)) in fields.iter().filter(|(name, _)| !others(name)) {
        missing.extend(
            known.iter().filter(|field| !seen.contains(**field)).map(|field| format!("{name}.{field}")),
        );
    }
    assert!(fields.len() > 35, "the model was not walked: {:?}", fields.keys());
    assert!(missing.is_empty(), "fields that no test config has: {missing:?}");
}

#[test]
fn every_field_makes_a_difference() {
    let mut seen = BTreeSet::new();
    // One variant in which a field matters is enough.
    let mut matter = BTreeSet::new();
    for (_, config, facts) in configs() {
        let whole = planned(&config, &facts);
        for path in leaves(&config, "").into_iter().filter(|path| !others(path)) {
            let mut changed = config.clone();
            remove(&mut changed, &path);
            if !matter.contains(&path) && planned(&changed, &facts) != whole {
                matter.insert(path.clone());
            }
            seen.insert(path);
        }
    }
    assert!(seen.len() > 150, "the configs were not walked");
    let expected: BTreeSet<String> = SAME_AS_DEFAULT.iter().map(ToString::to_string).collect();
    let idle: BTreeSet<String> = seen.difference(&matter).cloned().collect();
    assert_eq!(idle, expected, "removing these changes nothing");
}

/// Sections that are reported as a whole.
fn others(path: &str) -> bool {
    ["/vm/", "/solaris", "/windows", "/zos", "/uidMappings", "/gidMappings"]
        .iter()
        .any(|prefix| path.starts_with(prefix))
}

/// Fields whose value here is what their absence means.
const SAME_AS_DEFAULT: &[&str] = &[
    "/mounts/0/source",
    "/mounts/1/source",
    "/mounts/2/source",
    "/mounts/3/type",
    "/mounts/3/uidMappings/0/containerID",
    "/mounts/3/gidMappings/0/containerID",
    "/linux/uidMappings/0/containerID",
    "/linux/gidMappings/0/containerID",
    "/linux/resources/devices/0/access",
    "/linux/resources/devices/0/allow",
];

/// Pointers of all leaves, and of elements of lists.
fn leaves(value: &Value, at: &str) -> Vec<String> {
    let deeper = |key: &str, value: &Value| {
        leaves(value, &format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")))
    };
    match value {
        Value::Object(map) if !map.is_empty() => {
            map.iter().flat_map(|(key, value)| deeper(key, value)).collect()
        }
        Value::Array(list) if !list.is_empty() => {
            list.iter().enumerate().flat_map(|(index, value)| deeper(&index.to_string(), value)).collect()
        }
        _ => vec![at.to_owned()],
    }
}

fn remove(config: &mut Value, pointer: &str) {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    match config.pointer_mut(parent).unwrap() {
        Value::Object(map) => {
            map.remove(&key.replace("~1", "/").replace("~0", "~"));
        }
        Value::Array(list) => {
            list.remove(key.parse().unwrap());
        }
        _ => panic!("{parent} has no children"),
    }
}

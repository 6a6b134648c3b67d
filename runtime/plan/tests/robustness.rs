//! Whatever a config says, planning answers: random changes to the full config never make it panic.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops at what it did not expect"
)]

mod common;

use caisson_plan::problem::Problems;
use caisson_plan::{ExecContext, explain, host_support, parse, plan, plan_exec, plan_update, unknown_keys};
use serde_json::{Value, json};

/// xorshift64: the same sequence in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(limit.max(1)).unwrap()).unwrap()
    }
}

fn odd_value(random: &mut Random) -> Value {
    let values = [
        json!(null),
        json!(-1),
        json!(0),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(4_294_967_295_u64),
        json!(true),
        json!(""),
        json!("."),
        json!("../.."),
        json!("a\u{0}b"),
        json!("ü:=;,@#-/é"),
        json!("::"),
        json!("9-1"),
        json!("x".repeat(5000)),
        json!([]),
        json!([""]),
        json!({}),
        json!({"": {}}),
    ];
    values[random.below(values.len())].clone()
}

fn change(value: &mut Value, random: &mut Random) {
    let deeper = random.below(8) != 0;
    match value {
        Value::Object(map) if deeper && !map.is_empty() => {
            let index = random.below(map.len());
            let key = map.keys().nth(index).unwrap().clone();
            match random.below(12) {
                0 => {
                    map.remove(&key);
                }
                1 => {
                    let moved = map.remove(&key).unwrap();
                    map.insert(format!("{key}~/\u{0}"), moved);
                }
                _ => change(map.get_mut(&key).unwrap(), random),
            }
        }
        Value::Array(list) if deeper && !list.is_empty() => {
            let index = random.below(list.len());
            match random.below(8) {
                0 => {
                    let copy = list[index].clone();
                    list.push(copy);
                }
                _ => change(&mut list[index], random),
            }
        }
        Value::String(text) if deeper => {
            let at = text.char_indices().map(|(at, _)| at).nth(random.below(text.len())).unwrap_or(0);
            let piece = [":", "/", "=", "-", "@", "#", "é", ".slice", ",", " "][random.below(10)];
            text.insert_str(at, piece);
        }
        _ => *value = odd_value(random),
    }
}

/// Goes through everything the crate offers.
fn exercise(text: &[u8], random: &mut Random) {
    let Ok(parsed) = parse(text) else { return };
    let hosts =
        ["v1", "v2", "hybrid", "user_with_helpers", "complete_v1", "complete_v2", "in_userns", "bare"];
    let facts = common::host(hosts[random.below(hosts.len())]);
    let words =
        [vec![], vec![json!("systemd")], vec![json!("run")], vec![json!("disabled"), json!("no-pivot")]];
    let options = common::options(&words[random.below(words.len())]);
    let planned = plan(&parsed.spec, &facts, &options);
    assert!(planned.warnings.list().iter().all(|warning| !warning.message.is_empty()));
    let pointers = [unknown_keys(text, &parsed.spec), host_support(&parsed.spec, &facts)];
    assert!(pointers.iter().flat_map(Problems::list).all(|problem| !problem.message.is_empty()));
    if let Some(resources) = parsed.spec.linux().as_ref().and_then(|linux| linux.resources().as_ref()) {
        plan_update(resources, &facts).ok();
    }
    let context = match &planned.result {
        Ok(plan) => {
            assert!(!explain::table(plan, &planned.warnings).is_empty());
            ExecContext::of(plan)
        }
        Err(problems) => {
            assert!(problems.has_errors());
            ExecContext::default()
        }
    };
    if let Some(process) = parsed.spec.process() {
        let planned = plan_exec(process, &context, &facts, &options);
        planned.result.map(|plan| explain::table(&plan, &Problems::default())).ok();
    }
}

#[test]
fn changed_configs_never_panic() {
    let sources = [common::json("full.json"), common::json("base.json")];
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut read = 0;
    for round in 0..2000 {
        let mut config = sources[round % 2].clone();
        for _ in 0..=random.below(4) {
            change(&mut config, &mut random);
        }
        let text = serde_json::to_vec(&config).unwrap();
        read += usize::from(parse(&text).is_ok());
        exercise(&text, &mut random);
    }
    // Most changes have to be such that there is something left to plan.
    assert!(read > 500, "only {read} of 2000 could be read");
}

#[test]
fn broken_text_is_refused_with_a_place() {
    let text = common::read("full.json").into_bytes();
    let mut random = Random(42);
    for _ in 0..500 {
        let mut broken = text.clone();
        let at = random.below(broken.len());
        broken.truncate(at);
        let problems = parse(&broken).expect_err("a cut file is never a config");
        assert!(problems.to_string().contains("line "), "{problems}");
        let mut flipped = text.clone();
        flipped[at] ^= u8::try_from(1 + random.below(255)).unwrap();
        exercise(&flipped, &mut random);
    }
}

/// The model keeps maps in random order; nothing of that may show.
#[test]
fn same_config_gives_the_same_plan() {
    let mut broken = common::json("full.json");
    common::merge(
        &mut broken,
        &json!({"linux": {"timeOffsets": {"a": {}, "b": {}, "c": {}}, "sysctl": {"x.a": "", "x.b": "", "x.c": ""},
            "resources": {"rdma": {"a": {}, "b": {}, "c": {}}, "unified": {"a": "", "b": "", "c": ""}}},
            "annotations": {"dev.caisson.rootfs.lower.a": "", "dev.caisson.rootfs.lower.b": ""}}),
    );
    for config in [common::json("full.json"), broken] {
        let text = serde_json::to_vec(&config).unwrap();
        let options = common::options(&[json!("console-socket")]);
        let planned = || plan(&parse(&text).unwrap().spec, &common::complete(common::v1()), &options);
        let first = planned();
        assert!((0..20).all(|_| planned() == first));
    }
}

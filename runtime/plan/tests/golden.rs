//! Golden plans: `golden/NAME.json` is a case, `golden/NAME.plan` what must come of it.
//!
//! A case is `{"host": …, "options": […], "config": …}`; its config is a merge patch (RFC 7396) of `base.json`. The plan
//! file has the table that `explain` prints, or the errors, and the JSON of each step that the base's plan does not have.
//! `UPDATE_GOLDEN=1 cargo test -p caisson-plan --test golden` writes the plans anew: review them as a diff.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops at what it did not expect"
)]

mod common;

use std::collections::BTreeSet;
use std::path::PathBuf;

use caisson_plan::step::Plan;
use caisson_plan::{Planned, explain};
use serde_json::Value;

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn run(case: &Value) -> Planned {
    let mut config = common::json("base.json");
    common::merge(&mut config, case.get("config").unwrap_or(&serde_json::json!({})));
    let text = serde_json::to_vec(&config).unwrap();
    let facts = common::host(case.get("host").and_then(Value::as_str).unwrap_or("v1"));
    let words = case.get("options").and_then(Value::as_array).cloned().unwrap_or_default();
    match caisson_plan::parse(&text) {
        Ok(parsed) => {
            let mut planned = caisson_plan::plan(&parsed.spec, &facts, &common::options(&words));
            planned.warnings.extend(parsed.warnings);
            planned
        }
        Err(problems) => {
            Planned { result: Err(problems), warnings: caisson_plan::problem::Problems::default() }
        }
    }
}

fn steps(plan: &Plan) -> Vec<String> {
    plan.steps.iter().map(|step| serde_json::to_string(step).unwrap()).collect()
}

fn render(planned: &Planned, known: &BTreeSet<String>) -> String {
    match &planned.result {
        Ok(plan) => {
            let mut text = explain::table(plan, &planned.warnings);
            let own = steps(plan).into_iter().enumerate().filter(|(_, step)| !known.contains(step));
            for (index, step) in own {
                text.push_str(&format!("\n{}: {step}\n", index + 1));
            }
            let mut after = serde_json::to_value(&plan.after).unwrap();
            after
                .as_object_mut()
                .unwrap()
                .retain(|_, value| !matches!(value, Value::Null | Value::Bool(false)));
            text.push_str(&format!("\nafter: {after}\n"));
            text
        }
        Err(problems) => {
            let lines = problems.list().iter().chain(planned.warnings.list());
            lines.map(|problem| format!("{:?} {problem}\n", problem.severity)).collect()
        }
    }
}

#[test]
fn plans_are_as_reviewed() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let base = run(&serde_json::json!({})).result.expect("the base config is sound");
    let mut names: Vec<String> = std::fs::read_dir(directory())
        .unwrap()
        .filter_map(|entry| {
            entry.unwrap().file_name().into_string().unwrap().strip_suffix(".json").map(str::to_owned)
        })
        .collect();
    names.sort();
    let mut different = Vec::new();
    for name in &names {
        let case = common::json(&format!("golden/{name}.json"));
        let known = if name == "base" { BTreeSet::new() } else { steps(&base).into_iter().collect() };
        let found = render(&run(&case), &known);
        let path = directory().join(format!("{name}.plan"));
        let expected = std::fs::read_to_string(&path).unwrap_or_default();
        if update {
            std::fs::write(&path, &found).unwrap();
        } else if found != expected {
            different.push(format!("--- {name}: expected\n{expected}\n+++ {name}: found\n{found}"));
        }
    }
    assert!(names.len() > 40, "the cases are gone: {}", names.len());
    assert!(different.is_empty(), "{}\nUPDATE_GOLDEN=1 writes them anew", different.join("\n"));
}

#[test]
fn table_names_every_step() {
    for entry in std::fs::read_dir(directory()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let Some(case) = name.ends_with(".json").then(|| common::json(&format!("golden/{name}"))) else {
            continue;
        };
        let Ok(plan) = run(&case).result else { continue };
        let table = explain::table(&plan, &caisson_plan::problem::Problems::default());
        for line in table.lines().skip(1) {
            // number, who, verb: a step that the table does not know has no verb at column 14
            let verb = line.chars().nth(13).unwrap_or(' ');
            assert!(!verb.is_whitespace(), "{name}: a step without words: {line}");
        }
    }
}

#[test]
fn plan_survives_serialisation() {
    let plan = run(&common::json("golden/seccomp.json")).result.unwrap();
    let text = serde_json::to_string(&plan).unwrap();
    assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), plan);
}

//! `--timings FILE|-`: where the time of a command went, step by step.

use std::io::Write;
use std::path::Path;

use anyhow::Context as _;
use caisson_exec::Timing;
use caisson_plan::step::{Actor, Plan};
use caisson_sys::clock::monotonic_ns;
use serde::Serialize;

use crate::context::Context;
use crate::store;

/// Characters of a bar in the drawing.
const BAR: u64 = 40;

/// One stretch of time.
#[derive(Clone, Debug, Serialize)]
struct Span {
    /// Number of the step in the plan, from 1; absent for work around the plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<usize>,
    /// Which process.
    actor: Actor,
    /// What it did.
    what: String,
    /// Since the command began, ns.
    begin_ns: u64,
    /// Since the command began, ns.
    end_ns: u64,
}

/// Measures one command; does nothing when `--timings` was not given.
#[derive(Debug)]
pub struct Stopwatch {
    on: bool,
    zero: u64,
    last: u64,
    spans: Vec<Span>,
}

impl Stopwatch {
    /// Starts measuring.
    #[must_use]
    pub fn start(context: &Context) -> Self {
        let on = context.timings.is_some();
        let zero = if on { monotonic_ns() } else { 0 };
        Self { on, zero, last: zero, spans: Vec::new() }
    }

    /// What was done since the last lap.
    pub fn lap(&mut self, what: &str) {
        if self.on {
            let now = monotonic_ns();
            self.push(None, Actor::Runtime, what.to_owned(), self.last, now);
            self.last = now;
        }
    }

    /// The steps of the plan, as the executor measured them.
    pub fn steps(&mut self, plan: &Plan, timings: &[Timing]) {
        if self.on {
            for timing in timings {
                // The executor counts from 0, `explain` and errors from 1.
                let step = timing.step + 1;
                self.push(Some(step), timing.actor, name(plan, step), timing.begin, timing.end);
            }
            self.last = monotonic_ns();
        }
    }

    fn push(&mut self, step: Option<usize>, actor: Actor, what: String, begin: u64, end: u64) {
        let since = |time: u64| time.saturating_sub(self.zero);
        self.spans.push(Span { step, actor, what, begin_ns: since(begin), end_ns: since(end) });
    }

    /// Writes what `--timings` asked for.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn finish(mut self, context: &Context) -> anyhow::Result<()> {
        self.lap("write the state");
        match context.timings.as_deref() {
            None => Ok(()),
            Some("-") => {
                std::io::stderr().write_all(draw(&self.spans).as_bytes()).context("write the timings")
            }
            Some(file) => {
                let json = serde_json::to_vec_pretty(&self.spans)?;
                store::replace_file(Path::new(file), &json, 0o644)
                    .with_context(|| format!("--timings {file}"))
            }
        }
    }
}

/// The step's name: the word that its JSON starts with.
fn name(plan: &Plan, step: usize) -> String {
    let action = step.checked_sub(1).and_then(|index| plan.steps.get(index)).map(|step| &step.action);
    match serde_json::to_value(action) {
        Ok(serde_json::Value::String(name)) => name,
        Ok(serde_json::Value::Object(object)) => object.keys().next().cloned().unwrap_or_default(),
        _ => "outside the plan".to_owned(),
    }
}

/// A waterfall: one line a span, a bar where it lies in the whole.
fn draw(spans: &[Span]) -> String {
    let total = spans.iter().map(|span| span.end_ns).max().unwrap_or(0).max(1);
    let mut spans = spans.to_vec();
    spans.sort_by_key(|span| span.begin_ns);
    spans.iter().fold(String::new(), |text, span| text + &line(span, total))
}

fn line(span: &Span, total: u64) -> String {
    let column = |time: u64| usize::try_from(time * BAR / total).unwrap_or(0);
    let (begin, end) = (column(span.begin_ns), column(span.end_ns));
    let bar = format!("{}{}", " ".repeat(begin), "█".repeat((end - begin).max(1)));
    let who = match span.actor {
        Actor::Runtime => "runtime",
        Actor::Init => "init",
    };
    let step = span.step.map_or_else(String::new, |step| step.to_string());
    let took = (span.end_ns - span.begin_ns) / 1000;
    format!("{step:>3} {who:<7} {:<28} {took:>7} µs  {bar}\n", span.what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_places_the_bar_in_the_whole() {
        let span = Span {
            step: Some(7),
            actor: Actor::Init,
            what: "mount".into(),
            begin_ns: 20_000,
            end_ns: 30_000,
        };
        let text = line(&span, 40_000);
        assert!(text.starts_with("  7 init    mount"), "{text}");
        assert!(text.ends_with(&format!("10 µs  {}{}\n", " ".repeat(20), "█".repeat(10))), "{text}");
    }
}

//! Where in a JSON document something is: from the line and column of a parser's error to a JSON pointer.
//!
//! A deserializer that tracks its path costs every parse, and 300 KiB of code for the whole model; errors are rare
//! enough to read the document a second time.

use crate::ids::Pointer;

/// One level of nesting.
enum Level {
    Object { key: Option<String> },
    Array { index: usize },
}

/// The place of the value that ends at, or contains, the byte at `line` and `column` (both from 1, as serde_json
/// counts them; column 0 is the end of the line before).
pub(crate) fn pointer_at(json: &[u8], line: usize, column: usize) -> Pointer {
    let until = offset(json, line, column);
    let mut scan = Scan { json, at: 0, levels: Vec::new() };
    scan.run(until);
    scan.pointer()
}

fn offset(json: &[u8], line: usize, column: usize) -> usize {
    let start = match line.checked_sub(2) {
        None => 0,
        Some(nth) => {
            json.iter().enumerate().filter(|(_, b)| **b == b'\n').nth(nth).map_or(json.len(), |(i, _)| i + 1)
        }
    };
    json.len().min(start + column)
}

struct Scan<'a> {
    json: &'a [u8],
    at: usize,
    levels: Vec<Level>,
}

/// A pointer names no more levels: hostile documents nest a million deep, the model a dozen.
const DEPTH: usize = 64;

impl Scan<'_> {
    fn run(&mut self, until: usize) {
        while self.at < until {
            match self.json[self.at] {
                b'{' => self.levels.push(Level::Object { key: None }),
                b'[' => self.levels.push(Level::Array { index: 0 }),
                // What is around it still has its key: the path of what was just closed.
                b'}' | b']' => drop(self.levels.pop()),
                b',' => self.next(),
                b'"' => {
                    self.string(until);
                    continue;
                }
                _ => {}
            }
            self.at += 1;
        }
    }

    fn next(&mut self) {
        match self.levels.last_mut() {
            Some(Level::Object { key }) => *key = None,
            Some(Level::Array { index }) => *index += 1,
            None => {}
        }
    }

    /// Passes over a string; in an object without a key yet it is the key.
    fn string(&mut self, until: usize) {
        let start = self.at;
        self.at += 1;
        while self.at < self.json.len() && self.json[self.at] != b'"' {
            self.at += if self.json[self.at] == b'\\' { 2 } else { 1 };
        }
        self.at = (self.at + 1).min(self.json.len());
        if let Some(Level::Object { key: key @ None }) = self.levels.last_mut()
            && self.at <= until
        {
            *key = serde_json::from_slice(&self.json[start..self.at]).ok();
        }
    }

    fn pointer(&self) -> Pointer {
        self.levels.iter().take(DEPTH).fold(Pointer::default(), |pointer, level| match level {
            Level::Object { key: Some(key) } => pointer.child(key),
            Level::Object { key: None } => pointer,
            Level::Array { index } => pointer.child(index),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(json: &str, line: usize, column: usize) -> String {
        pointer_at(json.as_bytes(), line, column).as_str().to_owned()
    }

    #[test]
    fn a_value_is_named_by_keys_and_indices() {
        assert_eq!(place(r#"{"a": {"b": [1, "x"]}}"#, 1, 19), "/a/b/1");
        assert_eq!(place("{\n \"a\": 1,\n \"b\": true}", 3, 10), "/b");
    }

    #[test]
    fn a_closed_container_is_named_itself() {
        assert_eq!(place(r#"{"a": {"b": 1}}"#, 1, 14), "/a");
        assert_eq!(place(r#"{"a": {"b": [1]}}"#, 1, 15), "/a/b");
    }

    #[test]
    fn brackets_and_quotes_inside_strings_do_not_count() {
        assert_eq!(place(r#"{"a": "}]\"{", "b/c": 5}"#, 1, 22), "/b~1c");
    }

    #[test]
    fn a_hostile_depth_costs_no_more_than_its_length() {
        let deep = "{\"a\":".repeat(1_000_000);
        assert_eq!(place(&deep, 1, deep.len()), "/a".repeat(DEPTH));
    }

    #[test]
    fn any_position_of_any_text_has_a_place() {
        for text in ["", "\"", "{\"a\\", "[[[", "]]}}", "{\"a\":\n\n1"] {
            for line in 0..5 {
                for column in 0..12 {
                    place(text, line, column);
                }
            }
        }
    }
}

//! Where messages for the engine go: `--log FILE` in runc's two formats, or standard error.
//!
//! Engines read the last line of level `error` from this file to tell their user why a container did not start, so
//! the format is runc's to the letter: JSON `{"level":…,"msg":…,"time":…}` or logrus text.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::SystemTime;

use anyhow::Context;

use crate::clock;

/// How much a message matters; ordered from the most to the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The user's action did not happen.
    Error,
    /// It did, but not as asked.
    Warning,
    /// Lifecycle.
    Info,
    /// Each step.
    Debug,
}

impl Level {
    fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }

    /// Reads a level as runc, crun and youki spell it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "error" | "fatal" | "panic" => Some(Self::Error),
            "warn" | "warning" => Some(Self::Warning),
            "info" => Some(Self::Info),
            "debug" | "trace" => Some(Self::Debug),
            _ => None,
        }
    }
}

/// The two formats of runc's `--log-format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `time="…" level=error msg="…"`
    #[default]
    Text,
    /// `{"level":"error","msg":"…","time":"…"}`
    Json,
}

/// An open log.
#[derive(Debug)]
pub struct Log {
    file: Option<File>,
    format: Format,
    level: Level,
}

impl Log {
    /// A log that goes to standard error.
    #[must_use]
    pub fn stderr(level: Level) -> Self {
        Self { file: None, format: Format::Text, level }
    }

    /// Opens `path` for appending, made when missing.
    ///
    /// # Errors
    /// When the file cannot be opened; names it.
    pub fn open(path: &Path, format: Format, level: Level) -> anyhow::Result<Self> {
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(0o644);
        let file = options.open(path).with_context(|| format!("open the log {}", path.display()))?;
        Ok(Self { file: Some(file), format, level })
    }

    /// Whether messages go to a file rather than to standard error.
    #[must_use]
    pub fn is_file(&self) -> bool {
        self.file.is_some()
    }

    /// Writes one message. A log that cannot be written must not fail the container, so errors end here.
    pub fn write(&self, level: Level, message: &str) {
        if level > self.level {
            return;
        }
        let line = format_line(self.format, level, message, SystemTime::now());
        let written = match &self.file {
            Some(file) => (&mut &*file).write_all(line.as_bytes()),
            None if level == Level::Error => Ok(()), // `report` prints errors to standard error itself
            None => writeln!(std::io::stderr(), "caisson: {}: {message}", level.as_str()),
        };
        drop(written);
    }

    /// Something happened, but not as asked.
    pub fn warn(&self, message: impl AsRef<str>) {
        self.write(Level::Warning, message.as_ref());
    }

    /// A detail for `--debug`.
    pub fn debug(&self, message: impl AsRef<str>) {
        self.write(Level::Debug, message.as_ref());
    }
}

/// One line as logrus writes it.
fn format_line(format: Format, level: Level, message: &str, time: SystemTime) -> String {
    let time = clock::rfc3339_seconds(time);
    let quoted = serde_json::Value::from(message).to_string();
    match format {
        Format::Json => {
            format!("{{\"level\":\"{}\",\"msg\":{quoted},\"time\":\"{time}\"}}\n", level.as_str())
        }
        Format::Text => format!("time=\"{time}\" level={} msg={quoted}\n", level.as_str()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    #[test]
    fn json_line_is_runcs() {
        let line = format_line(Format::Json, Level::Error, "no \"id\"\nhere", UNIX_EPOCH);
        assert_eq!(
            line,
            "{\"level\":\"error\",\"msg\":\"no \\\"id\\\"\\nhere\",\"time\":\"1970-01-01T00:00:00Z\"}\n"
        );
    }

    #[test]
    fn text_line_is_logrus() {
        let line = format_line(Format::Text, Level::Warning, "x", UNIX_EPOCH);
        assert_eq!(line, "time=\"1970-01-01T00:00:00Z\" level=warning msg=\"x\"\n");
    }
}

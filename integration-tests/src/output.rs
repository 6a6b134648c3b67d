//! What one call of the runtime's command line gave back.

use serde_json::Value;

/// Exit status and streams of one call.
#[derive(Debug, Clone)]
pub struct Output {
    /// The command line, for messages.
    pub command: String,
    /// The exit code; 128 + n for a runtime ended by signal n.
    pub code: i32,
    /// Standard output, the container's included.
    pub stdout: String,
    /// Standard error, the container's included.
    pub stderr: String,
}

impl Output {
    /// Demands success.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{self}");
        self
    }

    /// Demands failure.
    #[track_caller]
    pub fn fails(self) -> Self {
        assert_ne!(self.code, 0, "success where failure was wanted: {self}");
        self
    }

    /// Standard output without the white space around it.
    pub fn text(&self) -> &str {
        self.stdout.trim()
    }

    /// Standard output's lines.
    pub fn lines(&self) -> Vec<&str> {
        self.stdout.lines().map(str::trim_end).collect()
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("not JSON ({error}): {self}"))
    }

    /// Demands that the message names `needle` (in any case of letters).
    #[track_caller]
    pub fn says(self, needle: &str) -> Self {
        assert!(
            self.stderr.to_lowercase().contains(&needle.to_lowercase()),
            "message lacks {needle:?}: {self}"
        );
        self
    }
}

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}\n  exit code {}\n  stdout: {}\n  stderr: {}",
            self.command,
            self.code,
            self.stdout.trim_end(),
            self.stderr.trim_end()
        )
    }
}

use serde_json::Value;

/// A command that has ended: how, and what it said.
#[derive(Debug)]
pub struct Done {
    /// The command line, for messages.
    pub command: String,
    /// Exit code; none where a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: String,
    /// Highest resident memory seen, in bytes (sampled).
    pub peak_memory_bytes: u64,
}

impl Done {
    /// Asserts that it ended with 0, or with 3 and said warnings in its document.
    pub fn ok(self) -> Self {
        assert!(matches!(self.code, Some(0 | 3)), "should have worked: {self}");
        self
    }

    /// The one document of `--json`.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|error| panic!("not one JSON document ({error}): {self}"))
    }

    /// Asserts a failure as the operator is promised it: exit code 1 or 2, and exactly one printable line that begins with the
    /// program's name.
    pub fn error(&self) -> String {
        assert!(matches!(self.code, Some(1 | 2)), "should have failed with 1 or 2: {self}");
        let line = self.stderr.strip_suffix('\n').unwrap_or(&self.stderr);
        assert!(line.starts_with("stillpoint: "), "an error begins with the program's name: {self}");
        assert!(!line.contains('\n'), "an error is one line: {self}");
        assert!(!line.chars().any(char::is_control), "an error is printable: {self}");
        line.to_owned()
    }
}

impl std::fmt::Display for Done {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = String::from_utf8_lossy(&self.stdout[..self.stdout.len().min(4096)]);
        writeln!(f, "{}\n  exit code {:?}, signal {:?}", self.command, self.code, self.signal)?;
        write!(f, "  stdout: {shown}\n  stderr: {}", self.stderr)
    }
}

/// The number at a JSON pointer (`/requests/put`).
#[must_use]
pub fn number(document: &Value, pointer: &str) -> u64 {
    let found = document.pointer(pointer).and_then(Value::as_u64);
    found.unwrap_or_else(|| panic!("no whole number at {pointer} in {document}"))
}

/// The text at a JSON pointer.
#[must_use]
pub fn text<'a>(document: &'a Value, pointer: &str) -> &'a str {
    let found = document.pointer(pointer).and_then(Value::as_str);
    found.unwrap_or_else(|| panic!("no text at {pointer} in {document}"))
}

use std::fmt;

use stillpoint_model::Error;

/// What is wrong with a file of policies or machines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileError {
    /// The line, counted from 1.
    pub line: usize,
    /// The field, as `schedule[1].window` or `machine web-01: disks`; empty where the fault lies in none.
    pub field: String,
    /// What is wrong with it; one line.
    pub reason: String,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: ", self.line)?;
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.reason)
    }
}

impl std::error::Error for FileError {}

impl From<FileError> for Error {
    fn from(error: FileError) -> Self {
        Self::invalid(error.to_string())
    }
}

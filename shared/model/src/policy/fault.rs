use std::fmt;

use crate::Error;

/// Why a policy cannot be applied: the field as the policy file spells it, and the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyError {
    /// Path of the field, as `schedule[1].window` (lists count from 0). Empty for the policy as a whole.
    pub field: String,
    /// What is wrong and what would be right; lowercase, one line.
    pub reason: String,
}

impl PolicyError {
    /// An error of one field.
    #[must_use]
    pub fn new(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { field: field.into(), reason: reason.into() }
    }
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.is_empty() { f.write_str(&self.reason) } else { write!(f, "{}: {}", self.field, self.reason) }
    }
}

impl std::error::Error for PolicyError {}

impl From<PolicyError> for Error {
    fn from(error: PolicyError) -> Self {
        Self::invalid(error.to_string())
    }
}

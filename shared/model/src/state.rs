use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::Error;

/// Where a job stands; part of the ledger record's name, so a listing alone shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JobState {
    /// Accepted, nothing done yet.
    Requested,
    /// Segments are being moved (a plan exists).
    Transfer,
    /// The result is being checked and sealed; past this a job can no longer be cancelled.
    Validate,
    /// Done.
    Completed,
    /// Done, with warnings in the record.
    CompletedWithWarnings,
    /// Ended without a result, with the reason in the record.
    Failed,
    /// Given up by an operator.
    Cancelled,
}

impl JobState {
    const ALL: [Self; 7] = [
        Self::Requested,
        Self::Transfer,
        Self::Validate,
        Self::Completed,
        Self::CompletedWithWarnings,
        Self::Failed,
        Self::Cancelled,
    ];

    /// Whether nothing follows this state.
    #[must_use]
    pub const fn is_end(self) -> bool {
        matches!(self, Self::Completed | Self::CompletedWithWarnings | Self::Failed | Self::Cancelled)
    }

    /// The name used in records, object names and on screen.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Transfer => "transfer",
            Self::Validate => "validate",
            Self::Completed => "completed",
            Self::CompletedWithWarnings => "completed-with-warnings",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for JobState {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        let found = Self::ALL.into_iter().find(|state| state.as_str() == text);
        found.ok_or_else(|| Error::invalid(format!("'{}' is not a job state", text.escape_debug())))
    }
}

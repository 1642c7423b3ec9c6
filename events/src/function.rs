use std::{fmt, str::FromStr};

/// A function of the product: what a queue, a Lambda function and a worker's argument are named after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Function {
    /// Looks at the vault when the timer says so.
    Schedule,
    /// Takes snapshots and gives them back.
    Snapshot,
    /// Moves a segment's changes to the vault.
    Transfer,
    /// Seals recovery points.
    Commit,
    /// Writes recovery points to targets.
    Restore,
    /// Deletes softly what retention does not keep.
    Prune,
    /// Frees what nothing needs.
    Collect,
    /// Checks what is kept.
    Verify,
    /// Copies what is kept to the paired region.
    Replicate,
    /// Tells people of alarms.
    Notify,
}

impl Function {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Schedule,
        Self::Snapshot,
        Self::Transfer,
        Self::Commit,
        Self::Restore,
        Self::Prune,
        Self::Collect,
        Self::Verify,
        Self::Replicate,
        Self::Notify,
    ];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Schedule => "schedule",
            Self::Snapshot => "snapshot",
            Self::Transfer => "transfer",
            Self::Commit => "commit",
            Self::Restore => "restore",
            Self::Prune => "prune",
            Self::Collect => "collect",
            Self::Verify => "verify",
            Self::Replicate => "replicate",
            Self::Notify => "notify",
        }
    }
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text names no function.
#[derive(Debug, thiserror::Error)]
#[error(
    "there is no function '{0}'; there are schedule, snapshot, transfer, commit, restore, prune, collect, verify, replicate and notify"
)]
pub struct UnknownFunction(String);

impl FromStr for Function {
    type Err = UnknownFunction;

    fn from_str(text: &str) -> Result<Self, UnknownFunction> {
        let found = Self::ALL.into_iter().find(|function| function.as_str() == text);
        found.ok_or_else(|| UnknownFunction(text.escape_debug().to_string()))
    }
}

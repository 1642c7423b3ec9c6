/// Why bytes were refused. Messages name the structure, never its content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The bytes do not authenticate: damaged, truncated, moved from elsewhere, or sealed by another key.
    #[error("{0} does not authenticate: damaged, swapped, or written with another key")]
    Authentication(&'static str),
    /// The bytes authenticate but do not follow the format, or came unauthenticated and are no such structure at all.
    #[error("{structure} is malformed: {reason}")]
    Malformed {
        /// The structure that was being read.
        structure: &'static str,
        /// What rule it breaks.
        reason: &'static str,
    },
    /// Written by a newer Stillpoint.
    #[error("{structure} has format version {found}, this program reads up to {known}")]
    Newer {
        /// The structure that was being read.
        structure: &'static str,
        /// Its version.
        found: u16,
        /// The newest version known here.
        known: u16,
    },
    /// A count or length exceeds what the format allows.
    #[error("{structure} exceeds a limit: {limit}")]
    Limit {
        /// The structure that was being read or made.
        structure: &'static str,
        /// The limit's name.
        limit: &'static str,
    },
    /// Compressed bytes did not decode to what was compressed; the memory or processor of this machine is at fault.
    #[error("a compressed frame does not decode to its input; do not trust this machine's memory")]
    Verify,
}

/// Result with [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) const fn malformed(structure: &'static str, reason: &'static str) -> Self {
        Self::Malformed { structure, reason }
    }
}

impl From<Error> for stillpoint_model::Error {
    fn from(error: Error) -> Self {
        let kind = match error {
            Error::Newer { .. } => stillpoint_model::ErrorKind::Invalid,
            Error::Verify => stillpoint_model::ErrorKind::Internal,
            Error::Limit { .. } | Error::Malformed { .. } | Error::Authentication(_) => stillpoint_model::ErrorKind::Corrupt,
        };
        Self::new(kind, error.to_string())
    }
}

//! The one table of what a host does with an error.

use std::time::Duration;

use stillpoint_model::ErrorKind;

/// What to do with an event whose handler failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reaction {
    /// Deliver it again after this long.
    RetryAfter(Duration),
    /// Drop it: somebody else has taken over.
    Drop,
    /// Stop the job with the error as its reason.
    FailJob,
}

/// Deliveries of one event before a passing trouble counts as a lasting one: 0.2 + 0.8 + 3.2 s of waiting, on top of the
/// store client's own retries.
const DELIVERIES_MAX: u32 = 4;

/// | kind | reaction |
/// |---|---|
/// | unavailable | retried with growing pauses, then the job fails |
/// | fenced | dropped |
/// | conflict, invalid, missing, denied, internal | the job fails |
/// | corrupt | the job fails; never retried, nothing is deleted |
///
/// `deliveries` counts this one.
#[must_use]
pub const fn reaction(kind: ErrorKind, deliveries: u32) -> Reaction {
    match kind {
        ErrorKind::Unavailable if deliveries < DELIVERIES_MAX => {
            Reaction::RetryAfter(Duration::from_millis(200 * 4_u64.pow(deliveries - 1)))
        }
        ErrorKind::Fenced => Reaction::Drop,
        ErrorKind::Unavailable
        | ErrorKind::Conflict
        | ErrorKind::Invalid
        | ErrorKind::Missing
        | ErrorKind::Denied
        | ErrorKind::Corrupt
        | ErrorKind::Internal => Reaction::FailJob,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_passing_trouble_is_retried_and_not_for_ever() {
        assert_eq!(reaction(ErrorKind::Unavailable, 1), Reaction::RetryAfter(Duration::from_millis(200)));
        assert_eq!(reaction(ErrorKind::Unavailable, 3), Reaction::RetryAfter(Duration::from_millis(3200)));
        assert_eq!(reaction(ErrorKind::Unavailable, 4), Reaction::FailJob);
        assert_eq!(reaction(ErrorKind::Fenced, 1), Reaction::Drop);
        assert_eq!(reaction(ErrorKind::Corrupt, 1), Reaction::FailJob);
    }
}

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

/// Pauses before an event is delivered again, on top of the store client's own retries.
pub const RETRY_PAUSES: [Duration; 5] = [
    Duration::from_millis(200),
    Duration::from_millis(800),
    Duration::from_millis(3_200),
    Duration::from_millis(12_800),
    Duration::from_millis(51_200),
];

/// How many pauses are waited for before a passing trouble counts as a lasting one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// Somebody waits at a terminal: 4.2 s.
    Operator,
    /// Nobody waits: two minutes.
    Worker,
}

/// | kind | reaction |
/// |---|---|
/// | unavailable | retried with growing pauses, then the job fails |
/// | fenced | dropped |
/// | conflict, invalid, missing, denied, internal | the job fails |
/// | corrupt | the job fails; never retried, nothing is deleted |
///
/// `failures` counts this one.
#[must_use]
pub fn reaction(kind: ErrorKind, failures: u32, patience: Patience) -> Reaction {
    let pauses = match patience {
        Patience::Operator => &RETRY_PAUSES[..3],
        // The longest pause is waited twice.
        Patience::Worker => {
            &[RETRY_PAUSES[0], RETRY_PAUSES[1], RETRY_PAUSES[2], RETRY_PAUSES[3], RETRY_PAUSES[4], RETRY_PAUSES[4]]
        }
    };
    match (kind, pauses.get(failures.saturating_sub(1) as usize)) {
        (ErrorKind::Unavailable, Some(pause)) => Reaction::RetryAfter(*pause),
        (ErrorKind::Fenced, _) => Reaction::Drop,
        (
            ErrorKind::Unavailable
            | ErrorKind::Conflict
            | ErrorKind::Invalid
            | ErrorKind::Missing
            | ErrorKind::Denied
            | ErrorKind::Corrupt
            | ErrorKind::Internal,
            _,
        ) => Reaction::FailJob,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_passing_trouble_is_retried_and_not_for_ever() {
        let operator = |kind, failures| reaction(kind, failures, Patience::Operator);
        assert_eq!(operator(ErrorKind::Unavailable, 1), Reaction::RetryAfter(Duration::from_millis(200)));
        assert_eq!(operator(ErrorKind::Unavailable, 3), Reaction::RetryAfter(Duration::from_millis(3200)));
        assert_eq!(operator(ErrorKind::Unavailable, 4), Reaction::FailJob);
        assert_eq!(operator(ErrorKind::Fenced, 1), Reaction::Drop);
        assert_eq!(operator(ErrorKind::Corrupt, 1), Reaction::FailJob);
        assert_eq!(reaction(ErrorKind::Unavailable, 6, Patience::Worker), Reaction::RetryAfter(Duration::from_millis(51_200)));
        assert_eq!(reaction(ErrorKind::Unavailable, 7, Patience::Worker), Reaction::FailJob);
    }
}

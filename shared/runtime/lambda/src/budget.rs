//! The time of one invocation.

use std::time::{Duration, Instant};

use stillpoint_events::Function;

/// What publishing a record's outcome may take, after its handler has ended.
const MARGIN: Duration = Duration::from_secs(5);

/// The time that must be left before a record is begun: what one takes when the store is slow.
const fn needed(function: Function) -> Duration {
    match function {
        // A segment is mostly 64 to 512 MiB of disk; one that takes longer is dropped when the time is over, and retried.
        // Notify gives a receiver that is slow or away nearly a minute.
        Function::Transfer
        | Function::Restore
        | Function::Verify
        | Function::Replicate
        | Function::Prune
        | Function::Collect
        | Function::Notify => Duration::from_secs(60),
        Function::Schedule | Function::Snapshot | Function::Commit => Duration::from_secs(10),
    }
}

/// Whether a record is begun now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Yes, and nothing stops it.
    Unlimited,
    /// Yes; its handler has this long.
    For(Duration),
    /// No: it could not end.
    TooLate,
}

/// See the module.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    end: Option<Instant>,
    needed: Duration,
    margin: Duration,
}

/// What is left until `deadline_ms`, both in milliseconds of the epoch. None for a moment that has passed: nobody begins an
/// invocation that is over, but `cargo lambda` gives a duration where the moment should be.
pub fn time_left(deadline_ms: u64, now_ms: u64) -> Option<Duration> {
    deadline_ms.checked_sub(now_ms).filter(|left| *left > 0).map(Duration::from_millis)
}

impl Budget {
    /// The time of an invocation that ends after `left`. `whole` is the function's time-out, as far as it is known: where that
    /// is short, records get by with half of it, so that some are begun.
    pub fn new(function: Function, left: Option<Duration>, whole: Duration, now: Instant) -> Self {
        let end = left.map(|left| now + left);
        Self { end, needed: needed(function).min(whole / 2), margin: MARGIN.min(whole / 10) }
    }

    /// Whether a record is begun `now`.
    pub fn turn(&self, now: Instant) -> Turn {
        let Some(end) = self.end else { return Turn::Unlimited };
        let left = end.saturating_duration_since(now);
        if left < self.needed { Turn::TooLate } else { Turn::For(left.saturating_sub(self.margin)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_segment_is_begun_while_it_can_end() {
        let start = Instant::now();
        let budget = Budget::new(Function::Transfer, Some(840 * SECOND), 840 * SECOND, start);
        assert_eq!(budget.turn(start), Turn::For(835 * SECOND));
        assert_eq!(budget.turn(start + 780 * SECOND), Turn::For(55 * SECOND));
        assert_eq!(budget.turn(start + 781 * SECOND), Turn::TooLate);
        assert_eq!(budget.turn(start + 900 * SECOND), Turn::TooLate, "time that is over stays over");
        let light = Budget::new(Function::Commit, Some(300 * SECOND), 300 * SECOND, start);
        assert_eq!(light.turn(start + 290 * SECOND), Turn::For(5 * SECOND));
        assert_eq!(light.turn(start + 291 * SECOND), Turn::TooLate);
    }

    #[test]
    fn a_short_time_out_is_shared_out() {
        let start = Instant::now();
        let budget = Budget::new(Function::Transfer, Some(20 * SECOND), 20 * SECOND, start);
        assert_eq!(budget.turn(start), Turn::For(18 * SECOND));
        assert_eq!(budget.turn(start + 10 * SECOND), Turn::For(8 * SECOND));
        assert_eq!(budget.turn(start + 11 * SECOND), Turn::TooLate);
        let cut_short = Budget::new(Function::Transfer, Some(20 * SECOND), 840 * SECOND, start);
        assert_eq!(cut_short.turn(start), Turn::TooLate, "the same 20 s, of a function that has 840");
    }

    #[test]
    fn a_deadline_that_has_passed_is_none() {
        assert_eq!(time_left(1_772_000_000_500, 1_772_000_000_000), Some(Duration::from_millis(500)));
        for passed in [0, 600_000, 1_771_999_999_999, 1_772_000_000_000] {
            assert_eq!(time_left(passed, 1_772_000_000_000), None, "{passed}");
        }
        let budget = Budget::new(Function::Transfer, None, Duration::ZERO, Instant::now());
        assert_eq!(budget.turn(Instant::now()), Turn::Unlimited);
    }
}

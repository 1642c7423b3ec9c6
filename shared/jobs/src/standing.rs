use stillpoint_model::JobState;

/// Which of two records of a job's ledger says where it stands: the later one, but nothing follows an end. A process that stood still
/// may write a record when it wakes up whose number another has, or whose job has ended since. Of two ends the better one is true: what
/// was completed may have been moved away by its owner, and is missed by the late process; what was stopped is never completed.
pub(crate) fn standing(one: (u32, JobState), other: (u32, JobState)) -> (u32, JobState) {
    match (one.1.is_end(), other.1.is_end()) {
        (true, true) if (one.1, one.0) <= (other.1, other.0) => one,
        (true, true) => other,
        (true, false) => one,
        (false, true) => other,
        (false, false) => one.max(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Record = (u32, JobState);

    #[test]
    fn nothing_follows_an_end_in_whatever_order_records_are_listed() {
        use JobState::{Completed, Failed, Requested, Transfer, Validate};
        let cases: [(&[Record], Record); 5] = [
            (&[(1, Requested), (2, Transfer), (3, Validate)], (3, Validate)),
            (&[(1, Requested), (4, Completed), (5, Validate)], (4, Completed)),
            (&[(4, Completed), (5, Failed), (6, Transfer)], (4, Completed)),
            (&[(4, Failed), (5, Completed), (6, Failed)], (5, Completed)),
            (&[(4, Completed), (4, Failed), (4, Validate)], (4, Completed)),
        ];
        for (records, expected) in cases {
            assert_eq!(records.iter().copied().reduce(standing), Some(expected), "{records:?}");
            assert_eq!(records.iter().rev().copied().reduce(standing), Some(expected), "{records:?}, listed backwards");
        }
    }
}

//! How far the phases of a backup are, as its ledger tells it.

use serde::Serialize;
use stillpoint_jobs::{Job, Operation};
use stillpoint_model::JobState;

/// Where a phase stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    Pending,
    UnderWay,
    Completed,
    Failed,
    /// Not wanted, or an earlier one did not come to its end.
    Skipped,
}

/// The phases of a backup, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Phases {
    pub snapshot: Standing,
    pub transfer: Standing,
    pub validate: Standing,
}

/// The phases of a job, if it is a backup.
pub fn of(job: &Job) -> Option<Phases> {
    let is_backup = matches!(job.request.what, Operation::Backup { .. });
    let has_point = job.newest.outcome.as_ref().is_some_and(|outcome| outcome.point.is_some());
    is_backup.then(|| standing(job.state(), job.newest.segments.is_some(), has_point))
}

/// `has_plan`: the snapshot was taken. It stays known in every record that follows.
const fn standing(state: JobState, has_plan: bool, has_point: bool) -> Phases {
    use Standing::{Completed, Failed, Pending, Skipped, UnderWay};
    let (snapshot, transfer, validate) = match (state, has_plan, has_point) {
        (JobState::Requested, ..) => (UnderWay, Pending, Pending),
        (JobState::Transfer, ..) => (Completed, UnderWay, Pending),
        (JobState::Validate, ..) => (Completed, Completed, UnderWay),
        (JobState::Completed, ..) | (JobState::CompletedWithWarnings, _, true) => (Completed, Completed, Completed),
        // Only the snapshot was wanted.
        (JobState::CompletedWithWarnings, false, false) => (Completed, Skipped, Skipped),
        (_, true, _) => (Completed, Failed, Skipped),
        (_, false, _) => (Failed, Skipped, Skipped),
    };
    Phases { snapshot, transfer, validate }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_follows_the_one_before() {
        use Standing::{Completed, Failed, Pending, Skipped, UnderWay};
        let cases = [
            ((JobState::Requested, false, false), [UnderWay, Pending, Pending]),
            ((JobState::Transfer, true, false), [Completed, UnderWay, Pending]),
            ((JobState::Validate, true, false), [Completed, Completed, UnderWay]),
            ((JobState::CompletedWithWarnings, true, true), [Completed; 3]),
            ((JobState::CompletedWithWarnings, true, false), [Completed, Failed, Skipped]),
            ((JobState::CompletedWithWarnings, false, false), [Completed, Skipped, Skipped]),
            ((JobState::Failed, true, false), [Completed, Failed, Skipped]),
            ((JobState::Cancelled, false, false), [Failed, Skipped, Skipped]),
        ];
        for ((state, has_plan, has_point), expected) in cases {
            let Phases { snapshot, transfer, validate } = standing(state, has_plan, has_point);
            assert_eq!([snapshot, transfer, validate], expected, "{state}");
        }
    }
}

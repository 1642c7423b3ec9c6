use jiff::{SignedDuration, Timestamp};
use stillpoint_fleet::Fleet;
use stillpoint_jobs::{Operation, Rotation};
use stillpoint_model::{Subject, Task};

/// Seconds of a day.
const DAY: i64 = 86_400;
/// When on each UTC day a task is due; apart from each other, and so that what prune deletes is seen by collect.
const DAILY: [(Task, SignedDuration); 4] = [
    (Task::Prune, SignedDuration::from_hours(1)),
    (Task::Replicate, SignedDuration::from_hours(2)),
    (Task::Collect, SignedDuration::from_hours(3)),
    (Task::Verify, SignedDuration::from_hours(5)),
];

/// A task, when it is due, and what it does.
pub(crate) type DueTask = (Subject, Timestamp, Operation);

/// Number of the UTC day since 1970.
pub(crate) fn day(instant: Timestamp) -> i64 {
    instant.as_second().div_euclid(DAY)
}

/// The newest slot of each task that is due by `now` and not older than the vault. One that was missed is caught up until the next is
/// due; missing all of a day is no harm, for each looks at everything.
pub(crate) fn due(fleet: &Fleet, created: Timestamp, now: Timestamp) -> Vec<DueTask> {
    if fleet.members.is_empty() {
        return Vec::new();
    }
    let slot = |(task, offset): (Task, SignedDuration)| {
        let number = day(now.checked_sub(offset).ok()?);
        let due = Timestamp::from_second(number * DAY).ok()?.checked_add(offset).ok()?;
        let what = match task {
            Task::Prune => Operation::Prune,
            Task::Collect => Operation::Collect,
            Task::Verify => Operation::Verify { item: None, read: Some(Rotation::on_day(due, fleet.settings.verify_days)) },
            // Points are copied as they come; once a day what goes along with them is looked at in any case.
            Task::Replicate if fleet.settings.is_replica() => Operation::Replicate { item: None, records: true },
            Task::Replicate | Task::Schedule => return None,
        };
        (due >= created).then_some((Subject::Task(task), due, what))
    };
    DAILY.into_iter().filter_map(slot).collect()
}

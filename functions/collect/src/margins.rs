use std::time::Duration;

use jiff::SignedDuration;
use stillpoint_model::policy::INSTANT_RESTORE_DAYS_MAX;

/// Every number that `collect` goes by. No age among them authorises the deletion of a pack, a manifest or a point: what these may go
/// is decided by references, and by jobs that have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Margins {
    /// Packs and manifests condemned by one run. Every job reads the open records when it begins: at 150 bytes a name this is 7.5 MB,
    /// and the rest is condemned by the next run.
    pub objects_condemned_max: usize,
    /// Points condemned by one run: more than a large vault frees in a day, and a tenth of the record's size at most.
    pub points_condemned_max: usize,
    /// Requests under way at once: enough to delete a full record in two minutes, few enough to leave the store to the backups.
    pub in_flight: usize,
    /// Newest records that stay when they are settled, for people who ask what was deleted: a month of daily runs.
    pub records_kept: usize,
    /// Newest records of the timer's log that stay. Only the newest one counts; an hour and a half of them tell what it did.
    pub ticks_kept: usize,
    /// How long settled slots stay. The timer looks back for as long as a slot can be made up for, which is less than a pause
    /// after which the clock is in doubt (35 days).
    pub slots: SignedDuration,
    /// How long the records of a kept snapshot stay after its time, if it was given back: a process that stood still meanwhile finds
    /// that nothing is kept any more. The timer lists them every minute, so not for longer.
    pub snapshots: SignedDuration,
    /// How long a job's plan and markers stay after its end: late copies of its events find them, and so do people. More than the 14
    /// days of jobs that every command looks through.
    pub work: SignedDuration,
    /// How long a file stays that a killed writer left in a vault's directory, since it was last written to. More than anybody takes to
    /// write an object, a process that stood still over a weekend included; he would have to begin anew, and nothing is lost.
    pub unfinished: Duration,
    /// How long the mark stays that says a point was freed. It keeps a process that was frozen in the middle of its commit from making
    /// the point visible again. A clock that is a year ahead must not shorten this to nothing.
    pub freed_marks: SignedDuration,
    /// How long a job is waited for before the operator is told: more than any job's life, retries and time at night included.
    pub patience: SignedDuration,
    /// Old jobs, and old freed points, whose leftovers one run looks into; the rest comes in the next runs.
    pub swept_max: usize,
}

const DAY: i64 = 24;

impl Margins {
    /// What Stillpoint uses.
    pub const DEFAULT: Self = Self {
        objects_condemned_max: 50_000,
        points_condemned_max: 5_000,
        in_flight: 16,
        records_kept: 30,
        ticks_kept: 100,
        slots: SignedDuration::from_hours(60 * DAY),
        snapshots: SignedDuration::from_hours(3 * DAY),
        work: SignedDuration::from_hours(30 * DAY),
        unfinished: Duration::from_hours(7 * 24),
        freed_marks: SignedDuration::from_hours(400 * DAY),
        patience: SignedDuration::from_hours(7 * DAY),
        swept_max: 200,
    };

    /// Whether the numbers fit together.
    #[must_use]
    pub const fn are_consistent(&self) -> bool {
        self.objects_condemned_max > 0
            && self.points_condemned_max > 0
            && self.in_flight > 0
            && self.swept_max > 0
            && self.ticks_kept > 1
            && self.records_kept > 1
            // What is still worked with is older than what people wait for, and younger than what is swept.
            && self.patience.as_secs() < self.work.as_secs()
            && self.work.as_secs() > 14 * DAY * 3600
            // A kept snapshot is restored by its job's plan.
            && self.work.as_secs() >= INSTANT_RESTORE_DAYS_MAX as i64 * DAY * 3600
            && self.slots.as_secs() > 35 * DAY * 3600
            && self.freed_marks.as_secs() > 366 * DAY * 3600
            && self.freed_marks.as_secs() > self.slots.as_secs()
    }
}

const _: () = assert!(Margins::DEFAULT.are_consistent());

//! How old a machine's newest good point may be.

use jiff::{SignedDuration, Timestamp};

use super::Timetable;

/// How far back the last two closed slots are looked for, in days: soon found where there are many, and far enough for a schedule
/// that runs once a week.
const DAYS_BACK: [i64; 3] = [2, 8, 32];

impl Timetable {
    /// The instant that a good point must not be older than at `now`: when the slot before the last closed one was due. So one slot
    /// without a point is no alarm yet, and two in a row are.
    ///
    /// `applies_from` is as in [`Timetable::due`]. `None` as long as no two slots have closed since then, and for a policy
    /// without schedules.
    #[must_use]
    pub fn objective(&self, applies_from: Timestamp, now: Timestamp) -> Option<Timestamp> {
        DAYS_BACK.into_iter().find_map(|days| {
            let from = now.checked_sub(SignedDuration::from_hours(24 * days)).unwrap_or(Timestamp::MIN);
            self.last_two_closed(applies_from.max(from), now)
        })
    }

    /// When the earlier of the last two slots was due that are due at `from` or later and closed by `now`.
    fn last_two_closed(&self, from: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let dues = self.closed(from, now);
        dues.len().checked_sub(2).map(|earlier| dues[earlier])
    }
}

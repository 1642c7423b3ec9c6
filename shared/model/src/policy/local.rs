//! From what a wall clock shows to instants, where clocks are moved.

use jiff::{
    Timestamp,
    civil::DateTime,
    tz::{AmbiguousOffset, TimeZone},
};

/// The instant at which the clocks of `zone` show `local` for the first time. In a missing hour (or day) it is the first instant
/// after it. None beyond the ends of the calendar.
pub(super) fn first(zone: &TimeZone, local: DateTime) -> Option<Timestamp> {
    match zone.to_ambiguous_timestamp(local).offset() {
        AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(local).ok(),
        AmbiguousOffset::Fold { before, .. } => before.to_timestamp(local).ok(),
        AmbiguousOffset::Gap { after, .. } => {
            // By the clock as it goes afterwards, the missing time lies before the move, by less than the move.
            let just_before = after.to_timestamp(local).ok()?;
            zone.following(just_before).next().map(|moved| moved.timestamp())
        }
    }
}

/// The second instant at which the clocks show `local`, in a doubled hour.
pub(super) fn second(zone: &TimeZone, local: DateTime) -> Option<Timestamp> {
    match zone.to_ambiguous_timestamp(local).offset() {
        AmbiguousOffset::Fold { after, .. } => after.to_timestamp(local).ok(),
        _ => None,
    }
}

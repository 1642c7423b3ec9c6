//! When a policy's backups are due.
//!
//! All times are read from the wall clock of the policy's zone. A time in a missing hour runs once, at the first instant after it;
//! a time of `daily` and `weekly` in a doubled hour runs once, in the first of the two. `every` counts from local midnight, and
//! runs in both of the doubled hours, each once: both pass, and `every = "15m"` is a promise to lose no more than that.
//!
//! A slot in a blackout is put off until the blackout ends, and slots that are put off to the same instant become one: a machine
//! whose daily slot lies in a blackout would otherwise never be backed up.
//!
//! A window ends at the next slot of the same schedule and at the next blackout, whatever its length, so that of each schedule at
//! most one slot is open and nothing starts in a blackout.

use std::iter::Peekable;

use jiff::{SignedDuration, Timestamp, civil::Date, tz::TimeZone};

use super::{
    DaySpan, LATE_TICKS, Policy, PolicyError, Schedule, Share, Slot,
    check::{check_schedules, schedules_zone},
    clock_face::DAY_MINUTES,
    local,
};
use crate::policy::TimeOfDay;

/// How long a slot without a window can be caught up.
const CATCH_UP: SignedDuration = SignedDuration::from_hours(1);
/// No slot is put off, and no clock moved, by more than this in days.
const DAYS_BACK: i64 = 3;

/// A policy's schedules with their time zone at hand. Made once for all machines of a policy.
#[derive(Debug, Clone)]
pub struct Timetable {
    zone: TimeZone,
    schedules: Vec<Schedule>,
}

/// A slot before it is known which machine's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Opening {
    due: Timestamp,
    closes: Timestamp,
    /// Over how long the starts are spread.
    spread: SignedDuration,
}

impl Opening {
    fn slot(self, share: Share) -> Slot {
        Slot { due: self.due, start: later(self.due, share.of(self.spread)), closes: self.closes }
    }
}

fn later(instant: Timestamp, by: SignedDuration) -> Timestamp {
    instant.checked_add(by).unwrap_or(if by.is_negative() { Timestamp::MIN } else { Timestamp::MAX })
}

impl Timetable {
    /// The timetable of a checked policy.
    ///
    /// # Errors
    /// The policy's zone is not in the system's time zone database.
    pub fn new(policy: &Policy) -> Result<Self, PolicyError> {
        Ok(Self { zone: policy.zone()?, schedules: policy.schedules.clone() })
    }

    /// The timetable of these schedules, which are checked.
    ///
    /// # Errors
    /// The first thing that is wrong with them; its field begins with `schedule`.
    pub fn of(schedules: Vec<Schedule>) -> Result<Self, PolicyError> {
        check_schedules(&schedules)?;
        let name = schedules.first().map_or("UTC", |schedule| &schedule.time_zone);
        Ok(Self { zone: schedules_zone(name)?, schedules })
    }

    /// Whether anything has come due after `since` and by `now` that may start at `now`: what is late waits for the end of a blackout of
    /// its schedule. However many have come due, they are one.
    #[must_use]
    pub fn owes(&self, since: Timestamp, now: Timestamp) -> bool {
        self.schedules.iter().any(|schedule| {
            let is_late = dues(&self.zone, schedule, since).next().is_some_and(|due| due <= now);
            is_late && !schedule.not_between.iter().any(|blackout| blackout.covers_instant(&self.zone, now))
        })
    }

    /// The slots due after `after`, without end, earliest first, for a machine with this share of the windows.
    pub fn next_runs(&self, share: Share, after: Timestamp) -> impl Iterator<Item = Slot> + '_ {
        self.openings(after).map(move |opening| opening.slot(share))
    }

    /// The slots to be judged at `now`: due by now, and still open at some time after the last look at `since`.
    ///
    /// `applies_from` is when this policy came to apply to the machine (the later of both records' writing): slots due before are
    /// none of it, so that a new or changed policy neither runs nor misses what it would have planned for the past.
    pub fn due(
        &self,
        share: Share,
        applies_from: Timestamp,
        since: Timestamp,
        now: Timestamp,
    ) -> impl Iterator<Item = Slot> + '_ {
        let windows = self.schedules.iter().filter_map(|schedule| schedule.window.map(|window| window.duration()));
        let longest = windows.max().unwrap_or_default().max(CATCH_UP);
        // `openings` excludes the instant it is given, and all slots lie on whole seconds.
        let before = |instant| later(instant, -SignedDuration::from_secs(1));
        let after = before(applies_from).max(later(before(since), -longest));
        let openings = self.openings(after).take_while(move |opening| opening.due <= now);
        openings.filter(move |opening| opening.closes > since).map(move |opening| opening.slot(share))
    }

    /// When the slots were due, rising, that are due at `from` or later and closed by `now`.
    pub(super) fn closed(&self, from: Timestamp, now: Timestamp) -> Vec<Timestamp> {
        let openings = self.openings(later(from, -SignedDuration::from_secs(1))).take_while(|opening| opening.due <= now);
        openings.filter(|opening| opening.closes <= now).map(|opening| opening.due).collect()
    }

    /// The slots of all schedules, each instant once; where several meet, the window of the schedule written first counts.
    fn openings(&self, after: Timestamp) -> impl Iterator<Item = Opening> + '_ {
        let mut schedules: Vec<_> =
            self.schedules.iter().map(|schedule| openings(&self.zone, schedule, after).peekable()).collect();
        std::iter::from_fn(move || {
            let next = schedules.iter_mut().filter_map(|openings| openings.peek().copied()).min_by_key(|opening| opening.due)?;
            for openings in &mut schedules {
                openings.next_if(|opening| opening.due == next.due);
            }
            Some(next)
        })
    }
}

/// The slots of one schedule due after `after`, with where their windows end.
fn openings<'a>(zone: &'a TimeZone, schedule: &'a Schedule, after: Timestamp) -> impl Iterator<Item = Opening> + 'a {
    let mut dues: Peekable<_> = dues(zone, schedule, after).peekable();
    std::iter::from_fn(move || {
        let due = dues.next()?;
        let length = schedule.window.map_or(CATCH_UP, |window| window.duration());
        let blackouts = schedule.not_between.iter().filter_map(|blackout| next_time(zone, blackout.from, due));
        let ends = blackouts.chain(dues.peek().copied());
        let closes = ends.fold(later(due, length), Ord::min);
        let spread = match schedule.window {
            Some(_) => (closes.duration_since(due) - LATE_TICKS).max(SignedDuration::ZERO),
            None => SignedDuration::ZERO,
        };
        Some(Opening { due, closes, spread })
    })
}

/// The instants at which one schedule is due after `after`, rising.
fn dues<'a>(zone: &'a TimeZone, schedule: &'a Schedule, after: Timestamp) -> impl Iterator<Item = Timestamp> + 'a {
    let today = zone.to_datetime(after).date();
    let first_day = today.checked_sub(jiff::Span::new().days(DAYS_BACK)).unwrap_or(today);
    let days = std::iter::successors(Some(first_day), |day| day.tomorrow().ok());
    let instants = days.flat_map(move |day| on_day(zone, schedule, day));
    let allowed = instants.filter_map(move |instant| past_blackouts(zone, &schedule.not_between, instant));
    // Slots put off to one instant are one; the order holds by itself but for clocks set back over midnight.
    allowed.scan(after, |last, instant| Some((instant > *last).then(|| *last = instant).map(|()| instant))).flatten()
}

/// The instants at which the schedule's times come on one local day, rising, blackouts aside.
fn on_day(zone: &TimeZone, schedule: &Schedule, day: Date) -> Vec<Timestamp> {
    let first = |time: TimeOfDay| local::first(zone, time.on(day));
    if let Some(time) = schedule.daily {
        return first(time).into_iter().collect();
    }
    if let Some(weekly) = &schedule.weekly {
        let is_named = weekly.days.iter().any(|named| day.weekday() == (*named).into());
        return is_named.then(|| first(weekly.at)).flatten().into_iter().collect();
    }
    let step = schedule.every.map_or(DAY_MINUTES.into(), |every| every.seconds() / 60);
    let step = usize::try_from(step).unwrap_or(usize::MAX).max(1);
    let times = (0..DAY_MINUTES).step_by(step).map(TimeOfDay::from_minutes);
    let mut instants: Vec<Timestamp> =
        times.flat_map(|time| [first(time), local::second(zone, time.on(day))]).flatten().collect();
    // Times in the first and the second of the doubled hours alternate above.
    instants.sort_unstable();
    instants
}

/// The first instant from `instant` on at which something may start.
fn past_blackouts(zone: &TimeZone, blackouts: &[DaySpan], mut instant: Timestamp) -> Option<Timestamp> {
    // Each blackout is left at most twice (the free time between two may be in the missing hour of that day); a checked policy
    // leaves some free time.
    for _ in 0..=2 * blackouts.len() {
        let Some(blackout) = blackouts.iter().find(|blackout| blackout.covers_instant(zone, instant)) else {
            return Some(instant);
        };
        instant = next_time(zone, blackout.to, instant)?;
    }
    None
}

/// The first instant after `after` at which the clock shows `time`.
fn next_time(zone: &TimeZone, time: TimeOfDay, after: Timestamp) -> Option<Timestamp> {
    let today = zone.to_datetime(after).date();
    let days = std::iter::successors(Some(today), |day| day.tomorrow().ok()).take(2);
    let mut instants = days.flat_map(|day| [local::first(zone, time.on(day)), local::second(zone, time.on(day))]).flatten();
    instants.find(|instant| *instant > after)
}

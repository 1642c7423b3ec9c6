//! What makes a policy sensible: bounds of single values and relations between them.

use jiff::tz::TimeZone;

use super::{AppliesTo, Interval, Limits, Pace, Policy, PolicyError, Retention, Schedule, Weekly, clock_face::DAY_MINUTES};
use crate::{NAME_BYTES_MAX, geometry::CHUNK_BYTES};

type Checked = Result<(), PolicyError>;

/// Most schedules of a policy, most blackouts of a schedule: far beyond use, near enough to bound the work of a tick.
const LIST_MAX: usize = 16;
/// Most names, and most tags, that a policy applies to; a policy's record stays small.
const CHOSEN_MAX: usize = 1_000;
/// Longest value of a tag, in bytes.
const TAG_BYTES_MAX: usize = 255;
/// The timer ticks each minute.
const EVERY_MIN: Interval = Interval::from_minutes(1);
/// A shorter window would be all used up by late ticks (`LATE_TICKS` of the timetable).
const WINDOW_MIN: Interval = Interval::from_minutes(10);
/// Longest retention of each rule: 100 years, and as many points as a year of hourly backups has.
const RETENTION_MAX: [(&str, u32); 5] =
    [("daily", 36_525), ("weekly", 5_218), ("monthly", 1_200), ("yearly", 100), ("keep_last", 8_784)];
/// Snapshots on the platform cost space and speed; a month of them is no instant restore any more.
pub const INSTANT_RESTORE_DAYS_MAX: u32 = 30;

fn ensure(holds: bool, field: impl FnOnce() -> String, reason: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(PolicyError::new(field(), reason())) }
}

impl Policy {
    /// Checks bounds and relations that the types alone do not hold. Everything that writes a policy calls this first.
    ///
    /// # Errors
    /// The first fault, in the order of the fields.
    pub fn check(&self) -> Checked {
        self.applies_to.check()?;
        check_schedules(&self.schedules)?;
        self.retention.check()?;
        self.limits.check()
    }

    /// How fast its machines' disks may be read, if that is limited at any time of the day.
    #[must_use]
    pub fn pace(&self) -> Option<Pace> {
        let Limits { bytes_per_second, at, .. } = &self.limits;
        let is_limited = bytes_per_second.is_some() || !at.is_empty();
        is_limited.then(|| Pace { time_zone: self.time_zone().to_owned(), bytes_per_second: *bytes_per_second, at: at.clone() })
    }

    /// Name of the zone in whose local days both schedules and retention count: that of the schedules, else UTC.
    #[must_use]
    pub fn time_zone(&self) -> &str {
        self.schedules.first().map_or("UTC", |schedule| &schedule.time_zone)
    }

    /// The zone itself, from the system's time zone database.
    ///
    /// # Errors
    /// The database has no such zone, or the system has no database.
    pub fn zone(&self) -> Result<TimeZone, PolicyError> {
        schedules_zone(self.time_zone())
    }
}

/// Checks a list of schedules, each and together.
pub(super) fn check_schedules(schedules: &[Schedule]) -> Checked {
    ensure(schedules.len() <= LIST_MAX, || "schedule".to_owned(), || format!("more than {LIST_MAX} schedules"))?;
    for (place, schedule) in schedules.iter().enumerate() {
        schedule.check(&format!("schedule[{place}]"))?;
    }
    // Days, weeks and months of a policy's retention are local: with two zones it would be open whose.
    let first = schedules.first().map_or("UTC", |schedule| &schedule.time_zone);
    let odd = schedules.iter().position(|schedule| schedule.time_zone != first);
    ensure(
        odd.is_none(),
        || format!("schedule[{}].time_zone", odd.unwrap_or_default()),
        || format!("all schedules here are in one time zone, {first}; a policy's retention counts its days"),
    )
}

/// The zone of a list of schedules.
pub(super) fn schedules_zone(name: &str) -> Result<TimeZone, PolicyError> {
    zone(name, || "schedule[0].time_zone".to_owned())
}

fn zone(name: &str, field: impl FnOnce() -> String) -> Result<TimeZone, PolicyError> {
    time_zone(name).map_err(|reason| PolicyError::new(field(), format!("'{}' {reason}", name.escape_debug())))
}

/// The zone of this name, from the system's time zone database.
///
/// # Errors
/// The reason, one line that goes on after the name.
pub fn time_zone(name: &str) -> Result<TimeZone, &'static str> {
    TimeZone::get(name).map_err(|_| {
        if jiff::tz::db().is_definitively_empty() {
            "cannot be looked up: this system has no time zone database; install the package tzdata"
        } else {
            "is not in the time zone database; write a name as Europe/Berlin or UTC"
        }
    })
}

impl AppliesTo {
    fn check(&self) -> Checked {
        let many = if self.names.len() > CHOSEN_MAX { "names" } else { "tags" };
        let fits = self.names.len() <= CHOSEN_MAX && self.tags.len() <= CHOSEN_MAX;
        ensure(fits, || format!("applies_to.{many}"), || format!("more than {CHOSEN_MAX}"))?;
        for (key, value) in &self.tags {
            check_tag(key, value).map_err(|reason| PolicyError::new(format!("applies_to.tags.{key}"), reason))?;
        }
        Ok(())
    }
}

/// Whether a machine may carry this tag, and a policy ask for it.
///
/// # Errors
/// The reason, one line.
pub fn check_tag(key: &str, value: &str) -> Result<(), String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':' | b'/');
    if key.is_empty() || key.len() > NAME_BYTES_MAX || !key.bytes().all(allowed) {
        return Err(format!("the key of a tag has 1 to {NAME_BYTES_MAX} of a-z, A-Z, 0-9, '-', '_', '.', ':', '/'"));
    }
    if value.len() > TAG_BYTES_MAX || value.chars().any(char::is_control) {
        return Err(format!("the value of a tag has at most {TAG_BYTES_MAX} bytes, and no control characters"));
    }
    Ok(())
}

impl Schedule {
    fn check(&self, path: &str) -> Checked {
        let field = |name: &'static str| move || format!("{path}.{name}");
        let given = [self.every.is_some(), self.daily.is_some(), self.weekly.is_some()];
        ensure(
            given.iter().filter(|given| **given).count() == 1,
            || path.to_owned(),
            || "give one of every, daily and weekly; for several rules write [[schedule]] before each".to_owned(),
        )?;
        if let Some(every) = self.every {
            let divides = every >= EVERY_MIN && every.seconds().is_multiple_of(60) && 86_400_u64.is_multiple_of(every.seconds());
            let reason = || format!("{every} does not divide a day evenly into whole minutes; write for instance 15m, 1h or 4h");
            ensure(divides, field("every"), reason)?;
        }
        if let Some(weekly) = &self.weekly {
            weekly.check(path)?;
        }
        zone(&self.time_zone, field("time_zone"))?;
        if let Some(window) = self.window {
            let shorter = || format!("{window} is shorter than {WINDOW_MIN}; leave it out to start all machines at once");
            ensure(window >= WINDOW_MIN, field("window"), shorter)?;
            let period = self.period();
            let longer = || format!("{window} is not shorter than the {period} from one slot to the next");
            ensure(window < period, field("window"), longer)?;
        }
        ensure(self.not_between.len() <= LIST_MAX, field("not_between"), || format!("more than {LIST_MAX} spans"))?;
        let free = (0..DAY_MINUTES).any(|minute| !self.not_between.iter().any(|blackout| blackout.covers(minute)));
        ensure(free, field("not_between"), || "together the spans cover the whole day; nothing could ever start".to_owned())
    }

    /// The shortest time from one slot to the next, as the wall clock goes.
    fn period(&self) -> Interval {
        match (self.every, &self.weekly) {
            (Some(every), _) => every,
            (None, Some(weekly)) => Interval::from_minutes(u64::from(DAY_MINUTES) * weekly.days_apart()),
            (None, None) => Interval::from_minutes(u64::from(DAY_MINUTES)),
        }
    }
}

impl Weekly {
    fn check(&self, path: &str) -> Checked {
        let field = || format!("{path}.weekly.days");
        ensure(!self.days.is_empty(), field, || "name at least one day, as [\"sat\"]".to_owned())?;
        let mut days = self.days.clone();
        days.sort_unstable();
        ensure(days.windows(2).all(|pair| pair[0] != pair[1]), field, || "a day is named twice".to_owned())
    }

    /// The least number of days from one of them to the next.
    fn days_apart(&self) -> u64 {
        let mut places: Vec<u64> = self.days.iter().map(|day| *day as u64).collect();
        places.sort_unstable();
        let over_sunday = places.first().map(|first| first + 7);
        places.extend(over_sunday);
        places.windows(2).map(|pair| pair[1] - pair[0]).min().unwrap_or(7)
    }
}

impl Retention {
    fn check(&self) -> Checked {
        let given = [self.daily, self.weekly, self.monthly, self.yearly, self.keep_last];
        let reason = || "give at least one of daily, weekly, monthly, yearly and keep_last".to_owned();
        ensure(given.iter().any(Option::is_some), || "retention".to_owned(), reason)?;
        for (count, (name, most)) in given.into_iter().zip(RETENTION_MAX) {
            let fits = count.is_none_or(|count| (1..=most).contains(&count));
            let reason = || format!("must be 1 to {most}, not {}; leave it out for none", count.unwrap_or_default());
            ensure(fits, || format!("retention.{name}"), reason)?;
        }
        Ok(())
    }
}

impl Limits {
    fn check(&self) -> Checked {
        let some_run = self.concurrent != Some(0);
        ensure(
            some_run,
            || "limits.concurrent".to_owned(),
            || "with 0 no backup could ever run; leave it out for no limit".to_owned(),
        )?;
        let moves = self.bytes_per_second.is_none_or(|rate| rate.0 >= CHUNK_BYTES);
        ensure(moves, || "limits.bytes_per_second".to_owned(), || "less than 64KiB, one chunk, in a second".to_owned())?;
        ensure(self.at.len() <= LIST_MAX, || "limits.at".to_owned(), || format!("more than {LIST_MAX} rates"))?;
        for (place, rate) in self.at.iter().enumerate() {
            let field = || format!("limits.at[{place}].bytes_per_second");
            let reason = || "less than 64KiB, one chunk, in a second".to_owned();
            ensure(rate.bytes_per_second.0 >= CHUNK_BYTES, field, reason)?;
        }
        let short = self.instant_restore_days.is_none_or(|days| days <= INSTANT_RESTORE_DAYS_MAX);
        let reason = || format!("must be 0 to {INSTANT_RESTORE_DAYS_MAX}");
        ensure(short, || "limits.instant_restore_days".to_owned(), reason)
    }
}

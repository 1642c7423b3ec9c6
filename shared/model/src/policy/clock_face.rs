//! Times as a wall clock shows them: `22:00`, and spans of the day, in which no backup starts or other limits hold: `08:00-18:00`.

use std::{fmt, str::FromStr};

use jiff::{
    Timestamp,
    civil::{Date, DateTime, Time},
    tz::TimeZone,
};
use serde::{Deserialize, Serialize};

use crate::Error;

/// Minutes of a day on the wall clock.
pub(super) const DAY_MINUTES: u16 = 24 * 60;

/// A time of day in whole minutes, `00:00` to `23:59`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TimeOfDay(u16);

impl TimeOfDay {
    /// The time so many minutes after midnight; whole days are dropped.
    #[must_use]
    pub const fn from_minutes(minutes: u16) -> Self {
        Self(minutes % DAY_MINUTES)
    }

    /// Minutes since midnight.
    #[must_use]
    pub const fn minutes(self) -> u16 {
        self.0
    }

    /// This time on `day`.
    pub(super) fn on(self, day: Date) -> DateTime {
        // Both numbers are in range by construction; midnight stands in for what cannot be.
        let part = |number: u16| i8::try_from(number).unwrap_or_default();
        day.to_datetime(Time::new(part(self.0 / 60), part(self.0 % 60), 0, 0).unwrap_or_default())
    }
}

/// `HH:MM`, where `limit` is the last minute allowed.
fn minutes(text: &str, limit: u16) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let two_digits = |part: &str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
    if !two_digits(hours) || !two_digits(minutes) {
        return None;
    }
    let (hours, minutes): (u16, u16) = (hours.parse().ok()?, minutes.parse().ok()?);
    let total = hours * 60 + minutes;
    (minutes < 60 && total <= limit).then_some(total)
}

impl FromStr for TimeOfDay {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        let found = minutes(text, DAY_MINUTES - 1).map(Self);
        found.ok_or_else(|| {
            Error::invalid(format!("'{}' is not a time of day from 00:00 to 23:59, as 22:00", text.escape_debug()))
        })
    }
}

impl TryFrom<String> for TimeOfDay {
    type Error = Error;
    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<TimeOfDay> for String {
    fn from(time: TimeOfDay) -> Self {
        time.to_string()
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

/// A span of every day, `FROM-TO`; `TO` itself is free again. `22:00-06:00` goes over midnight,
/// and `24:00` may be written for the midnight at the end of the day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DaySpan {
    /// Its first minute.
    pub from: TimeOfDay,
    /// The first minute after it; before `from` when it goes over midnight.
    pub to: TimeOfDay,
}

impl DaySpan {
    /// Whether a clock that shows `minute` (since midnight) stands in it.
    #[must_use]
    pub const fn covers(self, minute: u16) -> bool {
        let (from, to) = (self.from.0, self.to.0);
        if from < to { from <= minute && minute < to } else { from <= minute || minute < to }
    }

    /// Whether the clocks of `zone` stand in it at `instant`.
    #[must_use]
    pub fn covers_instant(self, zone: &TimeZone, instant: Timestamp) -> bool {
        let shown = zone.to_datetime(instant).time();
        self.covers(u16::try_from(i32::from(shown.hour()) * 60 + i32::from(shown.minute())).unwrap_or_default())
    }
}

impl FromStr for DaySpan {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        let refused = |why: &str| Error::invalid(format!("'{}' is not a span of the day: {why}", text.escape_debug()));
        let parse = || {
            let (from, to) = text.split_once('-')?;
            Some((minutes(from, DAY_MINUTES - 1)?, minutes(to, DAY_MINUTES)?))
        };
        let (from, to) = parse().ok_or_else(|| refused("write two times, as 08:00-18:00"))?;
        if from == to % DAY_MINUTES {
            return Err(refused("it is empty or covers the whole day"));
        }
        Ok(Self { from: TimeOfDay(from), to: TimeOfDay::from_minutes(to) })
    }
}

impl TryFrom<String> for DaySpan {
    type Error = Error;
    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<DaySpan> for String {
    fn from(blackout: DaySpan) -> Self {
        blackout.to_string()
    }
}

impl fmt::Display for DaySpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.to.0 == 0 { write!(f, "{}-24:00", self.from) } else { write!(f, "{}-{}", self.from, self.to) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_day_have_one_spelling() {
        for good in ["00:00", "22:00", "23:59"] {
            assert_eq!(good.parse::<TimeOfDay>().unwrap().to_string(), good);
        }
        for bad in ["", "24:00", "7:00", "22:60", "22", "+2:00", "22:00:00", "10pm"] {
            assert!(bad.parse::<TimeOfDay>().unwrap_err().to_string().contains("as 22:00"), "{bad}");
        }
    }

    #[test]
    fn a_blackout_holds_its_first_minute_and_not_its_last() {
        let day: DaySpan = "08:00-18:00".parse().unwrap();
        assert_eq!([479, 480, 1079, 1080].map(|minute| day.covers(minute)), [false, true, true, false]);
        let night: DaySpan = "22:00-06:00".parse().unwrap();
        assert_eq!([1319, 1320, 0, 359, 360].map(|minute| night.covers(minute)), [false, true, true, true, false]);
        let evening: DaySpan = "22:00-24:00".parse().unwrap();
        assert_eq!([1319, 1320, 1439, 0].map(|minute| evening.covers(minute)), [false, true, true, false]);
    }

    #[test]
    fn a_blackout_that_is_empty_or_a_whole_day_is_refused() {
        for bad in ["08:00-08:00", "00:00-24:00", "00:00-00:00", "08:00", "08:00-25:00", "24:00-06:00", "08:00 - 18:00", ""] {
            assert!(bad.parse::<DaySpan>().unwrap_err().to_string().contains("is not a span of the day"), "{bad}");
        }
        for good in ["08:00-18:00", "22:00-06:00", "22:00-24:00", "00:00-06:30"] {
            assert_eq!(good.parse::<DaySpan>().unwrap().to_string(), good);
        }
    }
}

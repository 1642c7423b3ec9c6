use serde::{Deserialize, Serialize};

use super::{DaySpan, Interval, TimeOfDay};

/// One rule of when backups are due. Exactly one of `every`, `daily` and `weekly` is given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Whenever the wall clock shows a multiple of this since midnight: `4h` is 00:00, 04:00, … 20:00. It divides a day
    /// evenly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<Interval>,
    /// Each day at this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub daily: Option<TimeOfDay>,
    /// On some days of the week.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weekly: Option<Weekly>,
    /// Name in the IANA time zone database, whose wall clock all times here are read from; `UTC` when left out.
    #[serde(default = "utc")]
    pub time_zone: String,
    /// The starts of the policy's machines are spread over this long, and a slot that was missed is caught up within it. When
    /// left out, all start at once, and a slot can be caught up for an hour, or until the next one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Interval>,
    /// Spans of the day in which nothing starts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_between: Vec<DaySpan>,
}

/// The zone of a policy that names none.
pub(super) fn utc() -> String {
    "UTC".to_owned()
}

/// Days of the week, and when on them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Weekly {
    /// At least one, each once.
    pub days: Vec<Weekday>,
    /// The time on each of them.
    pub at: TimeOfDay,
}

/// A day of the week, written with three letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Weekday {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

impl From<Weekday> for jiff::civil::Weekday {
    fn from(day: Weekday) -> Self {
        match day {
            Weekday::Mon => Self::Monday,
            Weekday::Tue => Self::Tuesday,
            Weekday::Wed => Self::Wednesday,
            Weekday::Thu => Self::Thursday,
            Weekday::Fri => Self::Friday,
            Weekday::Sat => Self::Saturday,
            Weekday::Sun => Self::Sunday,
        }
    }
}

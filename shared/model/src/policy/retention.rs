use jiff::{Span, Timestamp, ToSpan, Zoned};
use serde::{Deserialize, Serialize};

/// How long points are kept. A rule that is left out keeps nothing; at least one is given, and each is at least 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// The first good point of each local day is kept so many days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub daily: Option<u32>,
    /// The first good point of each ISO week (Monday to Sunday, local days) is kept so many weeks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weekly: Option<u32>,
    /// The first good point of each calendar month is kept so many calendar months.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monthly: Option<u32>,
    /// The first good point of each calendar year is kept so many calendar years.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub yearly: Option<u32>,
    /// So many of the newest good points are kept, however old.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_last: Option<u32>,
}

/// The calendar units of retention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Day,
    Week,
    Month,
    Year,
}

impl Unit {
    pub(super) const ALL: [Self; 4] = [Self::Day, Self::Week, Self::Month, Self::Year];

    /// Names the unit that `local` lies in: two instants share a unit if and only if they share this.
    pub(super) fn of(self, local: &Zoned) -> (i16, i16) {
        let date = local.date();
        match self {
            Self::Day => (date.year(), date.day_of_year()),
            Self::Week => {
                let week = date.iso_week_date();
                (week.year(), i16::from(week.week()))
            }
            Self::Month => (date.year(), i16::from(date.month())),
            Self::Year => (date.year(), 0),
        }
    }

    /// `count` units later by the local calendar, at the same time of day; a day that the month lacks becomes its last, a time
    /// that the day lacks moves on by what it lacks. What lies past the end of all calendars is kept until then.
    pub(super) fn after(self, local: &Zoned, count: u32) -> Timestamp {
        let count = i64::from(count);
        let span: Result<Span, _> = match self {
            Self::Day => 0.days().try_days(count),
            Self::Week => 0.days().try_weeks(count),
            Self::Month => 0.days().try_months(count),
            Self::Year => 0.days().try_years(count),
        };
        span.and_then(|span| local.checked_add(span)).map_or(Timestamp::MAX, |later| later.timestamp())
    }
}

impl Retention {
    /// The rule for one unit, if there is one.
    pub(super) const fn count(&self, unit: Unit) -> Option<u32> {
        match unit {
            Unit::Day => self.daily,
            Unit::Week => self.weekly,
            Unit::Month => self.monthly,
            Unit::Year => self.yearly,
        }
    }
}

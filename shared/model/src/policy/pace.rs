use jiff::{Timestamp, tz::TimeZone};
use serde::{Deserialize, Serialize};

use super::{ByteCount, DaySpan};

/// A rate that holds for a part of each day, instead of the one that holds otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimedRate {
    /// When.
    pub between: DaySpan,
    /// Most bytes in a second.
    pub bytes_per_second: ByteCount,
}

/// How fast the disks of a policy's machines may be read, by the time of day in the policy's zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pace {
    /// The policy's zone.
    pub time_zone: String,
    /// Most bytes in a second where nothing else is said; no limit when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_second: Option<ByteCount>,
    /// Other rates for parts of the day; the first that covers an instant counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub at: Vec<TimedRate>,
}

impl Pace {
    /// Most bytes in a second at `instant`; none without a limit. Where the zone is not known, its times are read in UTC.
    #[must_use]
    pub fn at(&self, instant: Timestamp) -> Option<u64> {
        let zone = TimeZone::get(&self.time_zone).unwrap_or(TimeZone::UTC);
        let timed = self.at.iter().find(|rate| rate.between.covers_instant(&zone, instant)).map(|rate| rate.bytes_per_second);
        timed.or(self.bytes_per_second).map(|rate| rate.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_changes_at_the_hour_of_the_policy_s_zone() {
        let day = TimedRate { between: "08:00-18:00".parse().unwrap(), bytes_per_second: ByteCount(50) };
        let night = TimedRate { between: "22:00-06:00".parse().unwrap(), bytes_per_second: ByteCount(500) };
        let pace = Pace { time_zone: "Europe/Berlin".to_owned(), bytes_per_second: Some(ByteCount(100)), at: vec![day, night] };
        let at = |instant: &str| pace.at(instant.parse().unwrap());
        // Berlin is two hours ahead of UTC in summer, one in winter.
        for (instant, expected) in [
            ("2026-07-01T05:59:59Z", 100),
            ("2026-07-01T06:00:00Z", 50),
            ("2026-07-01T15:59:59Z", 50),
            ("2026-07-01T16:00:00Z", 100),
            ("2026-07-01T20:00:00Z", 500),
            ("2026-07-02T03:59:59Z", 500),
            ("2026-01-01T06:59:59Z", 100),
            ("2026-01-01T07:00:00Z", 50),
        ] {
            assert_eq!(at(instant), Some(expected), "{instant}");
        }
        assert_eq!(Pace { bytes_per_second: None, at: Vec::new(), ..pace }.at(Timestamp::UNIX_EPOCH), None);
    }
}

use std::num::NonZeroU32;

use jiff::tz::TimeZone;
use stillpoint_model::{
    Result,
    policy::{ByteCount, DaySpan, time_zone},
};

use crate::settings::{Environment, Settings, refused};

type Read<T> = std::result::Result<T, String>;

/// Parameters of the URL, each with the environment variable that says it where the parameter is absent.
const REQUESTS: (&str, &str) = ("requests_per_second", "STILLPOINT_REQUESTS_PER_SECOND");
const BYTES: (&str, &str) = ("bytes_per_second", "STILLPOINT_BYTES_PER_SECOND");
const STREAMS: (&str, &str) = ("streams", "STILLPOINT_STREAMS");
const AT: (&str, &str) = ("at", "STILLPOINT_LIMITS_AT");
const TIME_ZONE: (&str, &str) = ("time_zone", "STILLPOINT_LIMITS_TIME_ZONE");

/// What a store may be asked for; each is without limit by default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Requests begun in one second.
    pub requests_per_second: Option<NonZeroU32>,
    /// Bytes of bodies, read and written, in one second.
    pub bytes_per_second: Option<NonZeroU32>,
    /// Requests under way at once.
    pub streams: Option<NonZeroU32>,
}

/// What a store may be asked for by the time of day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DailyLimits {
    /// Where no span says otherwise.
    pub otherwise: Limits,
    /// Others for parts of the day; the first that covers an instant counts.
    pub at: Vec<(DaySpan, Limits)>,
    /// Whose clocks show the time of day.
    pub zone: TimeZone,
}

impl DailyLimits {
    /// Parameters that every store knows.
    pub(crate) const NAMES: [&str; 5] = [REQUESTS.0, BYTES.0, STREAMS.0, AT.0, TIME_ZONE.0];

    /// From the URL's parameters and the environment.
    pub(crate) fn take(settings: &mut Settings, environment: &Environment) -> Result<Self> {
        let mut given =
            |(name, variable): (&str, &str)| settings.text(name).or_else(|| environment.get(variable).map(str::to_owned));
        let wrong = |(name, variable): (&str, &str), why: &str| refused(name, format!("(or {variable}) {why}"));
        let mut limit =
            |of: (&'static str, &str)| given(of).map(|text| number(of.0, &text).map_err(|why| wrong(of, &why))).transpose();
        let otherwise =
            Limits { requests_per_second: limit(REQUESTS)?, bytes_per_second: limit(BYTES)?, streams: limit(STREAMS)? };
        let zone = given(TIME_ZONE).map(|name| time_zone(&name).map_err(|why| wrong(TIME_ZONE, why))).transpose()?;
        let at = given(AT).map(|text| spans(&text, otherwise).map_err(|why| wrong(AT, &why))).transpose()?;
        Ok(Self { otherwise, at: at.unwrap_or_default(), zone: zone.unwrap_or(TimeZone::UTC) })
    }
}

/// The value of one limit.
fn number(name: &str, text: &str) -> Read<NonZeroU32> {
    let is_size = name == BYTES.0;
    let size = || text.parse().ok().filter(|_| is_size).and_then(|size: ByteCount| u32::try_from(size.0).ok());
    let unit = if is_size { ", or a size, as 10MiB" } else { "" };
    let number = text.parse().ok().or_else(size).and_then(NonZeroU32::new);
    number.ok_or_else(|| format!("is a whole number from 1 to {}{unit}", u32::MAX))
}

/// Spans with their limits, as `08:00-18:00,bytes_per_second=10MiB,streams=2;22:00-06:00,streams=8`.
fn spans(text: &str, otherwise: Limits) -> Read<Vec<(DaySpan, Limits)>> {
    let numbered = text.split(';').zip(1..);
    numbered.map(|(part, number)| span(part, otherwise).map_err(|why| format!("has a mistake in part {number}: {why}"))).collect()
}

/// One span; a limit that it does not name is as otherwise.
fn span(text: &str, otherwise: Limits) -> Read<(DaySpan, Limits)> {
    let (between, settings) = text.split_once(',').unwrap_or((text, ""));
    let between = between.parse().map_err(|_| "it begins with a span, not the whole day, as 08:00-18:00")?;
    let mut named = Limits::default();
    for setting in settings.split(',') {
        let (name, value) = setting.split_once('=').unwrap_or((setting, ""));
        let limit = match name {
            _ if name == REQUESTS.0 => &mut named.requests_per_second,
            _ if name == BYTES.0 => &mut named.bytes_per_second,
            _ if name == STREAMS.0 => &mut named.streams,
            _ => {
                return Err(format!(
                    "after the span come limits, as 08:00-18:00,streams=2; known are: {}",
                    [REQUESTS.0, BYTES.0, STREAMS.0].join(", ")
                ));
            }
        };
        if limit.replace(number(name, value).map_err(|why| format!("{name} {why}"))?).is_some() {
            return Err(format!("{name} is given twice"));
        }
    }
    let limits = Limits {
        requests_per_second: named.requests_per_second.or(otherwise.requests_per_second),
        bytes_per_second: named.bytes_per_second.or(otherwise.bytes_per_second),
        streams: named.streams.or(otherwise.streams),
    };
    Ok((between, limits))
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::*;

    fn take(query: &str, variables: &[(&str, &str)]) -> Result<DailyLimits> {
        let environment = variables.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let mut settings = Settings::of(&Url::parse(&format!("memory:///?{query}")).unwrap()).unwrap();
        let limits = DailyLimits::take(&mut settings, &environment)?;
        settings.finish(&[]).unwrap();
        Ok(limits)
    }

    fn limits(requests: u32, bytes: u32, streams: u32) -> Limits {
        let [requests_per_second, bytes_per_second, streams] = [requests, bytes, streams].map(NonZeroU32::new);
        Limits { requests_per_second, bytes_per_second, streams }
    }

    #[test]
    fn limits_come_from_the_url_or_the_environment() {
        let none = DailyLimits { otherwise: Limits::default(), at: Vec::new(), zone: TimeZone::UTC };
        assert_eq!(take("", &[]).unwrap(), none);
        let variables = [
            ("STILLPOINT_STREAMS", "2"),
            ("STILLPOINT_BYTES_PER_SECOND", "500"),
            ("STILLPOINT_LIMITS_AT", "22:00-06:00,streams=8"),
            ("STILLPOINT_LIMITS_TIME_ZONE", "Europe/Berlin"),
        ];
        let night = "22:00-06:00".parse().unwrap();
        let found = take("streams=7&requests_per_second=30", &variables).unwrap();
        assert_eq!(found.otherwise, limits(30, 500, 7), "the URL comes first");
        assert_eq!(found.at, [(night, limits(30, 500, 8))]);
        assert_eq!(found.zone, TimeZone::get("Europe/Berlin").unwrap());
        let found = take("at=22:00-06:00,requests_per_second=1&time_zone=Asia/Tokyo", &variables).unwrap();
        assert_eq!(found.at, [(night, limits(1, 500, 2))]);
        assert_eq!(found.zone, TimeZone::get("Asia/Tokyo").unwrap());
    }

    #[test]
    fn a_span_says_what_differs_in_it() {
        let at = "08:00-18:00,bytes_per_second=10MiB,requests_per_second=20,streams=2;18:00-24:00,bytes_per_second=4096";
        let found = take(&format!("bytes_per_second=1GB&streams=4&at={at}"), &[]).unwrap();
        assert_eq!(found.otherwise, limits(0, 1_000_000_000, 4));
        let [day, evening] = ["08:00-18:00", "18:00-24:00"].map(|span| span.parse().unwrap());
        assert_eq!(found.at, [(day, limits(20, 10 << 20, 2)), (evening, limits(0, 4096, 4))]);
    }

    #[test]
    fn what_is_no_limit_is_refused_with_the_reason_and_never_repeated() {
        for (bad, why) in [
            ("streams=0", "is a whole number from 1 to 4294967295"),
            ("streams=-1", "is a whole number from 1 to 4294967295"),
            ("streams=", "is a whole number from 1 to 4294967295"),
            ("streams=1MiB", "is a whole number from 1 to 4294967295"),
            ("requests_per_second=4294967296", "is a whole number from 1 to 4294967295"),
            ("bytes_per_second=1M", "is a whole number from 1 to 4294967295, or a size, as 10MiB"),
            ("bytes_per_second=4GiB", "is a whole number from 1 to 4294967295, or a size, as 10MiB"),
            ("time_zone=Mars/Olympus", "is not in the time zone database; write a name as Europe/Berlin or UTC"),
            ("at=", "has a mistake in part 1: it begins with a span"),
            ("at=8-18,streams=1", "has a mistake in part 1: it begins with a span"),
            ("at=00:00-24:00,streams=1", "has a mistake in part 1: it begins with a span, not the whole day"),
            ("at=07:00-19:00,streams=1;", "has a mistake in part 2: it begins with a span"),
            ("at=07:00-19:00", "has a mistake in part 1: after the span come limits"),
            ("at=07:00-19:00,", "has a mistake in part 1: after the span come limits"),
            ("at=07:00-19:00,strems=2", "known are: requests_per_second, bytes_per_second, streams"),
            ("at=07:00-19:00,streams", "has a mistake in part 1: streams is a whole number from 1"),
            ("at=07:00-19:00,streams=2,streams=3", "has a mistake in part 1: streams is given twice"),
        ] {
            let line = take(bad, &[]).unwrap_err().one_line();
            let (name, value) = bad.split_once('=').unwrap();
            let start = format!("parameter '{name}' of the vault URL (or STILLPOINT_");
            assert!(line.starts_with(&start) && line.contains(why), "{bad}: {line}");
            assert!(value.len() < 3 || !line.contains(value), "{bad}: {line}");
        }
        let line = take("", &[("STILLPOINT_LIMITS_AT", "always")]).unwrap_err().one_line();
        assert!(line.contains("STILLPOINT_LIMITS_AT) has a mistake in part 1"), "{line}");
    }
}

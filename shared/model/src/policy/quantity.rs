//! Sizes and durations as people write them: `200MiB`, `4h`, `1h30m`.

use std::{fmt, str::FromStr};

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use crate::Error;

const DURATION_UNITS: [(&str, u64); 4] = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];
const SIZE_UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

/// A number with its unit off the front of `text`, in the smallest unit, and the rest.
fn quantity<'a>(text: &'a str, units: &[(&str, u64)]) -> Option<(u64, &'a str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number: u64 = text.get(..digits)?.parse().ok()?;
    let rest = &text[digits..];
    let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
    let (_, factor) = units.iter().find(|(unit, _)| *unit == &rest[..letters])?;
    Some((number.checked_mul(*factor)?, &rest[letters..]))
}

/// A duration in whole seconds, written as `4h`, `90m`, `1h30m` or `30d` (a day is 24 hours here).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Interval {
    seconds: u64,
}

impl Interval {
    /// Longest interval that is accepted: 100 years.
    pub const MAX: Self = Self::from_seconds(36_525 * 86_400);

    /// An interval of so many seconds.
    #[must_use]
    pub const fn from_seconds(seconds: u64) -> Self {
        Self { seconds }
    }

    /// An interval of so many minutes.
    #[must_use]
    pub const fn from_minutes(minutes: u64) -> Self {
        Self::from_seconds(minutes.saturating_mul(60))
    }

    /// Its length in seconds.
    #[must_use]
    pub const fn seconds(self) -> u64 {
        self.seconds
    }

    /// As jiff counts time.
    #[must_use]
    pub fn duration(self) -> SignedDuration {
        SignedDuration::from_secs(i64::try_from(self.seconds).unwrap_or(i64::MAX))
    }
}

impl FromStr for Interval {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        let refused = |why: &str| Error::invalid(format!("'{}' is not a duration: {why}", text.escape_debug()));
        let mut rest = text;
        let mut seconds = 0_u64;
        while !rest.is_empty() || text.is_empty() {
            let Some((part, after)) = quantity(rest, &DURATION_UNITS) else {
                return Err(refused("write whole numbers with d, h, m or s, as 30d, 4h or 1h30m"));
            };
            seconds = seconds.saturating_add(part);
            rest = after;
        }
        if seconds > Self::MAX.seconds {
            return Err(refused("it is longer than 100 years"));
        }
        Ok(Self { seconds })
    }
}

impl TryFrom<String> for Interval {
    type Error = Error;
    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Interval> for String {
    fn from(interval: Interval) -> Self {
        interval.to_string()
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.seconds == 0 {
            return f.write_str("0s");
        }
        let mut rest = self.seconds;
        for (unit, factor) in DURATION_UNITS {
            if rest >= factor {
                write!(f, "{}{unit}", rest / factor)?;
                rest %= factor;
            }
        }
        Ok(())
    }
}

/// A number of bytes, written as `200MiB`, `1GB` or `4096B`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ByteCount(pub u64);

impl FromStr for ByteCount {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        match quantity(text, &SIZE_UNITS) {
            Some((bytes, "")) => Ok(Self(bytes)),
            _ => Err(Error::invalid(format!(
                "'{}' is not a size: write a whole number with B, KiB, MiB, GiB, TiB, kB, MB, GB or TB, as 200MiB",
                text.escape_debug()
            ))),
        }
    }
}

impl TryFrom<String> for ByteCount {
    type Error = Error;
    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<ByteCount> for String {
    fn from(size: ByteCount) -> Self {
        size.to_string()
    }
}

impl fmt::Display for ByteCount {
    /// The largest unit that shows the size exactly; binary before decimal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = SIZE_UNITS.iter().find(|(_, factor)| self.0 >= *factor && self.0.is_multiple_of(*factor));
        let (unit, factor) = exact.unwrap_or(&("B", 1));
        write!(f, "{}{unit}", self.0 / factor)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_parse_with_their_units_and_nothing_else_does() {
        for (text, seconds) in [("4h", 14_400), ("90m", 5_400), ("1h30m", 5_400), ("30d", 2_592_000), ("0s", 0), ("45s", 45)] {
            assert_eq!(text.parse::<Interval>().unwrap().seconds(), seconds, "{text}");
        }
        for bad in
            ["", "4", "h", "4 h", "-4h", "4h ", "1.5h", "4H", "4hours", "200y", "99999999999999999999d", "9999999999999999d"]
        {
            let error = bad.parse::<Interval>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("'{bad}' is not a duration: ")), "{error}");
        }
    }

    #[test]
    fn sizes_parse_with_their_units_and_nothing_else_does() {
        for (text, bytes) in [("200MiB", 209_715_200), ("1GB", 1_000_000_000), ("7B", 7), ("3KiB", 3_072)] {
            assert_eq!(text.parse::<ByteCount>().unwrap().0, bytes, "{text}");
        }
        for bad in ["", "200", "MiB", "200M", "200mib", "1.5GiB", "1GiB2MiB", "-1B", "99999999TiB"] {
            assert!(bad.parse::<ByteCount>().unwrap_err().to_string().contains("as 200MiB"), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back(seconds in 0..=Interval::MAX.seconds(), bytes: u64) {
            let interval = Interval::from_seconds(seconds);
            prop_assert_eq!(interval.to_string().parse::<Interval>().unwrap(), interval);
            prop_assert_eq!(ByteCount(bytes).to_string().parse::<ByteCount>().unwrap(), ByteCount(bytes));
        }
    }
}

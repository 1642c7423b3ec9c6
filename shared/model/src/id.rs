use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};
use ulid::Ulid;

use crate::Error;

/// One id has one spelling: it stands in object names, signatures and idempotency keys.
fn parse(text: &str) -> Option<Ulid> {
    Ulid::from_string(text).ok().filter(|id| id.to_string() == text)
}

fn canonical<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Ulid, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse(&text).ok_or_else(|| de::Error::custom("not an id in its canonical spelling"))
}

macro_rules! id {
    ($(#[$doc:meta])* $type:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $type(
            #[serde(deserialize_with = "canonical")]
            #[schemars(with = "String", regex(pattern = r"^[0-7][0-9A-HJKMNP-TV-Z]{25}$"))]
            Ulid,
        );

        impl $type {
            /// Wraps a ULID that was made for this purpose alone.
            #[must_use]
            pub const fn new(ulid: Ulid) -> Self {
                Self(ulid)
            }

            /// Milliseconds since the Unix epoch at which the id was made.
            #[must_use]
            pub const fn timestamp_ms(self) -> u64 {
                self.0.timestamp_ms()
            }

            /// The 16 bytes, big-endian.
            #[must_use]
            pub const fn to_bytes(self) -> [u8; 16] {
                self.0.to_bytes()
            }
        }

        impl FromStr for $type {
            type Err = Error;
            fn from_str(text: &str) -> Result<Self, Error> {
                parse(text).map(Self).ok_or_else(|| Error::invalid(format!("'{}' is not a {} id", text.escape_debug(), $kind)))
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id!(
    /// One vault; part of the associated data of everything sealed in it.
    VaultId,
    "vault"
);
id!(
    /// One run of one operation.
    JobId,
    "job"
);
id!(
    /// One recovery point.
    PointId,
    "recovery point"
);
id!(
    /// One try at a step or a create; makes every written body tell who wrote it.
    AttemptId,
    "attempt"
);

#[cfg(test)]
mod tests {
    use serde::de::value::{Error as ValueError, StrDeserializer};

    use super::*;

    #[test]
    fn only_the_canonical_spelling_parses() {
        let id = JobId::new(Ulid::from_parts(1, 2));
        assert_eq!(id.to_string().parse::<JobId>().unwrap(), id);
        for bad in ["", "x", &id.to_string().to_lowercase().replace('0', "o"), &format!("{id}0"), "8ZZZZZZZZZZZZZZZZZZZZZZZZZ"] {
            assert!(bad.parse::<JobId>().is_err(), "{bad}");
            assert!(JobId::deserialize(StrDeserializer::<ValueError>::new(bad)).is_err(), "{bad}");
        }
    }
}

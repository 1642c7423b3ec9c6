use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Error;

/// Longest name of an item, disk or policy, in bytes.
pub const NAME_BYTES_MAX: usize = 63;

/// 1–63 of `a-z 0-9 - _ .`, no leading dot: safe as a path segment in every store and file system.
fn check(kind: &str, text: &str) -> Result<(), Error> {
    let shown: String = text.chars().take(NAME_BYTES_MAX + 1).flat_map(char::escape_debug).collect();
    if text.is_empty() || text.len() > NAME_BYTES_MAX {
        return Err(Error::invalid(format!(
            "{kind} name '{shown}' must have 1 to {NAME_BYTES_MAX} characters, not {}",
            text.chars().count()
        )));
    }
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_' | b'.');
    if !text.bytes().all(allowed) || text.starts_with('.') {
        return Err(Error::invalid(format!(
            "{kind} name '{shown}' may hold only a-z, 0-9, '-', '_', '.', and not begin with '.'"
        )));
    }
    Ok(())
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        #[serde(try_from = "String", into = "String")]
        // Without `try_from` the schema is that of the field, whose bounds would be lost otherwise.
        #[schemars(!try_from, !into)]
        pub struct $type(#[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9_-][a-z0-9._-]*$"))] String);

        impl $type {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = Error;
            fn from_str(text: &str) -> Result<Self, Error> {
                check($kind, text)?;
                Ok(Self(text.to_owned()))
            }
        }

        impl TryFrom<String> for $type {
            type Error = Error;
            fn try_from(text: String) -> Result<Self, Error> {
                check($kind, &text)?;
                Ok(Self(text))
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> Self {
                name.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// Name of a protected item (a machine).
    ItemName,
    "machine"
);
name!(
    /// Name of one disk of a machine.
    DiskName,
    "disk"
);
name!(
    /// Name of a policy.
    PolicyName,
    "policy"
);
name!(
    /// Name of another system that may order restores.
    RequesterName,
    "requester"
);
name!(
    /// Name of a drill in a plan of drills.
    DrillName,
    "drill"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_the_alphabet_and_both_ends_of_the_length() {
        for good in ["a", "web-01", "0", "_x", "a.b", &"z".repeat(63)] {
            assert!(good.parse::<ItemName>().is_ok(), "{good}");
        }
    }

    #[test]
    fn refuses_what_could_leave_its_folder_or_be_mistaken() {
        for bad in ["", ".", "..", ".hidden", "a/b", "a\0b", "A", "ü", "a b", "a\n", &"z".repeat(64), &"z".repeat(300)] {
            let error = bad.parse::<ItemName>().unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::Invalid, "{bad}");
            assert!(!error.to_string().contains(['\0', '\n']), "one printable line");
        }
    }
}

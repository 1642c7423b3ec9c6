use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Error;

/// How far a recovery point's bytes can be trusted by what ran on the disk; ordered from least to most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Consistency {
    /// As after pulling the plug.
    Crash,
    /// File systems were frozen.
    FileSystem,
    /// Applications took part.
    Application,
}

impl fmt::Display for Consistency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Crash => "crash",
            Self::FileSystem => "file-system",
            Self::Application => "application",
        })
    }
}

impl FromStr for Consistency {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "crash" => Ok(Self::Crash),
            "file-system" => Ok(Self::FileSystem),
            "application" => Ok(Self::Application),
            _ => Err(Error::invalid(format!("consistency '{}' is none of crash, file-system, application", text.escape_debug()))),
        }
    }
}

/// What was asked for and what was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Obtained {
    /// Asked for.
    pub wanted: Consistency,
    /// Reached.
    pub obtained: Consistency,
}

use regex_lite::Regex;
use serde::Deserialize;
use stillpoint_model::{DiskName, policy::Interval};

/// How long a machine may take to boot where nothing else is said.
const TIMEOUT: Interval = Interval::from_minutes(5);

/// How a drill boots a machine, and what it waits for then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootEntry {
    /// What says that it has booted.
    pub sign: BootSign,
    /// How long that may take.
    pub timeout: Interval,
    /// The disk that it boots from; none where its own command line says so, or it is the first.
    pub disk: Option<DiskName>,
    /// More words of QEMU's command line.
    pub arguments: Vec<String>,
}

/// What says that a machine has booted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BootSign {
    /// The guest agent answers.
    Agent,
    /// The first serial port has said this.
    Text(String),
    /// The first serial port has said something that this regular expression matches; it is one.
    Pattern(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootTable {
    #[serde(default)]
    agent: bool,
    serial_text: Option<String>,
    serial_pattern: Option<String>,
    timeout: Option<Interval>,
    disk: Option<DiskName>,
    #[serde(default)]
    arguments: Vec<String>,
}

impl BootTable {
    /// What it says, or the field that is wrong, and why.
    pub fn entry(&self) -> Result<BootEntry, (&'static str, String)> {
        let sign = match (self.agent, &self.serial_text, &self.serial_pattern) {
            (true, None, None) => BootSign::Agent,
            (false, Some(text), None) if text.is_empty() => return Err(("boot.serial_text", "it is empty".to_owned())),
            (false, Some(text), None) => BootSign::Text(text.clone()),
            (false, None, Some(pattern)) => {
                let regex = Regex::new(pattern).map_err(|error| ("boot.serial_pattern", error.to_string().replace('\n', " ")))?;
                if regex.is_match("") {
                    return Err(("boot.serial_pattern", "it matches nothing at all, too".to_owned()));
                }
                BootSign::Pattern(pattern.clone())
            }
            _ => return Err(("boot", "say what to wait for: one of agent = true, serial_text and serial_pattern".to_owned())),
        };
        let timeout = self.timeout.unwrap_or(TIMEOUT);
        if timeout.seconds() == 0 {
            return Err(("boot.timeout", "it is nothing".to_owned()));
        }
        Ok(BootEntry { sign, timeout, disk: self.disk.clone(), arguments: self.arguments.clone() })
    }
}

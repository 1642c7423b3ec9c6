use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{Error, ItemName, kebab::kebab};

kebab!(
    /// What the timer does for the vault as a whole.
    Task, "task" {
        /// Retention becomes tombstones.
        Prune = "prune",
        /// What nothing needs is freed.
        Collect = "collect",
        /// What is kept is checked.
        Verify = "verify",
        /// The timer itself.
        Schedule = "schedule",
    }
);

/// Whom a slot or an alarm is about: a machine, or a task of the vault, which is written `@prune` so that no machine is called
/// the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Subject {
    /// A machine.
    Item(ItemName),
    /// A task.
    Task(Task),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Item(item) => item.fmt(f),
            Self::Task(task) => write!(f, "@{task}"),
        }
    }
}

impl FromStr for Subject {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        match text.strip_prefix('@') {
            Some(task) => task.parse().map(Self::Task),
            None => text.parse().map(Self::Item),
        }
    }
}

impl TryFrom<String> for Subject {
    type Error = Error;
    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Subject> for String {
    fn from(subject: Subject) -> Self {
        subject.to_string()
    }
}

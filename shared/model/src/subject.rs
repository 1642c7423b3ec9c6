use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{DrillName, Error, ItemName, kebab::kebab};

kebab!(
    /// What the timer does for the vault as a whole.
    Task, "task" {
        /// Retention becomes tombstones.
        Prune = "prune",
        /// What nothing needs is freed.
        Collect = "collect",
        /// What is kept is checked.
        Verify = "verify",
        /// What is kept is copied to the paired region.
        Replicate = "replicate",
        /// The timer itself.
        Schedule = "schedule",
    }
);

/// What the names of drills are written behind.
const DRILL: &str = "@drill-";

/// Whom a slot or an alarm is about: a machine; a task of the vault, which is written `@prune` so that no machine is called the same; or
/// a drill of a plan, written `@drill-far-away`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Subject {
    /// A machine.
    Item(ItemName),
    /// A task.
    Task(Task),
    /// A drill of a plan.
    Drill(DrillName),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Item(item) => item.fmt(f),
            Self::Task(task) => write!(f, "@{task}"),
            Self::Drill(drill) => write!(f, "{DRILL}{drill}"),
        }
    }
}

impl FromStr for Subject {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        if let Some(drill) = text.strip_prefix(DRILL) {
            return drill.parse().map(Self::Drill);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_tasks_and_drills_are_never_called_the_same() {
        for text in ["prune", "@prune", "@drill-prune", "drill-prune", "@drill-far.away"] {
            assert_eq!(text.parse::<Subject>().unwrap().to_string(), text);
        }
        assert_eq!("@drill-prune".parse::<Subject>().unwrap(), Subject::Drill("prune".parse().unwrap()));
        for bad in ["@drill-", "@drill-A", "@drill", "@", ""] {
            assert!(bad.parse::<Subject>().is_err(), "{bad}");
        }
    }
}

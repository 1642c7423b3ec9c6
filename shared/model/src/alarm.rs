use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{Error, Subject, kebab::kebab};

kebab!(
    /// What an alarm is about.
    AlarmKind, "kind of alarm" {
        /// A job failed.
        JobFailed = "job-failed",
        /// A backup that was due did not run.
        SlotMissed = "slot-missed",
        /// A machine has no good point that is young enough.
        NoGoodPoint = "no-good-point",
        /// A verification found points damaged.
        Damaged = "damaged",
        /// A machine's newest point is not in the paired region in time.
        ReplicaLags = "replica-lags",
        /// A drill of a plan failed, or missed its objective.
        DrillFailed = "drill-failed",
        /// It is open which policy a machine is under.
        PolicyUnclear = "policy-unclear",
        /// The clock may be wrong: nothing expires.
        ClockInDoubt = "clock-in-doubt",
        /// The timer has not run. Nobody writes this one: whoever looks sees it.
        TimerStopped = "timer-stopped",
    }
);

kebab!(
    /// What a record of an alarm says; the newest counts.
    AlarmState, "state of an alarm" {
        /// Somebody was told of a record before this one. First in the order: of two records of one number the other counts.
        Told = "told",
        /// It holds.
        Raised = "raised",
        /// It does not hold any more.
        Resolved = "resolved",
    }
);

/// Which alarm: at most one of a kind is open for a subject. Written `slot-missed/web-01`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AlarmKey {
    /// What it is about.
    pub kind: AlarmKind,
    /// Whom it is about.
    pub subject: Subject,
}

impl fmt::Display for AlarmKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.subject)
    }
}

impl FromStr for AlarmKey {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        let (kind, subject) = text
            .split_once('/')
            .ok_or_else(|| Error::invalid(format!("'{}' is no alarm; write KIND/NAME", text.escape_debug())))?;
        Ok(Self { kind: kind.parse()?, subject: subject.parse()? })
    }
}

impl TryFrom<String> for AlarmKey {
    type Error = Error;
    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<AlarmKey> for String {
    fn from(key: AlarmKey) -> Self {
        key.to_string()
    }
}

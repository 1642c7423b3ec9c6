use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Retention;
use crate::PointId;

/// What of a recovery point decides how long it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PointFacts {
    /// Its id.
    pub id: PointId,
    /// The instant of its snapshot.
    pub instant: Timestamp,
    /// Restorable as far as known: no verification has found it damaged.
    pub good: bool,
    /// For a point made on demand: until when it was asked to be kept. Such points take no part in the policy's rules.
    pub on_demand: Option<Timestamp>,
    /// An operator holds it.
    pub hold: bool,
    /// It is deleted, and can be undeleted until then.
    pub undelete_until: Option<Timestamp>,
}

/// Which rules a machine's points are kept by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Regime<'a> {
    /// Those of its policy.
    Policy(&'a Retention),
    /// It has no policy, or is in a conflict of policies: scheduled points stay until a policy says otherwise.
    NoPolicy,
    /// It was stopped and its points are retained: nothing is pruned.
    Retained,
}

/// Why a point is kept, or was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// First good point of its local day.
    Daily,
    /// First good point of its ISO week.
    Weekly,
    /// First good point of its calendar month.
    Monthly,
    /// First good point of its calendar year.
    Yearly,
    /// One of the policy's last good points.
    KeepLast,
    /// Made on demand, for a time given.
    OnDemand,
    /// Held by an operator.
    Hold,
    /// The machine's newest good point.
    NewestGood,
    /// The machine has no good point: what it has may be better than nothing.
    NoGoodPoint,
    /// The machine is under no policy.
    NoPolicy,
    /// The machine was stopped with its points retained.
    Retained,
    /// Its instant has not come yet: a clock is or was wrong.
    FromFuture,
    /// Deleted, and can still be undeleted.
    Deleted,
    /// Its time is up, but the clock may be wrong.
    ClockInDoubt,
}

impl Rule {
    /// The name used in records and on screen; that of its JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
            Self::Yearly => "yearly",
            Self::KeepLast => "keep-last",
            Self::OnDemand => "on-demand",
            Self::Hold => "hold",
            Self::NewestGood => "newest-good",
            Self::NoGoodPoint => "no-good-point",
            Self::NoPolicy => "no-policy",
            Self::Retained => "retained",
            Self::FromFuture => "from-future",
            Self::Deleted => "deleted",
            Self::ClockInDoubt => "clock-in-doubt",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One rule that keeps a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    /// The rule.
    pub rule: Rule,
    /// Until when, if that is known: some rules hold for as long as they apply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// What prune and collect do about a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Act {
    /// Nothing: it is kept.
    Keep,
    /// Prune deletes it softly.
    Prune,
    /// Nothing: it is deleted and can be undeleted.
    StayDeleted,
    /// Its time to be undeleted is over: collect may free it.
    Free,
}

/// What becomes of a point, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The point.
    pub id: PointId,
    /// What is done about it now.
    pub act: Act,
    /// The latest of its reasons' ends; none if one of them has no end. The point's own instant if there never was a reason.
    pub keep_until: Option<Timestamp>,
    /// All rules that keep it or kept it, in the order of [`Rule`], each once.
    pub reasons: Vec<Reason>,
}

impl Verdict {
    /// The reasons in one line, as it stands in a tombstone or on screen.
    #[must_use]
    pub fn why(&self) -> String {
        let rules: Vec<&str> = self.reasons.iter().map(|reason| reason.rule.as_str()).collect();
        match (rules.is_empty(), self.act) {
            (true, _) => "no rule keeps it".to_owned(),
            (false, Act::Prune | Act::Free) => format!("{}: over since {}", rules.join(", "), shown(self.keep_until)),
            (false, Act::Keep | Act::StayDeleted) => rules.join(", "),
        }
    }
}

fn shown(until: Option<Timestamp>) -> String {
    until.map_or_else(|| "never".to_owned(), |until| format!("{until:.0}"))
}

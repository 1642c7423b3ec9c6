//! Policies as data, and what follows from them without any effect: which policy a machine is under ([`assign`]), when its
//! backups are due ([`Timetable`], [`judge`]), and what becomes of its recovery points ([`plan`]).
//!
//! Nothing here reads a clock, a store or the environment, but for the system's time zone database.

mod check;
mod clock;
mod clock_face;
mod fault;
mod local;
mod objective;
mod pace;
mod plan;
mod quantity;
mod retention;
mod schedule;
mod selection;
mod slot;
mod spread;
mod timetable;
mod verdict;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::{
    check::{INSTANT_RESTORE_DAYS_MAX, check_tag, time_zone},
    clock::{Clock, ClockMargins, Doubt},
    clock_face::{DaySpan, TimeOfDay},
    fault::PolicyError,
    pace::{Pace, TimedRate},
    plan::plan,
    quantity::{ByteCount, Interval},
    retention::Retention,
    schedule::{Schedule, Weekday, Weekly},
    selection::{Assignment, ItemFacts, assign},
    slot::{Judgement, LATE_TICKS, Slot, judge},
    spread::Share,
    timetable::Timetable,
    verdict::{Act, PointFacts, Reason, Regime, Rule, Verdict},
};
use crate::{Consistency, ItemName, PolicyName};

/// Schedule, retention, consistency and limits for a group of machines. The field names are those of the policy file and of the
/// vault's record. [`Policy::check`] tells whether the values make sense together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Its name.
    pub name: PolicyName,
    /// Which machines follow it.
    #[serde(default)]
    pub applies_to: AppliesTo,
    /// When backups are due; a slot that several rules name is one slot. May be empty: then only requests make backups.
    #[serde(default, rename = "schedule")]
    pub schedules: Vec<Schedule>,
    /// How long points are kept.
    pub retention: Retention,
    /// What the points should be consistent with.
    #[serde(default)]
    pub consistency: Wish,
    /// What its backups may take.
    #[serde(default)]
    pub limits: Limits,
}

/// Machines by name or by tags; a machine that fits either is chosen. Empty: chooses none by itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppliesTo {
    /// Machines by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<ItemName>,
    /// Machines that have all of these tags, with these values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

/// The consistency that a policy asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wish {
    /// Asked for.
    pub wanted: Consistency,
    /// Whether a point of a lesser consistency is better than none; yes when left out.
    #[serde(default = "yes")]
    pub fallback: bool,
}

const fn yes() -> bool {
    true
}

impl Default for Wish {
    /// What every platform can do.
    fn default() -> Self {
        Self { wanted: Consistency::Crash, fallback: true }
    }
}

/// What the backups of one policy may take; what is left out is not limited.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Most backups at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrent: Option<u32>,
    /// Most bytes read from all its disks in a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_second: Option<ByteCount>,
    /// Other rates for parts of the day; the first that covers an instant counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub at: Vec<TimedRate>,
    /// Days for which the platform's snapshot is kept for instant restore; none when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instant_restore_days: Option<u32>,
}

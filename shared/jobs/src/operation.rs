use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stillpoint_model::{Consistency, ItemName, JobId, PointId, PolicyName, RequesterName, Subject, Task, policy::Pace};
use stillpoint_ports::TargetDisk;

use crate::ledger::is_zero;

/// What a job is to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "operation", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Operation {
    /// Make a recovery point.
    Backup {
        /// The machine.
        item: ItemName,
        /// The consistency asked for.
        wanted: Consistency,
        /// When retention may take the point; of a backup on demand.
        keep_until: Option<Timestamp>,
        /// The slot it is for, and what its policy says; none of a backup on demand.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        slot: Option<BackupSlot>,
        /// How long after its instant the snapshot is kept for instant restore, in seconds; 0: it goes when the job is over.
        #[serde(default, skip_serializing_if = "is_zero")]
        instant_restore_seconds: u32,
        /// Whether the snapshot is all that is made, since an earlier backup of the machine is still being transferred.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        snapshot_only: bool,
    },
    /// Write a recovery point's disks.
    Restore {
        /// The machine.
        item: ItemName,
        /// The point.
        point: PointId,
        /// Which disks, and where to.
        disks: Vec<TargetDisk>,
        /// The backup whose kept snapshot is read; the vault when left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        snapshot: Option<JobId>,
        /// How long it was expected to take, in milliseconds; none where nobody measured.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        estimated_ms: Option<u64>,
        /// What another system ordered it with; none of a restore that an operator of the vault asked for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        order: Option<OrderId>,
    },
    /// Delete softly what retention does not keep.
    Prune,
    /// Free what nothing needs.
    Collect,
    /// Check what is kept.
    Verify {
        /// One machine's points; all when left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        item: Option<ItemName>,
        /// Which part of all packs is read whole; none when left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        read: Option<Rotation>,
    },
    /// Copy what the primary vault keeps and this one, its replica, does not have yet.
    Replicate {
        /// One machine's points; all when left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        item: Option<ItemName>,
        /// Whether to look for new records of machines, policies and keys in any case, and not only for those of machines that are new.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        records: bool,
    },
}

/// Which order of another system a job carries out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderId {
    /// Who signed it.
    pub requester: RequesterName,
    /// What the requester calls it.
    pub id: String,
}

/// A slot of a schedule, and what the policy says of its backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupSlot {
    /// The policy.
    pub policy: PolicyName,
    /// When it was due.
    pub due: Timestamp,
    /// Whether a point of a lesser consistency is better than none.
    pub fallback: bool,
    /// How fast the disks of the policy's machines may be read, by each process together; none without a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pace: Option<Pace>,
}

/// The `part`th of `of` equal parts; parts count from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rotation {
    /// Which one.
    pub part: u32,
    /// Of how many.
    pub of: u32,
}

/// Seconds of a day.
const DAY: i64 = 86_400;

impl Rotation {
    /// Everything.
    pub const ALL: Self = Self { part: 0, of: 1 };

    /// The part that is due on the UTC day of `due`, where a period has `days` days: of any `days` days in a row each has another part,
    /// whoever asks and however often.
    #[must_use]
    pub fn on_day(due: Timestamp, days: u32) -> Self {
        let of = days.max(1);
        let day = due.as_second().div_euclid(DAY);
        Self { part: u32::try_from(day.rem_euclid(i64::from(of))).unwrap_or(0), of }
    }

    /// Whether an object is in this part. Follows from its name alone, and names are never used twice: an object stays in its part
    /// as others come and go.
    #[must_use]
    pub fn holds(&self, name: &str) -> bool {
        let hash = stillpoint_format::digest(name.as_bytes());
        let number = hash.get(..8).and_then(|head| u32::from_str_radix(head, 16).ok()).unwrap_or(0);
        number % self.of.max(1) == self.part
    }
}

impl Operation {
    /// The machine, if it is about one.
    #[must_use]
    pub const fn item(&self) -> Option<&ItemName> {
        match self {
            Self::Backup { item, .. } | Self::Restore { item, .. } => Some(item),
            Self::Verify { item, .. } | Self::Replicate { item, .. } => item.as_ref(),
            Self::Prune | Self::Collect => None,
        }
    }

    /// Whom it is about.
    #[must_use]
    pub fn subject(&self) -> Subject {
        match (self, self.item()) {
            (_, Some(item)) => Subject::Item(item.clone()),
            (Self::Prune, _) => Subject::Task(Task::Prune),
            (Self::Collect, _) => Subject::Task(Task::Collect),
            (Self::Replicate { .. }, _) => Subject::Task(Task::Replicate),
            _ => Subject::Task(Task::Verify),
        }
    }

    /// Whether it copies points of `machine` to a replica.
    #[must_use]
    pub fn copies(&self, machine: &ItemName) -> bool {
        matches!(self, Self::Replicate { item, .. } if item.as_ref().is_none_or(|item| item == machine))
    }

    /// Whether its jobs hold something outside the vault, a snapshot or a half restored disk, which their functions must give back
    /// before a stopped one ends.
    #[must_use]
    pub const fn holds(&self) -> bool {
        matches!(self, Self::Backup { .. } | Self::Restore { .. })
    }

    /// The operation's name on screen.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Backup { .. } => "backup",
            Self::Restore { .. } => "restore",
            Self::Prune => "prune",
            Self::Collect => "collect",
            Self::Verify { .. } => "verify",
            Self::Replicate { .. } => "replicate",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_comes_up_once_in_any_period() {
        let at = |day: i64| Timestamp::from_second(day * DAY + 5 * 3_600).unwrap();
        for days in [1, 2, 30, 365] {
            for start in [-3, 20_000, 20_011] {
                let due = |day| Rotation::on_day(at(day), days);
                let mut parts: Vec<u32> = (start..start + i64::from(days)).map(|day| due(day).part).collect();
                assert_eq!(due(start), due(start + i64::from(days)), "the next period is the same");
                parts.sort_unstable();
                assert_eq!(parts, (0..days).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn a_day_has_one_part_at_all_its_hours() {
        let at = |text: &str| Rotation::on_day(text.parse().unwrap(), 30);
        assert_eq!(at("2026-03-23T00:00:00Z"), at("2026-03-23T23:59:59Z"));
        assert_ne!(at("2026-03-23T23:59:59Z"), at("2026-03-24T00:00:00Z"));
    }

    #[test]
    fn every_object_lies_in_one_part_and_parts_are_about_equal() {
        let names: Vec<String> = (0..3_000).map(|number| format!("packs/web-01/{number}")).collect();
        let of = 30;
        let sizes: Vec<usize> =
            (0..of).map(|part| names.iter().filter(|name| Rotation { part, of }.holds(name)).count()).collect();
        assert_eq!(sizes.iter().sum::<usize>(), names.len());
        assert!(sizes.iter().all(|size| (50..200).contains(size)), "{sizes:?}");
        assert!(names.iter().all(|name| Rotation::ALL.holds(name)));
    }
}

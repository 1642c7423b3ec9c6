use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stillpoint_model::{Consistency, ItemName, PointId, PolicyName, Subject, Task};
use stillpoint_ports::TargetDisk;

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
    },
    /// Write a recovery point's disks.
    Restore {
        /// The machine.
        item: ItemName,
        /// The point.
        point: PointId,
        /// Which disks, and where to.
        disks: Vec<TargetDisk>,
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
    /// Most bytes read in a second from all disks of the policy, in one process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_second: Option<u64>,
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

impl Operation {
    /// The machine, if it is about one.
    #[must_use]
    pub const fn item(&self) -> Option<&ItemName> {
        match self {
            Self::Backup { item, .. } | Self::Restore { item, .. } => Some(item),
            Self::Verify { item, .. } => item.as_ref(),
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
            _ => Subject::Task(Task::Verify),
        }
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
        }
    }
}

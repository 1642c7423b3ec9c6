use serde::{Deserialize, Serialize};
use stillpoint_model::{ItemName, PointId};

/// A pack that is to be copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PackToCopy {
    /// Its name.
    pub(crate) name: String,
    /// Its size.
    pub(crate) size_bytes: u64,
}

/// The replication's part of a plan.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReplicatePlan {
    /// Points to be copied, in this order.
    pub(crate) points: Vec<(ItemName, PointId)>,
    /// Packs that they need and the replica lacks; a segment is a run of them.
    pub(crate) packs: Vec<PackToCopy>,
    /// Records that were copied before the plan was made.
    pub(crate) records: u64,
    /// Points that are left for later jobs.
    pub(crate) left: u64,
    /// What the operator should know.
    pub(crate) warnings: Vec<String>,
}

/// The replication's part of a marker.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SegmentCopied {
    /// Packs that are in the replica.
    pub(crate) packs: u64,
    /// Bytes of those that this job moved.
    pub(crate) bytes: u64,
    /// Packs that the primary does not have as they were written, and why.
    pub(crate) lost: Vec<(String, String)>,
}

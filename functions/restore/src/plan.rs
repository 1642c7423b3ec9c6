use serde::{Deserialize, Serialize};
use stillpoint_model::{ItemName, JobId, PointId};
use stillpoint_ports::TargetDisk;

/// The restore's part of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RestorePlan {
    /// The machine.
    pub(crate) item: ItemName,
    /// The point.
    pub(crate) point: PointId,
    /// Where each chosen disk goes; a segment's disk is a position in this list.
    pub(crate) disks: Vec<TargetDisk>,
    /// The backup whose kept snapshot is read; the vault when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) snapshot: Option<JobId>,
}

/// The restore's part of a marker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Written {
    /// Bytes written to the target, zeros not counted.
    pub(crate) written_bytes: u64,
}

use async_trait::async_trait;
use jiff::Timestamp;
use stillpoint_model::{AlarmKey, AlarmState, JobId, PointId, Result, VaultId};

/// What somebody is to be told: a record of an alarm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Whose alarm it is.
    pub vault: VaultId,
    /// Which alarm.
    pub alarm: AlarmKey,
    /// Number of the record; with vault and alarm the same in every repeat.
    pub seq: u32,
    /// Whether the alarm was raised or resolved.
    pub state: AlarmState,
    /// When.
    pub at: Timestamp,
    /// What happened and what to do, one line.
    pub text: String,
    /// The job it is about.
    pub job: Option<JobId>,
    /// The points it hurts.
    pub points: Vec<PointId>,
}

/// Tells somebody outside.
#[async_trait]
pub trait Messenger: Send + Sync {
    /// Tells `notice`. Success means that the receiver has it; it may get the same one again later.
    ///
    /// # Errors
    /// `unavailable` when the receiver does not answer or is out of order, also after retries; `denied` when it refuses.
    async fn send(&self, notice: &Notice) -> Result<()>;
}

use stillpoint_events::{
    BackupRequested, JobEnded, Outgoing, RestoreRequested, RestoreSegmentPlanned, RestoreSegmentsWritten, SegmentPlanned,
    SegmentsTransferred,
};
use stillpoint_model::{JobId, JobState, Result};

use crate::{Decision, Engine, Job, Operation};

impl Engine {
    /// The events that take a job on from where its objects say it is: what was lost with a broker or a process.
    ///
    /// # Errors
    /// As the store.
    pub async fn redrive(&self, job: &Job) -> Result<Vec<Outgoing>> {
        if job.state().is_end() {
            return Ok(Vec::new());
        }
        match self.decision(job.id).await? {
            Some(Decision::Stop { .. }) => return Ok(vec![Outgoing::new(&JobEnded { job: job.id })]),
            Some(Decision::Seal { .. }) => return Ok(segment_events(job.id, &job.request.what, &[])),
            None => {}
        }
        match (job.state(), job.newest.segments) {
            (JobState::Requested, _) | (_, None) => Ok(vec![job.requested()]),
            (_, Some(segments)) => {
                let outstanding = self.outstanding(job.id, segments).await?;
                Ok(segment_events(job.id, &job.request.what, &outstanding))
            }
        }
    }
}

impl Job {
    /// The event that begins it.
    #[must_use]
    pub fn requested(&self) -> Outgoing {
        match &self.request.what {
            Operation::Backup { item, .. } => Outgoing::new(&BackupRequested { item: item.clone(), job: self.id }),
            Operation::Restore { .. } => Outgoing::new(&RestoreRequested { job: self.id }),
        }
    }
}

/// One event per outstanding segment, or the one that follows them all.
fn segment_events(job: JobId, operation: &Operation, outstanding: &[u32]) -> Vec<Outgoing> {
    let planned = |segment: u32| match operation {
        Operation::Backup { .. } => Outgoing::new(&SegmentPlanned { job, segment }),
        Operation::Restore { .. } => Outgoing::new(&RestoreSegmentPlanned { job, segment }),
    };
    match (outstanding.is_empty(), operation) {
        (false, _) => outstanding.iter().copied().map(planned).collect(),
        (true, Operation::Backup { .. }) => vec![Outgoing::new(&SegmentsTransferred { job })],
        (true, Operation::Restore { .. }) => vec![Outgoing::new(&RestoreSegmentsWritten { job })],
    }
}

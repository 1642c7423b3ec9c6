use stillpoint_events::{
    BackupRequested, CollectRequested, JobEnded, Outgoing, PruneRequested, ReplicateRequested, ReplicateSegmentPlanned,
    ReplicateSegmentsCopied, RestoreRequested, RestoreSegmentPlanned, RestoreSegmentsWritten, SegmentPlanned,
    SegmentsTransferred, VerifyRequested, VerifySegmentPlanned, VerifySegmentsRead,
};
use stillpoint_model::{JobState, Result};

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
            Some(Decision::Stop { state, reason, .. }) => {
                let has_ended = self.end_if_free(job, state, &reason).await?;
                return Ok(if has_ended { Vec::new() } else { vec![Outgoing::new(&JobEnded { job: job.id })] });
            }
            Some(Decision::Seal { .. }) => return Ok(vec![job.segments_done()]),
            None => {}
        }
        match (job.state(), job.newest.segments) {
            (JobState::Requested, _) | (_, None) => Ok(vec![job.requested()]),
            (_, Some(segments)) => {
                let outstanding = self.outstanding(job.id, segments).await?;
                Ok(if outstanding.is_empty() {
                    vec![job.segments_done()]
                } else {
                    outstanding.into_iter().map(|segment| job.segment_planned(segment)).collect()
                })
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
            Operation::Prune => Outgoing::new(&PruneRequested { job: self.id }),
            Operation::Collect => Outgoing::new(&CollectRequested { job: self.id }),
            Operation::Verify { .. } => Outgoing::new(&VerifyRequested { job: self.id }),
            Operation::Replicate { .. } => Outgoing::new(&ReplicateRequested { job: self.id }),
        }
    }

    /// The event that has one of its segments done. A task that has no segments begins again.
    #[must_use]
    pub fn segment_planned(&self, segment: u32) -> Outgoing {
        let job = self.id;
        match &self.request.what {
            Operation::Backup { .. } => Outgoing::new(&SegmentPlanned { job, segment }),
            Operation::Restore { .. } => Outgoing::new(&RestoreSegmentPlanned { job, segment }),
            Operation::Verify { .. } => Outgoing::new(&VerifySegmentPlanned { job, segment }),
            Operation::Replicate { .. } => Outgoing::new(&ReplicateSegmentPlanned { job, segment }),
            Operation::Prune | Operation::Collect => self.requested(),
        }
    }

    /// The event that follows all segments. A backup that is its snapshot alone begins again.
    #[must_use]
    pub fn segments_done(&self) -> Outgoing {
        let job = self.id;
        match &self.request.what {
            Operation::Backup { snapshot_only: true, .. } => self.requested(),
            Operation::Backup { .. } => Outgoing::new(&SegmentsTransferred { job }),
            Operation::Restore { .. } => Outgoing::new(&RestoreSegmentsWritten { job }),
            Operation::Verify { .. } => Outgoing::new(&VerifySegmentsRead { job }),
            Operation::Replicate { .. } => Outgoing::new(&ReplicateSegmentsCopied { job }),
            Operation::Prune | Operation::Collect => self.requested(),
        }
    }
}

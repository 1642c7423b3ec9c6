use std::sync::Arc;

use stillpoint_events::{Envelope, JobEnded, RestoreSegmentsWritten};
use stillpoint_handler::{Effects, Handler, Invocation};
use stillpoint_jobs::{Decision, DiskOutcome, Engine, Job, Loaded, Marker, Operation, Outcome};
use stillpoint_model::{ErrorKind, JobState, Result};
use stillpoint_ports::Target;

use crate::plan::{RestorePlan, Written};

/// Processes that try to remove what a stopped job wrote before it ends without.
const TRIES_MAX: u32 = 5;

/// Makes the restored disks visible and completes the job.
pub struct Finish {
    engine: Engine,
    target: Arc<dyn Target>,
}

impl Finish {
    /// The handler over its ports.
    #[must_use]
    pub fn new(engine: Engine, target: Arc<dyn Target>) -> Self {
        Self { engine, target }
    }

    async fn outcome(&self, job: &Job, loaded: &Loaded<RestorePlan>) -> Result<Outcome> {
        let plan = &loaded.plan;
        let segments = u32::try_from(plan.segments.len()).unwrap_or(u32::MAX);
        let markers: Vec<Marker<Written>> = self.engine.markers(job.id, &loaded.hash, segments).await?;
        let written = |position: usize| {
            let of_disk = markers.iter().filter(|marker| usize::from(plan.segments[marker.segment as usize].disk) == position);
            of_disk.map(|marker| marker.detail.written_bytes).fold(0, u64::saturating_add)
        };
        let disks = plan.detail.disks.iter().enumerate().map(|(position, disk)| DiskOutcome {
            name: disk.name.clone(),
            size_bytes: disk.size_bytes,
            path: Some(disk.location.clone()),
            written_bytes: Some(written(position)),
        });
        Ok(Outcome {
            point: Some(plan.detail.point),
            disks: disks.collect(),
            requests: markers.iter().fold(plan.requests, |sum, marker| sum + marker.requests),
            ..Outcome::default()
        })
    }
}

impl Handler for Finish {
    type Event = RestoreSegmentsWritten;

    async fn handle(&self, event: Envelope<RestoreSegmentsWritten>, invocation: &Invocation) -> Result<Effects> {
        let job = self.engine.job(event.data.job).await?;
        if job.state().is_end() {
            return Ok(Effects::none());
        }
        let loaded = match self.engine.plan::<RestorePlan>(job.id).await {
            Err(error) => return Err(self.engine.unless_stray(job.id, "restore", error).await),
            Ok(loaded) => loaded,
        };
        let outcome = self.outcome(&job, &loaded).await?;
        let job = self.engine.seal(&job, invocation.attempt).await?;
        // Another delivery was faster. Its disks are their owner's now, who may have moved them.
        if job.state().is_end() {
            return Ok(Effects::none());
        }
        let disks = &loaded.plan.detail.disks;
        match self.target.publish(job.id, disks).await {
            Ok(()) => drop(self.engine.complete(&job, outcome).await?),
            Err(error) if error.kind() == ErrorKind::Unavailable => return Err(error),
            // Past the decision nobody else can end the job, so the reason is recorded here.
            Err(error) => {
                self.target.discard(job.id, disks).await?;
                self.engine.end(&job, JobState::Failed, &error.one_line()).await?;
            }
        }
        Ok(Effects::none())
    }
}

/// Removes what a stopped job wrote and ends it.
pub struct Discard {
    engine: Engine,
    target: Arc<dyn Target>,
}

impl Discard {
    /// The handler over its ports.
    #[must_use]
    pub fn new(engine: Engine, target: Arc<dyn Target>) -> Self {
        Self { engine, target }
    }
}

impl Handler for Discard {
    type Event = JobEnded;

    async fn handle(&self, event: Envelope<JobEnded>, _invocation: &Invocation) -> Result<Effects> {
        let job = self.engine.job(event.data.job).await?;
        let Operation::Restore { disks, .. } = &job.request.what else { return Ok(Effects::none()) };
        if job.state().is_end() {
            return Ok(Effects::none());
        }
        let Some(Decision::Stop { state, mut reason, .. }) = self.engine.decision(job.id).await? else {
            return Ok(Effects::none());
        };
        match self.target.discard(job.id, disks).await {
            Ok(()) => {}
            // Half a disk that nobody removes fills the target: the job is not over yet. It must end some day, though.
            Err(error) if error.kind() == ErrorKind::Unavailable && job.newest.tries < TRIES_MAX => return Err(error),
            Err(error) => {
                reason = format!("{reason}; and what was written could not be removed: {}", error.one_line());
            }
        }
        self.engine.end(&job, state, &reason).await?;
        Ok(Effects::none())
    }
}

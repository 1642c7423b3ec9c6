use stillpoint_events::{Envelope, JobEnded, RecoveryPointCommitted};
use stillpoint_handler::{Effects, Handler, Invocation};
use stillpoint_jobs::{Decision, DiskOutcome, Engine, Job, KeptSnapshot, Operation, Outcome};
use stillpoint_model::{Error, ErrorKind, JobState, Result};
use stillpoint_ports::{Ending, Platforms};
use stillpoint_vault::{Point, PointDisk};

use crate::held::{Fate, Held};

/// Gives the snapshot of a committed job back, unless it is kept, then completes the job.
pub struct Release {
    engine: Engine,
    platforms: Platforms,
}

/// Gives the snapshot of a stopped job back, unless it is kept, then ends the job.
pub struct Abandon {
    engine: Engine,
    platforms: Platforms,
}

impl Release {
    /// The handler over its ports.
    #[must_use]
    pub const fn new(engine: Engine, platforms: Platforms) -> Self {
        Self { engine, platforms }
    }
}

impl Handler for Release {
    type Event = RecoveryPointCommitted;

    async fn handle(&self, event: Envelope<RecoveryPointCommitted>, invocation: &Invocation) -> Result<Effects> {
        let id = event.data.job;
        let job = if invocation.redelivered { self.engine.job(id).await? } else { self.engine.job_as_seen(id).await? };
        if job.state().is_end() {
            return Ok(Effects::none());
        }
        let committed = match self.engine.vault().point(&event.data.item, event.data.point).await {
            Err(error) if error.kind() == ErrorKind::Missing => None,
            other => Some(other?),
        };
        // Only its own point ends a job: anything else would take the snapshot from under its segments.
        let Some(point) = committed.filter(|point| point.job == job.id) else {
            return Err(Error::fenced(format!("point {} is none of job {}", event.data.point, job.id)));
        };
        let mut outcome = outcome(&point);
        let held = Held { engine: &self.engine, platforms: &self.platforms, job: &job, ending: Ending::Committed };
        match held.settle_or_explain(true).await? {
            Fate::GivenBack => {}
            Fate::Kept(kept) => outcome.kept = Some((&kept).into()),
            // The point is safe; a leftover on the platform is worth a warning, not the job.
            Fate::Stuck(trouble) => outcome.warnings.push(trouble),
        }
        self.engine.complete(&job, outcome).await?;
        Ok(Effects::none())
    }
}

fn disk(disk: &PointDisk) -> DiskOutcome {
    DiskOutcome { name: disk.name.clone(), size_bytes: disk.size_bytes, path: None, written_bytes: None }
}

fn outcome(point: &Point) -> Outcome {
    Outcome {
        point: Some(point.id),
        warnings: point.warnings.clone(),
        disks: point.disks.iter().map(disk).collect(),
        read_bytes: point.read_bytes,
        changed_bytes: point.changed_bytes,
        stored_bytes: point.stored_bytes,
        requests: point.requests,
        ..Outcome::default()
    }
}

impl Abandon {
    /// The handler over its ports.
    #[must_use]
    pub const fn new(engine: Engine, platforms: Platforms) -> Self {
        Self { engine, platforms }
    }

    /// Ends a job whose transfer failed and whose snapshot is kept: half of what it is for is done.
    async fn end_with_snapshot(&self, job: &Job, kept: &KeptSnapshot, reason: &str) -> Result<()> {
        let KeptSnapshot { instant, point, host, until, .. } = kept;
        let warning = format!(
            "the transfer failed: {reason}; the snapshot of {instant:.0} can be restored as point {point} at {host} until {until}"
        );
        self.engine.complete(job, kept.outcome(vec![warning])).await.map(drop)
    }
}

impl Handler for Abandon {
    type Event = JobEnded;

    async fn handle(&self, event: Envelope<JobEnded>, _invocation: &Invocation) -> Result<Effects> {
        let job = self.engine.job(event.data.job).await?;
        let backup = matches!(job.request.what, Operation::Backup { .. });
        if job.state().is_end() || !backup {
            return Ok(Effects::none());
        }
        let Some(Decision::Stop { state, mut reason, .. }) = self.engine.decision(job.id).await? else {
            return Ok(Effects::none());
        };
        let held = Held { engine: &self.engine, platforms: &self.platforms, job: &job, ending: Ending::Abandoned };
        // Who cancels wants nothing of it.
        match held.settle_or_explain(state == JobState::Failed).await? {
            Fate::GivenBack => {}
            Fate::Kept(kept) => {
                self.end_with_snapshot(&job, &kept, &reason).await?;
                return Ok(Effects::none());
            }
            Fate::Stuck(trouble) => reason = format!("{reason}; and {trouble}"),
        }
        self.engine.end(&job, state, &reason).await?;
        Ok(Effects::none())
    }
}

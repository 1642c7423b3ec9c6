use stillpoint_events::{Envelope, JobEnded, RecoveryPointCommitted};
use stillpoint_handler::{Effects, Handler, Invocation};
use stillpoint_jobs::{BackupPlan, Decision, DiskOutcome, Engine, Job, Operation, Outcome};
use stillpoint_model::Result;
use stillpoint_ports::Platforms;
use stillpoint_vault::Point;

/// Gives the snapshot of a committed job back, then completes the job.
pub struct Release {
    engine: Engine,
    platforms: Platforms,
}

/// Gives the snapshot of a stopped job back, then ends the job.
pub struct Abandon {
    engine: Engine,
    platforms: Platforms,
}

async fn release(engine: &Engine, platforms: &Platforms, job: &Job) -> Result<()> {
    let item = engine.vault().item(job.request.what.item()).await?;
    let plan = engine.plan_if_made::<BackupPlan>(job.id).await?;
    let platform = plan.as_ref().map_or(&item.platform, |loaded| &loaded.plan.detail.platform);
    let snapshot = plan.as_ref().map(|loaded| &loaded.plan.detail.snapshot);
    platforms.get(platform)?.release(job.id, &item.disks, snapshot).await
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

    async fn handle(&self, event: Envelope<RecoveryPointCommitted>, _invocation: &Invocation) -> Result<Effects> {
        let job = self.engine.job(event.data.job).await?;
        if job.state().is_end() {
            return Ok(Effects::none());
        }
        let point = self.engine.vault().point(&event.data.item, event.data.point).await?;
        let mut outcome = outcome(&point);
        // The point is safe; a leftover on the platform is worth a warning, not the job.
        if let Err(error) = release(&self.engine, &self.platforms, &job).await {
            outcome.warnings.push(format!("the snapshot could not be given back: {}", error.one_line()));
        }
        self.engine.complete(&job, outcome).await?;
        Ok(Effects::none())
    }
}

fn outcome(point: &Point) -> Outcome {
    let disk = |disk: &stillpoint_vault::PointDisk| DiskOutcome {
        name: disk.name.clone(),
        size_bytes: disk.size_bytes,
        path: None,
        written_bytes: None,
    };
    Outcome {
        point: Some(point.id),
        warnings: point.warnings.clone(),
        disks: point.disks.iter().map(disk).collect(),
        read_bytes: point.read_bytes,
        changed_bytes: point.changed_bytes,
        stored_bytes: point.stored_bytes,
        requests: point.requests,
    }
}

impl Abandon {
    /// The handler over its ports.
    #[must_use]
    pub const fn new(engine: Engine, platforms: Platforms) -> Self {
        Self { engine, platforms }
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
        if let Err(error) = release(&self.engine, &self.platforms, &job).await {
            reason = format!("{reason}; and the snapshot could not be given back: {}", error.one_line());
        }
        self.engine.end(&job, state, &reason).await?;
        Ok(Effects::none())
    }
}

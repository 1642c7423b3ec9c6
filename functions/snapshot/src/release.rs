use stillpoint_events::{Envelope, JobEnded, RecoveryPointCommitted};
use stillpoint_handler::{Effects, Handler, Invocation};
use stillpoint_jobs::{BackupPlan, Decision, DiskOutcome, Engine, Job, Loaded, Operation, Outcome, Plan};
use stillpoint_model::{Error, ErrorKind, Result};
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

/// Processes that try to give a snapshot back before the job ends without: it must end, and must not keep the machine from its
/// next backup.
const TRIES_MAX: u32 = 5;

/// Gives back whatever the job holds, found by its plan or, without one, beside its disks. A record that is damaged must not
/// keep the snapshot alive: either of the two is enough.
async fn release(engine: &Engine, platforms: &Platforms, job: &Job) -> Result<()> {
    match engine.plan_if_made::<BackupPlan>(job.id).await {
        Err(error) if error.kind() == ErrorKind::Unavailable => Err(error),
        Ok(Some(Loaded { plan: Plan { detail, .. }, .. })) => {
            platforms.get(&detail.platform)?.release(job.id, &[], Some(&detail.snapshot)).await
        }
        Ok(None) | Err(_) => {
            let Some(name) = job.request.what.item() else { return Ok(()) };
            let item = engine.vault().item(name).await?;
            platforms.get(&item.platform)?.release(job.id, &item.disks, None).await
        }
    }
}

/// Gives the snapshot back; `Ok` is what to tell the operator when that cannot be.
///
/// # Errors
/// `unavailable`: the job is not over yet, since a snapshot that nobody gives back fills the machine's disks.
async fn release_or_explain(engine: &Engine, platforms: &Platforms, job: &Job) -> Result<Option<String>> {
    match release(engine, platforms, job).await {
        Ok(()) => Ok(None),
        Err(error) if error.kind() == ErrorKind::Unavailable && job.newest.tries < TRIES_MAX => Err(error),
        Err(error) => Ok(Some(format!("the snapshot could not be given back: {}", error.one_line()))),
    }
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
        // The point is safe; a leftover on the platform is worth a warning, not the job.
        outcome.warnings.extend(release_or_explain(&self.engine, &self.platforms, &job).await?);
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
        ..Outcome::default()
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
        if let Some(trouble) = release_or_explain(&self.engine, &self.platforms, &job).await? {
            reason = format!("{reason}; and {trouble}");
        }
        self.engine.end(&job, state, &reason).await?;
        Ok(Effects::none())
    }
}

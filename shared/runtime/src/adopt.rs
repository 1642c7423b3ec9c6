//! Beginning jobs, and taking on those whose process is gone.

use stillpoint_events::Outgoing;
use stillpoint_jobs::{Engine, Job, Operation, Request};
use stillpoint_model::{Error, ItemName, JobId, JobState, Result};

use crate::JobLock;

/// Processes that may take a job on before it is given up: one that kills every process that touches it must end.
const TRIES_MAX: u32 = 5;

/// Jobs taken on, and the events that carry them forward.
#[derive(Default)]
pub struct Adopted {
    /// The jobs.
    pub jobs: Vec<Job>,
    /// Their locks.
    pub locks: Vec<JobLock>,
    /// What to handle first.
    pub events: Vec<Outgoing>,
}

/// Takes on every unfinished job of `host` that no living process works on.
///
/// # Errors
/// As the store.
pub async fn adopt_unfinished(engine: &Engine, host: &str) -> Result<Adopted> {
    let mut adopted = Adopted::default();
    for id in engine.unfinished().await? {
        let job = engine.job(id).await?;
        if job.request.host != host {
            continue;
        }
        let Some(lock) = JobLock::try_acquire(id)? else { continue };
        // It may have ended between the listing and the lock.
        let job = engine.job(id).await?;
        if job.state().is_end() {
            continue;
        }
        if job.newest.tries >= TRIES_MAX && engine.decision(id).await?.is_none() {
            adopted
                .events
                .push(engine.stop(id, JobState::Failed, &format!("given up after {TRIES_MAX} processes died on it")).await?);
        } else {
            let job = engine.adopt(&job).await?;
            adopted.events.extend(engine.redrive(&job).await?);
        }
        adopted.jobs.push(job);
        adopted.locks.push(lock);
    }
    Ok(adopted)
}

/// A new job, and the event that begins it.
async fn begin(engine: &Engine, what: Operation, host: &str) -> Result<(Job, JobLock, Vec<Outgoing>)> {
    let id = JobId::new(engine.vault().ulid());
    let lock = JobLock::try_acquire(id)?.ok_or_else(|| Error::internal("a new job's lock is taken"))?;
    let job = engine.create(id, Request { what, host: host.to_owned() }).await?;
    let events = engine.redrive(&job).await?;
    Ok((job, lock, events))
}

/// Begins a backup. One machine has one backup at a time.
///
/// # Errors
/// `conflict` when another backup of the machine is unfinished; as the store.
pub async fn begin_backup(engine: &Engine, what: Operation, host: &str) -> Result<(Job, JobLock, Vec<Outgoing>)> {
    refuse_second(engine, what.item(), None).await?;
    let (job, lock, events) = begin(engine, what.clone(), host).await?;
    // Two that began at the same moment both see each other here, or the later one does.
    if let Err(error) = refuse_second(engine, what.item(), Some(job.id)).await {
        engine.stop(job.id, JobState::Failed, &error.one_line()).await?;
        engine.end(&job, JobState::Failed, &error.one_line()).await?;
        return Err(error);
    }
    Ok((job, lock, events))
}

/// Begins a restore.
///
/// # Errors
/// As the store.
pub async fn begin_restore(engine: &Engine, what: Operation, host: &str) -> Result<(Job, JobLock, Vec<Outgoing>)> {
    begin(engine, what, host).await
}

async fn refuse_second(engine: &Engine, item: &ItemName, own: Option<JobId>) -> Result<()> {
    for id in engine.unfinished().await? {
        if own == Some(id) {
            continue;
        }
        let other = engine.job(id).await?;
        if matches!(other.request.what, Operation::Backup { .. }) && other.request.what.item() == item && !other.state().is_end()
        {
            return Err(Error::conflict(format!(
                "a backup of {item} is under way on {} (job {id}); wait for it with `stillpoint jobs watch {id}` or stop it with `stillpoint jobs cancel {id}`",
                other.request.host
            )));
        }
    }
    Ok(())
}

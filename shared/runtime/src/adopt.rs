//! Beginning jobs, and taking on those whose process is gone.

use std::time::Duration;

use stillpoint_events::Outgoing;
use stillpoint_jobs::{Carrier, Engine, Job, Operation, Request};
use stillpoint_model::{Error, ErrorKind, JobId, JobState, Result, Subject};

use crate::JobLock;

/// Processes that may take a job on before it is given up: one that kills every process that touches it must end.
const TRIES_MAX: u32 = 5;
/// How often a backup that began at the same moment is looked at, until it has taken its snapshot or given way.
const RIVAL_LOOK: Duration = Duration::from_millis(200);
/// ... and how many times, before it is taken to be slow rather than about to give way.
const RIVAL_LOOKS: u32 = 100;

/// Jobs taken on, and the events that carry them forward.
#[derive(Default)]
pub struct Adopted {
    /// The jobs.
    pub jobs: Vec<Job>,
    /// Their locks.
    pub locks: Vec<JobLock>,
    /// What to handle first.
    pub events: Vec<Outgoing>,
    /// Unfinished jobs whose records cannot be read, and why.
    pub damaged: Vec<(JobId, Error)>,
}

/// Takes on every unfinished job of `host` that no living process works on.
///
/// # Errors
/// As the store.
pub async fn adopt_unfinished(engine: &Engine, host: &str) -> Result<Adopted> {
    let mut adopted = Adopted::default();
    for id in engine.unfinished().await? {
        match adopt(engine, host, id, &mut adopted).await {
            // One damaged ledger must not keep the others, and every command, waiting.
            Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Missing) => adopted.damaged.push((id, error)),
            other => other?,
        }
    }
    Ok(adopted)
}

async fn adopt(engine: &Engine, host: &str, id: JobId, adopted: &mut Adopted) -> Result<()> {
    let job = engine.job(id).await?;
    if job.request.host != host || job.request.carrier != Carrier::Process {
        return Ok(());
    }
    let Some(lock) = JobLock::try_acquire(id)? else { return Ok(()) };
    // It may have ended between the listing and the lock.
    let job = engine.job(id).await?;
    if job.state().is_end() {
        return Ok(());
    }
    if job.newest.tries >= TRIES_MAX && engine.decision(id).await?.is_none() && !engine.has_progressed(&job).await? {
        let reason = format!("given up after {TRIES_MAX} processes died on it");
        adopted.events.push(engine.stop(id, JobState::Failed, &reason).await?);
        adopted.jobs.push(job);
    } else {
        let Some(job) = engine.take_on(&job).await? else { return Ok(()) };
        adopted.events.extend(engine.redrive(&job).await?);
        adopted.jobs.push(job);
    }
    adopted.locks.push(lock);
    Ok(())
}

/// A new job.
pub struct Begun {
    /// The job.
    pub job: Job,
    /// Its lock, where a process carries it.
    pub lock: Option<JobLock>,
    /// What begins it.
    pub events: Vec<Outgoing>,
}

/// Begins a job that any number of others may run beside.
///
/// # Errors
/// As the store.
pub async fn begin_job(engine: &Engine, request: Request) -> Result<Begun> {
    let id = JobId::new(engine.vault().ulid());
    let lock = match request.carrier {
        Carrier::Process => Some(JobLock::try_acquire(id)?.ok_or_else(|| Error::internal("a new job's lock is taken"))?),
        Carrier::Broker => None,
    };
    let job = engine.create(id, request).await?;
    let events = vec![job.requested()];
    Ok(Begun { job, lock, events })
}

/// Begins a backup. One machine has one backup at a time.
///
/// # Errors
/// `conflict` when another backup of the machine is unfinished; `denied` where the vault is a replica; as the store.
pub async fn begin_backup(engine: &Engine, request: Request) -> Result<Begun> {
    engine.vault().unless_replica().await?;
    if let Some(other) = rivals(engine, &request.what.subject(), None).await?.first() {
        return Err(under_way(other));
    }
    let begun = begin_job(engine, request).await?;
    let job = &begun.job;
    if let Err(error) = outlast_rivals(engine, job).await {
        engine.stop(job.id, JobState::Failed, &error.one_line()).await?;
        engine.end(job, JobState::Failed, &error.one_line()).await?;
        return Err(error);
    }
    Ok(begun)
}

/// Unfinished backups of a machine, other than `own`.
async fn rivals(engine: &Engine, machine: &Subject, own: Option<JobId>) -> Result<Vec<Job>> {
    let mut rivals = Vec::new();
    for id in engine.unfinished().await? {
        if own == Some(id) {
            continue;
        }
        let other = match engine.job(id).await {
            Ok(other) => other,
            // Nobody can go on with a job whose records are damaged, so it is no rival.
            Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Missing) => continue,
            Err(error) => return Err(error),
        };
        let backup = matches!(other.request.what, Operation::Backup { .. });
        if backup && other.request.what.subject() == *machine && !other.state().is_end() {
            rivals.push(other);
        }
    }
    Ok(rivals)
}

/// Of backups that began at the same moment, exactly one goes on. Each looks after its own first record is there, so of any
/// two at least one sees the other. The one with the higher id gives way at once. The one with the lower id cannot know
/// whether the other saw it, so it waits until that has given way, or has gone on and has to be left alone.
async fn outlast_rivals(engine: &Engine, job: &Job) -> Result<()> {
    for _ in 0..RIVAL_LOOKS {
        let rivals = rivals(engine, &job.request.what.subject(), Some(job.id)).await?;
        let stands = |rival: &&Job| rival.id < job.id || rival.state() != JobState::Requested;
        match (rivals.iter().find(stands), rivals.is_empty()) {
            (Some(rival), _) => return Err(under_way(rival)),
            (None, true) => return Ok(()),
            (None, false) => engine.vault().clock().sleep(RIVAL_LOOK).await,
        }
    }
    Err(Error::conflict(format!("another backup of {} is about to begin; try again", job.request.what.subject())))
}

fn under_way(other: &Job) -> Error {
    let (item, host, id) = (other.request.what.subject(), &other.request.host, other.id);
    Error::conflict(format!(
        "a backup of {item} is under way on {host} (job {id}); wait for it with `stillpoint jobs watch {id}` or stop it with `stillpoint jobs cancel {id}`"
    ))
}

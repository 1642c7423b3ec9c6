use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use jiff::{SignedDuration, Timestamp};
use stillpoint_events::{Envelope, Outgoing, RecoveryPointCommitted};
use stillpoint_handler::{Effects, Handler, Invocation};
use stillpoint_jobs::{Engine, Job, Operation, Place, Wiring, derived_id};
use stillpoint_model::{ErrorKind, ItemName, JobId, JobState, PointId, Result};
use stillpoint_vault::Role;

use crate::source::Source;

/// What was committed longer ago is left to the timer: the job's id has the time of the commit, see [`derived_id`].
const NEWS: SignedDuration = SignedDuration::from_mins(30);
/// Jobs of so much time are looked at for one that copies the point. One that began earlier and still copies is not seen, and some bytes
/// are moved twice.
const LOOKED_BACK: SignedDuration = SignedDuration::from_hours(1);

/// Has a point copied as soon as its primary has committed it.
pub struct Follow {
    engine: Engine,
    place: Place,
    source: Source,
    /// What unfinished jobs are for, as far as it was read: it never changes, and of a hundred machines that are backed up at the same
    /// time each would read the jobs of all.
    read: Mutex<BTreeMap<JobId, Operation>>,
}

impl Follow {
    /// The handler over its ports.
    #[must_use]
    pub fn new(wiring: &Wiring) -> Self {
        let Wiring { engine, place, regions, .. } = wiring.clone();
        Self { engine, place, source: Source::new(regions), read: Mutex::default() }
    }

    /// What is to be done about a point that somebody says was committed. Whatever is in the way of it, the timer finds the point later.
    pub async fn events(&self, committed: &RecoveryPointCommitted) -> Vec<Outgoing> {
        let RecoveryPointCommitted { item, point, .. } = committed;
        match self.job(item, *point).await {
            // Also when it is heard again: whoever made the job may have died before anybody knew of it.
            Ok(Some(job)) if job.state() == JobState::Requested => vec![job.requested()],
            Ok(_) => Vec::new(),
            Err(error) => {
                tracing::warn!(%item, %point, "it is not copied at once: {}", error.one_line());
                Vec::new()
            }
        }
    }

    /// The job that copies a point; none where there is nothing to copy, or another job sees to it.
    async fn job(&self, item: &ItemName, id: PointId) -> Result<Option<Job>> {
        let replica = self.engine.vault();
        if replica.pairing().await?.is_none_or(|pairing| pairing.role != Role::Replica) {
            return Ok(None);
        }
        let there = replica.point_entry(item, id).await?;
        if there.committed || there.freed() {
            return Ok(None);
        }
        let point = match self.source.primary(replica).await?.point(item, id).await {
            // Another vault's, or nobody's.
            Err(error) if error.kind() == ErrorKind::Missing => return Ok(None),
            point => point?,
        };
        let now = replica.clock().now();
        if now.duration_since(point.committed).abs() > NEWS {
            return Ok(None);
        }
        let job = derived_id(point.committed, &format!("{}\n{item}\n{id}", replica.identity().id))?;
        let unfinished = self.unfinished(now - LOOKED_BACK).await?;
        if !unfinished.contains(&job) && self.is_under_way(item, unfinished).await? {
            return Ok(None);
        }
        let what = Operation::Replicate { item: Some(item.clone()), records: false };
        match self.engine.create(job, self.place.request(what)).await {
            // The same was heard before.
            Err(error) if error.kind() == ErrorKind::Conflict => self.engine.job(job).await.map(Some),
            created => created.map(Some),
        }
    }

    async fn unfinished(&self, since: Timestamp) -> Result<Vec<JobId>> {
        let jobs = self.engine.jobs_from(since).await?;
        Ok(jobs.into_iter().filter(|job| !job.state.is_end()).map(|job| job.id).collect())
    }

    fn read(&self) -> MutexGuard<'_, BTreeMap<JobId, Operation>> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether one of these jobs copies the machine's points already: what it has planned would be moved twice. Should it not have planned
    /// this one, the timer finds it when that job is done.
    async fn is_under_way(&self, item: &ItemName, unfinished: Vec<JobId>) -> Result<bool> {
        self.read().retain(|id, _| unfinished.contains(id));
        for id in unfinished {
            let known = self.read().get(&id).cloned();
            let what = match known {
                Some(what) => what,
                None => match self.engine.job_as_seen(id).await {
                    Ok(job) => self.read().entry(id).or_insert(job.request.what).clone(),
                    Err(error) if error.kind() == ErrorKind::Unavailable => return Err(error),
                    // Nobody goes on with a job whose records are damaged.
                    Err(_) => continue,
                },
            };
            if what.copies(item) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Handler for Follow {
    type Event = RecoveryPointCommitted;

    async fn handle(&self, event: Envelope<RecoveryPointCommitted>, _invocation: &Invocation) -> Result<Effects> {
        Ok(Effects { events: self.events(&event.data).await })
    }
}

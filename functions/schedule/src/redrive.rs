use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use stillpoint_events::Outgoing;
use stillpoint_jobs::{Carrier, Engine, Job};
use stillpoint_model::{ErrorKind, JobId, JobState, Result};
use stillpoint_ports::Backlog;

/// Times in a row that a job is driven on without anything getting done before it is given up: one that kills every process
/// that touches it must end.
const TRIES_MAX: u32 = 5;
/// While messages wait in the site's queues, a silent job is most likely waiting for its turn. After this many times the usual
/// patience its messages are taken to be lost all the same.
const PATIENCE_WITH_QUEUES: u32 = 36;

/// Drives stalled jobs on that a broker carries.
pub(crate) struct Redrive {
    engine: Engine,
    backlog: Arc<dyn Backlog>,
    site: String,
    stalled_after: Duration,
}

impl Redrive {
    /// For jobs of `site`.
    pub(crate) fn new(engine: Engine, backlog: Arc<dyn Backlog>, site: &str, stalled_after: Duration) -> Self {
        Self { engine, backlog, site: site.to_owned(), stalled_after }
    }

    /// When anything was last written for the job.
    async fn last_sign(&self, job: &Job) -> Result<Timestamp> {
        let segment = self.engine.last_marker(job.id).await?;
        Ok(segment.unwrap_or(job.newest.at).max(job.newest.at))
    }

    /// Whether nothing has happened for `patience`. An instant that is still to come says that a clock is wrong, and nothing
    /// about the job: it counts as silence, for driving a job on once too often is harmless.
    fn silent(&self, since: Timestamp, patience: Duration) -> bool {
        let age = self.engine.vault().clock().now().duration_since(since);
        let patience = SignedDuration::try_from(patience).unwrap_or(SignedDuration::MAX);
        age.is_negative() || age >= patience
    }

    /// The events that drive one job on, if it is stalled. `waiting`: messages in the site's queues, once asked for.
    async fn drive(&self, id: JobId, waiting: &mut Option<u64>) -> Result<Vec<Outgoing>> {
        let job = self.engine.job(id).await?;
        if job.request.carrier != Carrier::Broker || job.request.host != self.site || job.state().is_end() {
            return Ok(Vec::new());
        }
        let since = self.last_sign(&job).await?;
        if !self.silent(since, self.stalled_after) {
            return Ok(Vec::new());
        }
        let waits = match *waiting {
            Some(known) => known,
            None => *waiting.insert(self.backlog.waiting().await?),
        };
        if waits > 0 && !self.silent(since, self.stalled_after * PATIENCE_WITH_QUEUES) {
            return Ok(Vec::new());
        }
        let is_over = job.newest.tries >= TRIES_MAX && self.engine.decision(id).await?.is_none();
        if is_over && !self.engine.has_progressed(&job).await? {
            let reason = format!("given up: driven on {TRIES_MAX} times without getting on");
            return Ok(vec![self.engine.stop(id, JobState::Failed, &reason).await?]);
        }
        match self.engine.take_on(&job).await? {
            Some(job) => self.engine.redrive(&job).await,
            None => Ok(Vec::new()),
        }
    }
}

impl Redrive {
    /// The events that drive on those of `jobs` that are stalled.
    pub(crate) async fn events(&self, jobs: impl Iterator<Item = JobId>) -> Result<Vec<Outgoing>> {
        let mut waiting = None;
        let mut events = Vec::new();
        for id in jobs {
            match self.drive(id, &mut waiting).await {
                Ok(next) => events.extend(next),
                // One damaged or contested job must not keep the others waiting.
                Err(error) if error.kind() != ErrorKind::Unavailable => {}
                Err(error) => return Err(error),
            }
        }
        Ok(events)
    }
}

use std::sync::Arc;

use futures_util::future::join_all;
use stillpoint_events::{BackupRequested, Contract, Envelope, Outgoing};
use stillpoint_handler::{Functions, Invocation};
use stillpoint_jobs::Engine;
use stillpoint_model::{AttemptId, Error, ErrorKind, JobId, JobState, Result};
use stillpoint_ports::Clock;

use crate::{TestClock, TestRandom};

/// Times that a job's lost events are made again from its objects.
const REDRIVES_MAX: u32 = 200;

/// How badly events are delivered; in what order is always up to the seed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Manners {
    /// Every event is handled twice: requests for a backup one after the other, all others at the same moment.
    pub twice: bool,
    /// Requests for a backup are handled twice at the same moment too: the snapshots of one job may replace each other.
    pub two_snapshots: bool,
    /// Every event that ever was is handled once more when all is over.
    pub again_at_the_end: bool,
    /// Of a hundred events so many are lost.
    pub lost_percent: u64,
}

/// A broker that keeps no promise. It hands events to the functions as a host does, but knows no order.
pub struct Courier {
    engine: Engine,
    functions: Arc<Functions>,
    clock: Arc<TestClock>,
    random: TestRandom,
    manners: Manners,
}

impl Courier {
    /// A courier whose doings follow from `seed`.
    #[must_use]
    pub fn new(engine: Engine, functions: Functions, clock: Arc<TestClock>, seed: u64, manners: Manners) -> Self {
        Self { engine, functions: Arc::new(functions), clock, random: TestRandom::new(seed), manners }
    }

    async fn handle(&self, event: &Outgoing) -> Result<Vec<Outgoing>> {
        let vault = self.engine.vault();
        let invocation = Invocation { redelivered: true, ..Invocation::first(AttemptId::new(vault.ulid())) };
        let envelope = Envelope::seal(event.clone(), vault.ulid().to_string(), "stillpoint/testkit", self.clock.now());
        Ok(self.functions.handle(envelope, &invocation).await?.events)
    }

    /// Delivers `events` and all that follow from them until `job` has ended and nothing is left to deliver.
    ///
    /// # Errors
    /// `internal` when the job does not end; as the engine.
    pub async fn deliver(&self, job: JobId, events: Vec<Outgoing>) -> Result<()> {
        let mut queue = events;
        let mut history = Vec::new();
        for _ in 0..REDRIVES_MAX {
            while !queue.is_empty() {
                let event = queue.swap_remove(self.random.below(queue.len() as u64) as usize);
                history.push(event.clone());
                if self.random.below(100) < self.manners.lost_percent {
                    continue;
                }
                queue.extend(self.deliver_one(job, &event).await?);
            }
            let known = self.engine.job(job).await?;
            if known.state().is_end() {
                return if self.manners.again_at_the_end { self.repeat(job, &history).await } else { Ok(()) };
            }
            queue = self.engine.redrive(&known).await?;
        }
        Err(Error::internal(format!("job {job} does not end")))
    }

    async fn deliver_one(&self, job: JobId, event: &Outgoing) -> Result<Vec<Outgoing>> {
        let answers = match (self.manners.twice, event.event_type == BackupRequested::TYPE) {
            (true, true) if !self.manners.two_snapshots => vec![self.handle(event).await, self.handle(event).await],
            (true, _) => join_all([self.handle(event), self.handle(event)]).await,
            (false, _) => vec![self.handle(event).await],
        };
        let mut following = Vec::new();
        for answer in answers {
            match answer {
                Ok(events) => following.extend(events),
                Err(error) if error.kind() == ErrorKind::Fenced => {}
                // A late copy may find that what it needs was given back already; its job must not suffer from it.
                Err(_) if self.engine.job(job).await?.state().is_end() => {}
                Err(error) => following.push(self.engine.stop(job, JobState::Failed, &error.one_line()).await?),
            }
        }
        Ok(following)
    }

    async fn repeat(&self, job: JobId, history: &[Outgoing]) -> Result<()> {
        for event in history {
            let mut queue = vec![event.clone()];
            while let Some(event) = queue.pop() {
                queue.extend(self.deliver_one(job, &event).await?);
            }
        }
        Ok(())
    }
}

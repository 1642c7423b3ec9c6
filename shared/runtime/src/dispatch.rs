//! What hosts with a broker do with one delivery: the same for workers and for Lambda.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::{
    future::{Either, select},
    pin_mut,
};
use serde_json::Value;
use stillpoint_events::{Contract, Envelope, Function, JobEnded, Outgoing, RecoveryPointCommitted};
use stillpoint_format::digest;
use stillpoint_handler::{Effects, Functions, Invocation};
use stillpoint_jobs::{Carrier, Decision, Engine};
use stillpoint_model::{AttemptId, Error, ErrorKind, JobId, JobState, Result, VaultId};
use stillpoint_ports::Clock;

use crate::{Patience, RETRY_PAUSES, Reaction, lock::EventLock, reaction};

/// When an event that is being handled elsewhere on this machine, or whose failure could not be recorded, comes again.
const LATER: Duration = RETRY_PAUSES[2];

/// A message as it came.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// Whose queue it came from.
    pub function: Function,
    /// What should be a CloudEvents envelope.
    pub body: &'a [u8],
    /// Whether it may have been delivered before.
    pub redelivered: bool,
    /// What is left for handling it; `None` where nothing stops it.
    pub time_left: Option<Duration>,
}

/// What to do before a message is acknowledged.
#[derive(Debug, PartialEq)]
pub enum Settled {
    /// Publish these.
    Done(Vec<Outgoing>),
    /// Deliver it again to the same function after one of [`RETRY_PAUSES`].
    Later(Duration),
    /// Put it aside for an operator, with this reason.
    Parked(String),
}

/// Hands messages to functions and settles what becomes of them.
#[derive(Clone)]
pub struct Dispatcher {
    engine: Engine,
    functions: Functions,
    clock: Arc<dyn Clock>,
    site: Option<Arc<str>>,
    shares_machine: bool,
    /// Jobs that were seen to be the site's.
    ours: Arc<Mutex<VecDeque<JobId>>>,
}

/// Jobs of the site that are remembered.
const JOBS_KEPT: usize = 64;

impl Dispatcher {
    /// A dispatcher to `functions`, over the vault of `engine`.
    #[must_use]
    pub fn new(engine: Engine, functions: Functions, clock: Arc<dyn Clock>) -> Self {
        Self { engine, functions, clock, site: None, shares_machine: true, ours: Arc::default() }
    }

    /// The same dispatcher, which takes only jobs that a broker carries at `site`. Whoever can publish can route any job's
    /// event anywhere; another site would look for the machine's disks, find none, or find others of the same name.
    #[must_use]
    pub fn at(self, site: &str) -> Self {
        Self { site: Some(site.into()), ..self }
    }

    /// The same dispatcher, on a machine of its own: it does not look for others there that handle the same event. Whether any do
    /// decides about work done twice, and about nothing else.
    #[must_use]
    pub fn alone(self) -> Self {
        Self { shares_machine: false, ..self }
    }

    /// The engine.
    #[must_use]
    pub const fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Handles one message. Never fails: whatever happens has a settlement.
    ///
    /// # Cancellation
    /// May be dropped at any await; the message is then delivered again.
    pub async fn dispatch(&self, message: Message<'_>) -> Settled {
        let envelope = match Envelope::parse(message.body) {
            Ok(envelope) => envelope,
            Err(error) => return Settled::Parked(Error::invalid("no event of ours").with_source(error).one_line()),
        };
        if !self.functions.consumes(message.function, &envelope.event_type) {
            let event_type = envelope.event_type.escape_debug();
            return Settled::Parked(format!("{} consumes no events of type '{event_type}'", message.function));
        }
        let event = Subject::of(message.function, self.engine.vault().identity().id, &envelope);
        if let Some(settled) = self.strange(&event).await {
            return settled;
        }
        let lock = match self.shares_machine.then(|| EventLock::try_acquire(&event.lock)).transpose() {
            Ok(None) => None,
            Ok(Some(Some(lock))) => Some(lock),
            Ok(Some(None)) => return Settled::Later(LATER),
            Err(error) => return self.settle_error(&event, error).await,
        };
        let outcome = self.handle(message, envelope).await;
        let settled = match outcome {
            Ok(effects) => Settled::Done(effects.events),
            Err(error) => self.settle_error(&event, error).await,
        };
        drop(lock);
        settled
    }

    /// What to do with an event whose job is not the site's.
    async fn strange(&self, event: &Subject) -> Option<Settled> {
        let (site, id) = (self.site.as_deref()?, event.job?);
        let ours = || self.ours.lock().unwrap_or_else(PoisonError::into_inner);
        if ours().contains(&id) {
            return None;
        }
        match self.engine.job(id).await {
            Ok(job) if job.request.carrier == Carrier::Broker && job.request.host == site => {
                let mut ours = ours();
                ours.push_back(id);
                if ours.len() > JOBS_KEPT {
                    ours.pop_front();
                }
                None
            }
            Ok(job) => Some(Settled::Parked(format!("job {id} is none of this site: it belongs to {}", job.request.host))),
            Err(error) if error.kind() == ErrorKind::Unavailable => Some(Settled::Later(LATER)),
            Err(error) => Some(Settled::Parked(error.one_line())),
        }
    }

    async fn handle(&self, message: Message<'_>, envelope: Envelope<Value>) -> Result<Effects> {
        let attempt = AttemptId::new(self.engine.vault().ulid());
        let invocation = Invocation { attempt, redelivered: message.redelivered, time_left: message.time_left };
        let handling = self.functions.handle_as(message.function, envelope, &invocation);
        let Some(time_left) = message.time_left else { return handling.await };
        let over = self.clock.sleep(time_left);
        pin_mut!(handling);
        match select(handling, over).await {
            Either::Left((outcome, _)) => outcome,
            Either::Right(_) => Err(Error::unavailable("the function's time was over")),
        }
    }

    async fn settle_error(&self, event: &Subject, error: Error) -> Settled {
        let why = error.one_line();
        tracing::warn!(event = event.lock, kind = %error.kind(), "{why}");
        let Some(job) = event.job else { return Settled::Parked(why) };
        // A late copy may find that what it needs was given back already.
        if self.engine.job(job).await.is_ok_and(|job| job.state().is_end()) {
            return Settled::Done(Vec::new());
        }
        let failures = match error.kind() {
            ErrorKind::Unavailable => match self.engine.count_failure(job, &event.key, &why).await {
                Ok(failures) => failures,
                // Where the vault itself is away, nobody can say that the job failed: it waits for the vault.
                Err(trouble) if trouble.kind() == ErrorKind::Unavailable => return Settled::Later(LATER),
                Err(trouble) => return Settled::Parked(format!("{why}; and {}", trouble.one_line())),
            },
            _ => 1,
        };
        match reaction(error.kind(), failures, Patience::Worker) {
            Reaction::RetryAfter(pause) => Settled::Later(pause),
            // Whoever stopped the job leaves giving back what it holds to us.
            Reaction::Drop => match self.engine.decision(job).await {
                Ok(Some(Decision::Stop { .. })) if !event.is_end => Settled::Done(vec![Outgoing::new(&JobEnded { job })]),
                _ => Settled::Done(Vec::new()),
            },
            Reaction::FailJob if event.is_end => Settled::Parked(why),
            Reaction::FailJob => match self.engine.stop(job, JobState::Failed, &why).await {
                Ok(ended) => Settled::Done(vec![ended]),
                Err(trouble) if trouble.kind() == ErrorKind::Unavailable => Settled::Later(LATER),
                Err(trouble) => Settled::Parked(format!("{why}; and {}", trouble.one_line())),
            },
        }
    }
}

/// What an event is about, as far as its host has to know.
struct Subject {
    job: Option<JobId>,
    /// Which event of the job: in the ledger's counts.
    key: String,
    /// Which event of all, at which function.
    lock: String,
    is_end: bool,
}

impl Subject {
    fn of(function: Function, vault: VaultId, envelope: &Envelope<Value>) -> Self {
        let text = |field: &str| envelope.data.get(field).and_then(Value::as_str).unwrap_or_default();
        // A point that a replica follows was made by a job of its primary.
        let is_of_other = function == Function::Replicate && envelope.event_type == RecoveryPointCommitted::TYPE;
        let job: Option<JobId> = text("job").parse().ok().filter(|_| !is_of_other);
        let segment = envelope.data.get("segment").and_then(Value::as_u64);
        let short = envelope.event_type.trim_start_matches("io.stillpoint.");
        let key = segment.map_or_else(|| short.to_owned(), |segment| format!("{short}/{segment}"));
        // What is about no job is told apart by the vault and all it says: one vault's timer does not wait for another's, nor one
        // alarm for another.
        let data = || digest(envelope.data.to_string().as_bytes());
        let about = job.map_or_else(|| format!("{vault}-{}", &data()[..DATA_DIGITS]), |job| job.to_string());
        let lock = format!("{function}-{key}-{about}");
        Self { job, key, lock, is_end: envelope.event_type == JobEnded::TYPE }
    }
}

/// Digits of the data's hash in a lock's name: names of abstract sockets have at most 107 bytes.
const DATA_DIGITS: usize = 16;

//! The in-process host: an ordered queue, some events in flight, nothing to install.

use std::{
    collections::{BTreeMap, VecDeque},
    future::Future,
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use futures_util::{
    FutureExt, StreamExt,
    future::{AbortHandle, Abortable},
    stream::FuturesUnordered,
};
use stillpoint_events::{Contract, Envelope, JobEnded, Outgoing};
use stillpoint_handler::{Effects, Functions, Invocation};
use stillpoint_jobs::{Decision, Engine};
use stillpoint_model::{AttemptId, Error, ErrorKind, JobId, JobState, Result};
use stillpoint_ports::Clock;

use crate::{JobLock, Patience, Reaction, reaction};

/// When running jobs are first looked at for a decision made elsewhere (`jobs cancel`); each pause is twice the one before.
const DECISION_LOOK: Duration = Duration::from_secs(2);
/// ... but no longer than this: `jobs cancel` waits for twice as long.
const DECISION_LOOK_MAX: Duration = Duration::from_secs(15);

/// Jobs that this run could not bring to an end, with the reason; their ledgers say the rest.
pub type Ended = BTreeMap<JobId, Error>;

/// One delivery.
#[derive(Clone)]
struct Delivery {
    event: Outgoing,
    job: JobId,
    deliveries: u32,
}

type Running = Pin<Box<dyn Future<Output = (Delivery, Option<Result<Effects>>)> + Send>>;

/// Runs events through the functions until none is left.
pub struct Host {
    engine: Engine,
    functions: Arc<Functions>,
    clock: Arc<dyn Clock>,
    in_flight: usize,
}

/// The state of one run.
#[derive(Default)]
struct Run {
    queue: VecDeque<Delivery>,
    running: FuturesUnordered<Running>,
    aborts: Vec<(JobId, AbortHandle)>,
    /// The events that are running.
    active: Vec<Outgoing>,
    locks: BTreeMap<JobId, JobLock>,
    ended: Ended,
}

impl Host {
    /// A host that keeps at most `in_flight` events under way.
    #[must_use]
    pub fn new(engine: Engine, functions: Functions, clock: Arc<dyn Clock>, in_flight: usize) -> Self {
        Self { engine, functions: Arc::new(functions), clock, in_flight: in_flight.max(1) }
    }

    /// Handles `events` and all that follow from them. `locks` are the jobs' locks, held until the run is over.
    ///
    /// # Cancellation
    /// Dropping the future stops everything at its next await; jobs stay unfinished until somebody takes them on.
    pub async fn run(&self, events: Vec<Outgoing>, locks: Vec<JobLock>) -> Ended {
        let mut run = Run { locks: locks.into_iter().map(|lock| (lock.job(), lock)).collect(), ..Run::default() };
        for event in events {
            run.push(event);
        }
        // One pause across all that happens meanwhile, or a busy run would never look.
        let mut pause = DECISION_LOOK;
        let mut look = self.clock.sleep(pause).fuse();
        loop {
            while run.running.len() < self.in_flight {
                let Some(delivery) = run.queue.pop_front() else { break };
                self.start(&mut run, delivery);
            }
            if run.running.is_empty() {
                return run.ended;
            }
            futures_util::select_biased! {
                () = look => {
                    self.look_for_decisions(&mut run).await;
                    pause = (pause * 2).min(DECISION_LOOK_MAX);
                    look = self.clock.sleep(pause).fuse();
                }
                finished = run.running.next() => {
                    let Some((delivery, outcome)) = finished else { continue };
                    run.active.retain(|event| *event != delivery.event);
                    if let Some(outcome) = outcome {
                        self.settle(&mut run, delivery, outcome).await;
                    }
                }
            }
        }
    }

    fn start(&self, run: &mut Run, delivery: Delivery) {
        let vault = self.engine.vault();
        let invocation = Invocation { redelivered: delivery.deliveries > 1, ..Invocation::first(AttemptId::new(vault.ulid())) };
        let envelope =
            Envelope::seal(delivery.event.clone(), vault.ulid().to_string(), "stillpoint/standalone", self.clock.now());
        let (abort, registration) = AbortHandle::new_pair();
        run.aborts.retain(|(_, abort)| !abort.is_aborted());
        run.aborts.push((delivery.job, abort));
        run.active.push(delivery.event.clone());
        let (functions, clock) = (Arc::clone(&self.functions), Arc::clone(&self.clock));
        let pause = match delivery.deliveries {
            1 => None,
            // The pause that the failed delivery before this one was answered with.
            count => match reaction(ErrorKind::Unavailable, count - 1, Patience::Operator) {
                Reaction::RetryAfter(pause) => Some(pause),
                Reaction::Drop | Reaction::FailJob => None,
            },
        };
        let handle = async move {
            if let Some(pause) = pause {
                clock.sleep(pause).await;
            }
            functions.handle(envelope, &invocation).await
        };
        run.running.push(Box::pin(Abortable::new(handle, registration).map(|outcome| (delivery, outcome.ok()))));
    }

    async fn settle(&self, run: &mut Run, delivery: Delivery, outcome: Result<Effects>) {
        let error = match outcome {
            Ok(effects) => return effects.events.into_iter().for_each(|event| run.push(event)),
            Err(error) => error,
        };
        tracing::warn!(job = %delivery.job, event = delivery.event.event_type, kind = %error.kind(), "{}", error.one_line());
        match reaction(error.kind(), delivery.deliveries, Patience::Operator) {
            Reaction::RetryAfter(_) => run.queue.push_back(Delivery { deliveries: delivery.deliveries + 1, ..delivery }),
            // Whoever stopped the job from elsewhere leaves giving back what it holds to the process that works on it.
            Reaction::Drop => self.look_for_decisions(run).await,
            Reaction::FailJob => self.fail(run, &delivery, error).await,
        }
    }

    async fn fail(&self, run: &mut Run, delivery: &Delivery, error: Error) {
        run.forget(delivery.job);
        // A job whose end cannot be recorded stays unfinished, for the next process to take on.
        if delivery.event.event_type != JobEnded::TYPE {
            match self.engine.stop(delivery.job, JobState::Failed, &error.one_line()).await {
                Ok(event) => run.push(event),
                Err(why) => tracing::warn!(job = %delivery.job, "{}", why.one_line()),
            }
        }
        run.ended.entry(delivery.job).or_insert(error);
    }

    async fn look_for_decisions(&self, run: &mut Run) {
        let jobs: Vec<JobId> = run.locks.keys().copied().collect();
        for job in jobs {
            let stopping = run.ended.contains_key(&job);
            if let (false, Ok(Some(Decision::Stop { reason, .. }))) = (stopping, self.engine.decision(job).await) {
                run.forget(job);
                run.ended.insert(job, Error::fenced(reason));
                run.push(Outgoing::new(&JobEnded { job }));
            }
        }
    }
}

impl Run {
    fn push(&mut self, event: Outgoing) {
        // Several steps may see that theirs was the last; one of them is enough.
        if self.active.contains(&event) || self.queue.iter().any(|delivery| delivery.event == event) {
            return;
        }
        // An event without a job id could only be a bug in this process; nobody would consume it.
        if let Some(job) = event.data.get("job").and_then(|job| job.as_str()?.parse().ok()) {
            self.queue.push_back(Delivery { event, job, deliveries: 1 });
        }
    }

    /// Drops all that is queued or under way for a job.
    fn forget(&mut self, job: JobId) {
        self.queue.retain(|delivery| delivery.job != job);
        self.aborts.iter().filter(|(known, _)| *known == job).for_each(|(_, abort)| abort.abort());
    }
}

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
    stream::{self, FuturesUnordered, Stream},
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

/// Events to handle, and the locks of their jobs that are held already.
#[derive(Default)]
pub struct Work {
    /// The events.
    pub events: Vec<Outgoing>,
    /// The locks.
    pub locks: Vec<JobLock>,
}

/// Jobs that this run could not bring to an end, with the reason; their ledgers say the rest.
pub type Ended = BTreeMap<JobId, Error>;

/// One delivery.
#[derive(Clone)]
struct Delivery {
    event: Outgoing,
    /// None of an event that is about no job: a tick, an alarm.
    job: Option<JobId>,
    deliveries: u32,
}

type Running = Pin<Box<dyn Future<Output = (Delivery, Option<Result<Effects>>)> + Send>>;

/// A delivery under way.
struct Active {
    event: Outgoing,
    job: Option<JobId>,
    abort: AbortHandle,
}

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
    active: Vec<Active>,
    locks: BTreeMap<JobId, JobLock>,
    ended: Ended,
}

impl Host {
    /// A host that keeps at most `in_flight` events under way.
    #[must_use]
    pub fn new(engine: Engine, functions: Functions, clock: Arc<dyn Clock>, in_flight: usize) -> Self {
        Self { engine, functions: Arc::new(functions), clock, in_flight: in_flight.max(1) }
    }

    /// Handles `events` and all that follow from them, to their end. `locks` are the jobs' locks.
    ///
    /// # Cancellation
    /// Dropping the future stops everything at its next await; jobs stay unfinished until somebody takes them on.
    pub async fn run(&self, events: Vec<Outgoing>, locks: Vec<JobLock>) -> Ended {
        self.serve(stream::iter([Work { events, locks }])).await
    }

    /// Handles work as it comes, until no more comes and all that follows from it is done. A job's lock is held for as long as any of
    /// its events is here. Returns what could not be brought to an end of the last work that came.
    ///
    /// # Cancellation
    /// As [`Host::run`].
    pub async fn serve(&self, work: impl Stream<Item = Work>) -> Ended {
        let mut run = Run::default();
        let work = work.fuse();
        futures_util::pin_mut!(work);
        // One pause across all that happens meanwhile, or a busy run would never look.
        let mut pause = DECISION_LOOK;
        let mut look = self.clock.sleep(pause).fuse();
        let mut more = true;
        loop {
            while let Some(delivery) = run.next(self.in_flight) {
                self.start(&mut run, delivery);
            }
            if run.running.is_empty() && !more {
                return run.ended;
            }
            futures_util::select_biased! {
                came = work.next() => match came {
                    Some(work) => run.take(work),
                    None => more = false,
                },
                () = look => {
                    self.look_for_decisions(&mut run).await;
                    pause = (pause * 2).min(DECISION_LOOK_MAX);
                    look = self.clock.sleep(pause).fuse();
                }
                finished = run.running.select_next_some() => {
                    let (delivery, outcome) = finished;
                    run.active.retain(|active| active.event != delivery.event);
                    let job = delivery.job;
                    if let Some(outcome) = outcome {
                        self.settle(&mut run, delivery, outcome).await;
                    }
                    run.let_go(job);
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
        run.active.push(Active { event: delivery.event.clone(), job: delivery.job, abort });
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
        let job = delivery.job.map(tracing::field::display);
        tracing::warn!(job, event = delivery.event.event_type, kind = %error.kind(), "{}", error.one_line());
        match reaction(error.kind(), delivery.deliveries, Patience::Operator) {
            Reaction::RetryAfter(_) => run.queue.push_back(Delivery { deliveries: delivery.deliveries + 1, ..delivery }),
            // Whoever stopped the job from elsewhere leaves giving back what it holds to the process that works on it.
            Reaction::Drop => self.look_for_decisions(run).await,
            Reaction::FailJob => self.fail(run, &delivery, error).await,
        }
    }

    async fn fail(&self, run: &mut Run, delivery: &Delivery, error: Error) {
        // What is about no job comes again with the next tick.
        let Some(job) = delivery.job else { return };
        run.forget(job);
        // A job whose end cannot be recorded stays unfinished, for the next process to take on.
        if delivery.event.event_type != JobEnded::TYPE {
            match self.engine.stop(job, JobState::Failed, &error.one_line()).await {
                Ok(event) => run.push(event),
                Err(why) => tracing::warn!(%job, "{}", why.one_line()),
            }
        }
        run.ended.entry(job).or_insert(error);
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
    fn take(&mut self, work: Work) {
        // What became of work before this is in its jobs' ledgers.
        self.ended.retain(|job, _| self.locks.contains_key(job));
        self.locks.extend(work.locks.into_iter().map(|lock| (lock.job(), lock)));
        for event in work.events {
            self.push(event);
        }
    }

    fn push(&mut self, event: Outgoing) {
        // Several steps may see that theirs was the last; one of them is enough.
        let is_here = self.active.iter().any(|active| active.event == event);
        if is_here || self.queue.iter().any(|delivery| delivery.event == event) {
            return;
        }
        let job = event.data.get("job").and_then(|job| job.as_str()?.parse().ok());
        match job {
            Some(job) if self.hold(job) => self.queue.push_back(Delivery { event, job: Some(job), deliveries: 1 }),
            Some(_) => {}
            // The timer and alarms do not wait for segments, of which there may be thousands.
            None => self.queue.push_front(Delivery { event, job: None, deliveries: 1 }),
        }
    }

    /// What is begun next, with at most `in_flight` under way that belong to jobs.
    fn next(&mut self, in_flight: usize) -> Option<Delivery> {
        let is_free = self.running.len() < in_flight || self.queue.front().is_some_and(|first| first.job.is_none());
        if is_free { self.queue.pop_front() } else { None }
    }

    /// Holds a job's lock; `false` when another process of this machine works on it.
    fn hold(&mut self, job: JobId) -> bool {
        if self.locks.contains_key(&job) {
            return true;
        }
        match JobLock::try_acquire(job) {
            Ok(lock) => lock.map(|lock| self.locks.insert(job, lock)).is_some(),
            Err(error) => {
                tracing::warn!(%job, "{}", error.one_line());
                false
            }
        }
    }

    /// Lets go of a job of which nothing is left here.
    fn let_go(&mut self, job: Option<JobId>) {
        let is_here = self.active.iter().any(|active| active.job == job);
        if let Some(id) = job.filter(|_| !is_here && !self.queue.iter().any(|delivery| delivery.job == job)) {
            self.locks.remove(&id);
        }
    }

    /// Drops all that is queued or under way for a job, but for its end: what gives back what the job holds may take longer than it
    /// takes to look for decisions.
    fn forget(&mut self, job: JobId) {
        let is_dropped = |of: Option<JobId>, event: &Outgoing| of == Some(job) && event.event_type != JobEnded::TYPE;
        self.queue.retain(|delivery| !is_dropped(delivery.job, &delivery.event));
        self.active.iter().filter(|active| is_dropped(active.job, &active.event)).for_each(|active| active.abort.abort());
    }
}

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime},
};

use serde_json::Value;
use stillpoint_broker::{Publisher, Topology};
use stillpoint_events::{Envelope, Function, Outgoing, TimerTicked};
use stillpoint_handler::Functions;
use stillpoint_model::{Error, ErrorKind, Result};
use stillpoint_ports::{Clock, Random, ulid};
use stillpoint_runtime::{Dispatcher, Message, RETRY_PAUSES, Settled, segments_within};
use stillpoint_system::{SystemClock, SystemRandom};
use tokio::{
    sync::{OnceCell, Semaphore},
    task::JoinSet,
};

use crate::{
    Ports,
    answer::{Answer, Fate},
    budget::{Budget, Turn, time_left},
    incoming::{Incoming, Record},
    open::open,
    settings::Settings,
};

/// A connection that was left alone for longer is made anew: decision 0007. Half of what it takes to lose the broker's trust.
const IDLE_MAX: Duration = Duration::from_secs(10);
/// When a record for which no time was left comes again: at once, as far as the queues can tell.
const SOON: Duration = RETRY_PAUSES[0];
/// When records come again while the vault cannot be opened.
const VAULT_AWAY: Duration = RETRY_PAUSES[3];
/// Memory of the process before any record is begun.
const OWN_MEMORY_BYTES: u64 = 64 << 20;
/// What Lambda gives a function unless it is told.
const MEMORY_MIB_DEFAULT: u64 = 128;

type Make = Box<dyn Fn(&Ports) -> Functions + Send + Sync>;

/// One function, and what it keeps between invocations.
pub struct Station {
    function: Function,
    make: Make,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    settings: OnceCell<(Settings, Publisher)>,
    dispatcher: OnceCell<Dispatcher>,
    permits: Arc<Semaphore>,
    /// Milliseconds of the longest invocation so far: Lambda does not say what the function's time-out is.
    whole: AtomicU64,
    /// By the wall clock, the only one that a frozen machine is told to set right.
    last_used: Mutex<Option<SystemTime>>,
}

fn millis_since_epoch() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// Records handled at once: each may be a segment with its pages and its pack.
fn at_once(memory_mib: Option<u64>) -> usize {
    let memory = memory_mib.unwrap_or(MEMORY_MIB_DEFAULT) << 20;
    segments_within(memory.saturating_sub(OWN_MEMORY_BYTES))
}

impl Station {
    /// A station of `function`, whose handlers `make` makes.
    pub fn new(function: Function, make: Make) -> Self {
        let memory = std::env::var("AWS_LAMBDA_FUNCTION_MEMORY_SIZE").ok().and_then(|mib| mib.parse().ok());
        Self {
            function,
            make,
            clock: Arc::new(SystemClock),
            random: Arc::new(SystemRandom::new()),
            settings: OnceCell::new(),
            dispatcher: OnceCell::new(),
            permits: Arc::new(Semaphore::new(at_once(memory))),
            whole: AtomicU64::new(0),
            last_used: Mutex::new(None),
        }
    }

    /// Handles what Lambda handed over, until `deadline_ms` of the epoch.
    ///
    /// # Errors
    /// When something could be neither handled nor handed back; all of it has to come again.
    pub async fn invoke(self: &Arc<Self>, document: Value, deadline_ms: u64) -> Result<Answer> {
        let left = time_left(deadline_ms, millis_since_epoch());
        let spent = left.map_or(0, |left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX));
        let whole = Duration::from_millis(self.whole.fetch_max(spent, Relaxed).max(spent));
        let budget = Budget::new(self.function, left, whole, Instant::now());
        let incoming = Incoming::read(self.function, document)?;
        let publisher = self.publisher().await?;
        let records = self.records(incoming, publisher.topology())?;
        let idle_max = self.idle_max();
        let (ready, dispatcher) = tokio::join!(publisher.ready(Some(idle_max)), self.dispatcher());
        ready?;
        let answer = self.handle(records, publisher, &dispatcher, budget).await;
        *self.last_used.lock().unwrap_or_else(PoisonError::into_inner) = Some(SystemTime::now());
        answer
    }

    /// The settings' publisher. Settings that were wrong are read again: an operator who mends them replaces the process.
    async fn publisher(&self) -> Result<&Publisher> {
        let make = async || {
            let settings = Settings::read(|name| std::env::var(name).ok())?;
            let source = format!("stillpoint/{}", self.function);
            let topology = Arc::new(Topology::of(settings.site.clone()));
            let (clock, random) = (Arc::clone(&self.clock), Arc::clone(&self.random));
            let publisher = Publisher::new(settings.broker.clone(), topology, &source, clock, random);
            Ok((settings, publisher))
        };
        self.settings.get_or_try_init(make).await.map(|(_, publisher)| publisher)
    }

    /// The vault with its function; opened with the first invocation that gets so far.
    async fn dispatcher(&self) -> Result<Dispatcher> {
        let make = async || {
            let (settings, publisher) =
                self.settings.get().ok_or_else(|| Error::internal("the settings are read before the vault is opened"))?;
            let messenger = stillpoint_webhook::receiver(&settings.webhook, Arc::clone(&self.clock))?;
            let wiring = open(settings, Arc::clone(&self.clock), Arc::clone(&self.random)).await?;
            let engine = wiring.engine.clone();
            let ports = Ports { wiring, backlog: Arc::new(publisher.clone()), messenger };
            Ok(Dispatcher::new(engine, (self.make)(&ports), Arc::clone(&self.clock)).at(settings.site.as_str()))
        };
        self.dispatcher.get_or_try_init(make).await.cloned()
    }

    /// How long the connection may have been idle, as its own clock tells, which may have stood still while we were frozen.
    fn idle_max(&self) -> Duration {
        let last = *self.last_used.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = last.map_or(Duration::ZERO, |last| SystemTime::now().duration_since(last).unwrap_or(Duration::MAX));
        if idle > IDLE_MAX { Duration::ZERO } else { IDLE_MAX }
    }

    fn records(&self, incoming: Incoming, topology: &Topology) -> Result<Vec<Record>> {
        let own = |queue: &String| topology.places_of(self.function).any(|place| place.queue == *queue);
        match incoming {
            Incoming::Tick => Ok(vec![Record { queue: None, body: self.tick()?, redelivered: true, fault: None }]),
            Incoming::Event(body) => {
                let queue = topology.places_of(self.function).next().map(|place| place.queue.clone());
                Ok(vec![Record { queue, body, redelivered: true, fault: None }])
            }
            // A message that is handed back to a queue that is none of ours, or none at all, would be lost.
            Incoming::Records(records) => match records.iter().filter_map(|record| record.queue.as_ref()).find(|q| !own(q)) {
                Some(strange) => Err(Error::invalid(format!(
                    "'{}' is no queue of {} at site {}: check the mapping and STILLPOINT_SITE",
                    strange.escape_debug(),
                    self.function,
                    topology.site()
                ))),
                None => Ok(records),
            },
        }
    }

    fn tick(&self) -> Result<Vec<u8>> {
        let id = ulid(&*self.clock, &*self.random).to_string();
        let envelope = Envelope::seal(Outgoing::new(&TimerTicked {}), id, "stillpoint/lambda", self.clock.now());
        serde_json::to_vec(&envelope).map_err(|error| Error::internal("cannot write an event").with_source(error))
    }

    async fn handle(
        self: &Arc<Self>,
        records: Vec<Record>,
        publisher: &Publisher,
        dispatcher: &Result<Dispatcher>,
        budget: Budget,
    ) -> Result<Answer> {
        let dispatcher = match dispatcher {
            Ok(dispatcher) => Some(dispatcher),
            Err(error) if error.kind() == ErrorKind::Unavailable && records.iter().all(|record| record.queue.is_some()) => {
                tracing::warn!("{}; the records come again", error.one_line());
                None
            }
            Err(error) => return Err(Error::new(error.kind(), error.one_line())),
        };
        let mut tasks = JoinSet::new();
        for record in records {
            let (station, publisher, dispatcher) = (Arc::clone(self), publisher.clone(), dispatcher.cloned());
            tasks.spawn(async move {
                let settled = station.settle(&record, dispatcher.as_ref(), budget).await;
                station.conclude(&record, settled, &publisher).await
            });
        }
        let mut answer = Answer::default();
        let mut failed = None;
        // All are brought to their ends, also when one failed: what is done now is only looked at when it comes again.
        while let Some(ended) = tasks.join_next().await {
            let fate = ended.map_err(|error| Error::internal("a handler broke off").with_source(error));
            match fate.and_then(|fate| fate) {
                Ok(fate) => answer.count(fate),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(answer), Err)
    }

    /// What becomes of a record.
    async fn settle(&self, record: &Record, dispatcher: Option<&Dispatcher>, budget: Budget) -> Settled {
        if let Some(fault) = record.fault {
            return Settled::Parked(fault.to_owned());
        }
        let Some(dispatcher) = dispatcher else { return Settled::Later(VAULT_AWAY) };
        // Never closed; were it, the record would come again.
        let Ok(_permit) = self.permits.acquire().await else { return Settled::Later(SOON) };
        let time_left = match budget.turn(Instant::now()) {
            Turn::Unlimited => None,
            Turn::For(time_left) => Some(time_left),
            Turn::TooLate => {
                tracing::info!("no time is left to begin a record; it comes again");
                return Settled::Later(SOON);
            }
        };
        let message = Message { function: self.function, body: &record.body, redelivered: record.redelivered, time_left };
        dispatcher.dispatch(message).await
    }

    /// Publishes what a settlement asks for.
    async fn conclude(&self, record: &Record, settled: Settled, publisher: &Publisher) -> Result<Fate> {
        match (settled, &record.queue) {
            (Settled::Done(events), _) => publisher.publish(&events).await.map(|()| Fate::Handled),
            (Settled::Later(pause), Some(queue)) => {
                publisher.publish_later(queue, &record.body, pause).await.map(|()| Fate::Later)
            }
            (Settled::Parked(reason), Some(queue)) => {
                publisher.park(self.function, queue, &record.body, &reason).await.map(|()| Fate::Parked)
            }
            // The next tick looks again at whatever this one could not do.
            (Settled::Later(_), None) => Ok(Fate::Later),
            (Settled::Parked(reason), None) => Err(Error::invalid(reason)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_bounds_what_is_handled_at_once() {
        assert_eq!(at_once(None), 1);
        assert_eq!(at_once(Some(128)), 1, "something is always done");
        assert_eq!(at_once(Some(512)), 4);
        assert_eq!(at_once(Some(2048)), 17);
    }
}

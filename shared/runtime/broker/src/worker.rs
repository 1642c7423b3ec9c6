use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use futures_util::{
    StreamExt,
    stream::{Map, SelectAll},
};
use lapin::{
    Channel, Connection, Consumer,
    message::Delivery,
    options::{BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions, QueueDeclareOptions},
    types::FieldTable,
};
use stillpoint_events::{Envelope, Function, Outgoing, TimerTicked};
use stillpoint_model::{Error, ErrorKind, Result};
use stillpoint_runtime::{Dispatcher, Message, Settled};
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval},
};

use crate::{Place, Publisher, SHARDS};

/// How often a consumer's channel is asked for a sign of life: one that fell silent shows no error of its own.
const LOOK: Duration = Duration::from_secs(15);
/// How long that sign may take.
const SIGN: Duration = Duration::from_secs(10);
/// Pauses between connection tries: from, up to.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(15));
/// Messages of a light function that wait or run here at once.
const LIGHT_PREFETCH: u16 = 4;
/// Header that the broker adds to a message that waited in a retry queue.
const DEATHS_HEADER: &str = "x-death";

/// What a worker does, and how much at once.
#[derive(Debug, Clone)]
pub struct WorkerOptions {
    /// The functions whose queues it consumes.
    pub functions: Vec<Function>,
    /// Segments under way at once.
    pub in_flight: usize,
    /// Messages of a light function under way at once; `None` for the default.
    pub prefetch: Option<u16>,
    /// Whether the vault is a replica, whose functions follow what its primary's do at whatever sites.
    pub is_replica: bool,
    /// How often the timer ticks, where `schedule` is among the functions.
    pub tick: Duration,
    /// How long the first connection is tried for, before the worker gives up.
    pub patience: Duration,
}

/// Consumes the queues of functions.
#[derive(Clone)]
pub struct Worker {
    publisher: Publisher,
    dispatcher: Dispatcher,
    options: WorkerOptions,
    heavy: Arc<Semaphore>,
    draining: Arc<AtomicBool>,
}

/// A connection and its consumers.
struct Session {
    connection: Connection,
    channels: Vec<(Place, Channel, Consumer)>,
    deliveries: SelectAll<Map<Consumer, Tag>>,
}

/// A message, with the queue it came from.
type Arrival = (Place, lapin::Result<Delivery>);
type Tag = Box<dyn FnMut(lapin::Result<Delivery>) -> Arrival + Send + Sync>;

impl Worker {
    /// A worker that hands messages to `dispatcher` and publishes with `publisher`.
    #[must_use]
    pub fn new(publisher: Publisher, dispatcher: Dispatcher, options: WorkerOptions) -> Self {
        let heavy = Arc::new(Semaphore::new(options.in_flight.max(1)));
        let dispatcher = dispatcher.at(publisher.topology().site().as_str());
        Self { publisher, dispatcher, options, heavy, draining: Arc::default() }
    }

    /// Works until `stop`, then takes no more messages and ends what it began.
    ///
    /// # Errors
    /// `unavailable` when the first connection does not come about in time, `denied` when it is refused.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<()> {
        tokio::pin!(stop);
        let mut tasks = JoinSet::new();
        let mut deadline = Some(Instant::now() + self.options.patience);
        loop {
            let session = tokio::select! {
                () = &mut stop => break,
                session = self.connect(deadline.take()) => session?,
            };
            tracing::info!(broker = self.publisher.broker().shown(), "consuming");
            let (session, lost) = self.serve(session, &mut tasks, &mut stop).await;
            match lost {
                Some(error) => tracing::warn!("{}; connecting again", error.one_line()),
                None => {
                    self.drain(session, tasks).await;
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Hands messages out until the connection is lost (`Some`) or the worker is stopped.
    async fn serve(
        &self,
        mut session: Session,
        tasks: &mut JoinSet<()>,
        stop: &mut (impl Future<Output = ()> + Unpin),
    ) -> (Session, Option<Error>) {
        let mut look = interval(LOOK);
        let mut tick = interval(self.options.tick);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let ticking = self.options.functions.contains(&Function::Schedule);
        loop {
            tokio::select! {
                biased;
                () = &mut *stop => return (session, None),
                Some(ended) = tasks.join_next() => if let Err(error) = ended {
                    // Its message comes again over the next connection; the broker parks one that keeps doing this.
                    return (session, Some(Error::internal("a handler broke off").with_source(error)));
                },
                _ = look.tick() => if let Err(error) = session.look().await {
                    return (session, Some(self.publisher.broker().explain("lost", error)));
                },
                _ = tick.tick(), if ticking => {
                    let worker = self.clone();
                    tasks.spawn(async move { worker.tick().await });
                }
                arrived = session.deliveries.next() => match arrived {
                    Some((place, Ok(delivery))) => {
                        let worker = self.clone();
                        tasks.spawn(async move { worker.carry(&place, delivery).await });
                    }
                    Some((_, Err(error))) => return (session, Some(self.publisher.broker().explain("lost", error))),
                    None => return (session, Some(Error::unavailable("all consumers were cancelled by the broker"))),
                },
            }
        }
    }

    async fn drain(&self, session: Session, mut tasks: JoinSet<()>) {
        self.draining.store(true, Relaxed);
        for (_, channel, consumer) in &session.channels {
            // What was delivered and not begun goes back at once; should this fail, the broker does it when we are gone.
            drop(channel.basic_cancel(consumer.tag(), BasicCancelOptions::default()).await);
        }
        tracing::info!("stopping; {} messages are under way", tasks.len());
        while tasks.join_next().await.is_some() {}
        drop(session.connection.close(200, "stopped".into()).await);
    }

    /// Connects, for as long as it takes; the first time until `deadline`.
    async fn connect(&self, deadline: Option<Instant>) -> Result<Session> {
        let mut pause = PAUSES.0;
        loop {
            let error = match self.open().await {
                Ok(session) => return Ok(session),
                Err(error) => error,
            };
            let over = deadline.is_some_and(|deadline| Instant::now() + pause >= deadline);
            if error.kind() != ErrorKind::Unavailable || over {
                return Err(error);
            }
            tracing::warn!("{}; trying again in {} ms", error.one_line(), pause.as_millis());
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    async fn open(&self) -> Result<Session> {
        let broker = self.publisher.broker();
        let connection = broker.connect("stillpoint/worker").await?;
        let topology = self.publisher.topology();
        self.declare(&connection).await?;
        let mut channels = Vec::new();
        for place in self.options.functions.iter().flat_map(|function| topology.places_of(*function)) {
            let opened = async {
                let channel = connection.create_channel().await?;
                channel.basic_qos(self.prefetch(place.function), BasicQosOptions::default()).await?;
                let tag = format!("{}-{}", place.queue, std::process::id());
                let options = BasicConsumeOptions::default();
                let consumer =
                    channel.basic_consume(place.queue.as_str().into(), tag.into(), options, FieldTable::default()).await?;
                Ok((place.clone(), channel, consumer))
            };
            let opened = tokio::time::timeout(SIGN, opened).await;
            let opened = opened.map_err(|_| Error::unavailable(format!("the broker at {} does not answer", broker.shown())))?;
            channels.push(opened.map_err(|error: lapin::Error| broker.explain("cannot consume from", error))?);
        }
        let tagged = channels.iter().map(|(place, _, consumer)| {
            let place = place.clone();
            let tag: Tag = Box::new(move |delivery| (place.clone(), delivery));
            consumer.clone().map(tag)
        });
        let deliveries = tagged.collect();
        Ok(Session { connection, channels, deliveries })
    }

    /// Every time: whoever publishes may be connected still, and know nothing of a queue that was deleted.
    async fn declare(&self, connection: &Connection) -> Result<()> {
        let broker = self.publisher.broker();
        let declared = async {
            let (topology, channel) = (self.publisher.topology(), connection.create_channel().await?);
            topology.declare(&channel).await?;
            topology.follow(&channel, &self.options.functions, self.options.is_replica).await
        };
        let declared = tokio::time::timeout(SIGN, declared).await;
        let declared = declared.map_err(|_| Error::unavailable(format!("the broker at {} does not answer", broker.shown())))?;
        declared.map_err(|error| broker.explain("cannot declare queues on", error))
    }

    fn prefetch(&self, function: Function) -> u16 {
        match function {
            Function::Transfer | Function::Restore => {
                u16::try_from(self.options.in_flight.div_ceil(SHARDS as usize)).unwrap_or(1)
            }
            // Each holds a whole pack in memory, or works through the whole vault.
            Function::Verify | Function::Replicate | Function::Prune | Function::Collect => 1,
            Function::Schedule | Function::Snapshot | Function::Commit | Function::Notify => {
                self.options.prefetch.unwrap_or(LIGHT_PREFETCH)
            }
        }
    }

    /// Handles one message and acknowledges it after its effects are confirmed.
    async fn carry(&self, place: &Place, delivery: Delivery) {
        let permit = match place.function {
            Function::Transfer | Function::Restore | Function::Verify | Function::Replicate => self.heavy.acquire().await.ok(),
            Function::Schedule
            | Function::Snapshot
            | Function::Commit
            | Function::Prune
            | Function::Collect
            | Function::Notify => None,
        };
        if !self.draining.load(Relaxed) {
            let headers = delivery.properties.headers().as_ref();
            let waited = headers.is_some_and(|headers| headers.inner().contains_key(DEATHS_HEADER));
            let message = Message {
                function: place.function,
                body: &delivery.data,
                redelivered: delivery.redelivered || waited,
                time_left: None,
            };
            let settled = self.dispatcher.dispatch(message).await;
            drop(permit);
            if self.settle(place, &delivery.data, &settled).await {
                // An acknowledgement that is lost makes the message come again, which is harmless.
                drop(delivery.acker.ack(BasicAckOptions::default()).await);
                return;
            }
        }
        drop(delivery.acker.nack(BasicNackOptions { requeue: true, ..BasicNackOptions::default() }).await);
    }

    /// Publishes what a settlement asks for, however long that takes: while the broker takes nothing, the messages that are
    /// held bound what is under way. False when the worker is stopped before.
    async fn settle(&self, place: &Place, body: &[u8], settled: &Settled) -> bool {
        loop {
            let published = match settled {
                Settled::Done(events) => self.publisher.publish(events).await,
                Settled::Later(pause) => self.publisher.publish_later(&place.queue, body, *pause).await,
                Settled::Parked(reason) => self.publisher.park(place.function, &place.queue, body, reason).await,
            };
            let Err(error) = published else { return true };
            tracing::warn!(queue = place.queue, "{}", error.one_line());
            if self.draining.load(Relaxed) {
                return false;
            }
            tokio::time::sleep(PAUSES.0).await;
        }
    }

    async fn tick(&self) {
        let vault = self.dispatcher.engine().vault();
        let event = Outgoing::new(&TimerTicked {});
        let envelope = Envelope::seal(event, vault.ulid().to_string(), "stillpoint/worker", vault.clock().now());
        let Ok(body) = serde_json::to_vec(&envelope) else { return };
        let message = Message { function: Function::Schedule, body: &body, redelivered: false, time_left: None };
        // The next tick looks again at whatever this one could not do.
        match self.dispatcher.dispatch(message).await {
            Settled::Done(events) => {
                if let Err(error) = self.publisher.publish(&events).await {
                    tracing::warn!("{}", error.one_line());
                }
            }
            Settled::Later(_) => {}
            Settled::Parked(reason) => tracing::warn!("the timer: {reason}"),
        }
    }
}

impl Session {
    /// Asks every channel for its queue: a sign of life, and that its consumer is still there.
    async fn look(&self) -> lapin::Result<()> {
        for (place, channel, _) in &self.channels {
            let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::durable() };
            let look = channel.queue_declare(place.queue.as_str().into(), options, FieldTable::default());
            let silent = || std::io::Error::new(std::io::ErrorKind::TimedOut, "a consumer's channel fell silent");
            let queue = tokio::time::timeout(SIGN, look).await.map_err(|_| silent())??;
            if queue.consumer_count() == 0 {
                return Err(std::io::Error::other("a queue lost its consumer").into());
            }
        }
        Ok(())
    }
}

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use lapin::{
    BasicProperties, Channel, Confirmation, Connection,
    options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};
use stillpoint_events::{Envelope, Function, Outgoing};
use stillpoint_model::{Error, Result};
use stillpoint_ports::{Backlog, Clock, Random, ulid};
use tokio::{sync::Mutex, time::Instant};

use crate::{
    Broker, Topology,
    connection::is_momentary,
    topology::{EXCHANGE, retry_exchange},
};

/// How long one publish may wait for its confirmation; a blocked broker never answers.
const CONFIRM: Duration = Duration::from_secs(10);
/// How long a publish is tried anew, over new connections, before its caller is told.
const PUBLISH: Duration = Duration::from_secs(30);
/// Pause between two tries.
const PAUSE: Duration = Duration::from_millis(500);
/// Why a message lies in a dead-letter queue.
pub(crate) const REASON_HEADER: &str = "x-stillpoint-reason";
/// Which queue it was taken from.
pub(crate) const QUEUE_HEADER: &str = "x-stillpoint-queue";
/// Persistent, in AMQP's numbers.
const PERSISTENT: u8 = 2;

/// A connection to publish on. Publishing never shares a connection with consuming: a broker short of memory blocks
/// connections that publish, whole.
struct Link {
    connection: Connection,
    channel: Channel,
    used: Instant,
}

/// Publishes to one site's queues, with confirmations. Clones share the connection.
#[derive(Clone)]
pub struct Publisher {
    broker: Broker,
    topology: Arc<Topology>,
    link: Arc<Mutex<Option<Link>>>,
    source: Arc<str>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    patience: Duration,
}

/// A message on its way.
struct Parcel<'a> {
    exchange: &'a str,
    routing_key: &'a str,
    body: &'a [u8],
    properties: BasicProperties,
}

impl Publisher {
    /// A publisher for the site of `topology`; `source` stands in envelopes (`stillpoint/<who>`). Connects when first used.
    #[must_use]
    pub fn new(broker: Broker, topology: Arc<Topology>, source: &str, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Self {
        Self { broker, topology, link: Arc::default(), source: source.into(), clock, random, patience: PUBLISH }
    }

    /// The same publisher, which tells its caller after so long that a message could not be published.
    #[must_use]
    pub fn within(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// The broker.
    #[must_use]
    pub const fn broker(&self) -> &Broker {
        &self.broker
    }

    /// The queues it publishes to.
    #[must_use]
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// Connects and declares the site's queues, or finds the connection alive. `idle_max`: a connection that was not used for
    /// longer is made anew; a process that was frozen cannot know whether its peer has given it up.
    ///
    /// # Errors
    /// `unavailable`, `denied`.
    pub async fn ready(&self, idle_max: Option<Duration>) -> Result<()> {
        if let Some(idle_max) = idle_max {
            let mut link = self.link.lock().await;
            if link.as_ref().is_some_and(|link| link.used.elapsed() > idle_max) {
                *link = None;
            }
        }
        self.channel().await.map(drop)
    }

    /// Publishes events, in order, each confirmed before the next.
    ///
    /// # Errors
    /// `unavailable` when an event could not be confirmed; those before it were. `denied`.
    pub async fn publish(&self, events: &[Outgoing]) -> Result<()> {
        for event in events {
            let id = ulid(&*self.clock, &*self.random).to_string();
            let envelope = Envelope::seal(event.clone(), id, &self.source, self.clock.now());
            let body =
                serde_json::to_vec(&envelope).map_err(|error| Error::internal("cannot write an event").with_source(error))?;
            let properties = properties(FieldTable::default())
                .with_message_id(envelope.id.as_str().into())
                .with_type(event.event_type.into())
                .with_timestamp(u64::try_from(envelope.time.as_second()).unwrap_or(0));
            let routing_key = self.topology.routing_key(event);
            self.send(&Parcel { exchange: EXCHANGE, routing_key: &routing_key, body: &body, properties }).await?;
        }
        Ok(())
    }

    /// Publishes a message so that it comes back to `queue` after `pause`, which is one of the retry pauses.
    ///
    /// # Errors
    /// As [`Publisher::publish`].
    pub async fn publish_later(&self, queue: &str, body: &[u8], pause: Duration) -> Result<()> {
        let exchange = retry_exchange(pause);
        self.send(&Parcel { exchange: &exchange, routing_key: queue, body, properties: properties(FieldTable::default()) }).await
    }

    /// Puts a message of `function`, taken from `queue`, aside for an operator.
    ///
    /// # Errors
    /// As [`Publisher::publish`].
    pub async fn park(&self, function: Function, queue: &str, body: &[u8], reason: &str) -> Result<()> {
        tracing::error!(%function, queue, "parked a message: {reason}");
        let mut headers = FieldTable::default();
        headers.insert(REASON_HEADER.into(), AMQPValue::LongString(reason.into()));
        headers.insert(QUEUE_HEADER.into(), AMQPValue::LongString(queue.into()));
        let dead = self.topology.dead_of(function);
        self.send(&Parcel { exchange: "", routing_key: &dead, body, properties: properties(headers) }).await
    }

    /// Puts a parked message back into its queue.
    ///
    /// # Errors
    /// As [`Publisher::publish`].
    pub(crate) async fn requeue(&self, queue: &str, body: &[u8]) -> Result<()> {
        self.send(&Parcel { exchange: "", routing_key: queue, body, properties: properties(FieldTable::default()) }).await
    }

    fn silent(&self) -> Error {
        Error::unavailable(format!("the broker at {} takes no messages now", self.broker.shown()))
    }

    /// The channel to publish on; connects when there is none that works.
    async fn channel(&self) -> Result<Channel> {
        let mut link = self.link.lock().await;
        if let Some(link) = link.as_mut()
            && link.connection.status().connected()
            && link.channel.status().connected()
        {
            link.used = Instant::now();
            return Ok(link.channel.clone());
        }
        *link = None;
        let deadline = Instant::now() + CONFIRM.min(self.patience);
        loop {
            let connection = self.broker.connect(&format!("{} (publishing)", self.source)).await?;
            let prepared = tokio::time::timeout(CONFIRM, self.prepare(&connection)).await.map_err(|_| self.silent())?;
            match prepared {
                Ok(channel) => {
                    *link = Some(Link { connection, channel: channel.clone(), used: Instant::now() });
                    return Ok(channel);
                }
                Err(error) if is_momentary(&error) && Instant::now() + PAUSE < deadline => tokio::time::sleep(PAUSE).await,
                Err(error) => return Err(self.broker.explain("cannot declare queues on", error)),
            }
        }
    }

    async fn prepare(&self, connection: &Connection) -> lapin::Result<Channel> {
        let channel = connection.create_channel().await?;
        self.topology.declare(&channel).await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(channel)
    }

    async fn send(&self, parcel: &Parcel<'_>) -> Result<()> {
        let deadline = Instant::now() + self.patience;
        loop {
            let error = match self.try_send(parcel).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            if error.kind() != stillpoint_model::ErrorKind::Unavailable || Instant::now() + PAUSE >= deadline {
                return Err(error);
            }
            tracing::warn!("{}; trying again", error.one_line());
            // Whatever is wrong with the link, a new one shows whether it was the link.
            *self.link.lock().await = None;
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn try_send(&self, parcel: &Parcel<'_>) -> Result<()> {
        let channel = self.channel().await?;
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let publish = async {
            let (exchange, key) = (parcel.exchange.into(), parcel.routing_key.into());
            channel.basic_publish(exchange, key, options, parcel.body, parcel.properties.clone()).await?.await
        };
        let confirmed = tokio::time::timeout(CONFIRM.min(self.patience), publish).await.map_err(|_| self.silent())?;
        match confirmed.map_err(|error| self.broker.explain("cannot publish to", error))? {
            // A message that no queue takes is acknowledged too, after it was returned.
            Confirmation::Ack(None) => Ok(()),
            Confirmation::Ack(Some(_)) => Err(Error::unavailable(format!("no queue takes '{}'", parcel.routing_key))),
            Confirmation::Nack(_) | Confirmation::NotRequested => Err(Error::unavailable(format!(
                "the broker at {} refused a message for '{}'",
                self.broker.shown(),
                parcel.routing_key
            ))),
        }
    }
}

#[async_trait]
impl Backlog for Publisher {
    async fn waiting(&self) -> Result<u64> {
        let channel = self.channel().await?;
        let mut waiting = 0;
        for place in self.topology.places().iter().filter(|place| place.holds_work()) {
            let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::durable() };
            let look = channel.queue_declare(place.queue.as_str().into(), options, FieldTable::default());
            let queue = tokio::time::timeout(CONFIRM, look).await.map_err(|_| self.silent())?;
            waiting +=
                u64::from(queue.map_err(|error| self.broker.explain("cannot look into a queue of", error))?.message_count());
        }
        Ok(waiting)
    }
}

fn properties(headers: FieldTable) -> BasicProperties {
    // Foreign consumers cannot read messages without a priority.
    BasicProperties::default()
        .with_delivery_mode(PERSISTENT)
        .with_priority(0)
        .with_content_type("application/cloudevents+json".into())
        .with_headers(headers)
}

//! Messages that no function could handle, kept for an operator.

use lapin::{
    message::BasicGetMessage,
    options::{BasicAckOptions, BasicGetOptions},
    types::AMQPValue,
};
use stillpoint_events::{Envelope, Function};
use stillpoint_format::digest;
use stillpoint_model::Result;

use crate::{
    Publisher,
    publisher::{QUEUE_HEADER, REASON_HEADER},
};

/// Messages of one dead-letter queue that are looked at.
const LOOKED_AT_MAX: usize = 10_000;
/// Characters of a message's digest that tell it from others.
const ID_CHARS: usize = 16;
/// Where the broker says which queue it took a message from.
const FIRST_QUEUE_HEADER: &str = "x-first-death-queue";
const FIRST_REASON_HEADER: &str = "x-first-death-reason";

/// A parked message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// From its content: copies of one message share it.
    pub id: String,
    /// Whose message it was.
    pub function: Function,
    /// Why it was parked.
    pub reason: String,
    /// The queue it was taken from.
    pub queue: String,
    /// The event's type, where it is an event.
    pub event_type: Option<String>,
    /// The event's job, where it names one.
    pub job: Option<String>,
    /// The message itself.
    pub body: Vec<u8>,
}

/// What to do with a parked message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Keep,
    Redrive,
    Drop,
}

/// The dead-letter queues of one site.
pub struct DeadLetters {
    publisher: Publisher,
}

impl DeadLetters {
    /// Those of the publisher's site.
    #[must_use]
    pub const fn new(publisher: Publisher) -> Self {
        Self { publisher }
    }

    /// Up to 10,000 of each function; they stay where they are.
    ///
    /// # Errors
    /// `unavailable`, `denied`.
    pub async fn list(&self) -> Result<Vec<DeadLetter>> {
        Ok(self.walk(|_| Fate::Keep).await?.into_iter().map(|(letter, _)| letter).collect())
    }

    /// Puts those that `chosen` holds of back into their queues and returns them. One that cannot be published stays.
    ///
    /// # Errors
    /// `unavailable`, `denied`.
    pub async fn redrive(&self, chosen: impl Fn(&DeadLetter) -> bool) -> Result<Vec<DeadLetter>> {
        self.take(chosen, Fate::Redrive).await
    }

    /// Throws away those that `chosen` holds of and returns them.
    ///
    /// # Errors
    /// `unavailable`, `denied`.
    pub async fn discard(&self, chosen: impl Fn(&DeadLetter) -> bool) -> Result<Vec<DeadLetter>> {
        self.take(chosen, Fate::Drop).await
    }

    async fn take(&self, chosen: impl Fn(&DeadLetter) -> bool, fate: Fate) -> Result<Vec<DeadLetter>> {
        let seen = self.walk(|letter| if chosen(letter) { fate } else { Fate::Keep }).await?;
        Ok(seen.into_iter().filter(|(_, met)| *met == fate).map(|(letter, _)| letter).collect())
    }

    /// Looks at every message once; those that stay go back to their queues when the connection is closed.
    async fn walk(&self, fate: impl Fn(&DeadLetter) -> Fate) -> Result<Vec<(DeadLetter, Fate)>> {
        // Declares the queues, so that looking into an empty site is no error.
        self.publisher.ready(None).await?;
        let broker = self.publisher.broker();
        let failed = |error| broker.explain("cannot read dead letters of", error);
        let connection = broker.connect("stillpoint/dead").await?;
        let channel = connection.create_channel().await.map_err(failed)?;
        let mut seen = Vec::new();
        for (function, queue) in self.publisher.topology().dead() {
            for _ in 0..LOOKED_AT_MAX {
                let got = channel.basic_get(queue.as_str().into(), BasicGetOptions::default()).await.map_err(failed)?;
                let Some(message) = got else { break };
                let letter = self.letter(*function, &message);
                let fate = fate(&letter);
                if fate == Fate::Redrive {
                    self.publisher.requeue(&letter.queue, &letter.body).await?;
                }
                if fate != Fate::Keep {
                    message.ack(BasicAckOptions::default()).await.map_err(failed)?;
                }
                seen.push((letter, fate));
            }
        }
        connection.close(200, "done".into()).await.map_err(failed)?;
        Ok(seen)
    }

    fn letter(&self, function: Function, message: &BasicGetMessage) -> DeadLetter {
        let headers = message.properties.headers().as_ref();
        let header = |name: &str| match headers.and_then(|headers| headers.inner().get(name)) {
            Some(AMQPValue::LongString(text)) => Some(text.to_string()),
            _ => None,
        };
        let topology = self.publisher.topology();
        // Anybody may have written the header: a message goes back to a queue of its function, or nowhere.
        let own = |queue: &String| topology.places_of(function).any(|place| place.queue == *queue);
        let queue = header(QUEUE_HEADER).or_else(|| header(FIRST_QUEUE_HEADER)).filter(own);
        let queue = queue.or_else(|| topology.places_of(function).next().map(|place| place.queue.clone()));
        let event = Envelope::parse(&message.data).ok();
        let job = event.as_ref().and_then(|event| event.data.get("job")?.as_str().map(str::to_owned));
        let by_broker = || header(FIRST_REASON_HEADER).map(|reason| format!("put aside by the broker: {reason}"));
        DeadLetter {
            id: digest(&message.data).chars().take(ID_CHARS).collect(),
            function,
            reason: header(REASON_HEADER).or_else(by_broker).unwrap_or_else(|| "nobody says why".to_owned()),
            queue: queue.unwrap_or_default(),
            event_type: event.map(|event| event.event_type),
            job,
            body: message.data.clone(),
        }
    }
}

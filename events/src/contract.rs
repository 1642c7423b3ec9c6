use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

/// One type of event.
pub trait Contract: Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static {
    /// The CloudEvents `type`: `io.stillpoint.<noun>.<past participle>.v<N>`.
    const TYPE: &'static str;

    /// Equal for events that ask for the same work; handling the second does nothing.
    fn idempotency_key(&self) -> String;
}

/// An event to be published, without its envelope: the host knows id, time and source.
#[derive(Debug, Clone, PartialEq)]
pub struct Outgoing {
    /// The CloudEvents `type`.
    pub event_type: &'static str,
    /// See [`Contract::idempotency_key`].
    pub key: String,
    /// The event's data.
    pub data: Value,
}

impl Outgoing {
    /// Prepares `event` for publishing.
    #[must_use]
    pub fn new<E: Contract>(event: &E) -> Self {
        let data = serde_json::to_value(event).expect("events are plain data with string keys");
        Self { event_type: E::TYPE, key: event.idempotency_key(), data }
    }
}

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de};
use serde_json::Value;

use crate::{Contract, Outgoing};

/// Largest event, in bytes of JSON.
pub const ENVELOPE_BYTES_MAX: usize = 64 * 1024;

/// Characters of a value that a message repeats.
const SHOWN_MAX: usize = 100;

/// A CloudEvents 1.0 envelope, structured JSON mode. `D` is the data: a [`Contract`] or, before its type is known, a value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Envelope<D = Value> {
    /// `1.0`.
    #[schemars(extend("const" = "1.0"))]
    pub specversion: String,
    /// Unique per publication.
    pub id: String,
    /// Who published: `stillpoint/<function>`.
    pub source: String,
    /// The event's type.
    #[serde(rename = "type")]
    pub event_type: String,
    /// When it was published; for people, no decision rests on it.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub time: Timestamp,
    /// W3C trace context, passed on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// The event.
    pub data: D,
}

/// Why bytes are no event of ours.
#[derive(Debug, thiserror::Error)]
pub enum EnvelopeError {
    /// Larger than [`ENVELOPE_BYTES_MAX`].
    #[error("the event has {0} bytes, more than {ENVELOPE_BYTES_MAX}")]
    TooLarge(usize),
    /// Not the JSON that the schemas describe.
    #[error("the event does not follow its schema")]
    Malformed(#[from] serde_json::Error),
    /// Another CloudEvents version, or a type that was not asked for.
    #[error("the event has {field} '{}'", .found.chars().take(SHOWN_MAX).collect::<String>().escape_debug())]
    Unexpected {
        /// The attribute.
        field: &'static str,
        /// Its value.
        found: String,
    },
}

impl Envelope {
    /// Puts `event` into an envelope.
    #[must_use]
    pub fn seal(event: Outgoing, id: String, source: &str, time: Timestamp) -> Self {
        Self {
            specversion: "1.0".to_owned(),
            id,
            source: source.to_owned(),
            event_type: event.event_type.to_owned(),
            time,
            traceparent: None,
            data: event.data,
        }
    }

    /// Parses an envelope whose type is still to be looked at.
    ///
    /// # Errors
    /// [`EnvelopeError`]; the size is checked first.
    pub fn parse(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        if bytes.len() > ENVELOPE_BYTES_MAX {
            return Err(EnvelopeError::TooLarge(bytes.len()));
        }
        // serde also fills a struct from an array, field by field; our schemas know objects only.
        if !bytes.trim_ascii_start().starts_with(b"{") {
            return Err(EnvelopeError::Malformed(de::Error::custom("it is not a JSON object")));
        }
        let envelope: Self = serde_json::from_slice(bytes)?;
        if !envelope.data.is_object() {
            return Err(EnvelopeError::Malformed(de::Error::custom("its data is not a JSON object")));
        }
        if envelope.specversion != "1.0" {
            return Err(EnvelopeError::Unexpected { field: "specversion", found: envelope.specversion });
        }
        Ok(envelope)
    }

    /// The envelope with its data as an event of type `E`.
    ///
    /// # Errors
    /// [`EnvelopeError`] when it is of another type or does not follow the schema.
    pub fn open<E: Contract>(self) -> Result<Envelope<E>, EnvelopeError> {
        if self.event_type != E::TYPE {
            return Err(EnvelopeError::Unexpected { field: "type", found: self.event_type });
        }
        Ok(Envelope {
            specversion: self.specversion,
            id: self.id,
            source: self.source,
            event_type: self.event_type,
            time: self.time,
            traceparent: self.traceparent,
            data: serde_json::from_value(self.data)?,
        })
    }
}

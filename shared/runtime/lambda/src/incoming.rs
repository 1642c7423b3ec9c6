//! What Lambda hands over: one of four kinds of documents. Their fields are optional throughout, because services leave them
//! out or send `null` as they please.

use std::collections::BTreeMap;

use data_encoding::BASE64;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Value, json};
use stillpoint_events::{Contract, Function, RestoreOrdered};
use stillpoint_model::{Error, Result};

/// Header that RabbitMQ adds to a message that waited in a retry queue.
const DEATHS_HEADER: &str = "x-death";

/// A message to handle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The queue it came from; none for what came without one.
    pub queue: Option<String>,
    /// What should be an event, or what stood there instead.
    pub body: Vec<u8>,
    /// False only where the broker says that this is its first delivery.
    pub redelivered: bool,
    /// Why the body is none.
    pub fault: Option<&'static str>,
}

/// What a function was called with.
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming {
    /// The timer: EventBridge or EventBridge Scheduler.
    Tick,
    /// An event of ours, as bytes.
    Event(Vec<u8>),
    /// Messages of queues.
    Records(Vec<Record>),
}

/// An Amazon MQ for RabbitMQ batch.
#[derive(Deserialize)]
struct Batch {
    #[serde(rename = "rmqMessagesByQueue")]
    queues: BTreeMap<String, Option<Vec<Message>>>,
}

#[derive(Deserialize)]
struct Message {
    #[serde(rename = "basicProperties")]
    properties: Option<Properties>,
    redelivered: Option<bool>,
    data: Option<String>,
}

#[derive(Deserialize)]
struct Properties {
    headers: Option<BTreeMap<String, IgnoredAny>>,
}

impl Incoming {
    /// Tells the kinds apart.
    ///
    /// # Errors
    /// `invalid` for anything else.
    pub fn read(function: Function, document: Value) -> Result<Self> {
        let has = |name: &str| document.get(name).is_some();
        if has("rmqMessagesByQueue") {
            return batch(document);
        }
        if has("specversion") {
            let bytes = serde_json::to_vec(&document);
            return bytes.map(Self::Event).map_err(|error| Error::internal("cannot write JSON").with_source(error));
        }
        let detail_type = document.get("detail-type").and_then(Value::as_str);
        if detail_type == Some(RestoreOrdered::TYPE) && function == Function::Restore {
            return ordered(&document);
        }
        // Both services say so: `aws.events` and `aws.scheduler`.
        match (detail_type == Some("Scheduled Event"), function) {
            (true, Function::Schedule) => Ok(Self::Tick),
            (true, _) => Err(Error::invalid(format!("{function} is not called by a timer; schedule is"))),
            (false, _) => Err(Error::invalid(format!(
                "{function} takes an Amazon MQ for RabbitMQ batch, an event of ours, or (schedule alone) a scheduled event; this is none: {}",
                shown(&document)
            ))),
        }
    }
}

/// An order that came through EventBridge, whose envelope says the same as ours in other words.
fn ordered(document: &Value) -> Result<Incoming> {
    let field = |name: &str| document.get(name).cloned().unwrap_or_default();
    let envelope = json!({
        "specversion": "1.0",
        "id": field("id"),
        "source": field("source"),
        "type": RestoreOrdered::TYPE,
        "time": field("time"),
        "data": field("detail"),
    });
    let bytes = serde_json::to_vec(&envelope);
    bytes.map(Incoming::Event).map_err(|error| Error::internal("cannot write JSON").with_source(error))
}

/// The names in a document, which tell people what it is without repeating what may be secret.
fn shown(document: &Value) -> String {
    match document.as_object() {
        Some(fields) if fields.is_empty() => "an empty object".to_owned(),
        Some(fields) => {
            let names: Vec<String> = fields.keys().take(8).map(|name| name.escape_debug().to_string()).collect();
            format!("an object of {}", names.join(", "))
        }
        None => "no object".to_owned(),
    }
}

fn batch(document: Value) -> Result<Incoming> {
    let batch: Batch =
        serde_json::from_value(document).map_err(|error| Error::invalid("not an Amazon MQ batch").with_source(error))?;
    let mut records = Vec::new();
    for (key, messages) in batch.queues {
        // `queue::vhost`; queues of ours have no colons.
        let queue = key.split_once("::").map_or(key.as_str(), |(queue, _)| queue);
        records.extend(messages.unwrap_or_default().into_iter().map(|message| record(queue, message)));
    }
    Ok(Incoming::Records(records))
}

fn record(queue: &str, message: Message) -> Record {
    let headers = message.properties.and_then(|properties| properties.headers).unwrap_or_default();
    let redelivered = message.redelivered.unwrap_or(true) || headers.contains_key(DEATHS_HEADER);
    let (body, fault) = match message.data {
        None => (Vec::new(), Some("the record has no data")),
        Some(data) => match BASE64.decode(data.as_bytes()) {
            Ok(body) => (body, None),
            Err(_) => (data.into_bytes(), Some("the record's data is not base64")),
        },
    };
    Record { queue: Some(queue.to_owned()), body, redelivered, fault }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(name: &str) -> Value {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../events/samples/triggers/");
        serde_json::from_str(&std::fs::read_to_string(format!("{folder}{name}.json")).unwrap()).unwrap()
    }

    fn records(name: &str) -> Vec<Record> {
        match Incoming::read(Function::Transfer, sample(name)).unwrap() {
            Incoming::Records(records) => records,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_timer_calls_schedule_alone() {
        assert_eq!(Incoming::read(Function::Schedule, sample("scheduled")).unwrap(), Incoming::Tick);
        let bare = json!({ "detail-type": "Scheduled Event", "detail": {}, "resources": null });
        assert_eq!(Incoming::read(Function::Schedule, bare).unwrap(), Incoming::Tick);
        let error = Incoming::read(Function::Commit, sample("scheduled")).unwrap_err();
        assert_eq!(error.one_line(), "commit is not called by a timer; schedule is");
    }

    #[test]
    fn an_order_through_eventbridge_is_an_event_of_ours() {
        let Incoming::Event(bytes) = Incoming::read(Function::Restore, sample("ordered")).unwrap() else { panic!() };
        let event = stillpoint_events::Envelope::parse(&bytes).unwrap().open::<RestoreOrdered>().unwrap();
        assert_eq!(event.source, "com.example.portal");
        assert_eq!(event.data.order.split('.').count(), 3);
        assert!(Incoming::read(Function::Commit, sample("ordered")).is_err());
    }

    #[test]
    fn an_event_of_ours_is_passed_on_whole() {
        let Incoming::Event(bytes) = Incoming::read(Function::Commit, sample("envelope")).unwrap() else { panic!() };
        assert_eq!(serde_json::from_slice::<Value>(&bytes).unwrap(), sample("envelope"));
    }

    #[test]
    fn a_batch_names_each_record_s_queue_and_keeps_its_bytes() {
        for name in ["amazon-mq", "amazon-mq-null-priority"] {
            let all = records(name);
            assert!(!all.is_empty(), "{name}");
            for record in all {
                assert_eq!((record.queue.as_deref(), record.fault), (Some("stillpoint.aws.transfer.0"), None), "{name}");
                let event = stillpoint_events::Envelope::parse(&record.body).unwrap();
                assert_eq!(event.event_type, "io.stillpoint.segment.planned.v1");
            }
        }
    }

    #[test]
    fn only_a_first_delivery_counts_as_one() {
        let one = |message: Value| {
            let batch = json!({ "rmqMessagesByQueue": { "q::v::w": [message] } });
            let Incoming::Records(records) = Incoming::read(Function::Transfer, batch).unwrap() else { panic!() };
            records.into_iter().next().unwrap()
        };
        assert!(!one(json!({ "data": "e30=", "redelivered": false })).redelivered);
        assert!(one(json!({ "data": "e30=", "redelivered": true })).redelivered);
        assert!(one(json!({ "data": "e30=", "redelivered": null })).redelivered);
        let waited =
            json!({ "data": "e30=", "redelivered": false, "basicProperties": { "headers": { "x-death": [{ "count": 1 }] } } });
        assert!(one(waited).redelivered);
        assert_eq!(one(json!({ "data": "e30=" })).queue.as_deref(), Some("q"));
    }

    #[test]
    fn a_record_without_an_event_does_not_hold_up_the_others() {
        let batch =
            json!({ "rmqMessagesByQueue": { "q::/": [{ "data": null }, { "data": "*" }, { "data": "e30=" }], "r::/": null } });
        let Incoming::Records(records) = Incoming::read(Function::Transfer, batch).unwrap() else { panic!() };
        let faults: Vec<Option<&str>> = records.iter().map(|record| record.fault).collect();
        assert_eq!(faults, [Some("the record has no data"), Some("the record's data is not base64"), None]);
        assert_eq!((records[1].body.as_slice(), records[2].body.as_slice()), (&b"*"[..], &b"{}"[..]));
    }

    #[test]
    fn anything_else_is_refused_with_its_field_names() {
        for (document, told) in [
            (json!({ "Records": [], "password": "x" }), "an object of Records, password"),
            (json!({}), "an empty object"),
            (json!([1]), "no object"),
        ] {
            let error = Incoming::read(Function::Transfer, document).unwrap_err().one_line();
            assert!(error.ends_with(told), "{error}");
        }
        let error = Incoming::read(Function::Transfer, json!({ "rmqMessagesByQueue": [] })).unwrap_err();
        assert!(error.one_line().starts_with("not an Amazon MQ batch"), "{}", error.one_line());
    }
}

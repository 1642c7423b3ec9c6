//! What Amazon MQ does before a function: an event source mapping of one queue of a real broker.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use data_encoding::BASE64;
use futures_util::StreamExt;
use lapin::{
    BasicProperties, Connection, ConnectionProperties, Consumer,
    message::Delivery,
    options::{BasicAckOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions},
    types::{AMQPValue, FieldTable},
};
use serde_json::{Map, Value, json};

use super::{LambdaFunction, Outcome};

/// How long a batch that is not full waits for more; half a second at Amazon.
const WINDOW: Duration = Duration::from_millis(200);
/// How often a mapping without messages looks whether it is to end.
const GLANCE: Duration = Duration::from_millis(20);

/// A mapping. It has at most one batch under way, acknowledges it whole when the function succeeds, and puts it back whole when
/// the function fails. It ends when dropped, after the batch that is under way.
pub struct Mapping {
    stop: Arc<AtomicBool>,
    outcomes: Arc<Mutex<Vec<Outcome>>>,
    thread: Option<JoinHandle<()>>,
}

impl Mapping {
    /// Hands batches of up to `size` messages of `queue`, which exists, to `function`.
    #[must_use]
    pub fn start(broker: &str, queue: &str, size: u16, function: Arc<LambdaFunction>) -> Self {
        let (stop, outcomes): (Arc<AtomicBool>, Arc<Mutex<Vec<Outcome>>>) = Default::default();
        let loop_ = Loop { stop: Arc::clone(&stop), outcomes: Arc::clone(&outcomes), queue: queue.to_owned(), size, function };
        let broker = broker.to_owned();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
            runtime.expect("a runtime starts").block_on(loop_.run(&broker)).expect("the broker stays");
        });
        Self { stop, outcomes, thread: Some(thread) }
    }

    /// What the function answered, batch by batch.
    #[must_use]
    pub fn outcomes(&self) -> Vec<Outcome> {
        lock(&self.outcomes).clone()
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        self.stop.store(true, SeqCst);
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so itself.
            drop(thread.join());
        }
    }
}

fn lock<T>(place: &Mutex<T>) -> MutexGuard<'_, T> {
    place.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Loop {
    stop: Arc<AtomicBool>,
    outcomes: Arc<Mutex<Vec<Outcome>>>,
    queue: String,
    size: u16,
    function: Arc<LambdaFunction>,
}

impl Loop {
    async fn run(self, broker: &str) -> lapin::Result<()> {
        let connection = Connection::connect(broker, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        channel.basic_qos(self.size, BasicQosOptions::default()).await?;
        let options = BasicConsumeOptions::default();
        let mut consumer =
            channel.basic_consume(self.queue.as_str().into(), "mapping".into(), options, FieldTable::default()).await?;
        while !self.stop.load(SeqCst) {
            let batch = self.collect(&mut consumer).await?;
            let Some(last) = batch.last() else { continue };
            let document = document(&self.queue, &batch);
            let function = Arc::clone(&self.function);
            let outcome = tokio::task::spawn_blocking(move || function.invoke(&document)).await.expect("the function answers");
            let tag = last.delivery_tag;
            match outcome {
                Outcome::Answered(_) => channel.basic_ack(tag, BasicAckOptions { multiple: true }).await?,
                Outcome::Failed(..) => channel.basic_nack(tag, BasicNackOptions { multiple: true, requeue: true }).await?,
            };
            // After the acknowledgement: who sees the outcome sees its effect on the queue, too.
            lock(&self.outcomes).push(outcome);
        }
        connection.close(200, "stopped".into()).await
    }

    async fn collect(&self, consumer: &mut Consumer) -> lapin::Result<Vec<Delivery>> {
        let mut batch = Vec::new();
        while batch.len() < usize::from(self.size) {
            let wait = if batch.is_empty() { GLANCE } else { WINDOW };
            match tokio::time::timeout(wait, consumer.next()).await {
                Ok(Some(delivery)) => batch.push(delivery?),
                Ok(None) | Err(_) => break,
            }
        }
        Ok(batch)
    }
}

/// The batch in Amazon's words.
fn document(queue: &str, batch: &[Delivery]) -> Value {
    let messages: Vec<Value> = batch.iter().map(message).collect();
    json!({
        "eventSource": "aws:rmq",
        "eventSourceArn": "arn:aws:mq:eu-central-1:123456789012:broker:test:b-0",
        "rmqMessagesByQueue": { format!("{queue}::/"): messages },
    })
}

fn message(delivery: &Delivery) -> Value {
    let properties: &BasicProperties = &delivery.properties;
    let text = |value: &Option<lapin::types::ShortString>| value.as_ref().map(ToString::to_string);
    let headers: Option<Map<String, Value>> = properties
        .headers()
        .as_ref()
        .map(|headers| headers.inner().iter().map(|(name, value)| (name.to_string(), header(value))).collect());
    json!({
        "basicProperties": {
            "contentType": text(properties.content_type()),
            "contentEncoding": text(properties.content_encoding()),
            "headers": headers,
            "deliveryMode": properties.delivery_mode(),
            "priority": properties.priority(),
            "correlationId": text(properties.correlation_id()),
            "replyTo": text(properties.reply_to()),
            "expiration": text(properties.expiration()),
            "messageId": text(properties.message_id()),
            "timestamp": properties.timestamp().map(|_| "Mar 23, 2026, 2:00:06 AM"),
            "type": text(properties.kind()),
            "userId": text(properties.user_id()),
            "appId": text(properties.app_id()),
            "clusterId": text(properties.cluster_id()),
            "bodySize": delivery.data.len(),
        },
        "redelivered": delivery.redelivered,
        "data": BASE64.encode(&delivery.data),
    })
}

/// Texts come as bytes, numbers as they are.
fn header(value: &AMQPValue) -> Value {
    match value {
        AMQPValue::LongString(text) => json!({ "bytes": text.as_bytes() }),
        AMQPValue::LongLongInt(number) => json!(number),
        AMQPValue::LongInt(number) => json!(number),
        other => json!(format!("{other:?}")),
    }
}

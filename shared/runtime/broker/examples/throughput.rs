//! Messages per second through a worker whose handler does nothing: persistent, confirmed, acknowledged one by one.
//!
//! `cargo run --release -p stillpoint-broker --example throughput -- amqp://user:password@host:port/vhost [MESSAGES]`

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use futures_util::{StreamExt, TryStreamExt, stream};
use lapin::{
    BasicProperties, Connection, ConnectionProperties,
    options::{
        BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions, QueueDeclareOptions,
        QueueDeleteOptions,
    },
    types::{AMQPValue, FieldTable},
};
use stillpoint_broker::{Broker, Publisher, SHARDS, Topology, Worker, WorkerOptions};
use stillpoint_events::{Envelope, Function, Outgoing, SegmentPlanned};
use stillpoint_handler::{Effects, Functions, Handler, Invocation};
use stillpoint_jobs::{Carrier, Engine, Operation, Request};
use stillpoint_model::{Consistency, Error, JobId, Result};
use stillpoint_ports::{Clock, Random};
use stillpoint_runtime::Dispatcher;
use stillpoint_store::{Access, Store};
use stillpoint_system::{SystemClock, SystemRandom};
use stillpoint_vault::{Draft, Vault};

/// Publishes that wait for their confirmation at once.
const WINDOW: usize = 1000;
/// Messages of one queue that a consumer holds at once.
const PREFETCH: u16 = 500;

struct Nothing(Arc<AtomicU64>);

impl Handler for Nothing {
    type Event = SegmentPlanned;

    async fn handle(&self, _event: Envelope<SegmentPlanned>, _invocation: &Invocation) -> Result<Effects> {
        self.0.fetch_add(1, Relaxed);
        Ok(Effects::none())
    }
}

async fn vault(clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Result<Vault> {
    let store = Store::open("memory:///", Access::Create, Arc::clone(&clock))?;
    let draft = Draft::prepare(store.clone(), Arc::clone(&clock), Arc::clone(&random)).await?;
    let (_, secret) = draft.secrets[0];
    draft.commit().await?;
    Vault::open(store, &secret, clock, random).await
}

/// A job whose segments the messages are about: a worker takes only events of jobs of its site.
async fn job_at(engine: &Engine, site: &str) -> Result<JobId> {
    let what = Operation::Backup {
        item: "throughput".parse()?,
        wanted: Consistency::Crash,
        keep_until: None,
        slot: None,
        instant_restore_seconds: 0,
        snapshot_only: false,
    };
    let request = Request { what, host: site.to_owned(), carrier: Carrier::Broker };
    Ok(engine.create(JobId::new(engine.vault().ulid()), request).await?.id)
}

/// The same queue type, confirmations and acknowledgements, without our code.
async fn bare(url: &str, messages: u32) -> lapin::Result<(Duration, Duration)> {
    let (publishing, consuming) = (
        Connection::connect(url, ConnectionProperties::default()).await?,
        Connection::connect(url, ConnectionProperties::default()).await?,
    );
    let channel = publishing.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let queue = format!("bare-{}", std::process::id());
    let mut quorum = FieldTable::default();
    quorum.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    channel.queue_declare(queue.as_str().into(), QueueDeclareOptions::durable(), quorum).await?;
    // As long as one of our events.
    let body = vec![b' '; 250];
    let properties = BasicProperties::default().with_delivery_mode(2);
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    let begun = Instant::now();
    let publish = |_| async {
        let sent = channel.basic_publish("".into(), queue.as_str().into(), options, &body, properties.clone());
        sent.await?.await
    };
    stream::iter(0..messages).map(publish).buffer_unordered(WINDOW).try_collect::<Vec<_>>().await?;
    let published = begun.elapsed();
    let consumer = consuming.create_channel().await?;
    consumer.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
    let begun = Instant::now();
    let (tag, options) = ("bare".into(), BasicConsumeOptions::default());
    let mut deliveries = consumer.basic_consume(queue.as_str().into(), tag, options, FieldTable::default()).await?;
    for _ in 0..messages {
        let Some(delivery) = deliveries.next().await else { break };
        delivery?.ack(BasicAckOptions::default()).await?;
    }
    let consumed = begun.elapsed();
    channel.queue_delete(queue.as_str().into(), QueueDeleteOptions::default()).await?;
    Ok((published, consumed))
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().unwrap_or_else(|| "amqp://127.0.0.1:5672/%2f".to_owned());
    let messages: u32 = arguments.next().and_then(|count| count.parse().ok()).unwrap_or(50_000);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let random: Arc<dyn Random> = Arc::new(SystemRandom::new());
    let vault = vault(Arc::clone(&clock), Arc::clone(&random)).await?;
    let site = format!("throughput-{}", std::process::id());
    let topology = Arc::new(Topology::of(site.parse()?));
    let publisher = Publisher::new(Broker::new(&url, None)?, topology, "stillpoint/throughput", Arc::clone(&clock), random);
    publisher.ready(None).await?;
    let engine = Engine::new(vault);
    let job = job_at(&engine, &site).await?;

    let begun = Instant::now();
    let events = (0..messages).map(|segment| Outgoing::new(&SegmentPlanned { job, segment }));
    let publish = |event: Outgoing| {
        let publisher = &publisher;
        async move { publisher.publish(std::slice::from_ref(&event)).await }
    };
    stream::iter(events).map(publish).buffer_unordered(WINDOW).try_collect::<Vec<()>>().await?;
    let published = begun.elapsed();

    let handled = Arc::new(AtomicU64::new(0));
    let functions = Functions::default().with(Function::Transfer, Nothing(Arc::clone(&handled)));
    let options = WorkerOptions {
        functions: vec![Function::Transfer],
        in_flight: usize::from(PREFETCH) * SHARDS as usize,
        prefetch: None,
        is_replica: false,
        tick: Duration::from_secs(60),
        patience: Duration::from_secs(10),
    };
    let worker = Worker::new(publisher.clone(), Dispatcher::new(engine, functions, clock), options);
    let begun = Instant::now();
    let counted = Arc::clone(&handled);
    let all = async move {
        while counted.load(Relaxed) < u64::from(messages) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    // Returns after everything under way was acknowledged.
    worker.run(all).await?;
    let consumed = begun.elapsed();
    let (bare_published, bare_consumed) =
        bare(&url, messages).await.map_err(|error| Error::internal("bare client").with_source(error))?;
    let rate = |elapsed: Duration| f64::from(messages) / elapsed.as_secs_f64();
    let line = format!(
        "{{\"messages\": {messages}, \"published_per_second\": {:.0}, \"handled_per_second\": {:.0}, \
         \"bare_published_per_second\": {:.0}, \"bare_handled_per_second\": {:.0}}}\n",
        rate(published),
        rate(consumed),
        rate(bare_published),
        rate(bare_consumed)
    );
    std::io::Write::write_all(&mut std::io::stdout(), line.as_bytes())?;
    Ok(())
}

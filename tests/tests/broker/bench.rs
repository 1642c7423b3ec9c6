use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties,
    options::{BasicPublishOptions, ConfirmSelectOptions},
};
use stillpoint_broker::{Broker, DeadLetter, DeadLetters, Publisher, Topology, Worker, WorkerOptions};
use stillpoint_events::{Envelope, Function, Outgoing};
use stillpoint_handler::Functions;
use stillpoint_jobs::{Carrier, Job, Operation, Request};
use stillpoint_model::{Consistency, DiskName, ItemName, JobId, Result};
use stillpoint_ports::{Clock, Random};
use stillpoint_runtime::{Dispatcher, begin_backup};
use stillpoint_testkit::{TestClock, TestRandom, World};
use stillpoint_tests::{PATIENCE, servers::RabbitMq};
use tokio::{sync::oneshot, task::JoinHandle};

/// The site of all tests here: each has a virtual host of its own.
pub const SITE: &str = "lab";
const GLANCE: Duration = Duration::from_millis(20);

/// A virtual host of a node, and a vault in memory for workers to look at.
pub struct Bench<'a> {
    node: &'a RabbitMq,
    pub vhost: String,
    url: String,
    pub world: World,
}

/// A worker of this process.
pub struct Running {
    stop: Option<oneshot::Sender<()>>,
    ended: JoinHandle<Result<()>>,
}

impl Running {
    /// As SIGTERM does.
    pub fn stop(&mut self) {
        drop(self.stop.take());
    }

    /// How it ended.
    pub async fn end(mut self) -> Result<()> {
        self.stop();
        tokio::time::timeout(PATIENCE, &mut self.ended).await.expect("a worker that is stopped ends").expect("it does not panic")
    }
}

/// The machine that all tests here talk about.
pub fn item() -> ItemName {
    "web-01".parse().expect("a name")
}

impl<'a> Bench<'a> {
    pub async fn new(node: &'a RabbitMq) -> Self {
        let vhost = node.vhost();
        let seed = (u64::from(std::process::id()) << 8) | (vhost.bytes().map(u64::from).sum::<u64>() % 251);
        let world = World::new(seed).await.expect("a world in memory");
        Self { url: node.url(&vhost), node, vhost, world }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn publisher(&self) -> Publisher {
        publisher(&self.url)
    }

    /// A job that exists and that nobody works on.
    pub async fn job(&self) -> Job {
        let disk: DiskName = "os".parse().expect("a name");
        self.world.protect(&item(), &[disk]).await.expect("a machine");
        let what = Operation::Backup {
            item: item(),
            wanted: Consistency::Crash,
            keep_until: None,
            slot: None,
            instant_restore_seconds: 0,
            snapshot_only: false,
        };
        let request = Request { what, host: SITE.to_owned(), carrier: Carrier::Broker };
        begin_backup(&self.world.engine, request).await.expect("a job begins").job
    }

    /// Starts a worker of `functions` with `handlers`.
    pub fn work(&self, functions: &[Function], handlers: Functions, in_flight: usize) -> Running {
        let dispatcher = Dispatcher::new(self.world.engine.clone(), handlers, clock());
        let options = WorkerOptions {
            functions: functions.to_vec(),
            in_flight,
            prefetch: None,
            is_replica: false,
            tick: Duration::from_secs(3600),
            patience: PATIENCE,
        };
        let worker = Worker::new(self.publisher(), dispatcher, options);
        let (stop, stopped) = oneshot::channel::<()>();
        let ended = tokio::spawn(worker.run(async { drop(stopped.await) }));
        Running { stop: Some(stop), ended }
    }

    /// Puts a message into a queue as a stranger would.
    pub async fn put(&self, queue: &str, body: &[u8]) {
        let (connection, channel) = stranger(&self.url).await;
        let publish = channel.basic_publish(
            "".into(),
            queue.into(),
            BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() },
            body,
            BasicProperties::default(),
        );
        let confirmed = publish.await.expect("it can be published").await.expect("it is answered");
        assert!(matches!(confirmed, lapin::Confirmation::Ack(None)), "{queue} takes it: {confirmed:?}");
        connection.close(200, "done".into()).await.expect("the connection closes");
    }

    pub async fn dead(&self) -> Vec<DeadLetter> {
        DeadLetters::new(self.publisher()).list().await.expect("dead letters can be listed")
    }

    /// Messages that wait in a queue, and that consumers hold.
    pub fn left(&self, queue: &str) -> (u64, u64) {
        let depth = self.node.depths(&self.vhost).get(queue).copied().unwrap_or_default();
        (depth.ready, depth.unacked)
    }

    /// Waits until nothing waits or is held in the queues of functions, nor in those of retries.
    pub async fn quiet(&self) {
        let dead = |name: &str| name.ends_with(".dead");
        until("all queues are empty", || {
            let depths = self.node.depths(&self.vhost);
            depths.iter().all(|(name, depth)| dead(name) || (depth.ready, depth.unacked) == (0, 0))
        })
        .await;
    }
}

pub fn clock() -> Arc<dyn Clock> {
    Arc::new(TestClock::new())
}

/// A publisher for the site at `url`.
pub fn publisher(url: &str) -> Publisher {
    let broker = Broker::new(url, None).expect("the URL names a broker");
    let random: Arc<dyn Random> = Arc::new(TestRandom::new(u64::from(std::process::id())));
    Publisher::new(broker, Arc::new(topology()), "stillpoint/test", clock(), random)
}

pub fn topology() -> Topology {
    Topology::of(SITE.parse().expect("a site"))
}

/// The name of a function's first queue.
pub fn queue(function: Function) -> String {
    topology().places_of(function).next().expect("it has a queue").queue.clone()
}

/// An event as it travels.
pub fn body(event: Outgoing) -> Vec<u8> {
    let envelope = Envelope::seal(event, "test".to_owned(), "stillpoint/test", clock().now());
    serde_json::to_vec(&envelope).expect("an envelope is JSON")
}

/// A connection that is none of ours, with confirmations.
pub async fn stranger(url: &str) -> (Connection, Channel) {
    let connection = Connection::connect(url, ConnectionProperties::default()).await.expect("the broker takes connections");
    let channel = connection.create_channel().await.expect("a channel opens");
    channel.confirm_select(ConfirmSelectOptions::default()).await.expect("it confirms");
    (connection, channel)
}

/// A job that nobody ever began.
pub fn no_job() -> JobId {
    "01JQ1D5V8CWN3H2TSX0R9F4KMB".parse().expect("an id")
}

/// Waits until `seen` holds.
pub async fn until(what: &str, seen: impl Fn() -> bool) {
    let begun = Instant::now();
    while !seen() {
        assert!(begun.elapsed() < PATIENCE, "still not so after {} s: {what}", PATIENCE.as_secs());
        tokio::time::sleep(GLANCE).await;
    }
}

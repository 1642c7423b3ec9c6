//! A vault, a virtual host of a broker, and functions between them.

use std::{
    fs,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use stillpoint_tests::{
    Host, Lab, PATIENCE,
    disk::{self, MIB},
    lambda::{Environment, LambdaFunction, Mapping, Outcome},
    repository,
    servers::RabbitMq,
};

/// See the module.
pub struct Cloud<'a> {
    node: &'a RabbitMq,
    vhost: String,
    pub lab: Lab,
    /// An operator's machine, whose jobs functions do.
    pub host: Host,
    /// The broker's URL.
    pub broker: String,
    /// What functions are told.
    pub environment: Environment,
}

impl<'a> Cloud<'a> {
    pub fn new(node: &'a RabbitMq) -> Self {
        let (lab, vhost) = (Lab::new(), node.vhost());
        let broker = node.url(&vhost);
        let host = lab.host_with_vault();
        let keys = fs::read_dir(host.home().join(".config/stillpoint")).expect("the vault has a key file").flatten();
        let key = keys.map(|entry| entry.path()).find(|path| path.extension().is_some_and(|end| end == "key"));
        let key = key.expect("the vault has a key file").display().to_string();
        let environment = Environment::default()
            .set("STILLPOINT_VAULT", &host.url())
            .set("STILLPOINT_KEY_FILE", &key)
            .set("STILLPOINT_BROKER", &broker)
            .set("STILLPOINT_LOG", "info");
        let host = host.set("STILLPOINT_BROKER", &broker).set("STILLPOINT_SITE", "aws");
        let cloud = Self { node, vhost, lab, host, broker, environment };
        // A look at the dead letters declares the queues, which a mapping needs.
        assert!(cloud.dead().is_empty());
        cloud
    }

    /// A mapping of one queue, with a process of its own.
    pub fn mapping(&self, function: &str, queue: &str, size: u16) -> Mapping {
        self.mapping_of(queue, size, &Arc::new(LambdaFunction::start(function, &self.environment)))
    }

    /// A mapping of one queue to this process.
    pub fn mapping_of(&self, queue: &str, size: u16, function: &Arc<LambdaFunction>) -> Mapping {
        Mapping::start(&self.broker, queue, size, Arc::clone(function))
    }

    /// A mapping of each queue of a function.
    pub fn mappings(&self, function: &str, size: u16) -> Vec<Mapping> {
        let queues = self.node.depths(&self.vhost).into_keys();
        let own = format!("stillpoint.aws.{function}");
        let alive = queues.filter(|queue| queue.starts_with(&own) && !queue.ends_with(".dead"));
        alive.map(|queue| self.mapping(function, &queue, size)).collect()
    }

    /// Begins a backup of one segment and returns the queue in which the segment waits.
    pub fn planned_segment(&self) -> String {
        let disk = self.lab.path("disk.raw");
        disk::sparse(&disk, 8 * MIB, 3, &[(0, 2 * MIB)]);
        self.host.add("web-01", &[("disk", &disk)]);
        self.host.run(&["backup", "web-01", "--detach"]).ok();
        let _snapshots = self.mappings("snapshot", 10);
        let waiting =
            || self.node.depths(&self.vhost).into_iter().find(|(name, depth)| name.contains(".transfer.") && depth.ready > 0);
        until("a segment is planned", || waiting().is_some());
        waiting().expect("it still waits").0
    }

    /// Messages that wait in a queue.
    pub fn ready(&self, queue: &str) -> u64 {
        self.node.depths(&self.vhost).get(queue).expect("the queue exists").ready
    }

    /// What was parked.
    pub fn dead(&self) -> Vec<Value> {
        self.host.json(&["dead"])["dead"].as_array().expect("a list").clone()
    }

    /// What the user may publish to from now on.
    pub fn permit(&self, write: &str) {
        self.node.ctl(&["set_permissions", "-p", &self.vhost, "stillpoint", ".*", write, ".*"]);
    }

    /// Puts a message into a queue as a stranger would.
    pub fn put(&self, queue: &str, body: &[u8]) {
        self.node.publish(&self.vhost, "", queue, body);
    }
}

/// A document of `events/samples/triggers`.
pub fn sample(name: &str) -> Value {
    let path = repository().join("events/samples/triggers").join(name).with_extension("json");
    serde_json::from_str(&fs::read_to_string(path).expect("there is such a sample")).expect("samples are JSON")
}

/// What a function answers.
pub fn answered(handled: u32, later: u32, parked: u32) -> Outcome {
    Outcome::Answered(json!({ "handled": handled, "later": later, "parked": parked }))
}

/// Waits until `seen` holds.
pub fn until(what: &str, seen: impl Fn() -> bool) {
    let begun = Instant::now();
    while !seen() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

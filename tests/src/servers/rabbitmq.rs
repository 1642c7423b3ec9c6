//! A RabbitMQ node of Debian's package, run from its own folder and on 127.0.0.1 only.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    fs,
    io::Read,
    net::{Ipv4Addr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use lapin::{
    BasicProperties, Confirmation, Connection, ConnectionProperties,
    options::{BasicPublishOptions, ConfirmSelectOptions},
};
use serde_json::{Value, json};

use super::{authority::Authority, http::free_ports, process::Bound};
use crate::PATIENCE;

/// Another process may take a port in the moment after it was found free.
const TRIES: u32 = 3;
/// Virtual hosts, made with the node: cheaper by far than one at a time. One for each test of a process.
const VHOSTS: usize = 48;
/// User and password of the tests.
const USER: (&str, &str) = ("stillpoint", "correct-horse");
/// Memory that lets everything through, and memory that stops every publisher.
const WATERMARKS: (&str, &str) = ("512MB", "1MB");

/// The node. It ends, and its folder goes, with the test process, however that ends.
pub struct RabbitMq {
    folder: PathBuf,
    ports: Vec<u16>,
    authority: Authority,
    /// Erlang's port mapper; one that the node starts itself would outlive it.
    mapper: Option<Bound>,
    node: Option<Bound>,
    /// Removes the folder when the pipe to it closes.
    cleaner: Option<Child>,
    vhosts: AtomicUsize,
}

/// How a node ends before it is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// SIGTERM: in order.
    Ordered,
    /// SIGKILL.
    Killed,
}

/// What lies in a queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Depth {
    /// Messages that wait for a consumer.
    pub ready: u64,
    /// Messages that a consumer has and has not acknowledged.
    pub unacked: u64,
    /// Consumers.
    pub consumers: u64,
}

fn node() -> &'static RwLock<RabbitMq> {
    static NODE: OnceLock<RwLock<RabbitMq>> = OnceLock::new();
    NODE.get_or_init(|| RwLock::new(RabbitMq::start()))
}

/// The node of this test process, together with other tests.
pub fn rabbitmq() -> RwLockReadGuard<'static, RabbitMq> {
    node().read().unwrap_or_else(PoisonError::into_inner)
}

/// The node of this test process, while no other test uses it: to restart or to block it.
pub fn rabbitmq_alone() -> RwLockWriteGuard<'static, RabbitMq> {
    node().write().unwrap_or_else(PoisonError::into_inner)
}

impl RabbitMq {
    fn start() -> Self {
        for _ in 0..TRIES {
            let mut node = Self::prepare();
            if node.run() {
                return node;
            }
        }
        panic!("rabbitmq-server ended at once, {TRIES} times");
    }

    fn prepare() -> Self {
        let folder = tempfile::Builder::new().prefix("stillpoint-rabbitmq-").tempdir().expect("a folder can be made").keep();
        let cleaner = clean_after_us(&folder);
        let ports = free_ports(4);
        let authority = Authority::new(&folder);
        fs::create_dir(folder.join("home")).expect("a folder can be made");
        fs::write(folder.join("enabled_plugins"), "[].").expect("a file can be written");
        fs::write(folder.join("definitions.json"), definitions().to_string()).expect("a file can be written");
        let config = configuration(&folder, &ports, &authority);
        fs::write(folder.join("rabbitmq.conf"), config).expect("a file can be written");
        Self { folder, ports, authority, mapper: None, node: None, cleaner: Some(cleaner), vhosts: AtomicUsize::new(0) }
    }

    /// Runs the node until it answers; false where it ended first.
    fn run(&mut self) -> bool {
        let mapper_log = self.folder.join("epmd.log");
        let mut mapper = Command::new("epmd");
        mapper.args(["-port", &self.ports[2].to_string(), "-address", "127.0.0.1"]);
        // A node that ended in disorder leaves the mapper as it was; a new one knows nothing of it.
        self.mapper = None;
        self.mapper = Some(Bound::start(&mapper, &mapper_log));
        let node = Bound::start(&self.command("rabbitmq-server"), &self.folder.join("node.log"));
        let begun = Instant::now();
        while !self.answers() {
            if node.has_ended() {
                return false;
            }
            assert!(begun.elapsed() < PATIENCE, "rabbitmq-server does not listen: {}", self.log());
            thread::sleep(Duration::from_millis(50));
        }
        self.node = Some(node);
        true
    }

    /// Whether it speaks: to a peer with a wrong greeting it says its own.
    fn answers(&self) -> bool {
        let greet = || {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.ports[0])).ok()?;
            stream.set_read_timeout(Some(PATIENCE)).ok()?;
            std::io::Write::write_all(&mut stream, b"STILLPNT").ok()?;
            let mut answer = [0; 4];
            stream.read_exact(&mut answer).ok()?;
            (answer == *b"AMQP").then_some(())
        };
        greet().is_some()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("node.log")).unwrap_or_default()
    }

    /// A program of the package: the ones on the PATH insist on a user of their own.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(programs().join(program));
        let at = |name: &str| OsString::from(self.folder.join(name));
        let paths = [
            ("HOME", "home"),
            ("RABBITMQ_CONFIG_FILE", "rabbitmq.conf"),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", "enabled_plugins"),
            ("RABBITMQ_MNESIA_BASE", "data"),
            ("RABBITMQ_LOG_BASE", "log"),
            ("RABBITMQ_GENERATED_CONFIG_DIR", "generated"),
            ("RABBITMQ_PID_FILE", "pid"),
            ("RABBITMQ_FEATURE_FLAGS_FILE", "feature_flags"),
        ];
        command.envs(paths.map(|(name, path)| (name, at(path))));
        command.env("RABBITMQ_CONF_ENV_FILE", "/dev/null").env("RABBITMQ_NODENAME", self.name());
        command.env("RABBITMQ_DIST_PORT", self.ports[1].to_string());
        command.env("ERL_EPMD_PORT", self.ports[2].to_string()).env("ERL_EPMD_ADDRESS", "127.0.0.1");
        if program == "rabbitmq-server" {
            // Makes the script become the node, so that what ends the one ends the other.
            command.env("RUNNING_UNDER_SYSTEMD", "1");
            // Depths of quorum queues are counted anew with every tick.
            let options = "-kernel inet_dist_use_interface {127,0,0,1} +S 1:1 +A 4 -rabbit quorum_tick_interval 200";
            command.env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", options);
        }
        command
    }

    fn name(&self) -> String {
        format!("stillpoint{}@localhost", self.ports[0])
    }

    /// Runs `rabbitmqctl` and returns what it printed.
    pub fn ctl(&self, args: &[&str]) -> String {
        let mut command = self.command("rabbitmqctl");
        command.args(["-q", "-n", &self.name()]).args(args);
        let output = command.output().expect("rabbitmqctl runs");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "rabbitmqctl {}: {told}", args.join(" "));
        String::from_utf8(output.stdout).expect("rabbitmqctl prints text")
    }

    /// An empty virtual host that no other test has.
    #[must_use]
    pub fn vhost(&self) -> String {
        let number = self.vhosts.fetch_add(1, Relaxed);
        assert!(number < VHOSTS, "more tests than virtual hosts: raise VHOSTS");
        vhost_name(number)
    }

    /// The URL of a virtual host.
    #[must_use]
    pub fn url(&self, vhost: &str) -> String {
        format!("amqp://{}:{}@127.0.0.1:{}/{vhost}", USER.0, USER.1, self.ports[0])
    }

    /// Publishes a message as a stranger would; it must reach a queue.
    pub fn publish(&self, vhost: &str, exchange: &str, key: &str, body: &[u8]) {
        let publish = async {
            let connection = Connection::connect(&self.url(vhost), ConnectionProperties::default()).await?;
            let channel = connection.create_channel().await?;
            channel.confirm_select(ConfirmSelectOptions::default()).await?;
            let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
            let sent = channel.basic_publish(exchange.into(), key.into(), options, body, BasicProperties::default()).await?;
            let confirmed = sent.await?;
            assert!(matches!(confirmed, Confirmation::Ack(None)), "a queue takes {key}: {confirmed:?}");
            connection.close(200, "done".into()).await
        };
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime starts");
        runtime.block_on(publish).expect("the broker takes it");
    }

    /// The URL of a virtual host over TLS; its certificate is of [`RabbitMq::ca_file`]'s making.
    #[must_use]
    pub fn tls_url(&self, vhost: &str) -> String {
        format!("amqps://{}:{}@127.0.0.1:{}/{vhost}", USER.0, USER.1, self.ports[3])
    }

    /// The certificate of the authority to trust.
    #[must_use]
    pub fn ca_file(&self) -> &Path {
        &self.authority.certificate
    }

    /// Ends the node and starts it again, with the same data.
    pub fn restart(&mut self, ending: Ending) {
        self.stop(ending);
        self.resume();
    }

    /// Ends the node; nobody listens until [`RabbitMq::resume`].
    pub fn stop(&mut self, ending: Ending) {
        let node = self.node.take().expect("the node runs");
        if ending == Ending::Ordered {
            let asked = Command::new("kill").args(["-TERM", &node.pid.to_string()]).status();
            assert!(asked.expect("kill runs").success(), "SIGTERM reaches the node");
            let begun = Instant::now();
            while !node.has_ended() {
                assert!(begun.elapsed() < PATIENCE, "rabbitmq-server does not end: {}", self.log());
                thread::sleep(Duration::from_millis(50));
            }
        }
    }

    /// Starts a node that was stopped, with the same data.
    pub fn resume(&mut self) {
        assert!(self.node.is_none() && self.run(), "rabbitmq-server starts again: {}", self.log());
    }

    /// From now on nobody can publish, as when memory is short.
    pub fn block(&self) {
        self.ctl(&["set_vm_memory_high_watermark", "absolute", WATERMARKS.1]);
    }

    /// Ends [`RabbitMq::block`].
    pub fn unblock(&self) {
        self.ctl(&["set_vm_memory_high_watermark", "absolute", WATERMARKS.0]);
    }

    /// Throws away what waits in all queues of a virtual host.
    pub fn purge(&self, vhost: &str) {
        self.ctl(&["eval", &format!("[rabbit_amqqueue:purge(Q) || Q <- rabbit_amqqueue:list(<<\"{vhost}\">>)].")]);
    }

    /// Deletes a queue.
    pub fn delete_queue(&self, vhost: &str, queue: &str) {
        self.ctl(&["delete_queue", "-p", vhost, queue]);
    }

    /// Closes all connections of a virtual host, as a network that breaks.
    pub fn close_connections(&self, vhost: &str) {
        self.ctl(&["close_all_connections", "-p", vhost, "test"]);
    }

    /// What lies in the queues of a virtual host.
    #[must_use]
    pub fn depths(&self, vhost: &str) -> BTreeMap<String, Depth> {
        let columns = ["name", "messages_ready", "messages_unacknowledged", "consumers"];
        let listed = self.ctl(&[&["list_queues", "-p", vhost, "--formatter", "json"], &columns[..]].concat());
        let queues: Vec<Value> = serde_json::from_str(&listed).unwrap_or_else(|error| panic!("{error}: {listed}"));
        // What is not known yet is shown as an empty text.
        let count = |queue: &Value, column: &str| queue[column].as_u64().unwrap_or(0);
        let depth = |queue: &Value| Depth {
            ready: count(queue, columns[1]),
            unacked: count(queue, columns[2]),
            consumers: count(queue, columns[3]),
        };
        queues.iter().map(|queue| (queue["name"].as_str().expect("a queue has a name").to_owned(), depth(queue))).collect()
    }
}

impl Drop for RabbitMq {
    /// Only a node that did not start is dropped; the one that did stays to the end of the process.
    fn drop(&mut self) {
        (self.node, self.mapper) = (None, None);
        if let Some(mut cleaner) = self.cleaner.take() {
            drop(cleaner.stdin.take());
            drop(cleaner.wait());
        }
    }
}

/// Where the package has its programs.
fn programs() -> &'static Path {
    static PROGRAMS: OnceLock<PathBuf> = OnceLock::new();
    PROGRAMS.get_or_init(|| {
        let listed = fs::read_dir("/usr/lib/rabbitmq/lib").into_iter().flatten().flatten();
        let mut folders: Vec<PathBuf> = listed.map(|entry| entry.path().join("sbin")).filter(|folder| folder.exists()).collect();
        folders.sort();
        folders.pop().expect("rabbitmq-server is missing: run tests/run --install-only")
    })
}

fn vhost_name(number: usize) -> String {
    format!("test-{number}")
}

/// The user, and the virtual hosts it may use.
fn definitions() -> Value {
    let vhosts: Vec<String> = (0..VHOSTS).map(vhost_name).collect();
    let permission = |vhost: &String| json!({ "user": USER.0, "vhost": vhost, "configure": ".*", "write": ".*", "read": ".*" });
    json!({
        "users": [{ "name": USER.0, "password": USER.1, "tags": "" }],
        "vhosts": vhosts.iter().map(|name| json!({ "name": name })).collect::<Vec<_>>(),
        "permissions": vhosts.iter().map(permission).collect::<Vec<_>>(),
    })
}

fn configuration(folder: &Path, ports: &[u16], authority: &Authority) -> String {
    let (at, high) = (|name: &str| folder.join(name).display().to_string(), WATERMARKS.0);
    let [ca, certificate, key] = [&authority.certificate, &authority.server_certificate, &authority.server_key];
    let lines = [
        format!("listeners.tcp.default = 127.0.0.1:{}", ports[0]),
        format!("listeners.ssl.default = 127.0.0.1:{}", ports[3]),
        format!("ssl_options.cacertfile = {}", ca.display()),
        format!("ssl_options.certfile = {}", certificate.display()),
        format!("ssl_options.keyfile = {}", key.display()),
        format!("load_definitions = {}", at("definitions.json")),
        format!("vm_memory_high_watermark.absolute = {high}"),
        "disk_free_limit.absolute = 50MB".to_owned(),
        "log.console = true".to_owned(),
        "log.console.level = warning".to_owned(),
        "log.file = false\n".to_owned(),
    ];
    lines.join("\n")
}

/// Nobody drops a static: a shell waits for the end of this process, and removes the folder then. In a session of its own, so
/// that what is pressed on the terminal does not reach it.
fn clean_after_us(folder: &Path) -> Child {
    let script = r#"read -r line; until rm -rf -- "$0"; do sleep 0.2; done; sleep 1; rm -rf -- "$0""#;
    let mut cleaner = Command::new("setsid");
    cleaner.args(["sh", "-c", script]).arg(folder).current_dir(env::temp_dir());
    cleaner.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    cleaner.spawn().expect("setsid is installed (util-linux)")
}

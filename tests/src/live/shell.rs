use std::{
    io::{BufRead, BufReader, ErrorKind, Write},
    os::unix::net::UnixStream,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use data_encoding::BASE64;
use serde_json::{Value, json};

use crate::PATIENCE;

/// How long an answer to the greeting may take; a guest that boots swallows it.
const GREETING: Duration = Duration::from_millis(250);

/// So many greetings were sent by this process.
static GREETINGS: AtomicU64 = AtomicU64::new(1);

/// What a command in the guest said.
#[derive(Debug)]
pub struct Output {
    /// Its exit code.
    pub code: i64,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// A guest agent, asked by the test.
pub struct AgentClient {
    lines: BufReader<UnixStream>,
}

/// Runs commands in the guest, through an agent that the product knows nothing of.
pub(crate) struct Shell {
    agent: AgentClient,
}

impl AgentClient {
    /// Connects to the agent behind this socket as soon as it answers; none where nobody does for as long as that.
    #[must_use]
    pub fn connect(socket: &Path, patience: Duration) -> Option<Self> {
        let begun = Instant::now();
        while begun.elapsed() < patience {
            if let Some(client) = Self::try_connect(socket) {
                return Some(client);
            }
        }
        None
    }

    fn try_connect(socket: &Path) -> Option<Self> {
        let stream = UnixStream::connect(socket).expect("QEMU listens for the agent");
        stream.set_read_timeout(Some(GREETING)).expect("a socket takes a time-out");
        let mut client = Self { lines: BufReader::new(stream) };
        let id = GREETINGS.fetch_add(1, Ordering::Relaxed);
        let greeting = json!({"execute": "guest-sync-delimited", "arguments": {"id": id}}).to_string();
        // The agent drops what it has been told before 0xFF.
        client.send(&[b"\xff", greeting.as_bytes(), b"\n"].concat());
        // A guest that boots may answer to greetings of connections before this one, too.
        while client.echo()? != json!(id) {}
        client.lines.get_ref().set_read_timeout(Some(PATIENCE)).expect("a socket takes a time-out");
        Some(client)
    }

    /// The next answer to a greeting, which begins with 0xFF; none where it does not come.
    fn echo(&mut self) -> Option<Value> {
        let mut bytes = Vec::new();
        for end in [0xFF, b'\n'] {
            bytes.clear();
            match self.lines.read_until(end, &mut bytes) {
                Ok(read) if read > 0 => {}
                Ok(_) => return None,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return None,
                Err(error) => panic!("the agent's socket: {error}"),
            }
        }
        Some(serde_json::from_slice::<Value>(&bytes).expect("an answer is JSON")["return"].take())
    }

    /// Executes a command of the agent.
    ///
    /// # Errors
    /// The agent's description of the failure.
    pub fn execute(&mut self, command: &str, arguments: Value) -> Result<Value, String> {
        self.send(format!("{}\n", json!({"execute": command, "arguments": arguments})).as_bytes());
        self.reply()
    }

    fn send(&mut self, bytes: &[u8]) {
        self.lines.get_mut().write_all(bytes).expect("the agent's socket takes commands");
    }

    fn reply(&mut self) -> Result<Value, String> {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("the agent answers (is the machine paused?)");
        let mut reply: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("the agent says {line:?} ({error})"));
        match reply.get("error") {
            Some(error) => Err(error["desc"].as_str().expect("errors are described").to_owned()),
            None => Ok(reply["return"].take()),
        }
    }
}

impl Shell {
    /// Connects as soon as the guest has booted.
    pub(crate) fn connect(socket: &Path) -> Self {
        let agent = AgentClient::connect(socket, PATIENCE);
        Self { agent: agent.unwrap_or_else(|| panic!("nobody answers at {} (is the machine paused?)", socket.display())) }
    }

    /// Runs a script to its end.
    pub(crate) fn run(&mut self, script: &str) -> Output {
        let pid = self.start(script, true);
        let begun = Instant::now();
        loop {
            let mut status = self.execute("guest-exec-status", json!({"pid": pid}));
            if status["exited"] == true {
                let code = status["exitcode"].as_i64().unwrap_or(-1);
                return Output { code, stdout: decoded(&status["out-data"].take()), stderr: decoded(&status["err-data"].take()) };
            }
            assert!(begun.elapsed() < PATIENCE, "still running in the guest after {} s: {script}", PATIENCE.as_secs());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Starts a script and returns its process number in the guest.
    pub(crate) fn start(&mut self, script: &str, captured: bool) -> i64 {
        let started = self.execute("guest-exec", json!({"path": "/bin/sh", "arg": ["-c", script], "capture-output": captured}));
        started["pid"].as_i64().expect("a process has a number")
    }

    fn execute(&mut self, command: &str, arguments: Value) -> Value {
        self.agent.execute(command, arguments).unwrap_or_else(|error| panic!("the test's agent refuses {command}: {error}"))
    }
}

fn decoded(data: &Value) -> String {
    let bytes = BASE64.decode(data.as_str().unwrap_or_default().as_bytes()).expect("the agent encodes in base64");
    String::from_utf8_lossy(&bytes).into_owned()
}

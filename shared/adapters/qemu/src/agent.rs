//! The QEMU guest agent: <https://www.qemu.org/docs/master/interop/qemu-ga-ref.html>.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use async_trait::async_trait;
use data_encoding::BASE64;
use serde_json::{Value, json};
use stillpoint_model::{Error, ErrorKind, Result};
use tokio::time::{Instant, sleep};

use crate::{exclusive::Exclusive, libvirt::DomainAgent, line::Lines};

/// Until the agent answers at all.
const SYNC: Duration = Duration::from_secs(5);
/// Until it answers a request that takes no time.
const ANSWER: Duration = Duration::from_secs(5);
/// Between two looks at a program.
const PAUSE: Duration = Duration::from_millis(50);
/// Most bytes of a program's output that are told on.
const OUTPUT_BYTES_MAX: usize = 2000;

/// How requests reach an agent.
#[async_trait]
pub(crate) trait Transport: Send {
    /// Sends a request and waits for its answer: a document with `return` or `error`.
    ///
    /// # Errors
    /// `unavailable` when none comes in time.
    async fn request(&mut self, request: &Value, within: Duration) -> Result<Value>;
}

/// Where the agent of a guest is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// A socket of QEMU's.
    Socket(PathBuf),
    /// libvirt holds the agent's socket and passes requests on.
    Domain(DomainAgent),
}

/// The agent of one guest.
pub(crate) struct Agent(Box<dyn Transport>);

/// A socket that this process alone uses.
struct Socket {
    lines: Lines,
    /// Whether an answer is still to come that nobody waits for any more.
    out_of_step: bool,
    _exclusive: Exclusive,
}

#[async_trait]
impl Transport for Socket {
    async fn request(&mut self, request: &Value, within: Duration) -> Result<Value> {
        if self.out_of_step {
            self.get_in_step().await?;
        }
        self.out_of_step = true;
        self.lines.send(b"", request, ANSWER).await?;
        let answer = self.lines.receive(within).await?;
        self.out_of_step = false;
        Ok(answer)
    }
}

impl Socket {
    async fn connect(path: &Path) -> Result<Self> {
        let exclusive = Exclusive::acquire(path).await?;
        let lines = Lines::connect("the guest agent at", path).await?;
        let mut socket = Self { lines, out_of_step: true, _exclusive: exclusive };
        socket.get_in_step().await?;
        Ok(socket)
    }

    /// An agent answers, late, also what earlier clients have asked.
    async fn get_in_step(&mut self) -> Result<()> {
        let id = u32::from_le_bytes(ulid::Ulid::generate().to_bytes()[12..].try_into().unwrap_or_default());
        let request = json!({ "execute": "guest-sync-delimited", "arguments": { "id": id } });
        self.lines.send(&[0xff], &request, SYNC).await?;
        let end = Instant::now() + SYNC;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            self.lines.skip_to(0xff, left).await?;
            if self.lines.receive(left).await?["return"] == id {
                self.out_of_step = false;
                return Ok(());
            }
        }
    }
}

impl Place {
    /// Whether there is anybody to ask.
    pub(crate) fn exists(&self) -> bool {
        match self {
            Self::Socket(path) => path.exists(),
            Self::Domain(_) => true,
        }
    }
}

/// Whether a guest agent answers at this socket of QEMU's. Takes some seconds where it does not.
pub async fn agent_answers(socket: &Path) -> bool {
    Agent::connect(&Place::Socket(socket.to_owned())).await.is_ok()
}

/// How a program in the guest ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Its exit code; a signal's number plus 128.
    pub(crate) code: i64,
    /// What it printed, cut.
    pub(crate) output: String,
}

impl Agent {
    /// An agent that answers.
    ///
    /// # Errors
    /// `missing`, `denied`; `unavailable` when the agent does not answer.
    pub(crate) async fn connect(place: &Place) -> Result<Self> {
        match place {
            Place::Socket(path) => Ok(Self(Box::new(Socket::connect(path).await?))),
            Place::Domain(agent) => {
                let mut agent = Self(Box::new(agent.clone()));
                agent.ask_within("guest-ping", json!({}), SYNC).await?;
                Ok(agent)
            }
        }
    }

    /// Asks for something that takes no time.
    ///
    /// # Errors
    /// `invalid` when the agent does not allow it, `conflict` when it fails, in the agent's words; `unavailable`.
    pub(crate) async fn ask(&mut self, command: &str, arguments: Value) -> Result<Value> {
        self.ask_within(command, arguments, ANSWER).await
    }

    /// Asks for something and waits for the answer.
    ///
    /// # Errors
    /// As [`Agent::ask`].
    pub(crate) async fn ask_within(&mut self, command: &str, arguments: Value, within: Duration) -> Result<Value> {
        let mut answer = self.0.request(&json!({ "execute": command, "arguments": arguments }), within).await?;
        if let Some(error) = answer.get("error") {
            let text: String =
                error["desc"].as_str().unwrap_or("no reason").chars().take(500).flat_map(char::escape_debug).collect();
            let kind = if error["class"] == "CommandNotFound" { ErrorKind::Invalid } else { ErrorKind::Conflict };
            return Err(Error::new(kind, format!("the guest agent refused {command}: {text}")));
        }
        answer.get_mut("return").map(Value::take).ok_or_else(|| Error::internal("the guest agent answers in an unknown form"))
    }

    /// Starts a program in the guest and returns its process id there.
    ///
    /// # Errors
    /// As [`Agent::ask`].
    pub(crate) async fn spawn(&mut self, path: &str, arguments: &[&str], capture: bool) -> Result<i64> {
        let request = json!({ "path": path, "arg": arguments, "capture-output": capture });
        let started = self.ask("guest-exec", request).await?;
        started["pid"].as_i64().ok_or_else(|| Error::internal("the guest agent started a program without an id"))
    }

    /// Runs a program in the guest to its end.
    ///
    /// # Errors
    /// As [`Agent::ask`]; `unavailable` when it does not end in time, and is killed.
    pub(crate) async fn run(&mut self, path: &str, arguments: &[&str], within: Duration) -> Result<Ended> {
        let pid = self.spawn(path, arguments, true).await?;
        let end = Instant::now() + within;
        loop {
            let status = self.ask("guest-exec-status", json!({ "pid": pid })).await?;
            if status["exited"] == true {
                let signal = status["signal"].as_i64().map(|signal| signal + 128);
                let code = status["exitcode"].as_i64().or(signal).unwrap_or(0);
                return Ok(Ended { code, output: output(&status) });
            }
            if Instant::now() >= end {
                self.kill(pid).await;
                return Err(Error::unavailable(format!("{} did not end within {} s", path.escape_debug(), within.as_secs())));
            }
            sleep(PAUSE).await;
        }
    }

    /// Kills a program in the guest, as far as that is possible.
    pub(crate) async fn kill(&mut self, pid: i64) {
        if let Err(error) = self.spawn("/bin/kill", &["-9", &pid.to_string()], false).await {
            tracing::debug!(error = %error.one_line(), "a program in the guest was not killed");
        }
    }
}

fn output(status: &Value) -> String {
    let text = |name: &str| {
        let bytes = BASE64.decode(status[name].as_str().unwrap_or_default().as_bytes()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let all = [text("out-data"), text("err-data")].concat();
    let trimmed = all.trim();
    let mut end = trimmed.len().min(OUTPUT_BYTES_MAX);
    while !trimmed.is_char_boundary(end) {
        end -= 1;
    }
    trimmed[..end].to_owned()
}

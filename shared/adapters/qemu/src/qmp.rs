//! QEMU's monitor protocol: <https://www.qemu.org/docs/master/interop/qmp-spec.html>.

use std::{path::Path, time::Duration};

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use stillpoint_model::{Error, ErrorKind, Result};

use crate::{
    exclusive::Exclusive,
    line::{Lines, Peer},
};

/// Until the greeting comes: it never does where another client is connected.
const GREETING: Duration = Duration::from_secs(5);
/// Until a command is answered. They take milliseconds; some wait for the disks' requests under way.
const ANSWER: Duration = Duration::from_secs(30);

/// A monitor that this process alone uses.
pub(crate) struct Qmp {
    lines: Lines,
    serial: u64,
    job_error: Option<String>,
    _exclusive: Exclusive,
}

impl Qmp {
    /// Connects and greets.
    ///
    /// # Errors
    /// `missing` or `unavailable` when nothing listens there, `denied`; `unavailable` when another client is connected.
    pub(crate) async fn connect(path: &Path) -> Result<Self> {
        let exclusive = Exclusive::acquire(path).await?;
        let mut lines = Lines::connect("the QMP socket", path).await?;
        let stranger = Error::invalid(format!("{} does not speak QMP", lines.what()));
        let greeting = match lines.receive(GREETING).await {
            Err(error) if error.kind() == ErrorKind::Unavailable => {
                return Err(error.context("no greeting; is another client connected?"));
            }
            Err(error) => return Err(stranger.with_source(error)),
            Ok(greeting) => greeting,
        };
        if greeting.get("QMP").is_none() {
            return Err(stranger);
        }
        let mut qmp = Self { lines, serial: 0, job_error: None, _exclusive: exclusive };
        qmp.execute("qmp_capabilities", json!({})).await?;
        Ok(qmp)
    }

    /// The same; `None` where nothing listens.
    ///
    /// # Errors
    /// As [`Qmp::connect`].
    pub(crate) async fn connect_if_on(path: &Path) -> Result<Option<Self>> {
        match Self::connect(path).await {
            Ok(qmp) => Ok(Some(qmp)),
            Err(error) if error.kind() == ErrorKind::Missing => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The process that runs the machine.
    pub(crate) fn peer(&self) -> Option<Peer> {
        self.lines.peer()
    }

    /// Why the last block job failed that did so, in QEMU's words. Told once.
    pub(crate) fn take_job_error(&mut self) -> Option<String> {
        self.job_error.take()
    }

    /// Runs a command and returns what it returns.
    ///
    /// # Errors
    /// `conflict` when QEMU refuses it (`missing` where a device is not found), with QEMU's own words; `unavailable` when the connection
    /// breaks.
    pub(crate) async fn execute(&mut self, command: &str, arguments: Value) -> Result<Value> {
        self.serial += 1;
        let id = self.serial;
        let document = json!({ "execute": command, "arguments": arguments, "id": id });
        self.lines.send(b"", &document, ANSWER).await?;
        loop {
            let mut answer = self.lines.receive(ANSWER).await?;
            if answer["event"] == "BLOCK_JOB_COMPLETED"
                && let Some(error) = answer["data"]["error"].as_str()
            {
                self.job_error = Some(error.chars().take(500).flat_map(char::escape_debug).collect());
            }
            // An event, or the late answer to something that nobody waits for any more.
            if answer.get("event").is_some() || answer["id"].as_u64().is_some_and(|earlier| earlier < id) {
                continue;
            }
            if let Some(error) = answer.get("error") {
                return Err(refusal(command, error));
            }
            if answer["id"] == id
                && let Some(returned) = answer.get_mut("return")
            {
                return Ok(returned.take());
            }
            return Err(Error::internal(format!("{} answered {command} out of turn", self.lines.what())));
        }
    }

    /// Runs a command and reads its answer.
    ///
    /// # Errors
    /// As [`Qmp::execute`]; `internal` when the answer is of another form.
    pub(crate) async fn query<T: DeserializeOwned>(&mut self, command: &str, arguments: Value) -> Result<T> {
        let answer = self.execute(command, arguments).await?;
        serde_json::from_value(answer)
            .map_err(|error| Error::internal(format!("QEMU answers {command} in an unknown form")).with_source(error))
    }
}

/// What a command was refused with.
fn refusal(command: &str, error: &Value) -> Error {
    let text: String = error["desc"].as_str().unwrap_or("no reason").chars().take(500).flat_map(char::escape_debug).collect();
    let kind = match error["class"].as_str() {
        Some("DeviceNotFound") => ErrorKind::Missing,
        Some("CommandNotFound") => ErrorKind::Invalid,
        _ => ErrorKind::Conflict,
    };
    Error::new(kind, format!("QEMU refused {command}: {text}"))
}

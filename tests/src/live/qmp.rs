use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::Path,
};

use serde_json::{Value, json};

use crate::PATIENCE;

/// A QMP client of the test's own: one command at a time.
pub struct Monitor {
    lines: BufReader<UnixStream>,
    events: Vec<Value>,
}

impl Monitor {
    /// Connects; none where nobody listens yet.
    pub(crate) fn connect(socket: &Path) -> Option<Self> {
        let stream = UnixStream::connect(socket).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes a time-out");
        let mut monitor = Self { lines: BufReader::new(stream), events: Vec::new() };
        let greeting = monitor.line();
        assert!(greeting.get("QMP").is_some(), "a monitor greets: {greeting}");
        monitor.execute("qmp_capabilities", json!({}));
        Some(monitor)
    }

    /// Executes a command that works, and returns what it returns.
    pub fn execute(&mut self, command: &str, arguments: Value) -> Value {
        self.try_execute(command, arguments).unwrap_or_else(|error| panic!("{command}: {error}"))
    }

    /// Executes a command.
    ///
    /// # Errors
    /// QEMU's description of the failure.
    pub fn try_execute(&mut self, command: &str, arguments: Value) -> Result<Value, String> {
        let line = format!("{}\n", json!({"execute": command, "arguments": arguments}));
        self.lines.get_mut().write_all(line.as_bytes()).expect("the monitor takes commands");
        loop {
            let mut reply = self.line();
            if let Some(error) = reply.get("error") {
                return Err(error["desc"].as_str().expect("errors are described").to_owned());
            }
            if reply.get("return").is_some() {
                return Ok(reply["return"].take());
            }
            self.events.push(reply);
        }
    }

    /// Forgets events of this name that have come and nobody waited for.
    pub fn forget(&mut self, name: &str) {
        self.events.retain(|event| event["event"] != name);
    }

    /// Waits for an event of this name and returns its data; one that came before and nobody waited for counts.
    pub fn event(&mut self, name: &str) -> Value {
        loop {
            if let Some(place) = self.events.iter().position(|event| event["event"] == name) {
                return self.events.remove(place)["data"].take();
            }
            let event = self.line();
            self.events.push(event);
        }
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("the monitor answers");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("the monitor says {line:?} ({error})"))
    }
}

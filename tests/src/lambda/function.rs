//! A function in an environment of its own: one process, one invocation at a time.

use std::{
    fs,
    process::Command,
    sync::mpsc::RecvTimeoutError,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use super::{Environment, Outcome, bootstrap, runtime_api::RuntimeApi};
use crate::{PATIENCE, servers::Bound};

/// The time-out of functions here, unless a test says otherwise: Lambda's longest for queues.
const TIME: Duration = Duration::from_secs(840);

/// See the module. The process ends with it.
pub struct LambdaFunction {
    name: String,
    // Ends first: a process without its Runtime API would complain.
    process: Bound,
    api: RuntimeApi,
    folder: TempDir,
}

impl LambdaFunction {
    /// Starts the bootstrap of `function`.
    #[must_use]
    pub fn start(function: &str, environment: &Environment) -> Self {
        let folder = tempfile::Builder::new().prefix("stillpoint-lambda-").tempdir().expect("a folder can be made");
        let api = RuntimeApi::start();
        let environment = environment.set("AWS_LAMBDA_RUNTIME_API", &api.address());
        let process = Bound::start(&environment.program(bootstrap(function), function), &folder.path().join("log"));
        Self { name: function.to_owned(), process, api, folder }
    }

    /// Invokes it, with as much time as functions have.
    #[must_use]
    pub fn invoke(&self, payload: &Value) -> Outcome {
        self.invoke_within(payload, TIME)
    }

    /// Invokes it with this much time, which nothing enforces.
    #[must_use]
    pub fn invoke_within(&self, payload: &Value, time: Duration) -> Outcome {
        let told = self.api.call(payload, time);
        let begun = Instant::now();
        loop {
            match told.recv_timeout(Duration::from_millis(100)) {
                Ok(outcome) => return outcome,
                Err(RecvTimeoutError::Timeout) => {
                    assert!(!self.process.has_ended(), "{} ended: {}", self.name, self.log());
                    assert!(begun.elapsed() < PATIENCE, "{} does not answer: {}", self.name, self.log());
                }
                Err(RecvTimeoutError::Disconnected) => panic!("{} asked for the next event without an answer", self.name),
            }
        }
    }

    /// Stops its processors, as Lambda does between invocations.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    /// Ends [`LambdaFunction::freeze`].
    pub fn thaw(&self) {
        self.signal("CONT");
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([&format!("-{signal}"), &self.process.pid.to_string()]).status();
        assert!(status.expect("kill runs").success(), "SIG{signal} reaches {}", self.name);
    }
}

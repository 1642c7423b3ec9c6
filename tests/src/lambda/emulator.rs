//! AWS's own Runtime Interface Emulator, which starts a bootstrap and calls it.

use std::{
    fs,
    net::{Ipv4Addr, TcpStream},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use super::{Environment, bootstrap};
use crate::{
    PATIENCE,
    servers::{Bound, ask, free_ports, tool},
};

/// The emulator with one function. Two invocations at once make it crash, so it lends itself to one caller at a time.
pub struct Emulator {
    process: Bound,
    port: u16,
    folder: TempDir,
}

impl Emulator {
    /// Starts the bootstrap of `function` under the emulator.
    #[must_use]
    pub fn start(function: &str, environment: &Environment) -> Self {
        let folder = tempfile::Builder::new().prefix("stillpoint-emulator-").tempdir().expect("a folder can be made");
        let ports = free_ports(2);
        let listed = fs::read_dir(tool("python/lib")).expect("a virtual environment has a lib").flatten();
        let emulator = "site-packages/samcli/local/rapid/aws-lambda-rie-x86_64";
        let found = listed.map(|python| python.path().join(emulator)).find(|path| path.exists());
        let program = found.expect("AWS's emulator (aws-sam-cli) is missing: run tests/run --install-only");
        let mut command: Command = environment.set("AWS_LAMBDA_FUNCTION_TIMEOUT", "60").program(&program, function);
        // Without both addresses it would listen beyond this machine.
        command.args(["--log-level", "error", "--runtime-interface-emulator-address", &format!("127.0.0.1:{}", ports[0])]);
        command.args(["--runtime-api-address", &format!("127.0.0.1:{}", ports[1])]).arg(bootstrap(function));
        let emulator = Self { process: Bound::start(&command, &folder.path().join("log")), port: ports[0], folder };
        let begun = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, emulator.port)).is_err() {
            assert!(!emulator.process.has_ended() && begun.elapsed() < PATIENCE, "the emulator listens: {}", emulator.log());
            thread::sleep(Duration::from_millis(20));
        }
        emulator
    }

    /// Invokes the function.
    #[must_use]
    pub fn invoke(&mut self, payload: &Value) -> Value {
        let target = "/2015-03-31/functions/function/invocations";
        let answer = ask(self.port, "POST", target, &[("content-type", "application/json")], payload.to_string().as_bytes());
        let answer = answer.unwrap_or_else(|| panic!("the emulator answers: {}", self.log()));
        serde_json::from_str(&answer.body).unwrap_or_else(|error| panic!("{error}: {answer:?}: {}", self.log()))
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

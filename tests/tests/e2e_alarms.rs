//! What an operator and a receiver see of alarms, above all of what did not happen.

#[path = "e2e_alarms/elsewhere.rs"]
mod elsewhere;
#[path = "e2e_alarms/open.rs"]
mod open;
#[path = "e2e_alarms/timer.rs"]
mod timer;

use std::{
    fs,
    path::PathBuf,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use serde_json::Value;
use stillpoint_format::parse_key_file;
use stillpoint_ports::Clock;
use stillpoint_store::{Access, Store};
use stillpoint_testkit::{TestClock, TestRandom};
use stillpoint_tests::{Done, Host, PATIENCE, disk};
use stillpoint_vault::Vault;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Where the key lies that opens the host's vault.
fn key_file(host: &Host) -> PathBuf {
    let keys = host.home().join(".config/stillpoint");
    let name = disk::names(&keys).into_iter().find(|name| name.ends_with(".key")).expect("there is a key file");
    keys.join(name)
}

/// The host's vault, opened with its key file, at a time of the test's own.
async fn opened(host: &Host, now: Timestamp) -> Vault {
    let store = Store::open(&host.url(), Access::Existing, Arc::new(TestClock::new())).expect("the vault is there");
    let text = fs::read_to_string(key_file(host)).expect("it can be read");
    let (_, secret) = parse_key_file(&text).expect("it is a key file");
    let clock = Arc::new(TestClock::new());
    clock.jump(now.as_millisecond() - clock.now().as_millisecond());
    Vault::open(store, &secret, clock, Arc::new(TestRandom::new(now.as_second().unsigned_abs()))).await.expect("the key opens it")
}

/// `alarms` with these options; its exit code says whether any is open.
fn alarms(host: &Host, options: &[&str]) -> (Done, Value) {
    let done = host.run(&[&["--json", "alarms"], options].concat());
    let document = done.json();
    let open = document["open"].as_array().unwrap_or_else(|| panic!("no list in {document}"));
    assert_eq!(done.code, Some(if open.is_empty() { 0 } else { 3 }), "{done}");
    (done, document)
}

/// The open alarms as `kind/subject`.
fn open(host: &Host) -> Vec<String> {
    let (_, document) = alarms(host, &[]);
    let name = |alarm: &Value| format!("{}/{}", alarm["alarm"].as_str().unwrap_or("?"), alarm["subject"].as_str().unwrap_or("?"));
    document["open"].as_array().into_iter().flatten().map(name).collect()
}

/// Waits for something that a service does with one of its next ticks.
fn wait<T>(what: &str, look: impl Fn() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < PATIENCE, "{what} does not happen");
        thread::sleep(Duration::from_millis(100));
    }
}

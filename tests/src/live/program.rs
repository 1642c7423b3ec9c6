use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::qmp::Monitor;
use crate::{PATIENCE, servers::Bound};

/// Longest path of a socket that the kernel takes.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// A QEMU program that runs, with a monitor of the test's own.
pub(crate) struct Program {
    process: Bound,
    monitor: Mutex<Monitor>,
}

/// A folder for a program's sockets and logs.
pub(crate) fn folder() -> TempDir {
    let folder = tempfile::Builder::new().prefix("stillpoint-vm-").tempdir().expect("a temporary folder can be made");
    let longest = folder.path().join("monitor");
    assert!(longest.as_os_str().len() <= SOCKET_PATH_BYTES_MAX, "TMPDIR is too long for sockets: {}", longest.display());
    folder
}

/// The words that give a program two monitors: `qmp` for the product, `monitor` for the test.
pub(crate) fn monitors(folder: &Path, chardev: &str, monitor: &str) -> Vec<String> {
    let one = |name: &str| {
        let socket = format!("socket,id={name},path={},server=on,wait=off", folder.join(name).display());
        [chardev.to_owned(), socket, monitor.to_owned(), format!("chardev={name},mode=control")]
    };
    ["qmp", "monitor"].iter().flat_map(|name| one(name)).collect()
}

impl Program {
    /// Starts a command whose monitors lie in `folder`, and waits until they answer.
    pub(crate) fn start(command: &Command, folder: &Path) -> Self {
        for name in ["qmp", "monitor", "agent", "test"] {
            // Left behind by a program that was killed.
            drop(fs::remove_file(folder.join(name)));
        }
        let log = folder.join("log");
        let process = Bound::start(command, &log);
        let begun = Instant::now();
        let monitor = loop {
            if let Some(monitor) = Monitor::connect(&folder.join("monitor")) {
                break monitor;
            }
            let told = || fs::read_to_string(&log).unwrap_or_default();
            assert!(!process.has_ended(), "{command:?} ended (tests/run installs it): {}", told());
            assert!(begun.elapsed() < PATIENCE, "{command:?} has no monitor: {}", told());
            thread::sleep(Duration::from_millis(5));
        };
        Self { process, monitor: Mutex::new(monitor) }
    }

    pub(crate) fn monitor(&self) -> MutexGuard<'_, Monitor> {
        self.monitor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid
    }

    /// Ends it in order: what it holds in memory is written.
    pub(crate) fn quit(self) {
        self.monitor().execute("quit", serde_json::json!({}));
        let begun = Instant::now();
        while !self.process.has_ended() {
            assert!(begun.elapsed() < PATIENCE, "process {} does not end", self.pid());
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// A socket of the folder, as a path.
pub(crate) fn socket(folder: &TempDir, name: &str) -> PathBuf {
    folder.path().join(name)
}

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use super::{
    qmp::Monitor,
    shell::{Output, Shell},
};
use crate::PATIENCE;

/// A copy of a [`super::Guest`] or [`super::Machine`] that the product has started in a folder, by a script. Killed when dropped.
pub struct Started {
    folder: PathBuf,
    shell: Mutex<Option<Shell>>,
}

impl Started {
    /// The one in this folder, which may be still to come.
    #[must_use]
    pub fn at(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), shell: Mutex::new(None) }
    }

    /// Runs a script in the guest, once it has booted, to its end.
    pub fn try_run(&self, script: &str) -> Output {
        let mut shell = self.shell.lock().unwrap_or_else(PoisonError::into_inner);
        let connect = || {
            // Once that answers, the other sockets are there.
            drop(self.monitor());
            Shell::connect(&self.folder.join("test"))
        };
        shell.get_or_insert_with(connect).run(script)
    }

    /// Runs a script that works, and returns what it prints.
    pub fn run(&self, script: &str) -> String {
        let output = self.try_run(&format!("set -euo pipefail; {script}"));
        assert_eq!(output.code, 0, "{script}: {output:?}");
        output.stdout
    }

    /// The test's own monitor.
    #[must_use]
    pub fn monitor(&self) -> Monitor {
        let begun = Instant::now();
        loop {
            if let Some(monitor) = Monitor::connect(&self.folder.join("monitor")) {
                return monitor;
            }
            assert!(begun.elapsed() < PATIENCE, "no monitor in {}", self.folder.display());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// QEMU's word for what the machine does.
    #[must_use]
    pub fn status(&self) -> String {
        self.monitor().execute("query-status", serde_json::json!({}))["status"].as_str().expect("a word").to_owned()
    }

    /// The process, while it is on.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        let needle = format!("{}/", self.folder.display());
        let is_ours = |line: &[u8]| line.starts_with(b"qemu-system") && String::from_utf8_lossy(line).contains(&needle);
        let processes = fs::read_dir("/proc").expect("/proc is mounted").flatten();
        let found = processes.filter(|process| fs::read(process.path().join("cmdline")).is_ok_and(|line| is_ours(&line)));
        found.filter_map(|process| process.file_name().to_str()?.parse().ok()).next()
    }

    /// Kills QEMU (SIGKILL), and waits until it has gone.
    pub fn kill(&self) {
        *self.shell.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let begun = Instant::now();
        while let Some(pid) = self.pid() {
            drop(Command::new("kill").args(["-9", &pid.to_string()]).output());
            // Its command line goes before its files, and with them its locks on disks.
            while fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|line| !line.contains(") Z ")) {
                assert!(begun.elapsed() < PATIENCE, "process {pid} does not end");
                thread::sleep(Duration::from_millis(5));
            }
            assert!(begun.elapsed() < PATIENCE, "process {pid} does not end");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if !thread::panicking() {
            return self.kill();
        }
        // What went wrong is told by the test.
        if let Some(pid) = self.pid() {
            drop(Command::new("kill").args(["-9", &pid.to_string()]).output());
        }
    }
}

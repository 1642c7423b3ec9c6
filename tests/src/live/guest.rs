use std::{
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use serde_json::json;

use super::{
    disk::Disk,
    machine::Machine,
    saved::Saved,
    shell::{Output, Shell},
};
use crate::PATIENCE;

/// The one that QEMU boots with by itself; it comes with Debian's QEMU.
const FIRMWARE: &str = "/usr/share/seabios/bios-256k.bin";

/// Which guest agent answers the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agent {
    /// Debian's, with hooks that quiesce applications. `/run/hook-must-fail` makes them fail, and `/run/hook-slow` (seconds)
    /// slow; `/run/hooks.log` tells what they did.
    Hooks,
    /// Debian's as Debian starts it: it freezes file systems and runs no hook.
    Plain,
    /// None.
    None,
}

/// A machine in which Linux runs.
pub struct Guest {
    /// The machine.
    pub machine: Machine,
    agent: Agent,
    shell: Mutex<Option<Shell>>,
}

/// What is on a disk that the database was on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Database {
    /// Whether a journal lay there, so that opening it had to roll a transaction back.
    pub had_journal: bool,
    /// What `PRAGMA integrity_check` says.
    pub integrity: String,
    /// Its rows.
    pub rows: u64,
    /// The highest number of a row; the same as `rows` where none is missing.
    pub last: u64,
}

impl Agent {
    fn word(self) -> &'static str {
        match self {
            Self::Hooks => "hooks",
            Self::Plain => "plain",
            Self::None => "none",
        }
    }
}

impl Guest {
    /// A guest with these disks, which runs. Those with an ext4 file system are mounted at `/mnt/NAME`, all are at `/dev/disk/NAME`.
    #[must_use]
    pub fn start(agent: Agent, disks: &[Disk]) -> Self {
        let mut guest = Self { machine: Machine::off(disks), agent, shell: Mutex::new(None) };
        guest.boot();
        guest
    }

    /// The same, but with its disks on QEMU's command line, as an operator has them. It boots through firmware and kernel: a few seconds.
    #[must_use]
    pub fn cold(agent: Agent, disks: &[Disk]) -> Self {
        Self::cold_with(agent, disks, Vec::new())
    }

    /// The same, but its firmware is in flash, beside another flash that it could keep variables in: this raw file.
    #[must_use]
    pub fn with_variables(agent: Agent, disks: &[Disk], file: &Path) -> Self {
        let code = format!("if=pflash,unit=0,format=raw,readonly=on,file={FIRMWARE}");
        let variables = format!("if=pflash,unit=1,format=raw,file={}", file.display());
        Self::cold_with(agent, disks, ["-drive".to_owned(), code, "-drive".to_owned(), variables].to_vec())
    }

    fn cold_with(agent: Agent, disks: &[Disk], mut words: Vec<String>) -> Self {
        let mut guest = Self { machine: Machine::off(disks), agent, shell: Mutex::new(None) };
        words.extend(disks.iter().enumerate().flat_map(|(slot, disk)| disk.words(slot)));
        Saved::guest().turn_on(&mut guest.machine, agent.word(), &words);
        guest.machine.look_again();
        guest.connect();
        guest.run(&format!("disks {}", disks.len()));
        guest
    }

    /// Boots it again after [`Machine::power_off`] or [`Machine::kill`], on the same disks.
    pub fn boot(&mut self) {
        let saved = Saved::guest();
        saved.turn_on(&mut self.machine, self.agent.word(), &["-S", "-incoming", "defer"].map(str::to_owned));
        saved.read_into(&self.machine);
        self.machine.plug();
        self.machine.monitor().execute("cont", json!({}));
        self.connect();
        self.run(&format!("disks {}; agent {}", self.machine.disks().len(), self.agent.word()));
    }

    /// Resets it: it boots again through firmware and kernel, and QEMU goes on. Takes a few seconds.
    pub fn reset(&self) {
        *self.locked() = None;
        self.machine.reset();
        self.connect();
    }

    fn connect(&self) {
        *self.locked() = Some(Shell::connect(&self.machine.path("test")));
    }

    fn locked(&self) -> MutexGuard<'_, Option<Shell>> {
        self.shell.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The socket of the guest agent, for the product.
    #[must_use]
    pub fn agent(&self) -> PathBuf {
        self.machine.path("agent")
    }

    /// Runs a script in the guest, to its end. Works while file systems are frozen, not while the machine is paused.
    pub fn try_run(&self, script: &str) -> Output {
        self.locked().as_mut().expect("the guest is on").run(script)
    }

    /// Runs a script in the guest that works, and returns what it prints.
    pub fn run(&self, script: &str) -> String {
        let output = self.try_run(&format!("set -euo pipefail; {script}"));
        assert_eq!(output.code, 0, "{script}: {output:?}");
        output.stdout
    }

    /// Starts a script in the guest, which goes on by itself, and returns its process number there.
    pub fn spawn(&self, script: &str) -> i64 {
        self.locked().as_mut().expect("the guest is on").start(script, false)
    }

    /// Whether the agent has file systems frozen.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        self.try_run("[ -e /run/agent/qga.state.isfrozen ]").code == 0
    }

    /// Begins to write a counter to two disks in lockstep, past every cache; see [`super::pair_number`].
    pub fn write_pairs(&self, first: &str, second: &str) {
        self.spawn(&format!("exec pair /dev/disk/{first} /dev/disk/{second} /run/pair 2>/run/pair.log"));
    }

    /// The last number that is on both disks of the pair; 0 before the first.
    #[must_use]
    pub fn pairs_written(&self) -> u64 {
        self.counter("/run/pair")
    }

    /// Begins to commit rows to a database on a disk, one by one.
    pub fn write_rows(&self, disk: &str) {
        self.spawn(&format!("exec database /mnt/{disk}/database >/run/database.log 2>&1"));
    }

    /// The number of the last row that the database has acknowledged; 0 before the first.
    #[must_use]
    pub fn rows_acknowledged(&self) -> u64 {
        self.counter("/run/acknowledged")
    }

    /// The same when the hook held the database for the last freeze. At most one more row was committed by then and not yet
    /// noted.
    #[must_use]
    pub fn rows_acknowledged_at_freeze(&self) -> u64 {
        self.counter("/run/acknowledged-at-freeze")
    }

    /// Waits until a counter has passed `number`.
    pub fn wait_past(&self, number: u64, counter: impl Fn(&Self) -> u64) {
        let begun = Instant::now();
        while counter(self) <= number {
            assert!(begun.elapsed() < PATIENCE, "the writer does not get past {number}: {:?}", self.try_run("cat /run/*.log"));
        }
    }

    /// Ends all writers, and has their bytes on the disks.
    pub fn stop_writers(&self) {
        self.run("killall -q pair database || true; while pidof pair database sqlite3 >/dev/null; do sleep 0.05; done; sync");
    }

    /// Opens the database on a disk, and tells what it found.
    #[must_use]
    pub fn database(&self, disk: &str) -> Database {
        let file = format!("/mnt/{disk}/database");
        let had_journal = self.try_run(&format!("[ -s {file}-journal ]")).code == 0;
        let ask = |sql: &str| self.run(&format!("sqlite3 {file} '{sql}'")).trim().to_owned();
        let number = |sql: &str| ask(sql).parse().expect("a count is a number");
        let integrity = ask("PRAGMA integrity_check;");
        let (rows, last) = (number("SELECT count(*) FROM row;"), number("SELECT coalesce(max(number), 0) FROM row;"));
        Database { had_journal, integrity, rows, last }
    }

    fn counter(&self, file: &str) -> u64 {
        self.try_run(&format!("cat {file}")).stdout.trim().parse().unwrap_or(0)
    }
}

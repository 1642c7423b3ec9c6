//! What is known of a plan's drill from one run to the next: a file beside its reports. It is unsigned: it says when the drill is due
//! again and whether its alarm holds, and proves nothing.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stillpoint_model::{DrillName, Error, ItemName, Result, VaultId, policy::Schedule};
use stillpoint_policy_file::DrillEntry;

use super::{
    Done,
    report::{Verdict, write_whole},
};

/// The file whose lock says that drills of plans are being done.
const LOCK: &str = "plans.lock";

/// Machines that a line names.
const NAMED_MAX: usize = 5;

/// See the module.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Notes {
    vault: VaultId,
    plan: DrillName,
    pub schedule: Vec<Schedule>,
    /// What comes due after this is still to be done.
    pub since: Timestamp,
    pub began: Option<Timestamp>,
    /// None while it is done, and of one that was killed.
    pub ended: Option<Timestamp>,
    /// Why it was not done to its end.
    pub trouble: Option<String>,
    /// How each of its machines did the last time.
    pub machines: BTreeMap<ItemName, Last>,
    /// Whether the file does not say yet from when on it is due.
    #[serde(skip)]
    pub is_new: bool,
}

/// How one machine did.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Last {
    pub ended: Timestamp,
    pub verdict: Verdict,
    /// Why it failed; empty where it did not.
    pub why: String,
    pub report: PathBuf,
}

impl Notes {
    /// What is known; none of a drill that nobody has looked at.
    pub fn read(reports: &Path, plan: &DrillName) -> Result<Option<Self>> {
        let path = file(reports, plan);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            text => text.map_err(|error| Error::from(error).context(format!("cannot read {}", path.display())))?,
        };
        let unknown =
            |error| Error::invalid(format!("{} holds no notes of a drill; remove it", path.display())).with_source(error);
        serde_json::from_str(&text).map(Some).map_err(unknown)
    }

    /// The same, or what is to be known first: what came due before somebody looked, or by another schedule, is not to be done.
    pub fn of(reports: &Path, vault: VaultId, entry: &DrillEntry, now: Timestamp) -> Result<Self> {
        let Some(mut notes) = Self::read(reports, &entry.name)? else {
            let (plan, schedule) = (entry.name.clone(), entry.schedules.clone());
            let machines = BTreeMap::new();
            let since = now;
            return Ok(Self { vault, plan, schedule, since, began: None, ended: None, trouble: None, machines, is_new: true });
        };
        if notes.vault != vault {
            return Err(Error::conflict(format!(
                "{} is about vault {}; give the reports of each vault a folder of its own",
                file(reports, &entry.name).display(),
                notes.vault
            )));
        }
        if notes.schedule != entry.schedules {
            (notes.schedule, notes.since, notes.is_new) = (entry.schedules.clone(), now, true);
        }
        // What a clock wrote that was ahead must not put it off.
        notes.since = notes.since.min(now);
        Ok(notes)
    }

    pub fn write(&self, reports: &Path) -> Result<()> {
        let text = serde_json::to_vec_pretty(self).map_err(|error| Error::internal("cannot write JSON").with_source(error))?;
        write_whole(&file(reports, &self.plan), &text)
    }

    pub fn begin(&mut self, now: Timestamp) {
        (self.began, self.ended) = (Some(now), None);
    }

    /// Of these machines alone something is to be known.
    pub fn keep(&mut self, all: &[ItemName]) {
        self.machines.retain(|name, _| all.contains(name));
    }

    pub fn add(&mut self, done: &Done) {
        let report = &done.report;
        let last = Last { ended: report.ended, verdict: report.verdict, why: report.why(), report: done.document.clone() };
        self.machines.insert(report.machine.clone(), last);
    }

    /// What came due until it began is done.
    pub fn end(&mut self, now: Timestamp, trouble: Option<String>) {
        self.since = self.began.unwrap_or(now);
        (self.ended, self.trouble) = (Some(now), trouble);
    }

    /// What it came to as a whole.
    pub fn verdict(&self) -> Verdict {
        let has_failed = |last: &Last| last.verdict == Verdict::Failed;
        match (self.trouble.is_some() || self.machines.values().any(has_failed), self.failing().is_empty()) {
            (true, _) => Verdict::Failed,
            (false, false) => Verdict::ObjectiveMissed,
            (false, true) => Verdict::Passed,
        }
    }

    /// Why it did not pass; none where it did.
    pub fn shown(&self) -> Option<String> {
        let failing = self.failing();
        if self.trouble.is_some() || failing.is_empty() {
            return self.trouble.clone();
        }
        let one = |(name, last): (&ItemName, &Last)| match last.verdict {
            Verdict::ObjectiveMissed => format!("{name} missed its objective"),
            _ => format!("{name} failed: {}", last.why),
        };
        let mut named: Vec<String> = failing.iter().take(NAMED_MAX).map(one).collect();
        if failing.len() > NAMED_MAX {
            named.push(format!("and {} more", failing.len() - NAMED_MAX));
        }
        Some(named.join("; "))
    }

    /// Machines that did not pass the last time.
    pub fn failing(&self) -> BTreeMap<ItemName, Last> {
        let failing = self.machines.iter().filter(|(_, last)| last.verdict != Verdict::Passed);
        failing.map(|(name, last)| (name.clone(), last.clone())).collect()
    }
}

fn file(reports: &Path, plan: &DrillName) -> PathBuf {
    reports.join(format!("plan-{plan}.json"))
}

/// Held by whoever does drills of plans whose reports go to this folder; `None` where another process does. A kernel gives it back.
pub fn lock(reports: &Path) -> Result<Option<File>> {
    let path = reports.join(LOCK);
    let cannot = |error: std::io::Error| Error::from(error).context(format!("cannot lock {}", path.display()));
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path).map_err(cannot)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(fs::TryLockError::WouldBlock) => Ok(None),
        Err(fs::TryLockError::Error(error)) => Err(cannot(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_known_outlives_the_process_and_another_schedule_begins_anew() {
        let folder = std::env::temp_dir().join(format!("stillpoint-notes-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let entry = |time: &str| {
            let plan = format!("[[drill]]\nname = \"d\"\nmachines = [\"m\"]\nschedule = {{ daily = \"{time}\" }}\n");
            stillpoint_policy_file::drills_from_toml(&plan).unwrap().remove(0)
        };
        let vault: VaultId = "01JQ1D5V8CWN3H2TSX0R9F4KMB".parse().unwrap();
        let of = |time: &str, now: &str| Notes::of(&folder, vault, &entry(time), at(now)).unwrap();
        let mut notes = of("03:00", "2026-06-01T00:00:00Z");
        assert_eq!(notes.since, at("2026-06-01T00:00:00Z"), "nothing is due of the time before");
        notes.begin(at("2026-06-01T03:00:00Z"));
        notes.write(&folder).unwrap();
        assert_eq!(of("03:00", "2026-06-01T04:00:00Z").since, at("2026-06-01T00:00:00Z"), "killed, it is still due");
        notes.end(at("2026-06-01T05:00:00Z"), None);
        notes.write(&folder).unwrap();
        assert_eq!(of("03:00", "2026-06-09T00:00:00Z").since, at("2026-06-01T03:00:00Z"));
        assert_eq!(of("04:00", "2026-06-09T00:00:00Z").since, at("2026-06-09T00:00:00Z"));
        assert_eq!(of("03:00", "2025-06-09T00:00:00Z").since, at("2025-06-09T00:00:00Z"), "the clock was ahead");
        let other: VaultId = "01JQ1D5V8CWN3H2TSX0R9F4KMC".parse().unwrap();
        assert!(Notes::of(&folder, other, &entry("03:00"), Timestamp::UNIX_EPOCH).is_err());
        let held = lock(&folder).unwrap();
        assert!(held.is_some() && lock(&folder).unwrap().is_none());
        drop(held);
        assert!(lock(&folder).unwrap().is_some());
        fs::remove_dir_all(folder).unwrap();
    }
}

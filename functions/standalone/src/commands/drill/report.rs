//! What a drill leaves: a signed document, and a page for people that the document vouches for.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stillpoint_format::{KeySlot, Keys, Secret, digest, open_record, peek_record, seal_record};
use stillpoint_jobs::DiskOutcome;
use stillpoint_model::{DrillName, Error, ItemName, JobId, PointId, Result, VaultId};
use stillpoint_vault::Vault;

use super::{
    checks::{Checked, Outcome},
    page,
};
use crate::input;

/// The kind of record that a report is, as its signature has it.
const KIND: &str = "drill";
/// Largest report that is read.
const REPORT_BYTES_MAX: usize = 4 << 20;

/// How a drill ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Restored, every check that could be done was passed, and in time.
    Passed,
    /// The same, but not in time.
    ObjectiveMissed,
    /// Not restored, or a check failed, or what was restored could not be removed.
    Failed,
}

impl Verdict {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::ObjectiveMissed => "objective missed",
            Self::Failed => "failed",
        }
    }
}

/// The restore of a drill.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestoreReport {
    pub outcome: Outcome,
    /// Why it failed.
    pub reason: Option<String>,
    pub job: Option<JobId>,
    /// From its request to its end.
    pub duration_ms: Option<u64>,
    pub disks: Vec<DiskOutcome>,
    /// Bytes that were written; the rest of the disks is zeros.
    pub written_bytes: u64,
    pub warnings: Vec<String>,
}

impl RestoreReport {
    /// One that came to nothing.
    pub fn failed(error: &Error) -> Self {
        Self {
            outcome: Outcome::Failed,
            reason: Some(error.one_line()),
            job: None,
            duration_ms: None,
            disks: Vec::new(),
            written_bytes: 0,
            warnings: Vec::new(),
        }
    }
}

/// How long a restore was to take.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Objective {
    pub duration_ms: u64,
    pub met: bool,
}

/// The signed document.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    pub id: String,
    pub vault: VaultId,
    /// Where the vault lies that was restored from.
    pub url: String,
    /// `primary`, `paired`, or the URL that was asked for.
    pub from: String,
    pub plan: Option<DrillName>,
    pub machine: ItemName,
    pub point: Option<PointId>,
    /// The instant that the point shows.
    pub instant: Option<Timestamp>,
    pub host: String,
    /// As the environment names the operator.
    pub operator: String,
    pub program: String,
    pub started: Timestamp,
    pub ended: Timestamp,
    pub verdict: Verdict,
    pub restore: RestoreReport,
    pub objective: Option<Objective>,
    pub checks: Vec<Checked>,
    /// Why what was restored is still there, if it is.
    pub left_behind: Option<String>,
    /// What opens the signature's key: wrapped, as in the vault.
    pub key_slots: Vec<KeySlot>,
    /// BLAKE3 of the page beside the document.
    pub page: String,
}

/// What is read of a report before its signature can be checked.
#[derive(Deserialize)]
struct Unproven {
    id: String,
    vault: VaultId,
    key_slots: Vec<KeySlot>,
}

fn name(id: &str) -> String {
    format!("drills/{id}")
}

impl Report {
    /// What it came to.
    pub fn judge(&self) -> Verdict {
        let is_failed = |checked: &Checked| checked.outcome == Outcome::Failed;
        if self.restore.outcome != Outcome::Passed || self.checks.iter().any(is_failed) || self.left_behind.is_some() {
            return Verdict::Failed;
        }
        match &self.objective {
            Some(objective) if !objective.met => Verdict::ObjectiveMissed,
            _ => Verdict::Passed,
        }
    }

    /// Why it failed.
    pub fn why(&self) -> String {
        let failed = self.checks.iter().find(|checked| checked.outcome == Outcome::Failed);
        let of_check = failed.map(|checked| format!("{}: {}", checked.check, checked.summary));
        self.restore.reason.clone().or(of_check).or_else(|| self.left_behind.clone()).unwrap_or_default()
    }

    /// Writes the page, then the document; returns where they are.
    pub fn write(&mut self, vault: &Vault, folder: &Path) -> Result<(PathBuf, PathBuf)> {
        let page = page::of(self);
        self.page = digest(page.as_bytes());
        let sealed = seal_record(&vault.keys().signature, KIND, &name(&self.id), self);
        let stem = format!("drill-{}-{}", self.started.strftime("%Y%m%dT%H%M%SZ"), self.machine);
        let mut document = folder.join(format!("{stem}.json"));
        if document.exists() {
            document = folder.join(format!("{stem}-{}.json", self.id));
        }
        let beside = page_of(&document);
        write_whole(&beside, page.as_bytes())?;
        write_whole(&document, &sealed)?;
        Ok((document, beside))
    }
}

/// The page beside a document.
fn page_of(document: &Path) -> PathBuf {
    document.with_extension("html")
}

/// A new file that is there whole or not at all.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let cannot = |error: std::io::Error| Error::from(error).context(format!("cannot write {}", path.display()));
    let partial = path.with_added_extension("partial");
    let written = File::create(&partial).and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
    written.and_then(|()| fs::rename(&partial, path)).map_err(|error| {
        drop(fs::remove_file(&partial));
        cannot(error)
    })
}

/// A report whose signature holds, and whether its page is beside it.
///
/// # Errors
/// `corrupt` where it, or the page beside it, is not what was signed; `denied` where the key is another; as reading the key.
pub fn open(document: &Path, key: impl FnOnce(VaultId) -> Result<Secret>) -> Result<(Report, bool)> {
    let text = input::text(document, REPORT_BYTES_MAX)?;
    let context = |error: stillpoint_format::Error| Error::from(error).context(input::shown(document));
    let Unproven { id, vault, key_slots } = peek_record(KIND, text.as_bytes()).map_err(context)?;
    let secret = key(vault)?;
    let master = key_slots.iter().find_map(|slot| slot.unwrap_with(vault, &secret).ok());
    let opens_none = || Error::denied(format!("{}: the key opens none of its key slots", input::shown(document)));
    let keys = Keys::derive(vault, &master.ok_or_else(opens_none)?);
    let report: Report = open_record(&keys.signature, KIND, &name(&id), text.as_bytes()).map_err(context)?;
    let beside = page_of(document);
    match fs::read(&beside) {
        Ok(page) if digest(&page) == report.page => Ok((report, true)),
        Ok(_) => Err(Error::corrupt(format!("{} is not the page of this report: it was changed", beside.display()))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok((report, false)),
        Err(error) => Err(Error::from(error).context(format!("cannot read {}", beside.display()))),
    }
}

//! What is looked at in restored disks. A new kind of check is a name in `DrillCheck`, a file here, and an arm of [`one`].

pub mod boot;
mod extents;
mod fsck;
mod manifest;
mod partitions;
mod script;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use stillpoint_model::{DiskName, Error, ErrorKind, ItemName, Result};
use stillpoint_policy_file::{BootEntry, DrillCheck};
use stillpoint_vault::{Point, Vault};
use tokio::runtime::Handle;

/// Most lines that one check says.
const DETAILS_MAX: usize = 100;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    Passed,
    Failed,
    /// There was nothing to check, or nothing to check it with.
    Skipped,
}

impl Outcome {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

/// What a check found.
pub struct Finding {
    pub outcome: Outcome,
    /// One line.
    pub summary: String,
    /// More lines.
    pub details: Vec<String>,
    /// How long a machine took to boot.
    pub boot_ms: Option<u64>,
}

impl Finding {
    fn new(outcome: Outcome, summary: impl Into<String>) -> Self {
        Self { outcome, summary: summary.into(), details: Vec::new(), boot_ms: None }
    }
}

/// A check, as reports have it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checked {
    pub check: String,
    pub outcome: Outcome,
    pub summary: String,
    pub details: Vec<String>,
    pub duration_ms: u64,
    /// How long the machine took to boot, where that was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_ms: Option<u64>,
}

/// The operator's own check.
#[derive(Debug, Clone)]
pub struct Script {
    pub path: PathBuf,
    pub timeout: Duration,
}

/// What was restored, for threads that block.
pub struct Restored {
    pub vault: Vault,
    pub handle: Handle,
    pub machine: ItemName,
    pub point: Point,
    /// Where disks are, and where checks may write.
    pub folder: PathBuf,
    pub disks: Vec<(DiskName, PathBuf)>,
    pub script: Option<Script>,
    pub boot: Option<BootEntry>,
    pub stopped: Arc<AtomicBool>,
}

impl Restored {
    /// # Errors
    /// `fenced` when the operator has given up.
    fn go_on(&self) -> Result<()> {
        if self.stopped.load(Ordering::Relaxed) { Err(Error::fenced("interrupted by the operator")) } else { Ok(()) }
    }
}

/// Does these checks. One that cannot be done has failed, as a restore that nobody can vouch for. Blocks.
///
/// # Errors
/// `fenced` when the operator has given up.
pub fn all(restored: &Restored, checks: &[DrillCheck]) -> Result<Vec<Checked>> {
    let mut all = Vec::with_capacity(checks.len());
    for check in checks {
        let began = Instant::now();
        let found = match one(restored, *check) {
            Err(error) if error.kind() == ErrorKind::Fenced => return Err(error),
            found => found.unwrap_or_else(|error| Finding::new(Outcome::Failed, error.one_line())),
        };
        let Finding { outcome, summary, mut details, boot_ms } = found;
        details.truncate(DETAILS_MAX);
        let duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        all.push(Checked { check: check.as_str().to_owned(), outcome, summary, details, duration_ms, boot_ms });
    }
    Ok(all)
}

fn one(restored: &Restored, check: DrillCheck) -> Result<Finding> {
    match check {
        DrillCheck::Manifest => manifest::check(restored),
        DrillCheck::Partitions => partitions::check(restored),
        DrillCheck::Fsck => fsck::check(restored),
        DrillCheck::Boot => boot::check(restored),
        DrillCheck::Script => script::check(restored),
    }
}

/// The checks of a restore that failed.
pub fn none(checks: &[DrillCheck]) -> Vec<Checked> {
    let skipped = |check: &DrillCheck| Checked {
        check: check.as_str().to_owned(),
        outcome: Outcome::Skipped,
        summary: "nothing was restored".to_owned(),
        details: Vec::new(),
        duration_ms: 0,
        boot_ms: None,
    };
    checks.iter().map(skipped).collect()
}

//! Snapshots of a machine that are kept for instant restore, as commands see them.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use stillpoint_jobs::{Engine, KeptSnapshot};
use stillpoint_model::{Error, ErrorKind, ItemName, JobId, PointId, Result};

use super::kept;
use crate::output;

/// A machine's kept snapshots whose time is not over, by the points that they are restored as.
#[derive(Default)]
pub struct Snapshots {
    pub kept: BTreeMap<PointId, KeptSnapshot>,
    /// Records that cannot be read, and why.
    pub damaged: Vec<(JobId, Error)>,
}

impl Snapshots {
    /// Those of one machine. A listing, and a small object for each.
    pub async fn of(engine: &Engine, name: &ItemName) -> Result<Self> {
        let now = engine.vault().clock().now();
        let mut snapshots = Self::default();
        for listing in engine.kept_snapshots_of(name).await?.into_iter().filter(|kept| !kept.is_over(now)) {
            match engine.read_kept(&listing).await {
                Ok(kept) => drop(snapshots.kept.insert(kept.point, kept)),
                Err(error) if error.kind() == ErrorKind::Unavailable => return Err(error),
                Err(error) => snapshots.damaged.push((listing.job, error)),
            }
        }
        Ok(snapshots)
    }
}

/// Where a point is that is in the vault.
pub const fn tier(snapshot: Option<&KeptSnapshot>) -> &'static str {
    if snapshot.is_some() { "snapshot+vault" } else { "vault" }
}

/// Until when, and where, the snapshot of a point is kept, on screen.
pub fn until(snapshot: Option<&KeptSnapshot>) -> String {
    snapshot.map(|kept| format!("{} at {}", kept::instant(kept.until), kept.host)).unwrap_or_default()
}

/// The same for `--json`.
pub fn fields(snapshot: Option<&KeptSnapshot>) -> [(&'static str, Value); 2] {
    [("snapshot_until", json!(snapshot.map(|kept| kept.until))), ("snapshot_host", json!(snapshot.map(|kept| &kept.host)))]
}

/// The cells of a point that is in its snapshot only.
pub fn cells(kept: &KeptSnapshot) -> Vec<String> {
    vec![
        kept.point.to_string(),
        kept::instant(kept.instant),
        kept.consistency.obtained.to_string(),
        "snapshot".to_owned(),
        until(Some(kept)),
        output::bytes(kept.size_bytes()),
        String::new(),
        String::new(),
        kept::day(Some(kept.until)),
        "its snapshot is kept".to_owned(),
        String::new(),
        "not in the vault".to_owned(),
    ]
}

/// The same for `--json`.
pub fn document(snapshot: &KeptSnapshot) -> Value {
    json!({
        "id": snapshot.point,
        "time": snapshot.instant,
        "tier": "snapshot",
        "snapshot_until": snapshot.until,
        "snapshot_host": snapshot.host,
        "consistency": snapshot.consistency,
        "size_bytes": snapshot.size_bytes(),
        "job": snapshot.job,
        "disks": snapshot.disks,
        "keep_until": snapshot.until,
        "state": "snapshot",
    })
}

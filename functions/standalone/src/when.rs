//! Which recovery point is meant.

use jiff::Timestamp;
use stillpoint_jobs::{Engine, KeptSnapshot};
use stillpoint_model::{ErrorKind, ItemName, PointId, Result};
pub use stillpoint_restore::resolve;
use stillpoint_restore::{SKEW, parse_time};
use stillpoint_vault::Point;

use crate::commands::instant::Snapshots;

/// Where a wanted point is.
pub enum Found {
    /// In the vault.
    Vault(Box<Point>),
    /// In a kept snapshot only.
    Snapshot(Box<KeptSnapshot>),
}

/// The point that is wanted, as [`resolve`], also if only its snapshot is there: of `latest` and a time the newer one of both kinds. A
/// point of the vault is restored from there, whether or not its snapshot is kept, too.
pub async fn find(engine: &Engine, item: &ItemName, wanted: &str) -> Result<Found> {
    // Snapshots first: one whose point is committed meanwhile is found in the vault.
    let mut kept = Snapshots::of(engine, item).await?.kept;
    let vault = engine.vault();
    let in_vault = resolve(vault, item, wanted).await;
    let best = if let Ok(id) = wanted.parse::<PointId>() {
        kept.remove(&id)
    } else if kept.is_empty() {
        None
    } else {
        for entry in vault.point_entries(item).await? {
            kept.remove(&entry.id);
        }
        let time = if wanted == "latest" {
            vault.clock().now().checked_add(SKEW).unwrap_or(Timestamp::MAX)
        } else {
            parse_time(wanted)?
        };
        kept.into_values().filter(|kept| kept.instant <= time).max_by_key(|kept| kept.instant)
    };
    match (in_vault, best) {
        (Ok(point), Some(kept)) if kept.instant > point.instant => Ok(Found::Snapshot(Box::new(kept))),
        (Err(error), Some(kept)) if matches!(error.kind(), ErrorKind::Missing | ErrorKind::Corrupt) => {
            Ok(Found::Snapshot(Box::new(kept)))
        }
        (in_vault, _) => in_vault.map(Box::new).map(Found::Vault),
    }
}

use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::{Span, Timestamp, tz::TimeZone};
use stillpoint_fleet::{Fleet, Keeping, Kept};
use stillpoint_model::{
    Error, ErrorKind, ItemName, MarkKind, Result,
    policy::{Act, Clock},
};
use stillpoint_vault::{Mark, PointEntry, Vault};

/// Times a machine's points are judged anew because somebody marked one at the same moment.
const LOOKS: u32 = 5;
/// Tombstones written at once.
const IN_FLIGHT: usize = 16;

/// Deletes softly what retention lets go of a machine's points. Returns what becomes of them all, and how many tombstones were
/// written.
///
/// # Errors
/// `unavailable` when others keep marking its points; as the store.
pub(crate) async fn bury(
    vault: &Vault,
    fleet: &Fleet,
    name: &ItemName,
    mut entries: Vec<PointEntry>,
    clock: &Clock,
) -> Result<(Keeping, u64)> {
    let undelete_days = fleet.settings.undelete_days;
    let mut buried = 0;
    for _ in 0..LOOKS {
        let keeping = fleet.keeping(vault, name, entries, clock).await?;
        let over = |kept: &Kept| {
            (kept.verdict.act == Act::Prune).then(|| (kept.entry.clone(), tombstone(kept, vault.clock().now(), undelete_days)))
        };
        let tombstones: Vec<(PointEntry, Mark)> = keeping.points.iter().filter_map(over).collect();
        let write = |(entry, mark): (PointEntry, Mark)| async move { bury_one(vault, name, &entry, &mark).await };
        let written: Vec<bool> = stream::iter(tombstones.into_iter().map(write)).buffered(IN_FLIGHT).try_collect().await?;
        buried += written.iter().filter(|written| **written).count() as u64;
        if written.iter().all(|written| *written) {
            return Ok((keeping, buried));
        }
        // What somebody else has marked may change what becomes of all.
        entries = vault.point_entries(name).await?;
    }
    Err(Error::unavailable(format!("others keep marking the points of {name}")))
}

/// Writes a tombstone; whether nobody else has marked the point meanwhile.
async fn bury_one(vault: &Vault, name: &ItemName, entry: &PointEntry, tombstone: &Mark) -> Result<bool> {
    match vault.mark(name, entry, tombstone).await {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::Conflict => Ok(false),
        Err(error) => Err(error),
    }
}

fn tombstone(kept: &Kept, now: Timestamp, undelete_days: u32) -> Mark {
    let span = Span::new().try_days(i64::from(undelete_days)).unwrap_or_default();
    let until = now.to_zoned(TimeZone::UTC).checked_add(span).map_or(Timestamp::MAX, |until| until.timestamp());
    Mark {
        until: Some(until),
        reasons: kept.verdict.reasons.clone(),
        ..Mark::new(MarkKind::Deleted, now, "prune", kept.verdict.why())
    }
}

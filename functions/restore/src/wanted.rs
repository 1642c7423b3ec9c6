//! Which recovery point of the vault is meant.

use jiff::{SignedDuration, Timestamp, civil::DateTime, tz::TimeZone};
use stillpoint_model::{Error, ItemName, PointId, Result};
use stillpoint_vault::{Point, PointEntry, Protection, Vault};

/// How far the clocks of hosts may differ. A point that is from further in the future was made while some clock was wrong, and is
/// not the latest as long as there are others.
pub const SKEW: SignedDuration = SignedDuration::from_hours(1);

/// `latest`, an id, or the newest point at or before a time (RFC 3339, or local such as `2026-03-29 02:30`). A time and `latest`
/// mean points that are neither deleted nor known to be damaged.
///
/// # Errors
/// `missing`, `invalid`, `corrupt`, with what to do; as the store.
pub async fn resolve(vault: &Vault, item: &ItemName, wanted: &str) -> Result<Point> {
    let entries: Vec<PointEntry> = vault.point_entries(item).await?.into_iter().filter(PointEntry::is_point).collect();
    let until = deleted_until(vault, item).await?;
    if let Ok(id) = wanted.parse::<PointId>() {
        let entry = entries.iter().find(|entry| entry.id == id);
        let missing = || Error::missing(format!("machine {item} has no recovery point {id}; see `stillpoint points {item}`"));
        refuse_deleted(item, entry.ok_or_else(missing)?, until)?;
        return vault.point(item, id).await;
    }
    let time = if wanted == "latest" { None } else { Some(parse_time(wanted)?) };
    let (live, deleted): (Vec<_>, Vec<_>) = entries.into_iter().partition(|entry| until.is_none() && entry.deleted().is_none());
    let (damaged, good): (Vec<_>, Vec<_>) = live.into_iter().partition(|entry| entry.damaged().is_some());
    let Some(latest) = latest(vault, &good) else { return Err(nothing_good(item, &damaged, &deleted, until)) };
    match time {
        None => vault.point(item, latest).await,
        Some(time) => {
            let mut points: Vec<Point> =
                vault.read_points(item, good).await.into_iter().filter_map(|listing| listing.point.ok()).collect();
            points.retain(|point| point.instant <= time);
            let newest = points.into_iter().max_by_key(|point| point.instant);
            newest.ok_or_else(|| Error::missing(format!("machine {item} has no good recovery point at or before {time}")))
        }
    }
}

/// Until when a machine that is deleted can be undeleted.
async fn deleted_until(vault: &Vault, item: &ItemName) -> Result<Option<Timestamp>> {
    match vault.newest_item(item).await? {
        Some((_, Ok(item))) => match item.protection {
            Protection::Deleted { until, .. } => Ok(Some(until)),
            Protection::Active | Protection::Retained { .. } => Ok(None),
        },
        // Points can be read without the machine's record.
        _ => Ok(None),
    }
}

fn refuse_deleted(item: &ItemName, entry: &PointEntry, until: Option<Timestamp>) -> Result<()> {
    let id = entry.id;
    match (until, entry.deleted()) {
        (Some(until), _) => Err(deleted_machine(item, until)),
        (None, Some(_)) => Err(Error::invalid(format!(
            "point {id} of {item} is deleted; `stillpoint point undelete {item} {id}` brings it back"
        ))),
        (None, None) => Ok(()),
    }
}

fn deleted_machine(item: &ItemName, until: Timestamp) -> Error {
    Error::invalid(format!(
        "machine {item} is deleted, with its points; `stillpoint machine undelete {item}` brings both back until {until:.0}"
    ))
}

/// Why no point can be chosen.
fn nothing_good(item: &ItemName, damaged: &[PointEntry], deleted: &[PointEntry], until: Option<Timestamp>) -> Error {
    match (damaged.last(), deleted.last(), until) {
        (Some(entry), ..) => Error::corrupt(format!(
            "machine {item} has damaged recovery points only; name the newest, {}, to take what can be read of it, or see `stillpoint vault check`",
            entry.id
        )),
        (None, Some(_), Some(until)) => deleted_machine(item, until),
        (None, Some(_), None) => Error::missing(format!(
            "all recovery points of {item} are deleted; see `stillpoint points {item} --all` and `stillpoint point undelete`"
        )),
        (None, None, _) => {
            Error::missing(format!("machine {item} has no recovery point; make one with `stillpoint backup {item}`"))
        }
    }
}

/// The newest of some points.
fn latest(vault: &Vault, good: &[PointEntry]) -> Option<PointId> {
    let horizon = vault.clock().now().checked_add(SKEW).unwrap_or(Timestamp::MAX).as_millisecond();
    let is_past = |entry: &&PointEntry| i64::try_from(entry.id.timestamp_ms()).is_ok_and(|made| made <= horizon);
    good.iter().rev().find(is_past).or(good.last()).map(|entry| entry.id)
}

/// A time as operators write it.
///
/// # Errors
/// `invalid`.
pub fn parse_time(text: &str) -> Result<Timestamp> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    let local = text.parse::<DateTime>().ok().and_then(|time| time.to_zoned(TimeZone::system()).ok());
    let unknown = || {
        Error::invalid(format!(
            "'{}' is no recovery point: give latest, an id, or a time such as 2026-03-29T02:30:00Z",
            text.escape_debug()
        ))
    };
    local.map(|zoned| zoned.timestamp()).ok_or_else(unknown)
}

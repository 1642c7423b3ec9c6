//! Which recovery point is meant.

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use stillpoint_model::{Error, ItemName, PointId, Result};
use stillpoint_vault::{Point, Vault};

/// `latest`, an id, or the newest point at or before a time (RFC 3339, or local such as `2026-03-29 02:30`).
pub async fn resolve(vault: &Vault, item: &ItemName, wanted: &str) -> Result<Point> {
    let none = || Error::missing(format!("machine {item} has no recovery point; make one with `stillpoint backup {item}`"));
    let ids = vault.point_ids(item).await?;
    if let Ok(id) = wanted.parse::<PointId>() {
        if !ids.contains(&id) {
            return Err(Error::missing(format!("machine {item} has no recovery point {id}; see `stillpoint points {item}`")));
        }
        return vault.point(item, id).await;
    }
    if wanted == "latest" {
        return vault.point(item, *ids.last().ok_or_else(none)?).await;
    }
    let time = parse(wanted)?;
    if ids.is_empty() {
        return Err(none());
    }
    let mut points: Vec<Point> = vault.points(item).await?.into_iter().filter_map(|listing| listing.point.ok()).collect();
    points.retain(|point| point.instant <= time);
    let newest = points.into_iter().max_by_key(|point| point.instant);
    newest.ok_or_else(|| Error::missing(format!("machine {item} has no readable recovery point at or before {time}")))
}

fn parse(text: &str) -> Result<Timestamp> {
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

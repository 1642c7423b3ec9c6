//! Machines that are protected no more, and again.

use std::process::ExitCode;

use jiff::Timestamp;
use serde_json::json;
use stillpoint_fleet::{Fleet, Kept};
use stillpoint_model::{
    Error, Immutability, ItemName, Result,
    policy::{Clock, Rule},
};
use stillpoint_vault::{Item, Protection};

use super::{
    kept::{self, Outlook, fleet_of},
    point::days_later,
};
use crate::{args::Stop, output, session::Session};

/// Ends the protection of a machine; its points stay, or are deleted softly with it.
pub async fn stop(session: &Session, wanted: Stop) -> Result<ExitCode> {
    let (newest, item) = read(session, &wanted.name).await?;
    let fleet = fleet_of(session, &wanted.name).await?;
    let since = session.vault.clock().now();
    let protection = match (&item.protection, wanted.delete) {
        (Protection::Retained { .. }, false) | (Protection::Deleted { .. }, true) => return report(session, &item, false),
        (_, false) => Protection::Retained { since },
        (_, true) => {
            let days = wanted.days.unwrap_or(fleet.settings.undelete_days);
            Protection::Deleted { since, until: days_later(since, days) }
        }
    };
    let changed = Item { protection, written: since, ..item };
    if wanted.delete {
        refuse_deletion(session, &fleet, &wanted.name).await?;
    } else {
        fleet.refuse_shortening(&session.vault, &fleet.with_item(&changed)).await?;
    }
    session.vault.write_item_after(&changed, newest).await?;
    report(session, &changed, true)
}

/// Protects a machine again that was stopped, either way.
pub async fn undelete(session: &Session, name: &ItemName) -> Result<ExitCode> {
    let (newest, item) = read(session, name).await?;
    let changed = Item { protection: Protection::Active, written: session.vault.clock().now(), ..item.clone() };
    match item.protection {
        Protection::Active => return report(session, &item, false),
        Protection::Retained { .. } => {
            let fleet = fleet_of(session, name).await?;
            fleet.refuse_shortening(&session.vault, &fleet.with_item(&changed)).await?;
        }
        // What a deletion leaves to its points is no promise that taking it back could break.
        Protection::Deleted { .. } => {}
    }
    session.vault.write_item_after(&changed, newest).await?;
    let ids = session.vault.point_ids(name).await?;
    kept::unless_condemned(&session.vault, name, &ids).await?;
    report(session, &changed, true)
}

async fn read(session: &Session, name: &ItemName) -> Result<(u32, Item)> {
    let missing = || Error::missing(format!("there is no machine {name} in this vault; see `stillpoint machine list`"));
    let (newest, item) = session.vault.newest_item(name).await?.ok_or_else(missing)?;
    Ok((newest, item?))
}

/// An immutable vault lets a machine go only when the time of all its points is up.
async fn refuse_deletion(session: &Session, fleet: &Fleet, name: &ItemName) -> Result<()> {
    let immutability = fleet.settings.immutability;
    if immutability == Immutability::Off {
        return Ok(());
    }
    let Outlook { clock, keeping, .. } = Outlook::of(session, name).await?;
    let kept = keeping.points.iter().filter(|kept| !is_over(kept, &clock)).collect::<Vec<_>>();
    let Some(first) = kept.first() else { return Ok(()) };
    let doubt = clock.doubt().map(|doubt| format!("; {doubt}")).unwrap_or_default();
    Err(Error::denied(format!(
        "the vault is immutable ({immutability}): {} points of {name} are kept for longer, the first of them {} ({}){doubt}; --retain keeps them all",
        kept.len(),
        first.point.id,
        first.verdict.why()
    )))
}

/// Whether a point's time is up. That it is the newest good one keeps it from going by itself, and is no promise for all time.
fn is_over(kept: &Kept, clock: &Clock) -> bool {
    let mut promises = kept.verdict.reasons.iter().filter(|reason| !matches!(reason.rule, Rule::NewestGood | Rule::Deleted));
    clock.doubt().is_none() && promises.all(|reason| reason.until.is_some_and(|until| until <= clock.now()))
}

fn report(session: &Session, item: &Item, changed: bool) -> Result<ExitCode> {
    let name = &item.name;
    let (protection, until) = match item.protection {
        Protection::Active => ("active", None),
        Protection::Retained { .. } => ("retained", None),
        Protection::Deleted { until, .. } => ("deleted", Some(until)),
    };
    if session.global.json {
        output::json(&json!({ "machine": name, "protection": protection, "deleted_until": until, "changed": changed }))?;
    } else {
        let already = if changed { "" } else { " already" };
        let then = match protection {
            "active" => "is protected".to_owned(),
            "retained" => {
                format!("is stopped{already}; its points are retained; `stillpoint machine undelete {name}` protects it again")
            }
            _ => format!(
                "is deleted{already}, with its points; `stillpoint machine undelete {name}` brings both back until {}",
                until.map(|until: Timestamp| format!("{until:.0}")).unwrap_or_default()
            ),
        };
        output::line(&format!("machine {name} {then}"));
    }
    Ok(ExitCode::SUCCESS)
}

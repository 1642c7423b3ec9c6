//! What becomes of a machine's recovery points, as the next prune sees it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};
use stillpoint_fleet::{Fleet, Keeping, Kept};
use stillpoint_model::{
    Error, ItemName, PointId, Result,
    policy::{Act, Clock, Rule},
};
use stillpoint_vault::Vault;

use crate::session::Session;

/// A machine's points and what they are judged by.
pub struct Outlook {
    pub fleet: Fleet,
    pub clock: Clock,
    pub keeping: Keeping,
}

impl Outlook {
    /// Judges a machine's points as `prune` would now.
    ///
    /// # Errors
    /// `missing` when there is neither such a machine nor a point of it; as the store.
    pub async fn of(session: &Session, name: &ItemName) -> Result<Self> {
        let vault = &session.vault;
        let fleet = fleet_of(session, name).await?;
        let entries = vault.point_entries(name).await?;
        if entries.is_empty() {
            // Tells a machine without points from a name that was mistyped.
            vault.item(name).await?;
        }
        let clock = Clock::confirmed(vault.clock().now());
        let keeping = fleet.keeping(vault, name, entries.clone(), &clock).await?;
        let is_over = |kept: &Kept| matches!(kept.verdict.act, Act::Prune | Act::Free);
        if !keeping.points.iter().any(is_over) {
            return Ok(Self { fleet, clock, keeping });
        }
        // Only where some point's time is up does it matter whether the clock is believed, which takes all machines' points.
        let clock = fleet.clock(clock.now(), &vault.all_point_entries().await?);
        let keeping = fleet.keeping(vault, name, entries, &clock).await?;
        Ok(Self { fleet, clock, keeping })
    }

    /// A point that can be read.
    pub fn point(&self, id: PointId) -> Option<&Kept> {
        self.keeping.points.iter().find(|kept| kept.point.id == id)
    }
}

/// The vault's rules and one machine: what is asked of it alone costs no look at the others.
///
/// # Errors
/// As the store.
pub async fn fleet_of(session: &Session, name: &ItemName) -> Result<Fleet> {
    let mut rules = Fleet::of_policies(&session.vault).await?;
    rules.settings = session.vault.settings().await?;
    Ok(match session.vault.newest_item(name).await? {
        Some((_, Ok(item))) => rules.with_item(&item),
        _ => rules,
    })
}

/// Until when a deleted point, or one of a deleted machine, can be undeleted.
pub fn deleted_until(kept: &Kept) -> Option<Timestamp> {
    kept.verdict.reasons.iter().find(|reason| reason.rule == Rule::Deleted)?.until
}

/// What a point is kept by, for `--json`.
pub fn lasting(kept: &Kept) -> BTreeMap<&'static str, Value> {
    let verdict = &kept.verdict;
    BTreeMap::from([
        ("keep_until", json!(verdict.keep_until)),
        ("reasons", json!(verdict.reasons)),
        ("why", json!(verdict.why())),
        ("on_demand_until", json!(kept.point.keep_until)),
        ("deleted_until", json!(deleted_until(kept))),
        ("held", json!(kept.entry.held().is_some())),
        ("damaged", json!(kept.entry.damaged().is_some())),
        ("state", json!(if deleted_until(kept).is_some() { "deleted" } else { "committed" })),
    ])
}

/// What else there is to say of a point on screen.
pub fn state(kept: &Kept) -> String {
    let deleted = deleted_until(kept).map(|until| format!("deleted until {}", day(Some(until))));
    let held = kept.entry.held().map(|_| "held".to_owned());
    let damaged = kept.entry.damaged().map(|_| "damaged".to_owned());
    [deleted, held, damaged].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// A day on screen; what has no end is open.
pub fn day(until: Option<Timestamp>) -> String {
    until.map_or_else(|| "open".to_owned(), |until| until.strftime("%Y-%m-%d").to_string())
}

/// An instant on screen.
pub fn instant(instant: Timestamp) -> String {
    instant.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Refuses to be sure of points that `collect` has condemned. Asked after the record that is to save them was written: then either
/// this sees them condemned, or `collect` sees the record.
///
/// # Errors
/// `conflict` when one of them is condemned; as the store.
pub async fn unless_condemned(vault: &Vault, name: &ItemName, ids: &[PointId]) -> Result<()> {
    let condemned = vault.condemned().await?.points;
    let lost: Vec<&PointId> = ids.iter().filter(|id| condemned.contains(&(name.clone(), **id))).collect();
    match lost.first() {
        None => Ok(()),
        Some(first) => Err(Error::conflict(format!(
            "it is on record, but may be too late for {} points of {name} that are being freed, the first of them {first}; look again with `stillpoint points {name} --all` after the next collect",
            lost.len()
        ))),
    }
}

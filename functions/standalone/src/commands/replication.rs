//! How far a replica is: what `points` and `vault info` say of it.

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;
use serde::Serialize;
use stillpoint_jobs::Engine;
use stillpoint_model::{Error, ItemName, PointId, Result};
use stillpoint_vault::{Pair, Pairing, PointEntry, Role};

use crate::session::Session;

/// The newest copying is looked for among the jobs of so much time.
const LOOKED_BACK: Duration = Duration::from_secs(2 * 86_400);

/// Where the copies of a machine's points are.
pub struct Replication {
    missing: BTreeSet<PointId>,
    /// Those of them that the newest copying could not copy.
    failed: BTreeSet<PointId>,
    under_way: bool,
    target: jiff::SignedDuration,
    now: Timestamp,
    /// Why nobody knows.
    pub unknown: Option<Error>,
}

impl Replication {
    /// Looks, where the vault has a replica.
    ///
    /// # Errors
    /// As the vault; where the replica does not answer, its points' places are unknown.
    pub async fn look(session: &Session, name: &ItemName) -> Result<Option<Self>> {
        let pairing = session.vault.pairing().await?.filter(|pairing| pairing.role == Role::Primary);
        let Some(pairing) = pairing else { return Ok(None) };
        let target = jiff::SignedDuration::from_secs(i64::from(pairing.target_seconds));
        let now = session.vault.clock().now();
        let mut found = Self { missing: BTreeSet::new(), failed: BTreeSet::new(), under_way: false, target, now, unknown: None };
        if let Err(error) = found.find(session, name, &pairing).await {
            found.unknown = Some(error);
        }
        Ok(Some(found))
    }

    async fn find(&mut self, session: &Session, name: &ItemName, pairing: &Pairing) -> Result<()> {
        let pair = Pair::joined(&session.vault, pairing, &*session.regions()).await?;
        let both = pair.both(Some(name)).await?;
        let entries = both.primary.get(name).into_iter().flatten();
        let is_there = |id| both.in_replica(name, id).is_some_and(PointEntry::is_point);
        self.missing = entries.map(|entry| entry.id).filter(|id| !is_there(*id)).collect();
        let engine = Engine::new(pair.replica);
        for id in engine.unfinished().await? {
            self.under_way |= engine.job(id).await.is_ok_and(|job| job.request.what.copies(name));
        }
        if !self.missing.is_empty() {
            let warnings = newest_warnings(&engine, name, self.now).await?;
            let says = |id: &PointId| warnings.iter().any(|warning| warning.contains(&id.to_string()));
            self.failed = self.missing.iter().copied().filter(says).collect();
        }
        Ok(())
    }

    /// One word.
    pub fn state(&self, point: PointId) -> &'static str {
        let made = i64::try_from(point.timestamp_ms()).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
        let is_late = made.is_some_and(|made| self.now.duration_since(made) > self.target);
        match (self.unknown.is_some(), self.missing.contains(&point)) {
            (true, _) => "unknown",
            (_, false) => "replicated",
            _ if self.under_way => "replicating",
            _ if self.failed.contains(&point) => "failed",
            _ if is_late => "lagging",
            _ => "pending",
        }
    }
}

/// Warnings of the newest job that copied the machine's points and has ended.
async fn newest_warnings(engine: &Engine, name: &ItemName, now: Timestamp) -> Result<Vec<String>> {
    for listing in engine.jobs_from(now - LOOKED_BACK).await?.iter().rev() {
        let Ok(job) = engine.job(listing.id).await else { continue };
        if job.request.what.copies(name) && job.state().is_end() {
            return Ok(job.newest.outcome.map(|outcome| outcome.warnings).unwrap_or_default());
        }
    }
    Ok(Vec::new())
}

/// A machine's points in the other region.
#[derive(Debug, Serialize)]
pub struct ItemLag {
    item: ItemName,
    /// The newest point that is there.
    newest: Option<PointId>,
    /// From that to now; none without such a point.
    lag_seconds: Option<i64>,
    /// Newer points, which are not there.
    behind: usize,
}

/// All machines' points in the other region.
#[derive(Debug, Serialize)]
pub struct Lag {
    /// How old a point may become before it is there.
    target_seconds: u32,
    items: Vec<ItemLag>,
    /// Why nobody knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    unknown: Option<String>,
}

impl Lag {
    /// Looks, where the vault has a replica.
    ///
    /// # Errors
    /// As the vault.
    pub async fn look(session: &Session) -> Result<Option<Self>> {
        let pairing = session.vault.pairing().await?.filter(|pairing| pairing.role == Role::Primary);
        let Some(pairing) = pairing else { return Ok(None) };
        let (items, unknown) = match items(session, &pairing).await {
            Ok(items) => (items, None),
            Err(error) => (Vec::new(), Some(error.one_line())),
        };
        Ok(Some(Self { target_seconds: pairing.target_seconds, items, unknown }))
    }

    /// One line.
    pub fn line(&self) -> String {
        if let Some(unknown) = &self.unknown {
            return format!("the replica does not answer: {unknown}");
        }
        let behind: Vec<&ItemLag> = self.items.iter().filter(|item| item.behind > 0).collect();
        match behind.iter().max_by_key(|item| item.lag_seconds.unwrap_or(i64::MAX)) {
            None => format!("{} machines, none behind", self.items.len()),
            Some(most) => {
                let seconds = most.lag_seconds.map_or_else(|| "nothing there yet".to_owned(), |lag| format!("{lag} s"));
                format!("{} machines, {} behind, most of all {} ({seconds})", self.items.len(), behind.len(), most.item)
            }
        }
    }
}

async fn items(session: &Session, pairing: &Pairing) -> Result<Vec<ItemLag>> {
    let both = Pair::joined(&session.vault, pairing, &*session.regions()).await?.both(None).await?;
    let now = session.vault.clock().now();
    let missing: BTreeSet<(ItemName, PointId)> = both.missing().into_iter().collect();
    let lag = |(item, entries): (&ItemName, &Vec<PointEntry>)| {
        let is_there = |id: PointId| both.in_replica(item, id).is_some_and(PointEntry::is_point);
        let newest = entries.iter().map(|entry| entry.id).filter(|id| is_there(*id)).max();
        let behind = entries.iter().filter(|entry| Some(entry.id) > newest && missing.contains(&(item.clone(), entry.id)));
        let made = newest.and_then(|id| Timestamp::from_millisecond(i64::try_from(id.timestamp_ms()).ok()?).ok());
        ItemLag {
            item: item.clone(),
            newest,
            lag_seconds: made.map(|made| now.duration_since(made).as_secs()),
            behind: behind.count(),
        }
    };
    Ok(both.primary.iter().map(lag).collect())
}

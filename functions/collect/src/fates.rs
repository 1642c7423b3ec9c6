use std::collections::{BTreeSet, HashMap};

use stillpoint_fleet::{Fleet, Keeping};
use stillpoint_model::{
    ErrorKind, ItemName, MarkKind, PointId, Result,
    policy::{Act, Clock},
};
use stillpoint_vault::{PointEntry, Protection, Vault};

use crate::{look::Look, records::Records};

/// What becomes of points in this run.
#[derive(Default)]
pub(crate) struct Fates {
    /// Condemned before, and nobody is left who might need them: freed now.
    pub(crate) free: Vec<(ItemName, PointEntry)>,
    going: BTreeSet<(ItemName, PointId)>,
    /// Condemned now.
    pub(crate) condemn: BTreeSet<(ItemName, PointId)>,
    /// Condemned, and their machine is protected again: a mark says so.
    pub(crate) revive: Vec<(ItemName, PointEntry)>,
    /// Condemned, and held or undeleted meanwhile.
    pub(crate) reprieved: u64,
    /// Condemned earlier or now: what they alone need may be condemned too.
    pub(crate) condemned: BTreeSet<(ItemName, PointId)>,
}

impl Fates {
    /// Judges all points whose time may be over. Reads two objects for each that is deleted and can still be undeleted, none of others.
    pub(crate) async fn judge(
        vault: &Vault,
        fleet: &Fleet,
        clock: &Clock,
        look: &Look,
        records: &Records,
        condemn_max: usize,
    ) -> Result<Self> {
        let before = records.condemned_points(&look.jobs);
        let mut fates = Self::default();
        for (item, entries) in &look.entries {
            let points: Vec<&PointEntry> = entries.iter().filter(|entry| look.is_point(item, entry)).collect();
            let is_deleted = is_machine_deleted(fleet, item);
            let judged = points.iter().filter(|entry| is_deleted || entry.deleted().is_some()).map(|entry| (*entry).clone());
            let over = over(vault, fleet, item, judged.collect(), clock).await?;
            for entry in points {
                fates.settle(item, entry, over.contains(&entry.id), is_deleted, &before, condemn_max);
            }
        }
        Ok(fates)
    }

    fn settle(
        &mut self,
        item: &ItemName,
        entry: &PointEntry,
        is_over: bool,
        machine_deleted: bool,
        before: &HashMap<(ItemName, PointId), bool>,
        condemn_max: usize,
    ) {
        let point = (item.clone(), entry.id);
        let condemned = before.get(&point).copied();
        match (condemned, is_over) {
            (Some(true), true) => {
                self.free.push((item.clone(), entry.clone()));
                self.going.insert(point.clone());
            }
            (Some(false), true) => {}
            (Some(_), false) if entry.is_wanted_again() => self.reprieved += 1,
            (Some(_), false) if entry.deleted().is_none() && !machine_deleted => self.revive.push((item.clone(), entry.clone())),
            (None, true) if self.condemn.len() < condemn_max => drop(self.condemn.insert(point.clone())),
            // What is in doubt stays as it is: condemned, and not freed.
            (Some(_) | None, _) => {}
        }
        if condemned.is_some() || self.condemn.contains(&point) {
            self.condemned.insert(point);
        }
    }

    /// Whether the point goes in this run.
    pub(crate) fn is_freed_now(&self, item: &ItemName, point: PointId) -> bool {
        self.going.contains(&(item.clone(), point))
    }
}

fn is_machine_deleted(fleet: &Fleet, item: &ItemName) -> bool {
    !fleet.settings.is_replica()
        && fleet.member(item).is_some_and(|member| matches!(member.item.protection, Protection::Deleted { .. }))
}

/// Points among `entries` whose time to be undeleted is over.
async fn over(
    vault: &Vault,
    fleet: &Fleet,
    item: &ItemName,
    entries: Vec<PointEntry>,
    clock: &Clock,
) -> Result<BTreeSet<PointId>> {
    if entries.is_empty() {
        return Ok(BTreeSet::new());
    }
    // The verdict on a deleted point does not depend on the machine's other points.
    let Keeping { points, unreadable } = fleet.keeping(vault, item, entries.clone(), clock).await?;
    let free = points.iter().filter(|kept| kept.verdict.act == Act::Free);
    let mut over: BTreeSet<PointId> = free.map(|kept| kept.point.id).collect();
    for (id, _) in unreadable {
        let entry = entries.iter().find(|entry| entry.id == id);
        if let Some(entry) = entry.filter(|_| !is_machine_deleted(fleet, item))
            && is_tombstone_over(vault, item, entry, clock).await?
        {
            over.insert(id);
        }
    }
    Ok(over)
}

/// Of a point whose record cannot be read, which keeps every pack from being deleted: an operator who deletes it gets out of this.
async fn is_tombstone_over(vault: &Vault, item: &ItemName, entry: &PointEntry, clock: &Clock) -> Result<bool> {
    let Some(seq) = entry.deleted().filter(|_| entry.held().is_none() && clock.doubt().is_none()) else { return Ok(false) };
    match vault.read_mark(item, entry.id, seq, MarkKind::Deleted).await {
        Ok(mark) => Ok(mark.until.is_some_and(|until| until <= clock.now())),
        Err(error) if error.kind() == ErrorKind::Unavailable => Err(error),
        Err(_) => Ok(false),
    }
}

//! What somebody who may write to the store has damaged, and what may become of the points that need it.

use std::collections::{BTreeMap, BTreeSet};

use stillpoint_model::{ItemName, JobId, MarkKind, PointId, Result};
use stillpoint_testkit::{Verdict, World};
use stillpoint_vault::Name;

use super::{Known, Oracle};
use crate::time::{DAY, HOUR};

/// Nobody stands still for longer between a look at what is there and the commit that rests on it.
const LOOK_MS: i64 = 2 * DAY + HOUR;

/// Damage to one object.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Damage {
    /// When it was done.
    pub(crate) at: i64,
    /// Whether a listing shows it: the object is gone, or has another size.
    pub(crate) shows: bool,
    /// Whether the object is gone.
    pub(crate) gone: bool,
}

impl Oracle {
    /// Objects that points need and that are as they were written, in order.
    pub(crate) fn sound_objects(&self) -> Vec<String> {
        let is_sound = |(name, users): &(&String, &BTreeSet<_>)| !users.is_empty() && !self.damage.contains_key(*name);
        self.needed.iter().filter(is_sound).map(|(name, _)| name.clone()).collect()
    }

    /// From here on an object is not what it was.
    pub(crate) fn damaged(&mut self, object: &str, shows: bool, gone: bool) {
        let damage = Damage { at: self.time.now(), shows, gone };
        self.damage.entry(object.to_owned()).or_insert(damage);
    }

    /// Whether anything was damaged.
    pub(crate) fn is_anything_damaged(&self) -> bool {
        !self.damage.is_empty()
    }

    /// Whether somebody took a point's record away, so that it is no point any more (I2) and what it needs is litter.
    pub(super) fn is_struck_out(&self, item: &ItemName, id: PointId) -> bool {
        self.damage.get(&Name::Point(item.clone(), id).to_string()).is_some_and(|damage| damage.gone)
    }

    /// Whether a point needs something damaged.
    pub(super) fn is_hurt(&self, item: &ItemName, id: PointId) -> bool {
        self.points
            .get(&(item.clone(), id))
            .is_some_and(|known| known.needs.iter().any(|object| self.damage.contains_key(object)))
    }

    /// Acceptance row 26: a backup that began after an object was gone, or had another size, makes a point that does not need it.
    pub(super) fn new_points_avoid_damage(&mut self, id: PointId, job: JobId, objects: &[String]) {
        let Some(begun) = self.begun.get(&job).copied() else { return };
        let needs = |object: &&String| self.damage.get(*object).is_some_and(|damage| damage.shows && damage.at + LOOK_MS < begun);
        if let Some(object) = objects.iter().find(needs) {
            let how = format!("{id} was begun after {object} was damaged, and needs it");
            self.violated("I1 new points avoid damage", how);
        }
    }

    /// I2, I3, I13: every committed point that is not freed is listed, and restores to the bytes of its snapshot. Where something it
    /// needs was damaged it may be refused; other bytes are never given.
    pub(crate) async fn check_points(&mut self, world: &World) -> Result<()> {
        let items: BTreeSet<ItemName> = self.points.keys().map(|(item, _)| item.clone()).collect();
        let fork = world.fork().await?;
        for item in items {
            let listed = fork.vault().point_ids(&item).await?;
            let unlisted = |id: PointId| !listed.contains(&id) && !self.is_hurt(&item, id);
            let gone: Vec<PointId> = self.kept_points(&item).filter(|id| unlisted(*id)).collect();
            for id in gone {
                self.violated("I2 a committed point is visible", id.to_string());
            }
            for (id, verdict) in fork.verdicts(&item).await? {
                match verdict {
                    Verdict::Same => {}
                    Verdict::Refused(_) if self.is_hurt(&item, id) => {}
                    Verdict::Refused(error) => {
                        self.violated("I3 a sound point restores", format!("point {id}: {}", error.one_line()));
                    }
                    Verdict::Differs(how) => self.violated("I3 a restore equals the disk", format!("point {id}: {how}")),
                }
            }
        }
        Ok(())
    }

    /// The newest point of a machine that is not known to be damaged; by instants, since ids are of clocks that may have jumped.
    pub(super) fn newest_good(&self, item: &ItemName) -> Option<PointId> {
        let is_good = |known: &Known| !known.freed && known.standing(MarkKind::Damaged, MarkKind::Sound).is_none();
        let own = self.points.iter().filter(|((whose, _), known)| whose == item && is_good(known));
        own.max_by_key(|(_, known)| known.instant).map(|((_, id), _)| *id)
    }

    /// A machine's points that are not freed, by id.
    fn kept_points(&self, item: &ItemName) -> impl Iterator<Item = PointId> {
        self.points.iter().filter(move |((whose, _), known)| whose == item && !known.freed).map(|((_, id), _)| *id)
    }

    /// Acceptance row 26, when everything was read and every machine backed up after that: exactly the points that are hurt are marked,
    /// and the newest point of each machine is whole.
    pub(crate) async fn check_repair(&mut self, world: &World) -> Result<()> {
        let items: BTreeSet<ItemName> = self.points.keys().map(|(item, _)| item.clone()).collect();
        let fork = world.fork().await?;
        for item in items {
            let entries: BTreeMap<_, _> =
                fork.vault().point_entries(&item).await?.into_iter().map(|entry| (entry.id, entry)).collect();
            let condemned = fork.vault().condemned().await?;
            let points: Vec<PointId> = self.kept_points(&item).collect();
            for id in &points {
                let marked = entries.get(id).map(|entry| (entry.damaged().is_some(), condemned.frees(&item, entry)));
                match (marked, self.is_hurt(&item, *id)) {
                    _ if self.is_struck_out(&item, *id) => {}
                    (Some((false, false)), true) => self.violated("damage is found", format!("{id} is hurt, and not marked")),
                    (Some((true, false)), false) => self.violated("damage is real", format!("{id} is marked, and not hurt")),
                    _ => {}
                }
            }
            let newest = points.iter().max_by_key(|id| self.points.get(&(item.clone(), **id)).map(|known| known.instant));
            if let Some(newest) = newest.filter(|newest| self.is_hurt(&item, **newest)) {
                self.violated("new points are whole", format!("{newest}, the newest of {item}, is hurt"));
            }
        }
        Ok(())
    }

    /// Whether a finding of the audit is of something that was damaged.
    pub(super) fn is_of_damage(&self, finding: &str) -> bool {
        self.damage.keys().any(|object| finding.contains(object.as_str()))
            || self.damage.keys().any(|object| match object.parse() {
                // What a point needs cannot be told without its record or its manifest.
                Ok(Name::Point(_, id) | Name::Manifest(_, id, _)) => finding.contains(&id.to_string()),
                _ => false,
            })
    }
}

use std::collections::{BTreeMap, BTreeSet, HashSet};

use jiff::Timestamp;
use stillpoint_model::{AttemptId, ItemName, JobId, MarkKind, Mutation, PointId};
use stillpoint_vault::{Name, PointEntry};

use crate::{
    Margins,
    census::pack_key,
    fates::Fates,
    look::Look,
    primary::Primary,
    records::{Open, Records},
    references::References,
};

/// What one run is to do, as what it saw decides it. Pure: a preview ends here.
#[derive(Debug, Default)]
pub(crate) struct Intent {
    /// What is left of freed points, in the order in which it goes: what makes it a point first.
    pub(crate) remains: [Vec<String>; 3],
    /// Packs and manifests that were condemned and that nobody needs, with the sizes of packs.
    pub(crate) deletes: Vec<(String, u64)>,
    /// Condemned earlier, and needed after all.
    pub(crate) reprieved: u64,
    /// Condemned now.
    pub(crate) condemn: Vec<(String, u64)>,
    /// Records that are open after this run.
    pub(crate) open: Vec<u32>,
    /// Records that are not.
    pub(crate) settled: u64,
    /// Jobs that open records wait for.
    pub(crate) waited_for: BTreeSet<JobId>,
}

impl Intent {
    pub(crate) fn of(
        look: &Look,
        fates: &Fates,
        references: &References,
        primary: &Primary,
        records: &Records,
        margins: &Margins,
    ) -> Self {
        let mut intent = Self::default();
        intent.find_remains(look, fates);
        let manifests = unneeded_manifests(look, references);
        for open in &records.open {
            intent.settle(open, look, fates, references, &manifests);
        }
        let before: HashSet<&str> = records.open.iter().flat_map(|open| &open.record.objects).map(String::as_str).collect();
        let is_new = |name: &str| !before.contains(name) && !primary.may_need(name);
        if references.unknown.is_empty() {
            let litter = look.packs.iter().filter(|(name, _)| {
                is_new(name) && is_pack_of_ended_job(name, look) && !references.kept.contains(&pack_key(name))
            });
            intent.condemn = litter.take(margins.objects_condemned_max).cloned().collect();
        }
        let room = margins.objects_condemned_max - intent.condemn.len();
        let litter = manifests.into_iter().filter(|name| is_new(name)).take(room);
        intent.condemn.extend(litter.map(|name| (name, 0)));
        intent
    }

    fn find_remains(&mut self, look: &Look, fates: &Fates) {
        for (item, entries) in &look.entries {
            for entry in entries {
                if look.freed.contains(&(item.clone(), entry.id)) || fates.is_freed_now(item, entry.id) {
                    self.bury(item, entry);
                }
            }
        }
    }

    fn bury(&mut self, item: &ItemName, entry: &PointEntry) {
        let [points, manifests, marks] = &mut self.remains;
        if entry.committed {
            points.push(Name::Point(item.clone(), entry.id).to_string());
        }
        manifests.extend(entry.manifests.iter().map(|attempt| Name::Manifest(item.clone(), entry.id, *attempt).to_string()));
        let others = entry.marks.iter().filter(|(_, mark)| *mark != MarkKind::Freed);
        marks.extend(others.map(|(seq, mark)| Name::Mark(item.clone(), entry.id, *seq, *mark).to_string()));
    }

    fn settle(&mut self, open: &Open, look: &Look, fates: &Fates, references: &References, manifests: &BTreeSet<String>) {
        if !open.is_mature(&look.jobs) {
            let waits = open.waits.iter().flat_map(|waits| &waits.jobs);
            self.waited_for.extend(waits.filter(|job| !look.jobs.has_ended(**job)));
            self.open.push(open.seq);
            return;
        }
        let mut is_left = false;
        for name in &open.record.objects {
            match look.pack_bytes(name) {
                Some(_) if !references.unknown.is_empty() => is_left = true,
                Some(size) if !references.needed.contains(&pack_key(name)) || Mutation::StaleList.is_active() => {
                    self.deletes.push((name.clone(), size));
                }
                Some(_) => self.reprieved += 1,
                None if manifests.contains(name) => self.deletes.push((name.clone(), 0)),
                None => {}
            }
        }
        // While any of its points is a point, no job may come to refer to what it alone needs.
        let is_point = |(item, id): &(ItemName, PointId)| {
            let entries = look.entries.get(item).map_or(&[][..], Vec::as_slice);
            let entry = entries.binary_search_by_key(id, |entry| entry.id).ok().map(|place| &entries[place]);
            entry.is_some_and(|entry| look.is_point(item, entry) && !fates.is_freed_now(item, *id))
        };
        if is_left || open.record.points.iter().any(is_point) {
            self.open.push(open.seq);
        } else {
            self.settled += 1;
        }
    }

    /// Whether a new record is due.
    pub(crate) fn changes_records(&self, fates: &Fates) -> bool {
        self.settled > 0 || !self.condemn.is_empty() || !fates.condemn.is_empty()
    }

    /// What it comes to, by name.
    pub(crate) fn counts(&self, fates: &Fates, references: &References) -> BTreeMap<String, u64> {
        let bytes = |objects: &[(String, u64)]| objects.iter().map(|(_, size)| size).sum::<u64>();
        let count = |number: usize| number as u64;
        let remains: usize = self.remains.iter().map(Vec::len).sum();
        let counts = [
            ("points_freed", count(fates.free.len())),
            ("points_condemned", count(fates.condemn.len())),
            ("points_reprieved", fates.reprieved + count(fates.revive.len())),
            ("points_read", references.points_read),
            ("objects_deleted", count(self.deletes.len() + remains)),
            ("pack_bytes_deleted", bytes(&self.deletes)),
            ("objects_condemned", count(self.condemn.len())),
            ("pack_bytes_condemned", bytes(&self.condemn)),
            ("objects_reprieved", self.reprieved),
            ("jobs_waited_for", count(self.waited_for.len())),
        ];
        counts.map(|(name, count)| (name.to_owned(), count)).into()
    }
}

/// Packs that the product keeps, and that a collect with one of the bugs in [`Mutation`] deletes.
pub(crate) fn swept(look: &Look, references: &References, now: Timestamp) -> Vec<(String, u64)> {
    const AGE_MS: i64 = 24 * 3_600_000;
    let is_old = |name: &str| match name.parse() {
        Ok(Name::Pack { job, .. }) => now.as_millisecond() - job.timestamp_ms().cast_signed() > AGE_MS,
        _ => false,
    };
    let is_swept = |name: &str| Mutation::InFlightSwept.is_active() || is_old(name);
    let unneeded = |(name, _): &&(String, u64)| is_swept(name) && !references.needed.contains(&pack_key(name));
    look.packs.iter().filter(unneeded).cloned().collect()
}

/// A pack of a job that goes on may be named by its point any moment.
fn is_pack_of_ended_job(name: &str, look: &Look) -> bool {
    match name.parse() {
        // A job without a ledger began nothing that could still be finished.
        Ok(Name::Pack { job, .. }) => look.jobs.states.get(&job).is_none_or(|state| state.is_end()),
        _ => false,
    }
}

/// Manifests that no point names, but for those of points of which nobody knows which they name. What is left of freed points is
/// not among them: it goes with the rest of these.
fn unneeded_manifests(look: &Look, references: &References) -> BTreeSet<String> {
    let mut unneeded = BTreeSet::new();
    for (item, entries) in &look.entries {
        for entry in entries.iter().filter(|entry| !look.freed.contains(&(item.clone(), entry.id))) {
            let named: Option<&AttemptId> = references.manifests.get(&entry.id);
            if entry.committed && named.is_none() {
                continue;
            }
            let others = entry.manifests.iter().filter(|attempt| Some(*attempt) != named);
            unneeded.extend(others.map(|attempt| Name::Manifest(item.clone(), entry.id, *attempt).to_string()));
        }
    }
    unneeded
}

//! What points need, and what of it is there.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};

use futures_util::{StreamExt, TryStreamExt, stream};
use stillpoint_jobs::{Engine, Rotation};
use stillpoint_model::{AttemptId, ErrorKind, ItemName, JobId, MarkKind, PointId, Result};
use stillpoint_vault::{Condemned, Name, Needs, PointEntries, PointEntry, Shelves, Vault};

use crate::plan::{Lost, PackToRead, VerifyPlan};

/// Marks read at once.
const MARKS_IN_FLIGHT: usize = 16;

/// The points of a machine, or of all, of which nobody is about to free any: whatever lies in their folders.
pub(crate) async fn entries(vault: &Vault, item: Option<&ItemName>, condemned: &Condemned) -> Result<PointEntries> {
    let mut entries = match item {
        None => vault.all_point_entries().await?,
        Some(item) => PointEntries::from([(item.clone(), vault.point_entries(item).await?)]),
    };
    for (item, points) in &mut entries {
        points.retain(|entry| !entry.freed() && !condemned.frees(item, entry));
    }
    Ok(entries)
}

/// Whether a point was sealed and its record is not there.
pub(crate) fn is_unrecorded(entry: &PointEntry) -> bool {
    !entry.committed && !entry.manifests.is_empty() && !entry.freed()
}

/// What is wrong with an object, without repeating its name.
pub(crate) fn plainly(object: &str, problem: &str) -> String {
    problem.strip_prefix(object).map_or(problem, |rest| rest.trim_start_matches([':', ' '])).to_owned()
}

/// Looks around for a plan.
pub(crate) struct Survey<'a> {
    engine: &'a Engine,
    /// Reads past what this process knows.
    vault: Vault,
    read: Option<Rotation>,
    /// Objects that were found damaged before: they are read again each time.
    again: BTreeSet<String>,
    shelves: Shelves,
    seen: HashSet<Arc<str>>,
    lost: BTreeMap<String, Lost>,
    plan: VerifyPlan,
}

impl<'a> Survey<'a> {
    pub(crate) fn new(engine: &'a Engine, item: Option<&ItemName>, read: Option<Rotation>) -> Self {
        Self {
            engine,
            vault: engine.vault().afresh(),
            read,
            again: BTreeSet::new(),
            shelves: Shelves::default(),
            seen: HashSet::new(),
            lost: BTreeMap::new(),
            plan: VerifyPlan { item: item.cloned(), ..VerifyPlan::default() },
        }
    }

    /// Audits what exists and chooses what is read. The job's ledger is there: what is not condemned now stays until it has ended.
    pub(crate) async fn plan(mut self, job: JobId) -> Result<VerifyPlan> {
        let condemned = self.vault.condemned().await?;
        // Points before packs: what a point needs was there before it.
        let entries = entries(&self.vault, self.plan.item.as_ref(), &condemned).await?;
        self.unrecorded(&entries, &condemned).await?;
        self.again = self.marked(&entries).await?;
        let of_item = |(item, entries): (ItemName, Vec<PointEntry>)| {
            entries.into_iter().filter(PointEntry::is_point).map(move |entry| (item.clone(), entry.id)).collect::<Vec<_>>()
        };
        let points: Vec<(ItemName, PointId)> = entries.into_iter().flat_map(of_item).collect();
        self.plan.points = points.len() as u64;
        let (vault, read, again) = (self.vault.clone(), self.read, self.again.clone());
        let whole = |name: &str| again.contains(name) || read.is_some_and(|read| read.holds(name));
        let mut needs = std::pin::pin!(vault.needs_of(points, &whole));
        while let Some(needs) = needs.try_next().await? {
            self.add(needs).await?;
        }
        self.plan.objects += self.seen.len() as u64;
        self.plan.lost = self.lost.into_values().collect();
        let order = |name: &str| stillpoint_format::digest(format!("{job} {name}").as_bytes());
        self.plan.bound(|name| again.contains(name), order);
        Ok(self.plan)
    }

    async fn add(&mut self, needs: Needs) -> Result<()> {
        self.plan.objects += needs.own_objects();
        if let Some((object, problem)) = needs.damage {
            let problem = plainly(&object, &problem);
            self.lost.insert(object.clone(), Lost { object, problem, size_bytes: None, read: true });
        }
        for used in needs.packs {
            if !self.seen.insert(Arc::clone(&used.pack.name)) {
                continue;
            }
            let name = &*used.pack.name;
            if let Some(problem) = self.shelves.problem(&self.vault, &used).await? {
                let lost = Lost { object: name.to_owned(), problem, size_bytes: Some(used.size_bytes), read: false };
                self.lost.insert(name.to_owned(), lost);
            } else if self.again.contains(name) || self.read.is_some_and(|read| read.holds(name)) {
                self.plan.packs.push(PackToRead::new(&used));
            }
        }
        Ok(())
    }

    /// Objects that a mark calls damaged.
    async fn marked(&self, entries: &PointEntries) -> Result<BTreeSet<String>> {
        let damaged = entries
            .iter()
            .flat_map(|(item, entries)| entries.iter().filter_map(move |entry| Some((item.clone(), entry.id, entry.damaged()?))));
        let read = |(item, id, seq): (ItemName, PointId, u32)| async move {
            match self.vault.read_mark(&item, id, seq, MarkKind::Damaged).await {
                Ok(mark) => Ok(mark.objects),
                // Nobody knows what it said; its point is judged by what is found now.
                Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Missing) => Ok(Vec::new()),
                Err(error) => Err(error),
            }
        };
        let damaged: Vec<_> = damaged.collect();
        let objects: Vec<Vec<String>> =
            stream::iter(damaged.into_iter().map(read)).buffered(MARKS_IN_FLIGHT).try_collect().await?;
        Ok(objects.into_iter().flatten().collect())
    }

    /// Points that have a manifest and no record, and no backup under way that would still write it: the record is lost.
    async fn unrecorded(&mut self, entries: &PointEntries, condemned: &Condemned) -> Result<()> {
        let mut bare = Vec::new();
        for (item, entries) in entries {
            let manifest = |id, attempt: &AttemptId| Name::Manifest(item.clone(), id, *attempt).to_string();
            let is_left_alone =
                |entry: &&PointEntry| !entry.manifests.iter().all(|at| condemned.objects.contains(&manifest(entry.id, at)));
            let found = entries.iter().filter(|entry| is_unrecorded(entry)).filter(is_left_alone);
            bare.extend(found.map(|entry| (item, entry.id)));
        }
        if bare.is_empty() {
            return Ok(());
        }
        let mut busy = BTreeSet::new();
        for id in self.engine.unfinished().await? {
            match self.engine.job(id).await {
                Ok(job) => busy.extend(job.request.what.item().cloned()),
                // Whose job it is cannot be told any more, and it will not write anything.
                Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Missing) => {}
                Err(error) => return Err(error),
            }
        }
        for (item, id) in bare.into_iter().filter(|(item, _)| !busy.contains(*item)) {
            let object = Name::Point(item.clone(), id).to_string();
            let problem = "missing, although the point was sealed".to_owned();
            self.lost.insert(object.clone(), Lost { object, problem, size_bytes: None, read: false });
        }
        Ok(())
    }
}

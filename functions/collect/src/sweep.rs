use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use stillpoint_fleet::Fleet;
use stillpoint_jobs::Engine;
use stillpoint_model::{ErrorKind, JobId, MarkKind, Mutation, PointId, Result, policy::Clock};
use stillpoint_vault::{CollectNames, Name, PointEntries, PointEntry, Vault};

use crate::{Margins, deletion::delete, look::Look};

fn made(ms: u64) -> Option<Timestamp> {
    i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok())
}

/// Removes what only history needs. Nothing in it is part of a point, so age may decide; not by a clock in doubt, though.
pub(crate) struct Sweep<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) margins: &'a Margins,
    pub(crate) clock: &'a Clock,
    pub(crate) is_replica: bool,
}

impl Sweep<'_> {
    fn vault(&self) -> &Vault {
        self.engine.vault()
    }

    fn is_older(&self, at: Timestamp, than: SignedDuration) -> bool {
        self.clock.now().duration_since(at) > than
    }

    /// Sweeps, and returns how many objects went.
    pub(crate) async fn run(&self, look: &Look) -> Result<u64> {
        let mut names = self.records().await?;
        names.extend(self.ticks().await?);
        names.extend(self.digests().await?);
        if self.clock.doubt().is_none() {
            names.extend(self.slots().await?);
            names.extend(self.snapshots().await?);
            names.extend(self.work(look).await?);
            // In a replica they say that a point which the primary still has is not to be copied again.
            if !self.is_replica {
                names.extend(self.freed_marks(&look.entries).await?);
            }
        }
        delete(self.vault(), &names, self.margins.in_flight).await?;
        Ok(names.len() as u64)
    }

    /// Removes what killed writers left in a vault's directory, and returns how many files went. The directory's clock may be this host's.
    pub(crate) async fn unfinished(&self) -> Result<u64> {
        if self.clock.doubt().is_some() {
            return Ok(0);
        }
        self.vault().store().remove_unfinished(self.margins.unfinished, |name| name.parse::<Name>().is_ok()).await
    }

    /// Records that nothing open stands behind, waits of records that are settled, and censuses that have a newer one.
    async fn records(&self) -> Result<Vec<String>> {
        let CollectNames { records, waits, censuses } = self.vault().collect_names().await?;
        let Some(newest) = records.last().copied() else { return Ok(Vec::new()) };
        let record = match self.vault().collection(newest).await {
            // Another run has gone on meanwhile, and sweeps too.
            Err(error) if error.kind() == ErrorKind::Missing => return Ok(Vec::new()),
            other => other?,
        };
        let open: BTreeSet<u32> = record.open.into_iter().chain([newest]).collect();
        let recent: BTreeSet<u32> = records.iter().rev().take(self.margins.records_kept).copied().collect();
        // What is behind the newest is another run's, and newer than what is known here.
        let is_old = |seq: &u32| *seq < newest && !open.contains(seq);
        let old = records.iter().filter(|seq| is_old(seq) && !recent.contains(seq)).map(|seq| Name::Collect(*seq));
        let settled = waits.iter().filter(|seq| is_old(seq)).map(|seq| Name::CollectWaits(*seq));
        let replaced = censuses.iter().flat_map(|(item, seqs)| {
            let older = seqs.len().saturating_sub(1);
            seqs.iter().take(older).map(|seq| Name::Census(item.clone(), *seq))
        });
        Ok(old.chain(settled).chain(replaced).map(|name| name.to_string()).collect())
    }

    async fn ticks(&self) -> Result<Vec<String>> {
        let listed = self.vault().store().list(Name::TICKS).await?.into_iter().map(|entry| entry.name);
        let mut ticks: Vec<String> = listed.filter(|name| matches!(name.parse(), Ok(Name::Tick(_)))).collect();
        let kept = if Mutation::NameReused.is_active() { 0 } else { self.margins.ticks_kept };
        ticks.truncate(ticks.len().saturating_sub(kept));
        Ok(ticks)
    }

    /// Digests of what the fleet was before.
    async fn digests(&self) -> Result<Vec<String>> {
        let mut digests: Vec<String> =
            self.vault().store().list(Name::FLEET).await?.into_iter().map(|entry| entry.name).collect();
        if digests.len() > 1 {
            let newest = Fleet::digest_name(self.vault()).await?.to_string();
            digests.retain(|name| *name != newest);
            return Ok(digests);
        }
        Ok(Vec::new())
    }

    async fn slots(&self) -> Result<Vec<String>> {
        let listed = self.vault().store().list(Name::SLOTS).await?.into_iter().map(|entry| entry.name);
        let is_old = |name: &String| matches!(name.parse(), Ok(Name::Slot(due, _)) if self.is_older(due, self.margins.slots));
        Ok(listed.filter(is_old).collect())
    }

    /// Records of kept snapshots that were given back. The one that says so goes a run after the one that says until when it is kept:
    /// as long as that is there, nobody may take the snapshot for one that is kept.
    async fn snapshots(&self) -> Result<Vec<String>> {
        let found = self.engine.snapshot_records(Name::SNAPSHOTS).await?;
        let is_old = |at: Timestamp| self.is_older(at, self.margins.snapshots);
        let given_back = found.into_iter().filter(|(_, (_, is_released))| *is_released);
        let names = given_back.filter_map(|((item, job), (until, _))| match until {
            Some(until) => Some(Name::KeptSnapshot(item, job, until)).filter(|_| is_old(until)),
            None => made(job.timestamp_ms()).filter(|made| is_old(*made)).map(|_| Name::ReleasedSnapshot(item, job)),
        });
        Ok(names.map(|name| name.to_string()).collect())
    }

    /// Plans and markers of jobs that ended long ago. Ledgers and decisions stay: they say what was and that nobody can decide again.
    async fn work(&self, look: &Look) -> Result<Vec<String>> {
        let is_old = |job: JobId| made(job.timestamp_ms()).is_some_and(|made| self.is_older(made, self.margins.work));
        let mut old = BTreeMap::<JobId, Vec<&String>>::new();
        for (job, name) in look.jobs.work.iter().filter(|(job, _)| look.jobs.has_ended(*job) && is_old(*job)) {
            old.entry(*job).or_default().push(name);
        }
        let mut names = Vec::new();
        for (job, work) in old.into_iter().take(self.margins.swept_max) {
            match self.engine.job(job).await {
                Ok(job) if job.state().is_end() && self.is_older(job.newest.at, self.margins.work) => {
                    names.extend(work.into_iter().cloned());
                }
                Err(error) if error.kind() == ErrorKind::Unavailable => return Err(error),
                // A ledger that is damaged says nothing of when the job ended.
                Ok(_) | Err(_) => {}
            }
        }
        Ok(names)
    }

    /// The last trace of points that were freed long ago.
    async fn freed_marks(&self, entries: &PointEntries) -> Result<Vec<String>> {
        let is_old = |id: PointId| made(id.timestamp_ms()).is_some_and(|made| self.is_older(made, self.margins.freed_marks));
        let is_last = |entry: &PointEntry| {
            let only_freed = entry.marks.iter().all(|(_, mark)| *mark == MarkKind::Freed);
            !entry.committed && entry.manifests.is_empty() && only_freed && !entry.marks.is_empty()
        };
        let all = entries.iter().flat_map(|(item, entries)| entries.iter().map(move |entry| (item, entry)));
        let last: Vec<_> = all.filter(|(_, entry)| is_old(entry.id) && is_last(entry)).collect();
        // A point may have been old when it was freed. Each day others are looked at, or the first would hide the rest.
        let days = usize::try_from(self.clock.now().as_second() / 86_400).unwrap_or(0);
        let start = (days * self.margins.swept_max).checked_rem(last.len()).unwrap_or(0);
        let mut names = Vec::new();
        for (item, entry) in last.iter().cycle().skip(start).take(self.margins.swept_max.min(last.len())) {
            for (seq, mark) in &entry.marks {
                match self.vault().read_mark(item, entry.id, *seq, *mark).await {
                    Ok(read) if self.is_older(read.at, self.margins.freed_marks) => {
                        names.push(Name::Mark((*item).clone(), entry.id, *seq, *mark).to_string());
                    }
                    Err(error) if error.kind() == ErrorKind::Unavailable => return Err(error),
                    Ok(_) | Err(_) => {}
                }
            }
        }
        Ok(names)
    }
}

use std::sync::Arc;

use stillpoint_events::{BackupRequested, Envelope, Outgoing, SegmentPlanned};
use stillpoint_format::{Manifest, SealedText};
use stillpoint_handler::{Effects, Handler, Invocation};
use stillpoint_jobs::{BackupPlan, Engine, Job, KeptSnapshot, Loaded, Operation, Plan, cut};
use stillpoint_model::{
    Error, ErrorKind, ItemName, JobId, PointId, Requests, Result,
    geometry::{CHUNK_BYTES, DISK_BYTES_MAX, PAGE_BYTES},
};
use stillpoint_ports::{
    Baseline, Ending, Holding, MachineSource, Platform, Platforms, Progress, Since, Snapshot, SnapshotRequest, bytes_by_page,
};
use stillpoint_vault::{Item, Vault};

use crate::{basis::Basis, held::Held};

/// What a point says that was to be restorable from its snapshot, too.
const NOT_LASTING: &str = "its snapshot is not kept for instant restore: a disk is read in place, and no copy of it stays";

/// Takes the snapshot and writes the plan.
pub struct Take {
    engine: Engine,
    platforms: Platforms,
    progress: Arc<dyn Progress>,
}

impl Take {
    /// The handler over its ports.
    #[must_use]
    pub fn new(engine: Engine, platforms: Platforms, progress: Arc<dyn Progress>) -> Self {
        Self { engine, platforms, progress }
    }

    async fn plan(&self, job: &Job) -> Result<Loaded<BackupPlan>> {
        if let Some(made) = self.engine.plan_if_made(job.id).await? {
            return Ok(made);
        }
        let Operation::Backup { item, wanted, keep_until, slot, snapshot_only, instant_restore_seconds, .. } = &job.request.what
        else {
            return Err(Error::internal(format!("job {} is no backup", job.id)));
        };
        let engine = self.engine.metered();
        let record = engine.vault().item(item).await?;
        let mut basis = if *snapshot_only { Basis::default() } else { Basis::find(engine.vault(), item).await? };
        let mut snapshot = self.snapshot(job, &record, basis.since()).await?;
        let told = basis.compare_source(&mut snapshot);
        let source_compared = basis.source_compared(&snapshot);
        let mut pages = Vec::new();
        if !snapshot_only {
            if snapshot.disks.iter().all(|disk| disk.baseline == Baseline::Zero) {
                basis.find_thin(item);
            }
            pages = pages_with_content(&snapshot, basis.parent.as_ref().map(|(_, manifest)| manifest));
        }
        let point = PointId::new(engine.vault().ulid());
        let seal = |text: &String| engine.vault().seal_configuration(item, point, text);
        let firmware_variables = sealed_variables(engine.vault(), item, point, &mut snapshot);
        let plan = Plan {
            job: job.id,
            segments: cut(&pages),
            requests: engine.vault().store().requests() + Requests { put: 1, ..Requests::default() },
            detail: BackupPlan {
                item: item.clone(),
                platform: record.platform,
                point,
                wanted: *wanted,
                keep_until: *keep_until,
                slot: slot.clone(),
                parent: basis.parent.map(|(point, _)| point.id),
                neighbours: basis.neighbours,
                avoid: basis.avoid,
                thin: basis.thin,
                warnings: [snapshot.warnings.clone(), basis.warnings].concat(),
                configuration: snapshot.configuration.as_ref().map(seal).transpose()?,
                firmware_variables,
                snapshot,
                told,
                source_compared,
            },
        };
        let loaded = engine.save_plan(plan).await?;
        if !loaded.own {
            self.unless_over(job).await?;
        } else if *instant_restore_seconds == 0 {
            let plan = &loaded.plan.detail;
            self.platforms.get(&plan.platform)?.keep_only(&plan.snapshot).await;
        }
        Ok(loaded)
    }

    /// Takes the snapshot, and refuses one that is not what was asked for.
    async fn snapshot(&self, job: &Job, record: &Item, since: Option<Since>) -> Result<Snapshot> {
        let Operation::Backup { item, wanted, slot, instant_restore_seconds, snapshot_only, .. } = &job.request.what else {
            return Err(Error::internal(format!("job {} is no backup", job.id)));
        };
        let request = SnapshotRequest { job: job.id, item: item.clone(), machine: record.source(), wanted: *wanted, since };
        let platform = self.platforms.get(&record.platform)?;
        self.clear_the_way(platform.as_ref(), job.id, &request.machine).await?;
        let mut snapshot = platform.snapshot(&request).await?;
        if let Some(slot) = slot.as_ref().filter(|slot| !slot.fallback && snapshot.obtained < *wanted) {
            return Err(Error::invalid(format!(
                "the snapshot is {} consistent only, and policy {} wants {wanted} or none",
                snapshot.obtained, slot.policy
            )));
        }
        let total: u64 = snapshot.disks.iter().map(|disk| disk.size_bytes.next_multiple_of(PAGE_BYTES)).sum();
        if total > DISK_BYTES_MAX {
            return Err(Error::invalid(format!(
                "the disks of {item} have {total} bytes together, more than the {DISK_BYTES_MAX} of one point"
            )));
        }
        let is_kept = *instant_restore_seconds > 0 && snapshot.lasting;
        if *snapshot_only && !is_kept {
            return Err(Error::invalid(format!("{NOT_LASTING}; and nothing else of {item} is wanted")));
        }
        if *instant_restore_seconds > 0 && !is_kept {
            snapshot.warnings.push(NOT_LASTING.to_owned());
        }
        Ok(snapshot)
    }

    /// Has the platform release what jobs that are over have left at the machine, and refuses to go on over one that is not.
    async fn clear_the_way(&self, platform: &dyn Platform, own: JobId, machine: &MachineSource) -> Result<()> {
        for holder in platform.holders(machine).await?.into_iter().filter(|holder| *holder != own) {
            let ending = match self.engine.job(holder).await {
                Ok(job) if !job.state().is_end() => {
                    return Err(Error::conflict(format!("job {holder} still reads its snapshot of this machine")));
                }
                Ok(job) if job.newest.outcome.as_ref().is_some_and(|outcome| outcome.point.is_some()) => Ending::Committed,
                // Left by a job of another vault, or of one that is no more.
                Err(error) if error.kind() != ErrorKind::Missing => return Err(error),
                _ => Ending::Abandoned,
            };
            platform.release(holder, Holding::Machine(machine), ending).await?;
        }
        Ok(())
    }

    /// Ends a job of which nothing is transferred.
    async fn end_with_snapshot(&self, job: &Job, kept: &KeptSnapshot, warnings: &[String]) -> Result<()> {
        let KeptSnapshot { instant, point, host, until, .. } = kept;
        let skipped = format!(
            "the transfer was skipped, for an earlier backup is still being transferred; the snapshot of {instant:.0} can be restored as point {point} at {host} until {until}"
        );
        let warnings = warnings.iter().cloned().chain([skipped]).collect();
        self.engine.complete(job, kept.outcome(warnings)).await.map(drop)
    }

    /// A process that stood still for long may take a snapshot for a job that has ended since: nobody else knows of it.
    async fn unless_over(&self, job: &Job) -> Result<()> {
        let job = self.engine.job(job.id).await?;
        if !job.state().is_end() {
            return Ok(());
        }
        self.give_back(&job).await?;
        Err(Error::fenced(format!("job {} ended before its snapshot was taken once more", job.id)))
    }

    const fn held<'a>(&'a self, job: &'a Job) -> Held<'a> {
        Held { engine: &self.engine, platforms: &self.platforms, job, ending: Ending::Abandoned }
    }

    /// Gives back what lies beside the machine's disks for a job that has ended. What is kept, and is still what was kept, has its own time:
    /// a copy that was late with its plan has had its snapshot taken from it by the copy that was first.
    async fn give_back(&self, job: &Job) -> Result<()> {
        let held = self.held(job);
        if held.kept().await?.is_none() {
            held.give_back_anew().await?;
        }
        Ok(())
    }
}

impl Handler for Take {
    type Event = BackupRequested;

    async fn handle(&self, event: Envelope<BackupRequested>, invocation: &Invocation) -> Result<Effects> {
        let job = self.engine.job(event.data.job).await?;
        if !matches!(job.request.what, Operation::Backup { .. }) {
            return Err(Error::fenced(format!("job {} is no backup", job.id)));
        }
        if job.state().is_end() {
            // The first delivery may have died right after it took a snapshot that it should not have taken any more.
            if invocation.redelivered {
                self.give_back(&job).await?;
            }
            return Ok(Effects::none());
        }
        let loaded = self.plan(&job).await?;
        let segments = &loaded.plan.segments;
        // Before anything is transferred, so that whatever ends the job then leaves the snapshot where it is.
        if let Some(kept) = KeptSnapshot::of(&job, &loaded.plan).filter(|_| job.newest.segments.is_none()) {
            self.engine.keep_snapshot(&kept).await?;
            if let Operation::Backup { snapshot_only: true, .. } = job.request.what {
                let job = self.engine.seal(&job, invocation.attempt).await?;
                self.end_with_snapshot(&job, &kept, &loaded.plan.detail.warnings).await?;
                return Ok(Effects::none());
            }
        }
        // Until the first of these events is out, no segment can have been begun, and all are outstanding.
        let first = !invocation.redelivered && job.newest.segments.is_none() && !segments.is_empty();
        let job = self.engine.begin_transfer(&job, segments.len()).await?;
        if job.state().is_end() {
            self.give_back(&job).await?;
            return Ok(Effects::none());
        }
        let total = segments.iter().map(|segment| segment.bytes).sum();
        self.progress.planned(job.id, total, 0);
        let events: Vec<Outgoing> = if first {
            (0_u32..).zip(segments).map(|(segment, _)| Outgoing::new(&SegmentPlanned { job: job.id, segment })).collect()
        } else {
            self.engine.redrive(&job).await?
        };
        Ok(Effects { events })
    }
}

/// What the machine's firmware remembers, as the point will hold it. Too much of it is a warning: the disks are worth more.
fn sealed_variables(vault: &Vault, item: &ItemName, point: PointId, snapshot: &mut Snapshot) -> Option<SealedText> {
    let variables = snapshot.firmware_variables.take()?;
    match vault.seal_firmware_variables(item, point, &variables) {
        Ok(sealed) => Some(sealed),
        Err(error) => {
            let file = variables.file.escape_debug();
            snapshot.warnings.push(format!("firmware variables ({file}) are not in the point: {}", error.one_line()));
            None
        }
    }
}

/// Pages that must be looked at, with the bytes to be read of each: those with data, and those that the parent has and that
/// may have become zeros.
fn pages_with_content(snapshot: &Snapshot, parent: Option<&Manifest>) -> Vec<(u16, u32, u64)> {
    let mut pages = Vec::new();
    for (position, disk) in (0_u16..).zip(&snapshot.disks) {
        let before = parent.and_then(|manifest| manifest.disks.iter().find(|map| map.name == disk.name));
        let whole = disk.baseline == Baseline::Zero;
        let had = |page: usize| whole && before.is_some_and(|map| map.pages.get(page).is_some_and(Option::is_some));
        for (page, bytes) in (0_u32..).zip(bytes_by_page(&disk.extents, disk.size_bytes)) {
            if bytes > 0 || had(page as usize) {
                // A page that only may have become zeros still costs a look at the parent's.
                pages.push((position, page, bytes.max(CHUNK_BYTES)));
            }
        }
    }
    pages
}

#[cfg(test)]
mod tests {
    use stillpoint_format::{DiskMap, PageRef};
    use stillpoint_model::{Consistency, Extent};
    use stillpoint_ports::DiskSnapshot;

    use super::*;

    fn snapshot(baseline: Baseline, extents: &[(u64, u64)]) -> Snapshot {
        let extents = extents.iter().map(|(offset, length)| Extent::new(*offset, *length)).collect();
        let disk =
            DiskSnapshot { name: "os".parse().unwrap(), size_bytes: PAGE_BYTES * 4, extents, baseline, handle: String::new() };
        Snapshot::new("2026-01-01T00:00:00Z".parse().unwrap(), Consistency::Crash, vec![disk], false)
    }

    #[test]
    fn pages_that_were_and_pages_that_are_get_looked_at() {
        let page = Some(PageRef { pack: 0, frame: 0, offset: 0, sealed_bytes: 1 });
        let map = DiskMap { name: "os".parse().unwrap(), size_bytes: PAGE_BYTES * 4, pages: vec![None, page, None, None] };
        let parent = Manifest { disks: vec![map], ..Manifest::default() };
        let extents = [(PAGE_BYTES * 2 + CHUNK_BYTES, PAGE_BYTES)];
        let whole = pages_with_content(&snapshot(Baseline::Zero, &extents), Some(&parent));
        assert_eq!(whole, [(0, 1, CHUNK_BYTES), (0, 2, PAGE_BYTES - CHUNK_BYTES), (0, 3, CHUNK_BYTES)]);
        let tracked = pages_with_content(&snapshot(Baseline::Parent, &extents), Some(&parent));
        assert_eq!(tracked, whole[1..]);
    }
}

use std::sync::Arc;

use stillpoint_events::{Envelope, RestoreRequested};
use stillpoint_format::DiskMap;
use stillpoint_handler::{Effects, Handler, Invocation};
use stillpoint_jobs::{Engine, Job, Loaded, Operation, Plan, cut};
use stillpoint_model::{
    Error, ItemName, JobId, PointId, Requests, Result,
    geometry::{PAGE_BYTES, page_range},
};
use stillpoint_ports::{Progress, Target, TargetDisk};
use stillpoint_vault::Vault;

use crate::{plan::RestorePlan, taken::Taken};

/// Makes places for the disks and writes the plan.
pub struct Prepare {
    engine: Engine,
    target: Arc<dyn Target>,
    progress: Arc<dyn Progress>,
}

impl Prepare {
    /// The handler over its ports.
    #[must_use]
    pub fn new(engine: Engine, target: Arc<dyn Target>, progress: Arc<dyn Progress>) -> Self {
        Self { engine, target, progress }
    }

    async fn plan(&self, job: &Job) -> Result<Loaded<RestorePlan>> {
        if let Some(made) = self.engine.plan_if_made(job.id).await? {
            return Ok(made);
        }
        let Operation::Restore { item, point, disks, snapshot, .. } = &job.request.what else {
            return Err(Error::internal(format!("job {} is no restore", job.id)));
        };
        let engine = self.engine.metered();
        let vault = engine.vault();
        let pages = match snapshot {
            Some(taken) => pages_of_snapshot(&engine, *taken, (item, *point), disks).await?,
            None => pages_of_vault(vault, (item, *point), disks).await?,
        };
        // Only now is the target touched: everything that can be refused has been looked at.
        self.target.prepare(job.id, disks).await?;
        let requests = vault.store().requests() + Requests { put: 1, ..Requests::default() };
        let detail = RestorePlan { item: item.clone(), point: *point, disks: disks.clone(), snapshot: *snapshot };
        let loaded = engine.save_plan(Plan { job: job.id, segments: cut(&pages), requests, detail }).await?;
        // A process that stood still for long may prepare disks for a job that has ended since: nobody else knows of them.
        if !loaded.own && self.engine.job(job.id).await?.state().is_end() {
            self.target.discard(job.id, disks).await?;
            return Err(Error::fenced(format!("job {} ended before its disks were prepared once more", job.id)));
        }
        Ok(loaded)
    }
}

/// A page of a restore: position of its disk, number, and the bytes that it may write.
type Page = (u16, u32, u64);

async fn pages_of_vault(vault: &Vault, (item, id): (&ItemName, PointId), disks: &[TargetDisk]) -> Result<Vec<Page>> {
    // The job's ledger is there: what is not condemned now stays until the job has ended, or was freed before the second look.
    let condemned = vault.condemned().await?;
    let entry = vault.point_entry(item, id).await?;
    if entry.freed() || condemned.frees(item, &entry) {
        return Err(Error::missing(format!("point {id} of {item} was deleted, and its time to be undeleted is over")));
    }
    let manifest = vault.manifest(&vault.point(item, id).await?).await?;
    let mut pages = Vec::new();
    for (position, disk) in (0_u16..).zip(disks) {
        let map = manifest.disks.iter().find(|map| map.name == disk.name && map.size_bytes == disk.size_bytes);
        let map =
            map.ok_or_else(|| Error::invalid(format!("point {id} has no disk {} of {} bytes", disk.name, disk.size_bytes)))?;
        pages.extend(weights(map).map(|(page, bytes)| (position, page, bytes)));
    }
    Ok(pages)
}

async fn pages_of_snapshot(
    engine: &Engine,
    job: JobId,
    (item, id): (&ItemName, PointId),
    disks: &[TargetDisk],
) -> Result<Vec<Page>> {
    let taken = Taken::read(engine, job, item, id).await?;
    taken.check(engine).await?;
    let mut pages = Vec::new();
    for (position, disk) in (0_u16..).zip(disks) {
        pages.extend(taken.disk(disk)?.weights().map(|(page, bytes)| (position, page, bytes)));
    }
    Ok(pages)
}

/// All pages, zero ones too (a device may hold other bytes there), with the bytes that each may write.
fn weights(map: &DiskMap) -> impl Iterator<Item = (u32, u64)> + '_ {
    (0_u32..).zip(&map.pages).map(|(number, page)| {
        let (start, end) = page_range(number, map.size_bytes);
        debug_assert!(end - start <= PAGE_BYTES);
        (number, if page.is_some() { end - start } else { 0 })
    })
}

impl Handler for Prepare {
    type Event = RestoreRequested;

    async fn handle(&self, event: Envelope<RestoreRequested>, invocation: &Invocation) -> Result<Effects> {
        let job = self.engine.job(event.data.job).await?;
        let Operation::Restore { disks, .. } = &job.request.what else {
            return Err(Error::fenced(format!("job {} is no restore", job.id)));
        };
        if job.state().is_end() {
            if invocation.redelivered {
                // The first delivery may have died right after it prepared disks that it should not have prepared any more.
                self.target.discard(job.id, disks).await?;
            }
            return Ok(Effects::none());
        }
        let loaded = self.plan(&job).await?;
        let job = self.engine.begin_transfer(&job, loaded.plan.segments.len()).await?;
        if job.state().is_end() {
            self.target.discard(job.id, &loaded.plan.detail.disks).await?;
            return Ok(Effects::none());
        }
        let total = loaded.plan.segments.iter().map(|segment| segment.bytes).fold(0, u64::saturating_add);
        self.progress.planned(job.id, total, 0);
        Ok(Effects { events: self.engine.redrive(&job).await? })
    }
}

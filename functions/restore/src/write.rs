use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use stillpoint_events::{Envelope, RestoreSegmentPlanned, RestoreSegmentsWritten};
use stillpoint_format::{DiskMap, Manifest, MapPage};
use stillpoint_handler::{Effects, Handler, Invocation};
use stillpoint_jobs::{Delivery, Engine, FanIn, InHand, Loaded, Segment};
use stillpoint_model::{
    Error, Extent, JobId, Mutation, Requests, Result,
    geometry::{CHUNK_BYTES, PAGE_BYTES, page_range},
};
use stillpoint_ports::{Cpu, DiskWriter, Platforms, Progress, Target, TargetDisk, execute};
use stillpoint_vault::{ChunkRead, FramePool, Vault};
use tokio::sync::Mutex;

use crate::{
    plan::{RestorePlan, Written},
    taken::Taken,
};

/// Map pages read ahead of the data they describe.
const PAGES_AHEAD: usize = 64;
/// Ranged reads of one segment under way at once.
const READS_IN_FLIGHT: usize = 2;

/// A job's plan and where its bytes are, kept between its segments.
struct Source {
    loaded: Loaded<RestorePlan>,
    origin: Origin,
}

/// Where a restored point's bytes come from.
enum Origin {
    Vault(Manifest),
    Snapshot(Box<Taken>),
}

/// Writes segments.
pub struct Write {
    engine: Engine,
    platforms: Platforms,
    target: Arc<dyn Target>,
    cpu: Arc<dyn Cpu>,
    progress: Arc<dyn Progress>,
    frames: Arc<FramePool>,
    newest: Mutex<Option<(JobId, Arc<Source>)>>,
    in_hand: InHand,
}

impl Write {
    /// The handler over its ports.
    #[must_use]
    pub fn new(
        engine: Engine,
        platforms: Platforms,
        target: Arc<dyn Target>,
        cpu: Arc<dyn Cpu>,
        progress: Arc<dyn Progress>,
    ) -> Self {
        let (frames, newest, in_hand) = (Arc::default(), Mutex::default(), InHand::default());
        Self { engine, platforms, target, cpu, progress, frames, newest, in_hand }
    }

    async fn source(&self, engine: &Engine, job: JobId) -> Result<Arc<Source>> {
        let mut newest = self.newest.lock().await;
        if let Some((_, source)) = newest.as_ref().filter(|(known, _)| *known == job) {
            return Ok(Arc::clone(source));
        }
        let loaded = engine.plan::<RestorePlan>(job).await?;
        let RestorePlan { item, point, snapshot, .. } = &loaded.plan.detail;
        let origin = match snapshot {
            Some(taken) => Origin::Snapshot(Box::new(Taken::read(engine, *taken, item, *point).await?)),
            None => Origin::Vault(engine.vault().manifest(&engine.vault().point(item, *point).await?).await?),
        };
        let source = Arc::new(Source { origin, loaded });
        *newest = Some((job, Arc::clone(&source)));
        Ok(source)
    }

    async fn write_segment(&self, vault: &Vault, job: JobId, source: &Source, segment: &Segment) -> Result<Written> {
        let disk = source.loaded.plan.detail.disks.get(usize::from(segment.disk));
        let disk = disk.ok_or_else(|| Error::corrupt("a plan names no such disk"))?;
        let pages = pages_of(segment, disk)?;
        let writer = self.target.open(job, disk).await?;
        let written_bytes = match &source.origin {
            Origin::Vault(manifest) => self.write_from_vault(vault, job, (manifest, disk), pages, &*writer).await?,
            Origin::Snapshot(taken) => {
                let moved = (&*self.progress, job);
                taken.write(&self.platforms, taken.disk(disk)?, pages, &*writer, moved).await?
            }
        };
        // The marker says that these bytes are there, whatever happens next.
        writer.sync().await?;
        Ok(Written { written_bytes })
    }

    async fn write_from_vault(
        &self,
        vault: &Vault,
        job: JobId,
        (manifest, disk): (&Manifest, &TargetDisk),
        pages: Range<u32>,
        writer: &dyn DiskWriter,
    ) -> Result<u64> {
        let map = manifest.disks.iter().find(|map| map.name == disk.name && map.size_bytes == disk.size_bytes);
        let map = map.ok_or_else(|| Error::corrupt("a plan names a disk that the point does not have"))?;
        let mut written_bytes = 0;
        let pages: Vec<u32> = pages.collect();
        for ahead in pages.chunks(PAGES_AHEAD) {
            for (number, page) in self.pages(vault, manifest, map, ahead).await? {
                let (start, end) = page_range(number, map.size_bytes);
                match page {
                    None => writer.zero(Extent::new(start, end - start)).await?,
                    Some(page) => {
                        match self.write_page(vault, writer, &page, start, end).await {
                            Err(error) if !Mutation::PartialRestore.is_active() => return Err(error),
                            written => written_bytes += written.unwrap_or(0),
                        }
                        self.progress.moved(job, end - start);
                    }
                }
            }
        }
        Ok(written_bytes)
    }

    async fn pages(
        &self,
        vault: &Vault,
        manifest: &Manifest,
        map: &DiskMap,
        numbers: &[u32],
    ) -> Result<Vec<(u32, Option<MapPage>)>> {
        let places: Vec<_> = numbers.iter().map(|number| map.pages.get(*number as usize).copied().flatten()).collect();
        let refs: Vec<_> = places.iter().flatten().copied().collect();
        let mut read = vault.pages(&manifest.packs, &refs).await.into_iter();
        let mut pages = Vec::with_capacity(numbers.len());
        for (number, place) in numbers.iter().zip(places) {
            let page = place.and_then(|_| read.next()).transpose()?;
            pages.push((*number, page));
        }
        Ok(pages)
    }

    async fn write_page(&self, vault: &Vault, writer: &dyn DiskWriter, page: &MapPage, start: u64, end: u64) -> Result<u64> {
        if page.entries.len() as u64 != (end - start).div_ceil(CHUNK_BYTES) {
            return Err(Error::corrupt("a map page has another length than its disk says"));
        }
        for zeros in zero_runs(page, start, end) {
            writer.zero(zeros).await?;
        }
        let fetch = |read: ChunkRead| async move { self.fetch(vault, read).await };
        let mut reads =
            stream::iter(ChunkRead::plan(page, 0..page.entries.len()).into_iter().map(fetch)).buffer_unordered(READS_IN_FLIGHT);
        let mut written_bytes = 0;
        while let Some(chunks) = reads.try_next().await? {
            for (index, mut bytes) in chunks {
                let offset = start + index as u64 * CHUNK_BYTES;
                // The last chunk of a disk was padded.
                bytes.truncate(usize::try_from(end - offset).unwrap_or(usize::MAX));
                written_bytes += bytes.len() as u64;
                writer.write(offset, bytes).await?;
            }
        }
        Ok(written_bytes)
    }

    async fn fetch(&self, vault: &Vault, read: ChunkRead) -> Result<Vec<(usize, Bytes)>> {
        let sealed = vault.sealed(&read).await?;
        let keys = Arc::clone(vault.keys());
        let pool = Arc::clone(&self.frames);
        execute(&*self.cpu, move || read.decode(&keys, &sealed, &pool)).await?
    }
}

/// Runs of zero chunks of a page.
fn zero_runs(page: &MapPage, start: u64, end: u64) -> Vec<Extent> {
    let zeros = page.entries.iter().enumerate().filter(|(_, entry)| entry.is_none());
    let extents = zeros.map(|(index, _)| Extent::new(start + index as u64 * CHUNK_BYTES, CHUNK_BYTES)).collect();
    debug_assert!(end - start <= PAGE_BYTES);
    stillpoint_model::merge(extents, CHUNK_BYTES, end)
}

/// The pages of a segment, wherever their bytes come from.
fn pages_of(segment: &Segment, disk: &TargetDisk) -> Result<Range<u32>> {
    let end = segment.first_page.checked_add(segment.pages).filter(|end| u64::from(*end) <= disk.size_bytes.div_ceil(PAGE_BYTES));
    let end = end.ok_or_else(|| Error::corrupt("a plan names pages that its disk does not have"))?;
    Ok(segment.first_page..end)
}

impl Handler for Write {
    type Event = RestoreSegmentPlanned;

    async fn handle(&self, event: Envelope<RestoreSegmentPlanned>, invocation: &Invocation) -> Result<Effects> {
        let RestoreSegmentPlanned { job, segment: number } = event.data;
        let engine = self.engine.metered();
        let source = match self.source(&engine, job).await {
            Err(error) => return Err(engine.unless_stray(job, "restore", error).await),
            Ok(source) => source,
        };
        let segment = source.loaded.segment(number)?;
        let held = self.in_hand.take(job, number);
        let work = async { Ok((self.write_segment(engine.vault(), job, &source, segment).await?, Requests::default())) };
        let delivery = Delivery { attempt: invocation.attempt, redelivered: invocation.redelivered };
        let fan_in = engine.do_segment(held, &source.loaded, delivery, work).await?;
        Ok(match fan_in {
            FanIn::Complete => Effects::publish(&RestoreSegmentsWritten { job }),
            FanIn::Pending => Effects::none(),
        })
    }
}

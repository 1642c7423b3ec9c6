//! One segment, from its first page to its result.

use std::sync::Arc;

use stillpoint_format::{ChunkId, MapPage};
use stillpoint_jobs::{Engine, Segment, Transferred};
use stillpoint_model::{
    AttemptId, DiskName, Error, ErrorKind, Extent, Mutation, Result,
    geometry::{CHUNK_BYTES, page_range},
};
use stillpoint_ports::{Baseline, Cpu, DiskSnapshot, Platform, Progress, execute};

use crate::{
    basis::Basis,
    buffers::Buffers,
    draft::Draft,
    packer::{Origin, Packer},
    scan::{Chunk, Scanned, Scanner, comparable},
    similar::Similar,
    throttle::Throttle,
};

/// Pages of the parent fetched ahead: some 3 MiB decoded.
const PAGES_AHEAD: usize = 128;

/// One try at one segment.
pub(crate) struct Step<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) basis: &'a Basis,
    pub(crate) platform: &'a Arc<dyn Platform>,
    pub(crate) cpu: &'a dyn Cpu,
    pub(crate) progress: &'a dyn Progress,
    pub(crate) buffers: &'a Arc<Buffers>,
    pub(crate) throttle: &'a Throttle,
    pub(crate) level: i32,
    pub(crate) number: u32,
    pub(crate) attempt: AttemptId,
}

/// The parent's view of one page.
struct Before {
    /// Whether the parent has a page there, readable or not.
    exists: bool,
    page: Option<MapPage>,
}

/// What a segment has come to so far.
struct Sum {
    packer: Packer,
    read_bytes: u64,
    changed_bytes: u64,
    /// Chunks that changed and that the platform did not tell of.
    untold_chunks: u64,
    warnings: Vec<String>,
}

impl Step<'_> {
    pub(crate) async fn run(&self) -> Result<Transferred> {
        let detail = &self.basis.loaded.plan.detail;
        let segment = self.basis.loaded.plan.segments[self.number as usize];
        let disk =
            detail.snapshot.disks.get(usize::from(segment.disk)).ok_or_else(|| Error::corrupt("a plan names no such disk"))?;
        let reader = self.platform.open(disk).await?;
        let vault = self.engine.vault();
        let scanner = Scanner { reader: &*reader, disk, keys: vault.keys(), cpu: self.cpu, buffers: self.buffers };
        let origin =
            Origin { item: detail.item.clone(), job: self.basis.loaded.plan.job, segment: self.number, attempt: self.attempt };
        let mut sum = Sum {
            packer: Packer::new(vault, origin, self.level),
            read_bytes: 0,
            changed_bytes: 0,
            untold_chunks: 0,
            warnings: Vec::new(),
        };
        let pages = self.pages(&segment, disk);
        for ahead in pages.chunks(PAGES_AHEAD) {
            let befores = self.befores(segment.disk, ahead, &mut sum.warnings).await?;
            for (number, before) in ahead.iter().zip(befores) {
                sum = self.page(&scanner, *number, before, sum).await?;
            }
        }
        reader.confirm().await?;
        let mut packer = sum.packer;
        let packer = self.upload(execute(self.cpu, move || packer.finish().map(|()| packer)).await??).await?;
        self.progress.moved(self.basis.loaded.plan.job, segment.bytes.saturating_sub(sum.read_bytes));
        if sum.untold_chunks > 0 {
            sum.warnings.push(untold(&disk.name, sum.untold_chunks));
        }
        let result = packer.result(|pack| self.basis.pack_size(&pack.name))?;
        Ok(Transferred { read_bytes: sum.read_bytes, changed_bytes: sum.changed_bytes, warnings: sum.warnings, ..result })
    }

    /// Pages of the segment that hold data or did so in the parent.
    fn pages(&self, segment: &Segment, disk: &DiskSnapshot) -> Vec<u32> {
        let parent = self.basis.parent_of(segment.disk).map(|(_, map)| map);
        let has_data = |page: u32| {
            let (start, end) = page_range(page, disk.size_bytes);
            let next = disk.extents.partition_point(|extent| extent.end() <= start);
            disk.extents.get(next).is_some_and(|extent| extent.offset < end)
        };
        let had_data = |page: u32| parent.is_some_and(|map| map.pages.get(page as usize).is_some_and(Option::is_some));
        (segment.first_page..segment.first_page + segment.pages).filter(|page| has_data(*page) || had_data(*page)).collect()
    }

    async fn befores(&self, disk: u16, pages: &[u32], warnings: &mut Vec<String>) -> Result<Vec<Before>> {
        let Some((parent, map)) = self.basis.parent_of(disk) else {
            return Ok(pages.iter().map(|_| Before { exists: false, page: None }).collect());
        };
        let places: Vec<_> = pages.iter().map(|page| map.pages.get(*page as usize).copied().flatten()).collect();
        let refs: Vec<_> = places.iter().flatten().copied().collect();
        let mut read = self.engine.vault().pages(&parent.manifest.packs, &refs).await.into_iter();
        let mut befores = Vec::with_capacity(pages.len());
        for place in places {
            let page = match place.and_then(|_| read.next()) {
                None => None,
                // A page in a pack to avoid is not referred to again, whether or not it can be read.
                Some(Ok(page)) if page.packs.first().is_some_and(|own| !self.basis.may_read(&own.name)) => None,
                Some(Ok(page)) => Some(page),
                // Damage costs a second copy of what the page held; anything that may pass is worth another try.
                Some(Err(error)) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Missing) => {
                    if warnings.is_empty() {
                        warnings
                            .push(format!("the point compared with is damaged, its data is stored again: {}", error.one_line()));
                    }
                    None
                }
                Some(Err(error)) => return Err(error),
            };
            befores.push(Before { exists: place.is_some(), page });
        }
        Ok(befores)
    }

    async fn page(&self, scanner: &Scanner<'_>, number: u32, before: Before, mut sum: Sum) -> Result<Sum> {
        let damaged = |page: &MapPage| page.packs.iter().any(|pack| self.basis.avoids(&pack.name));
        if scanner.disk.baseline == Baseline::Parent && before.exists && before.page.as_ref().is_none_or(damaged) {
            return Err(Error::corrupt("the point that changes are counted from is damaged: the disk must be read whole"));
        }
        let ids = Arc::new(comparable(before.page.as_ref(), |pack| self.basis.avoids(pack)));
        let Scanned { chunks, read_bytes } = scanner.scan(number, &ids).await?;
        sum.read_bytes += read_bytes;
        let slot = self.basis.loaded.plan.detail.slot.as_ref();
        self.throttle.pay(slot, read_bytes, self.engine.vault().clock()).await;
        self.progress.moved(self.basis.loaded.plan.job, read_bytes);
        let changed = changed_chunks(&chunks, before.page.as_ref());
        // Where the disk's end moved, the page has another number of chunks even if all that is left of it is the same.
        let resized = before.page.as_ref().is_some_and(|page| page.entries.len() != chunks.len());
        // A page in a thin pack moves to another, even if nothing else does.
        let stays = before
            .page
            .as_ref()
            .map_or(!before.exists, |page| page.packs.first().is_none_or(|own| !self.basis.avoids(&own.name)));
        if changed == 0 && !resized && stays {
            return Ok(sum);
        }
        if let Some(told) = self.basis.loaded.plan.detail.told.get(&scanner.disk.name) {
            let (start, _) = page_range(number, scanner.disk.size_bytes);
            sum.untold_chunks += untold_chunks(&chunks, before.page.as_ref(), told, start);
        }
        sum.changed_bytes += (changed - stored_again(&chunks, before.page.as_ref())) * CHUNK_BYTES;
        if let Some(page) = &before.page {
            sum.packer.deltas.count(page, -1);
        }
        if chunks.iter().all(|chunk| matches!(chunk, Chunk::Zero)) {
            sum.packer.zero_page(number);
            return Ok(sum);
        }
        let new: Vec<ChunkId> =
            chunks.iter().filter_map(|chunk| if let Chunk::New { id, .. } = chunk { Some(*id) } else { None }).collect();
        let place = (!before.exists).then_some((&scanner.disk.name, number));
        let similar = Similar::find(self.engine.vault(), self.basis, &new, place).await;
        let whole = similar.candidates.iter().find(|candidate| self.matches(&chunks, &ids, &candidate.page));
        if let Some(candidate) = whole {
            sum.packer.share_page(number, &candidate.page, candidate.place);
            return Ok(sum);
        }
        let draft = Draft::new(scanner.disk.name.clone(), number);
        let Sum { packer, .. } = sum;
        let packer = execute(self.cpu, move || pack(packer, draft, chunks, before.page.as_ref(), &similar)).await??;
        Ok(Sum { packer: self.upload(packer).await?, ..sum })
    }

    /// Whether `page` holds exactly these chunks and may be referred to.
    fn matches(&self, chunks: &[Chunk], before: &[Option<ChunkId>], page: &MapPage) -> bool {
        let sound = page.packs.iter().all(|pack| !self.basis.avoids(&pack.name));
        let equal = |(position, chunk): (usize, &Chunk)| {
            let held = page.entries[position].map(|entry| entry.id);
            match chunk {
                Chunk::Zero => held.is_none(),
                Chunk::Same => held.is_some() && held == before.get(position).copied().flatten(),
                Chunk::New { id, .. } => held == Some(*id),
            }
        };
        sound && page.entries.len() == chunks.len() && chunks.iter().enumerate().all(equal)
    }

    async fn upload(&self, mut packer: Packer) -> Result<Packer> {
        for ready in packer.take_ready() {
            match self.engine.vault().store().create(&ready.name, ready.parts).await {
                Err(error) if !Mutation::FailedUploadUsed.is_active() => return Err(error),
                _ => {}
            }
        }
        Ok(packer)
    }
}

/// What a point says of which a platform forgot changes.
fn untold(disk: &DiskName, chunks: u64) -> String {
    format!(
        "change tracking forgot {chunks} changed chunks of disk {disk}: earlier points, back to the last one that was read as a whole, may hold older bytes there"
    )
}

/// Changed chunks of a page from `start` on that lie in none of the extents told.
fn untold_chunks(chunks: &[Chunk], before: Option<&MapPage>, told: &[Extent], start: u64) -> u64 {
    let is_told = |position: usize| {
        let offset = start + position as u64 * CHUNK_BYTES;
        let next = told.partition_point(|extent| extent.end() <= offset);
        told.get(next).is_some_and(|extent| extent.offset < offset + CHUNK_BYTES)
    };
    let held = |position: usize| before.and_then(|page| page.entries.get(position)?.as_ref()).map(|entry| entry.id);
    let changed = chunks.iter().enumerate().filter(|(position, chunk)| match chunk {
        Chunk::Zero => held(*position).is_some(),
        Chunk::Same => false,
        Chunk::New { id, .. } => held(*position) != Some(*id),
    });
    changed.filter(|(position, _)| !is_told(*position)).count() as u64
}

/// Chunks that are not what the parent has at their place.
fn changed_chunks(chunks: &[Chunk], before: Option<&MapPage>) -> u64 {
    let was_zero = |position: usize| before.is_none_or(|page| page.entries.get(position).is_none_or(Option::is_none));
    let changed = chunks.iter().enumerate().filter(|(position, chunk)| match chunk {
        Chunk::Zero => !was_zero(*position),
        Chunk::Same => false,
        Chunk::New { .. } => true,
    });
    changed.count() as u64
}

/// Chunks that are what the parent has at their place, in a pack that nothing may refer to.
fn stored_again(chunks: &[Chunk], before: Option<&MapPage>) -> u64 {
    let Some(page) = before else { return 0 };
    let held = |position: usize| page.entries.get(position).and_then(Option::as_ref).map(|entry| entry.id);
    let again = chunks.iter().enumerate().filter(|(position, chunk)| match chunk {
        Chunk::New { id, .. } => held(*position) == Some(*id),
        Chunk::Zero | Chunk::Same => false,
    });
    again.count() as u64
}

fn pack(mut packer: Packer, mut draft: Draft, chunks: Vec<Chunk>, before: Option<&MapPage>, similar: &Similar) -> Result<Packer> {
    for (position, chunk) in chunks.into_iter().enumerate() {
        match chunk {
            Chunk::Zero => draft.push_zero(),
            Chunk::Same => match before.and_then(|page| Some((page, page.entries.get(position)?.as_ref()?))) {
                Some((page, entry)) => draft.push_known(page, entry),
                None => draft.push_zero(),
            },
            Chunk::New { id, buffer, range } => match similar.get(&id) {
                Some((page, entry)) => draft.push_known(page, entry),
                None => draft.push_new(packer.push_chunk(id, &buffer.bytes()[range])?, id),
            },
        }
    }
    packer.push_page(draft);
    Ok(packer)
}

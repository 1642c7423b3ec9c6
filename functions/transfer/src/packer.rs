//! New chunks become frames, frames and pages become packs.
//!
//! A segment's pages go together into its last pack, however many packs its chunks fill: the next backup reads them all with
//! one request. Only pages that take up too much memory while they wait go into an earlier one.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use bytes::Bytes;
use stillpoint_format::{ChunkId, FrameKind, FrameRef, Keys, PackBuilder, PackRef, SALT_BYTES, compress, limits, samples_of};
use stillpoint_jobs::{PageChange, PagePlace, Samples, Transferred};
use stillpoint_model::{AttemptId, Error, ItemName, JobId, Result, geometry::CHUNK_BYTES};
use stillpoint_vault::{Name, Vault};

use crate::{
    deltas::Deltas,
    draft::{Draft, Location},
};

/// A pack is closed before its frames and the pages that wait for it outgrow this; the rest is for its index.
const PACK_BYTES_AIM: usize = limits::PACK_BYTES_MAX - (2 << 20);
/// Pages that wait for the last pack may take up this much, of the pack that they wait beside.
const WAITING_BYTES_MAX: usize = PACK_BYTES_AIM / 4;
/// zstd level of map pages: ids do not shrink, the rest always does.
const PAGE_LEVEL: i32 = 1;

/// Whose packs these are.
#[derive(Clone)]
pub(crate) struct Origin {
    pub(crate) item: ItemName,
    pub(crate) job: JobId,
    pub(crate) segment: u32,
    pub(crate) attempt: AttemptId,
}

/// A finished pack, to be created in the vault.
pub(crate) struct Ready {
    pub(crate) name: String,
    pub(crate) parts: Vec<Bytes>,
}

/// A page that has its place.
struct Placed {
    number: u32,
    pack: PackRef,
    frame: u32,
    offset: u32,
    sealed_bytes: u32,
    samples: Vec<u64>,
}

/// See the module. Lives on one thread at a time and is handed to the CPU pool and back.
pub(crate) struct Packer {
    vault: Vault,
    keys: Arc<Keys>,
    origin: Origin,
    level: i32,
    builder: Option<PackBuilder>,
    packs: Vec<PackRef>,
    sizes: HashMap<PackRef, u64>,
    sequences: HashMap<ChunkId, u32>,
    located: Vec<Option<Location>>,
    pending: Vec<u8>,
    pending_sequences: Vec<u32>,
    drafts: VecDeque<Draft>,
    drafts_bytes: usize,
    placed: Vec<Placed>,
    zeroed: Vec<u32>,
    ready: Vec<Ready>,
    scratch: Vec<u8>,
    /// How the use of packs changes.
    pub(crate) deltas: Deltas,
}

impl Packer {
    pub(crate) fn new(vault: &Vault, origin: Origin, level: i32) -> Self {
        Self {
            vault: vault.clone(),
            keys: Arc::clone(vault.keys()),
            origin,
            level,
            builder: None,
            packs: Vec::new(),
            sizes: HashMap::new(),
            sequences: HashMap::new(),
            located: Vec::new(),
            pending: Vec::with_capacity(limits::FRAME_BYTES_MAX),
            pending_sequences: Vec::new(),
            drafts: VecDeque::new(),
            drafts_bytes: 0,
            placed: Vec::new(),
            zeroed: Vec::new(),
            ready: Vec::new(),
            scratch: Vec::new(),
            deltas: Deltas::default(),
        }
    }

    /// Adds a chunk of this segment, once; returns its sequence number.
    pub(crate) fn push_chunk(&mut self, id: ChunkId, bytes: &[u8]) -> Result<u32> {
        if let Some(sequence) = self.sequences.get(&id) {
            return Ok(*sequence);
        }
        let sequence = self.located.len() as u32;
        self.sequences.insert(id, sequence);
        self.located.push(None);
        self.pending.extend_from_slice(bytes);
        self.pending_sequences.push(sequence);
        if self.pending_sequences.len() == limits::FRAME_CHUNKS_MAX {
            self.flush_frame()?;
        }
        Ok(sequence)
    }

    /// Adds a page; it is written when all its chunks have their frames.
    pub(crate) fn push_page(&mut self, draft: Draft) {
        let draft = draft.seal();
        self.drafts_bytes += draft.bytes_max();
        self.drafts.push_back(draft);
    }

    /// Refers to a page that lies in the vault already.
    pub(crate) fn share_page(&mut self, number: u32, page: &stillpoint_format::MapPage, place: stillpoint_format::PageRef) {
        self.deltas.count(page, 1);
        self.placed.push(Placed {
            number,
            pack: page.packs[0].clone(),
            frame: place.frame,
            offset: place.offset,
            sealed_bytes: place.sealed_bytes,
            samples: samples(page),
        });
    }

    /// Notes that a page became zeros.
    pub(crate) fn zero_page(&mut self, number: u32) {
        self.zeroed.push(number);
    }

    /// Packs that are finished since the last call.
    pub(crate) fn take_ready(&mut self) -> Vec<Ready> {
        std::mem::take(&mut self.ready)
    }

    /// Ends the segment's last pack.
    pub(crate) fn finish(&mut self) -> Result<()> {
        self.flush_frame()?;
        if self.builder.is_some() || !self.drafts.is_empty() {
            self.write_pages()?;
            self.close_pack()?;
        }
        if self.drafts.is_empty() { Ok(()) } else { Err(Error::internal("a page waits for a chunk that was never sealed")) }
    }

    /// The segment's result; `size` knows the sizes of packs that were there before.
    pub(crate) fn result(self, size: impl Fn(&PackRef) -> Result<u64>) -> Result<Transferred> {
        let stored_bytes = self.sizes.values().sum();
        let own = self.sizes;
        let (packs, positions) = self.deltas.finish(|pack| own.get(pack).copied().map_or_else(|| size(pack), Ok))?;
        let mut pages: Vec<PageChange> =
            self.zeroed.into_iter().map(|page| PageChange { page, place: PagePlace::Zero }).collect();
        for placed in self.placed {
            let pack = *positions.get(&placed.pack).ok_or_else(|| Error::internal("a page lies in an uncounted pack"))?;
            let Placed { frame, offset, sealed_bytes, samples, .. } = placed;
            pages.push(PageChange {
                page: placed.number,
                place: PagePlace::At { pack, frame, offset, sealed_bytes, samples: Samples(samples) },
            });
        }
        pages.sort_unstable_by_key(|change| change.page);
        Ok(Transferred { stored_bytes, packs, pages, ..Transferred::default() })
    }

    fn flush_frame(&mut self) -> Result<()> {
        if self.pending_sequences.is_empty() {
            return Ok(());
        }
        debug_assert_eq!(self.pending.len(), self.pending_sequences.len() * CHUNK_BYTES as usize);
        let container = compress(&self.pending, self.level, &mut self.scratch)?;
        let full = |builder: &PackBuilder| builder.size_bytes() + container.len() + self.drafts_bytes > PACK_BYTES_AIM;
        if self.builder.as_ref().is_some_and(full) {
            if self.drafts_bytes > WAITING_BYTES_MAX {
                self.write_pages()?;
            }
            self.close_pack()?;
        }
        let chunks = self.pending_sequences.len() as u8;
        let (number, entry) = self.builder().push(FrameKind::Chunks, chunks, container);
        let frame = FrameRef { pack: 0, number, offset: entry.offset, sealed_bytes: entry.sealed_bytes, chunks };
        let pack = self.packs.len() - 1;
        for (place, sequence) in (0_u8..).zip(self.pending_sequences.drain(..)) {
            self.located[sequence as usize] = Some(Location { pack, frame, place });
        }
        self.pending.clear();
        Ok(())
    }

    fn builder(&mut self) -> &mut PackBuilder {
        if self.builder.is_none() {
            let Origin { item, job, segment, attempt } = self.origin.clone();
            let name = Name::Pack { item, job, segment, attempt, number: self.packs.len() as u32 };
            let mut salt = [0; SALT_BYTES];
            self.vault.random().fill(&mut salt);
            let pack = PackRef { name: name.to_string().into(), salt };
            self.packs.push(pack.clone());
            self.builder = Some(PackBuilder::new(&self.keys, pack));
        }
        self.builder.as_mut().expect("was just made")
    }

    /// Writes the pages whose chunks all have their frames, into one more pack where they do not fit.
    fn write_pages(&mut self) -> Result<()> {
        for draft in std::mem::take(&mut self.drafts) {
            if self.builder().size_bytes() + draft.bytes_max() > PACK_BYTES_AIM {
                self.close_pack()?;
            }
            let own = self.builder().pack().clone();
            let Some(page) = draft.resolve(&own, &self.packs, &self.located) else {
                self.drafts.push_back(draft);
                continue;
            };
            self.drafts_bytes -= draft.bytes_max();
            let container = compress(&page.encode()?, PAGE_LEVEL, &mut self.scratch)?;
            let (frame, entry) = self.builder().push(FrameKind::Page, 0, container);
            self.deltas.count(&page, 1);
            self.placed.push(Placed {
                number: draft.number(),
                pack: own,
                frame,
                offset: entry.offset,
                sealed_bytes: entry.sealed_bytes,
                samples: samples(&page),
            });
        }
        Ok(())
    }

    /// Ends the pack that is being built, if there is one.
    fn close_pack(&mut self) -> Result<()> {
        let Some(builder) = self.builder.take() else { return Ok(()) };
        let own = builder.pack().clone();
        let (parts, size_bytes) = builder.finish()?;
        self.sizes.insert(own.clone(), size_bytes);
        self.ready.push(Ready { name: own.name.to_string(), parts });
        Ok(())
    }
}

fn samples(page: &stillpoint_format::MapPage) -> Vec<u64> {
    samples_of(page.entries.iter().flatten().map(|entry| &entry.id))
}

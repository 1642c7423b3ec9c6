//! From a map page to the bytes of its chunks: frames are read in runs, each frame once per page.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use stillpoint_format::{ChunkId, FrameKind, Keys, MapPage, PackKey, PackRef, limits};
use stillpoint_model::{Error, Result, geometry::CHUNK_BYTES};

use crate::Vault;

/// Sealed bytes read with one request.
const READ_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Sealed bytes between two frames that are cheaper to read over than to ask twice for.
const GAP_BYTES_MAX: u64 = 256 * 1024;

/// Frame buffers kept for the next frame.
const FRAMES_KEPT: usize = 32;

/// Buffers of opened frames that are used again, since fresh memory costs a page fault per 4 KiB.
pub struct FramePool {
    kept: Mutex<Vec<Vec<u8>>>,
    most: usize,
}

impl Default for FramePool {
    fn default() -> Self {
        Self { kept: Mutex::default(), most: FRAMES_KEPT }
    }
}

impl FramePool {
    /// Keeps nothing: for frames that stay, whose buffers would otherwise be as large as the largest frame.
    #[must_use]
    pub fn fresh() -> Self {
        Self { kept: Mutex::default(), most: 0 }
    }

    fn take(&self) -> Vec<u8> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    fn give_back(&self, frame: Vec<u8>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < self.most {
            kept.push(frame);
        }
    }
}

/// An opened frame; returns to its pool with the last slice of it.
struct Pooled {
    frame: Vec<u8>,
    pool: Arc<FramePool>,
}

impl AsRef<[u8]> for Pooled {
    fn as_ref(&self) -> &[u8] {
        &self.frame
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        self.pool.give_back(std::mem::take(&mut self.frame));
    }
}

/// Chunks to be taken from one frame.
#[derive(Debug, Clone)]
struct FrameRead {
    number: u32,
    offset: u32,
    sealed_bytes: u32,
    chunks: u8,
    /// (index of the chunk in its page, place in the frame, id), by index.
    wanted: Vec<(usize, u8, ChunkId)>,
}

/// One ranged read of one pack and what is wanted of it.
#[derive(Debug, Clone)]
pub struct ChunkRead {
    pack: PackRef,
    range: Range<u64>,
    frames: Vec<FrameRead>,
}

impl ChunkRead {
    /// The reads that bring the chunks whose indices in the page, ascending, are `wanted`, ordered by place in their packs.
    #[must_use]
    pub fn plan(page: &MapPage, wanted: impl IntoIterator<Item = usize>) -> Vec<Self> {
        let mut frames = BTreeMap::<(&PackRef, u32), FrameRead>::new();
        for index in wanted {
            let Some(Some(entry)) = page.entries.get(index) else { continue };
            let (frame, pack) = page.locate(entry);
            let read = frames.entry((pack, frame.offset)).or_insert_with(|| FrameRead {
                number: frame.number,
                offset: frame.offset,
                sealed_bytes: frame.sealed_bytes,
                chunks: frame.chunks,
                wanted: Vec::new(),
            });
            read.wanted.push((index, entry.place, entry.id));
        }
        let mut reads: Vec<Self> = Vec::new();
        for ((pack, _), frame) in frames {
            let (start, end) = (u64::from(frame.offset), u64::from(frame.offset) + u64::from(frame.sealed_bytes));
            match reads.last_mut() {
                Some(read)
                    if read.pack == *pack
                        && start <= read.range.end + GAP_BYTES_MAX
                        && end <= read.range.start + READ_BYTES_MAX =>
                {
                    read.range.end = read.range.end.max(end);
                    read.frames.push(frame);
                }
                _ => reads.push(Self { pack: pack.clone(), range: start..end, frames: vec![frame] }),
            }
        }
        reads
    }

    /// Indices in the page of the chunks that it brings, by frame.
    pub fn indices(&self) -> impl Iterator<Item = usize> {
        self.frames.iter().flat_map(|frame| frame.wanted.iter().map(|(index, ..)| *index))
    }

    /// Opens the frames, checks every chunk against its id, and gives (index in the page, bytes of consecutive chunks).
    ///
    /// # Errors
    /// `corrupt`, before any byte is given out: a frame that does not authenticate, a chunk that is not what its id says.
    pub fn decode(&self, keys: &Keys, sealed: &[u8], pool: &Arc<FramePool>) -> Result<Vec<(usize, Bytes)>> {
        let key = PackKey::new(keys, &self.pack);
        let mut chunks = Vec::new();
        for frame in &self.frames {
            let start = (u64::from(frame.offset) - self.range.start) as usize;
            let sealed = sealed
                .get(start..start + frame.sealed_bytes as usize)
                .ok_or_else(|| Error::corrupt(format!("{} is cut short", self.pack.name)))?;
            let plain_max = usize::from(frame.chunks) * CHUNK_BYTES as usize;
            let mut opened = Pooled { frame: pool.take(), pool: Arc::clone(pool) };
            key.open_into(FrameKind::Chunks, frame.number, sealed, plain_max.min(limits::FRAME_BYTES_MAX), &mut opened.frame)
                .map_err(|error| Error::from(error).context(&self.pack.name))?;
            frame.take(keys, Bytes::from_owner(opened), &mut chunks).map_err(|error| error.context(&self.pack.name))?;
        }
        Ok(chunks)
    }
}

impl FrameRead {
    fn take(&self, keys: &Keys, plain: Bytes, chunks: &mut Vec<(usize, Bytes)>) -> Result<()> {
        let slice = |place: u8| usize::from(place) * CHUNK_BYTES as usize..(usize::from(place) + 1) * CHUNK_BYTES as usize;
        for (_, place, id) in &self.wanted {
            let chunk = plain
                .get(slice(*place))
                .ok_or_else(|| Error::corrupt(format!("frame {} is shorter than its page says", self.number)))?;
            if keys.chunk_id(chunk) != *id {
                return Err(Error::corrupt(format!("frame {} holds another chunk than its page says", self.number)));
            }
        }
        // Neighbours on the disk that are neighbours in the frame are written with one call.
        let mut wanted = self.wanted.iter().peekable();
        while let Some((index, place, _)) = wanted.next() {
            let mut last = *place;
            while wanted.next_if(|(next, at, _)| *at == last + 1 && *next == index + usize::from(last + 1 - place)).is_some() {
                last += 1;
            }
            chunks.push((*index, plain.slice(slice(*place).start..slice(last).end)));
        }
        Ok(())
    }
}

impl Vault {
    /// Reads the sealed bytes of one planned read.
    ///
    /// # Errors
    /// `missing`, `corrupt` when the pack is too short; as the store.
    pub async fn sealed(&self, read: &ChunkRead) -> Result<Bytes> {
        self.store().get_range(&read.pack.name, read.range.clone()).await
    }
}

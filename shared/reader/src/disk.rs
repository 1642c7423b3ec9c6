use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use stillpoint_format::DiskMap;
use stillpoint_model::{
    DiskName, Error, Result,
    geometry::{CHUNK_BYTES, PAGE_BYTES, page_range},
};

use crate::{
    ahead::Streams,
    pages::PageKey,
    parts::{Part, Pieces},
    point::Shared,
};

/// Map pages that one question about zeros may read.
const STATUS_PAGES_MAX: u32 = 64;
/// Stretches in one answer.
const STRETCHES_MAX: usize = 1024;

/// A stretch of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// Bytes.
    pub length: u64,
    /// Known to be zero; what is not may still be.
    pub is_zero: bool,
}

/// Reads one disk of a recovery point. All calls may be under way at the same time, and be dropped.
pub struct DiskReader {
    shared: Arc<Shared>,
    index: usize,
    streams: Streams,
}

impl DiskReader {
    pub(crate) fn new(shared: Arc<Shared>, index: usize) -> Self {
        Self { shared, index, streams: Streams::default() }
    }

    fn map(&self) -> &DiskMap {
        &self.shared.disks[self.index]
    }

    /// The disk's name.
    #[must_use]
    pub fn name(&self) -> &DiskName {
        &self.map().name
    }

    /// Its size.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.map().size_bytes
    }

    const fn key(&self, page: u32) -> PageKey {
        PageKey { disk: self.index, page }
    }

    fn check(&self, offset: u64, length: u64) -> Result<u64> {
        let size = self.size_bytes();
        offset.checked_add(length).filter(|end| *end <= size).ok_or_else(|| {
            let end = offset.saturating_add(length);
            Error::invalid(format!("disk {} has {size} bytes; bytes {offset} to {end} are not all on it", self.name()))
        })
    }

    /// Bytes `[offset, offset + length)`.
    ///
    /// # Errors
    /// `invalid` where they are not all on the disk; `corrupt` where the vault holds something else than it should, `missing`; as the
    /// store.
    pub async fn read(&self, offset: u64, length: usize) -> Result<Bytes> {
        let end = self.check(offset, length as u64)?;
        if length == 0 {
            return Ok(Bytes::new());
        }
        if let Some(wanted) = self.streams.note(offset..end, self.shared.ahead_bytes()) {
            self.fetch_ahead(wanted.start..wanted.end.min(self.size_bytes()));
        }
        let parts = self.begin(offset..end).await?;
        let mut pieces = Pieces::new(length);
        for part in parts {
            part.collect(&mut pieces).await?;
        }
        Ok(pieces.end())
    }

    /// Begins all that is to be fetched of a range.
    async fn begin(&self, range: Range<u64>) -> Result<Vec<Part>> {
        let mut parts = Vec::new();
        for (number, start, bytes) in pages_of(&range, self.size_bytes()) {
            let key = self.key(number);
            let page = self.shared.page(key).await?.map(|page| {
                let coming = self.shared.frames(key, &page, chunks_of(start, &bytes));
                (page, coming)
            });
            parts.push(Part { start, bytes, page });
        }
        Ok(parts)
    }

    fn fetch_ahead(&self, range: Range<u64>) {
        let (shared, index, size) = (Arc::clone(&self.shared), self.index, self.size_bytes());
        tokio::spawn(async move {
            for (number, start, bytes) in pages_of(&range, size) {
                let key = PageKey { disk: index, page: number };
                // What cannot be fetched is told to whoever reads it.
                if let Ok(Some(page)) = shared.page(key).await {
                    shared.fetch_ahead(key, &page, chunks_of(start, &bytes));
                }
            }
        });
    }

    /// What is known of the bytes from `offset` on without reading them, by whole chunks: at least one stretch, and together at most
    /// `length` bytes. Neighbours differ.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub async fn block_status(&self, offset: u64, length: u64) -> Result<Vec<Stretch>> {
        let end = self.check(offset, length)?;
        let mut stretches: Vec<Stretch> = Vec::new();
        let mut pages = 0;
        for (number, start, bytes) in pages_of(&(offset..end), self.size_bytes()) {
            if pages == STATUS_PAGES_MAX || stretches.len() >= STRETCHES_MAX {
                break;
            }
            match self.shared.page(self.key(number)).await? {
                None => append(&mut stretches, bytes.end - bytes.start, true),
                Some(page) => {
                    pages += 1;
                    for index in chunks_of(start, &bytes) {
                        let chunk = chunk_range(start, index, &bytes);
                        append(&mut stretches, chunk.end - chunk.start, page.entries[index].is_none());
                    }
                }
            }
        }
        Ok(stretches)
    }
}

fn append(stretches: &mut Vec<Stretch>, length: u64, is_zero: bool) {
    match stretches.last_mut() {
        Some(last) if last.is_zero == is_zero => last.length += length,
        _ => stretches.push(Stretch { length, is_zero }),
    }
}

/// The pages that a range touches: number, first byte of the page, and the range within it.
fn pages_of(range: &Range<u64>, size_bytes: u64) -> impl Iterator<Item = (u32, u64, Range<u64>)> + use<> {
    let range = range.clone();
    let pages = range.start / PAGE_BYTES..range.end.div_ceil(PAGE_BYTES);
    pages.map(move |number| {
        let number = number as u32;
        let (start, end) = page_range(number, size_bytes);
        (number, start, range.start.max(start)..range.end.min(end))
    })
}

/// The chunks of a page that begins at `start` that a range within it touches.
fn chunks_of(start: u64, bytes: &Range<u64>) -> Range<usize> {
    ((bytes.start - start) / CHUNK_BYTES) as usize..(bytes.end - start).div_ceil(CHUNK_BYTES) as usize
}

/// The bytes of chunk `index` that are within `bytes`.
pub fn chunk_range(start: u64, index: usize, bytes: &Range<u64>) -> Range<u64> {
    let at = start + index as u64 * CHUNK_BYTES;
    at.max(bytes.start)..(at + CHUNK_BYTES).min(bytes.end)
}

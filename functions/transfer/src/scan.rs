//! Reading one page of disk and telling which chunks are zero, unchanged or new.

use std::{ops::Range, sync::Arc};

use stillpoint_format::{ChunkId, Keys, MapPage, is_zero};
use stillpoint_model::{
    Extent, Result,
    geometry::{CHUNK_BYTES, PAGE_CHUNKS, page_range},
};
use stillpoint_ports::{Baseline, Cpu, DiskReader, DiskSnapshot, execute};

use crate::buffers::{Buffers, READ_BYTES, Shared};

/// What one chunk of a page turned out to be.
#[derive(Clone)]
pub(crate) enum Chunk {
    /// All zeros.
    Zero,
    /// As in the parent's page at this place.
    Same,
    /// Something else: its id, and where its bytes are.
    New { id: ChunkId, buffer: Shared, range: Range<usize> },
}

/// One page, read.
pub(crate) struct Scanned {
    pub(crate) chunks: Vec<Chunk>,
    pub(crate) read_bytes: u64,
}

/// Everything that reading needs.
pub(crate) struct Scanner<'a> {
    pub(crate) reader: &'a dyn DiskReader,
    pub(crate) disk: &'a DiskSnapshot,
    pub(crate) keys: &'a Arc<Keys>,
    pub(crate) cpu: &'a dyn Cpu,
    pub(crate) buffers: &'a Arc<Buffers>,
}

impl Scanner<'_> {
    /// Reads page `number` and compares it with the ids that the parent has there (`None`: nothing usable).
    pub(crate) async fn scan(&self, number: u32, parent: &Arc<Vec<Option<ChunkId>>>) -> Result<Scanned> {
        let (start, end) = page_range(number, self.disk.size_bytes);
        let outside = match self.disk.baseline {
            Baseline::Zero => Chunk::Zero,
            Baseline::Parent => Chunk::Same,
        };
        let mut chunks = vec![outside; (end - start).div_ceil(CHUNK_BYTES) as usize];
        let mut read_bytes = 0;
        for piece in pieces(&self.disk.extents, start, end) {
            read_bytes += piece.length;
            let buffer = self.reader.read(piece.offset, self.buffers.take(piece.length as usize)).await?;
            let first = ((piece.offset - start) / CHUNK_BYTES) as usize;
            let (keys, parent, pool) = (Arc::clone(self.keys), Arc::clone(parent), Arc::clone(self.buffers));
            let found = execute(self.cpu, move || compare(&keys, &parent, first, buffer, &pool)).await?;
            chunks.splice(first..first + found.len(), found);
        }
        Ok(Scanned { chunks, read_bytes })
    }
}

/// The parts of `extents` within `[start, end)`, none longer than a read buffer. Extents begin and end at chunks (or the
/// disk's end), and so do pieces.
fn pieces(extents: &[Extent], start: u64, end: u64) -> Vec<Extent> {
    let first = extents.partition_point(|extent| extent.end() <= start);
    let inside = extents[first..].iter().map_while(|extent| extent.clip(start, end));
    let split = |extent: Extent| {
        let step = READ_BYTES as u64;
        (extent.offset..extent.end()).step_by(READ_BYTES).map(move |offset| Extent::new(offset, step.min(extent.end() - offset)))
    };
    inside.flat_map(split).collect()
}

fn compare(keys: &Keys, parent: &[Option<ChunkId>], first: usize, mut buffer: Vec<u8>, pool: &Arc<Buffers>) -> Vec<Chunk> {
    // Only the last chunk of a disk can be short; it is padded with zeros.
    buffer.resize(buffer.len().next_multiple_of(CHUNK_BYTES as usize), 0);
    let shared = Shared::new(buffer, pool);
    let tell = |(position, bytes): (usize, &[u8])| {
        if is_zero(bytes) {
            return Chunk::Zero;
        }
        let id = keys.chunk_id(bytes);
        if parent.get(first + position) == Some(&Some(id)) {
            return Chunk::Same;
        }
        let offset = position * CHUNK_BYTES as usize;
        Chunk::New { id, buffer: shared.clone(), range: offset..offset + bytes.len() }
    };
    shared.bytes().chunks_exact(CHUNK_BYTES as usize).enumerate().map(tell).collect()
}

/// Ids of a parent's page, without those that lie in packs to avoid; as long as a page.
pub(crate) fn comparable(page: Option<&MapPage>, avoids: impl Fn(&str) -> bool) -> Vec<Option<ChunkId>> {
    let Some(page) = page else { return vec![None; PAGE_CHUNKS] };
    let usable = |entry: &Option<stillpoint_format::ChunkEntry>| {
        let entry = entry.as_ref()?;
        let (_, pack) = page.locate(entry);
        (!avoids(&pack.name)).then_some(entry.id)
    };
    page.entries.iter().map(usable).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_the_page_s_part_of_the_extents_exactly() {
        let chunk = CHUNK_BYTES;
        let extents = [Extent::new(0, chunk), Extent::new(4 * chunk, 100 * chunk), Extent::new(200 * chunk, 512)];
        let cut: Vec<(u64, u64)> = pieces(&extents, 8 * chunk, 300 * chunk).into_iter().map(Into::into).collect();
        assert_eq!(cut.first(), Some(&(8 * chunk, READ_BYTES as u64)));
        assert_eq!(cut.last(), Some(&(200 * chunk, 512)));
        assert_eq!(cut.iter().map(|(_, length)| length).sum::<u64>(), 96 * chunk + 512);
    }
}

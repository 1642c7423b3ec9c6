use std::sync::Arc;

use stillpoint_model::{DiskName, NAME_BYTES_MAX, geometry::PAGE_CHUNKS};

use crate::{
    ChunkId, Error, PackRef, Result, limits,
    wire::{Reader, Writer},
};

/// Frame number in an entry that means a zero chunk.
const ZERO: u16 = u16::MAX;

/// A chunk frame that a page draws on: where it lies, without needing the pack's index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FrameRef {
    /// Position in the page's list of packs.
    pub pack: u16,
    /// The frame's number in that pack.
    pub number: u32,
    /// First byte in the pack.
    pub offset: u32,
    /// Length in the pack, tag included.
    pub sealed_bytes: u32,
    /// Chunks inside, 1 to 16.
    pub chunks: u8,
}

impl FrameRef {
    /// Stored bytes that one chunk of this frame accounts for.
    #[must_use]
    pub fn bytes_per_chunk(&self) -> u64 {
        u64::from(self.sealed_bytes) / u64::from(self.chunks.max(1))
    }
}

/// One chunk of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkEntry {
    /// Position in the page's list of frames.
    pub frame: u16,
    /// Place in the frame, 0 to 15.
    pub place: u8,
    /// The chunk's id.
    pub id: ChunkId,
}

/// The entries of up to 512 consecutive chunks of one disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MapPage {
    /// The disk it was made for; for rebuilding a lost catalog, since pages are shared.
    pub disk: DiskName,
    /// The page's number on that disk; likewise.
    pub number: u32,
    /// Packs it draws on; the first is the pack that holds the page itself, used or not.
    pub packs: Vec<PackRef>,
    /// Frames it draws on.
    pub frames: Vec<FrameRef>,
    /// One per chunk; `None` is a zero chunk.
    pub entries: Vec<Option<ChunkEntry>>,
}

impl MapPage {
    /// Writes the page; its own pack goes without saying.
    ///
    /// # Errors
    /// [`Error::Limit`].
    pub fn encode(&self) -> Result<Vec<u8>> {
        if self.packs.len() > limits::PAGE_PACKS_MAX || self.frames.len() > PAGE_CHUNKS || self.entries.len() > PAGE_CHUNKS {
            return Err(Error::Limit { structure: "map page", limit: "packs, frames or entries" });
        }
        let mut writer = Writer::default();
        writer.text(self.disk.as_str());
        writer.u32(self.number);
        let others = self.packs.get(1..).unwrap_or_default();
        writer.count(others.len());
        for pack in others {
            writer.text(&pack.name);
            writer.bytes(&pack.salt);
        }
        writer.count(self.frames.len());
        for frame in &self.frames {
            writer.u16(frame.pack);
            writer.u32(frame.number);
            writer.u32(frame.offset);
            writer.u32(frame.sealed_bytes);
            writer.u8(frame.chunks);
        }
        writer.count(self.entries.len());
        for entry in &self.entries {
            writer.u16(entry.map_or(ZERO, |entry| entry.frame));
        }
        for entry in self.entries.iter().flatten() {
            writer.u8(entry.place);
        }
        for entry in self.entries.iter().flatten() {
            writer.bytes(&entry.id.0);
        }
        Ok(writer.0)
    }

    /// Reads a page that lies in the pack `own`.
    ///
    /// # Errors
    /// [`Error::Malformed`], [`Error::Limit`]: it is authentic, so the writer was broken.
    pub fn decode(own: &PackRef, bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new("map page", bytes);
        let disk = reader.text(NAME_BYTES_MAX)?.parse().map_err(|_| Error::malformed("map page", "not a disk name"))?;
        let number = reader.u32()?;
        let count = reader.count(limits::PAGE_PACKS_MAX - 1, 2 + crate::SALT_BYTES)?;
        let mut packs = Vec::with_capacity(count + 1);
        packs.push(own.clone());
        for _ in 0..count {
            packs.push(PackRef { name: Arc::from(reader.text(limits::PACK_NAME_BYTES_MAX)?), salt: reader.array()? });
        }
        let frames = Self::decode_frames(&mut reader, packs.len())?;
        let entries = Self::decode_entries(&mut reader, &frames)?;
        reader.end()?;
        Ok(Self { disk, number, packs, frames, entries })
    }

    fn decode_frames(reader: &mut Reader<'_>, packs: usize) -> Result<Vec<FrameRef>> {
        let count = reader.count(PAGE_CHUNKS, 15)?;
        let mut frames = Vec::with_capacity(count);
        for _ in 0..count {
            let frame = FrameRef {
                pack: reader.u16()?,
                number: reader.u32()?,
                offset: reader.u32()?,
                sealed_bytes: reader.u32()?,
                chunks: reader.u8()?,
            };
            let sound = usize::from(frame.pack) < packs
                && (1..=limits::FRAME_CHUNKS_MAX).contains(&usize::from(frame.chunks))
                && frame.sealed_bytes as usize <= limits::SEALED_FRAME_BYTES_MAX
                && frame.offset as usize <= limits::PACK_BYTES_MAX;
            if !sound {
                return Err(Error::malformed("map page", "a frame lies outside its pack or holds too many chunks"));
            }
            frames.push(frame);
        }
        Ok(frames)
    }

    fn decode_entries(reader: &mut Reader<'_>, frames: &[FrameRef]) -> Result<Vec<Option<ChunkEntry>>> {
        let count = reader.count(PAGE_CHUNKS, 2)?;
        let numbers = (0..count).map(|_| reader.u16()).collect::<Result<Vec<u16>>>()?;
        let used = numbers.iter().filter(|number| **number != ZERO).count();
        let places = reader.take(used)?;
        let mut filled = places.iter();
        let mut entries = Vec::with_capacity(count);
        for number in numbers {
            if number == ZERO {
                entries.push(None);
                continue;
            }
            let place = *filled.next().ok_or(Error::malformed("map page", "it ends early"))?;
            let frame = frames.get(usize::from(number)).ok_or(Error::malformed("map page", "an entry names no frame"))?;
            if place >= frame.chunks {
                return Err(Error::malformed("map page", "an entry lies outside its frame"));
            }
            entries.push(Some(ChunkEntry { frame: number, place, id: ChunkId(reader.array()?) }));
        }
        Ok(entries)
    }

    /// The frame and pack of an entry.
    #[must_use]
    pub fn locate(&self, entry: &ChunkEntry) -> (&FrameRef, &PackRef) {
        let frame = &self.frames[usize::from(entry.frame)];
        (frame, &self.packs[usize::from(frame.pack)])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn arbitrary_page() -> impl Strategy<Value = MapPage> {
        let entry = proptest::option::weighted(0.7, (0..40_u16, 0..16_u8, any::<[u8; 32]>()));
        proptest::collection::vec(entry, 0..=PAGE_CHUNKS).prop_map(|drawn| MapPage {
            disk: "os".parse().unwrap(),
            number: 7,
            packs: (0..5).map(|n| PackRef { name: format!("packs/{n}").into(), salt: [n; 16] }).collect(),
            frames: (0..40)
                .map(|n| FrameRef { pack: n % 5, number: n.into(), offset: 40, sealed_bytes: 9000, chunks: 16 })
                .collect(),
            entries: drawn
                .into_iter()
                .map(|e| e.map(|(frame, place, id)| ChunkEntry { frame, place, id: ChunkId(id) }))
                .collect(),
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(page in arbitrary_page()) {
            let bytes = page.encode().unwrap();
            prop_assert!(bytes.len() <= limits::PAGE_PLAIN_BYTES_MAX);
            prop_assert_eq!(MapPage::decode(&page.packs[0], &bytes).unwrap(), page);
        }

        #[test]
        fn a_cut_page_is_refused(page in arbitrary_page(), cut in any::<prop::sample::Index>()) {
            let bytes = page.encode().unwrap();
            prop_assert!(MapPage::decode(&page.packs[0], &bytes[..cut.index(bytes.len())]).is_err());
        }

        #[test]
        fn noise_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            drop(MapPage::decode(&PackRef { name: "p".into(), salt: [0; 16] }, &bytes));
        }
    }

    #[test]
    fn the_largest_page_fits_its_limit() {
        let name = "p".repeat(limits::PACK_NAME_BYTES_MAX);
        let page = MapPage {
            disk: "d".repeat(63).parse().unwrap(),
            number: u32::MAX,
            packs: (0..limits::PAGE_PACKS_MAX).map(|_| PackRef { name: name.as_str().into(), salt: [1; 16] }).collect(),
            frames: (0..512).map(|n| FrameRef { pack: n, number: 1, offset: 1, sealed_bytes: 1, chunks: 1 }).collect(),
            entries: (0..512).map(|frame| Some(ChunkEntry { frame, place: 0, id: ChunkId([7; 32]) })).collect(),
        };
        assert!(page.encode().unwrap().len() <= limits::PAGE_PLAIN_BYTES_MAX);
    }
}

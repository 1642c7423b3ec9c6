//! Every byte of a pack: its header, each frame, its index and its end.

use stillpoint_format::{
    ChunkId, FrameKind, HEADER_BYTES, Header, Index, IndexEntry, Keys, MapPage, PackKey, PackRef, TRAILER_BYTES, Trailer, limits,
};
use stillpoint_model::{Error, Result, geometry::CHUNK_BYTES};

/// Where the header's reserved bytes lie; all zero in this version.
const RESERVED: std::ops::Range<usize> = 10..16;

/// A pack's bytes and what it takes to open them.
struct Contents<'a> {
    keys: &'a Keys,
    pack: &'a PackRef,
    key: PackKey,
    bytes: &'a [u8],
    index: Index,
}

/// Opens every frame of a pack: all of it authenticates, decompresses and is what the pack's own pages say.
///
/// # Errors
/// `corrupt` with the first thing that is wrong.
pub(crate) fn check(keys: &Keys, pack: &PackRef, bytes: &[u8]) -> Result<()> {
    let contents = Contents::open(keys, pack, bytes)?;
    let ids = contents.chunk_ids()?;
    contents.check_pages(&ids)
}

impl<'a> Contents<'a> {
    fn open(keys: &'a Keys, pack: &'a PackRef, bytes: &'a [u8]) -> Result<Self> {
        let end = bytes.len().checked_sub(TRAILER_BYTES).filter(|end| *end >= HEADER_BYTES);
        let end = end.ok_or_else(|| Error::corrupt("too short for a pack"))?;
        // A vault has no packs of a newer version than its own: a greater one is damage.
        let header = Header::decode(&bytes[..HEADER_BYTES]).map_err(|error| Error::corrupt(error.to_string()))?;
        if header.salt != pack.salt {
            return Err(Error::corrupt("another pack than its name says, or its header is damaged"));
        }
        if header.key_id != keys.key_id() || bytes[RESERVED].iter().any(|byte| *byte != 0) {
            return Err(Error::corrupt("its header is not as written"));
        }
        let trailer = Trailer::decode(&bytes[end..])?;
        let start = end.checked_sub(trailer.index_bytes as usize).filter(|start| *start >= HEADER_BYTES);
        let start = start.ok_or_else(|| Error::corrupt("its index does not fit into it"))?;
        let key = PackKey::new(keys, pack);
        let index = Index::open(&key, &bytes[start..end])?;
        if trailer.frames as usize != index.0.len() || !is_seamless(&index, start) {
            return Err(Error::corrupt("its frames are not those of its index"));
        }
        Ok(Self { keys, pack, key, bytes, index })
    }

    fn frames(&self, kind: FrameKind) -> impl Iterator<Item = (u32, IndexEntry)> + '_ {
        (0_u32..).zip(self.index.0.iter().copied()).filter(move |(_, entry)| entry.kind == kind)
    }

    fn open_frame(&self, number: u32, entry: IndexEntry, plain_max: usize, plain: &mut Vec<u8>) -> Result<()> {
        let sealed = &self.bytes[entry.offset as usize..][..entry.sealed_bytes as usize];
        self.key.open_into(entry.kind, number, sealed, plain_max, plain).map_err(|error| at(number, entry, error.into()))
    }

    /// The ids of the chunks of every chunk frame, by the frame's number.
    fn chunk_ids(&self) -> Result<Vec<Vec<ChunkId>>> {
        let mut ids = vec![Vec::new(); self.index.0.len()];
        let mut plain = Vec::new();
        for (number, entry) in self.frames(FrameKind::Chunks) {
            let length = usize::from(entry.chunks) * CHUNK_BYTES as usize;
            self.open_frame(number, entry, length.min(limits::FRAME_BYTES_MAX), &mut plain)?;
            if plain.len() != length {
                return Err(at(number, entry, Error::corrupt("it does not hold as many chunks as the index says")));
            }
            ids[number as usize] = plain.chunks_exact(CHUNK_BYTES as usize).map(|chunk| self.keys.chunk_id(chunk)).collect();
        }
        Ok(ids)
    }

    /// Opens every page, and compares what it says of this pack's frames.
    fn check_pages(&self, ids: &[Vec<ChunkId>]) -> Result<()> {
        let mut plain = Vec::new();
        for (number, entry) in self.frames(FrameKind::Page) {
            self.open_frame(number, entry, limits::PAGE_PLAIN_BYTES_MAX, &mut plain)?;
            let page = MapPage::decode(self.pack, &plain).map_err(|error| at(number, entry, error.into()))?;
            if !self.agrees(&page, ids) {
                return Err(at(number, entry, Error::corrupt("it names chunks that this pack does not hold")));
            }
        }
        Ok(())
    }

    fn agrees(&self, page: &MapPage, ids: &[Vec<ChunkId>]) -> bool {
        page.entries.iter().flatten().all(|entry| {
            let (frame, pack) = page.locate(entry);
            if pack != self.pack {
                return true;
            }
            let here = self.index.0.get(frame.number as usize);
            let same = here.is_some_and(|here| (here.offset, here.sealed_bytes) == (frame.offset, frame.sealed_bytes));
            let held = ids.get(frame.number as usize).and_then(|ids| ids.get(usize::from(entry.place)));
            same && held == Some(&entry.id)
        })
    }
}

/// Whether the frames follow one another from the header to the index.
fn is_seamless(index: &Index, start: usize) -> bool {
    let mut end = HEADER_BYTES as u64;
    let seamless = index.0.iter().all(|entry| {
        let follows = u64::from(entry.offset) == end;
        end += u64::from(entry.sealed_bytes);
        follows
    });
    seamless && end == start as u64
}

fn at(number: u32, entry: IndexEntry, error: Error) -> Error {
    error.context(format!("frame {number} at byte {}", entry.offset))
}

#[cfg(test)]
mod tests {
    use stillpoint_format::{ChunkEntry, FrameRef, MasterKey, PackBuilder, SALT_BYTES, compress};
    use stillpoint_model::{ErrorKind, VaultId};

    use super::*;

    fn keys() -> Keys {
        let vault: VaultId = "01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap();
        Keys::derive(vault, &MasterKey::new([9; 32]))
    }

    fn pack(name: &str) -> PackRef {
        PackRef { name: name.into(), salt: [3; SALT_BYTES] }
    }

    /// A pack with two chunk frames and a page over them, of which `spoil` may make another.
    fn built(spoil: impl Fn(&mut MapPage)) -> Vec<u8> {
        let keys = keys();
        let mut builder = PackBuilder::new(&keys, pack("packs/a"));
        let mut page = MapPage {
            disk: "os".parse().unwrap(),
            number: 0,
            packs: vec![pack("packs/a")],
            frames: Vec::new(),
            entries: vec![None],
        };
        for fill in [1_u8, 2] {
            let chunk = vec![fill; CHUNK_BYTES as usize];
            let (number, entry) = builder.push(FrameKind::Chunks, 1, compress(&chunk, 1, &mut Vec::new()).unwrap());
            let IndexEntry { offset, sealed_bytes, chunks, .. } = entry;
            page.frames.push(FrameRef { pack: 0, number, offset, sealed_bytes, chunks });
            page.entries.push(Some(ChunkEntry { frame: u16::from(fill) - 1, place: 0, id: keys.chunk_id(&chunk) }));
        }
        spoil(&mut page);
        builder.push(FrameKind::Page, 0, compress(&page.encode().unwrap(), 1, &mut Vec::new()).unwrap());
        builder.finish().unwrap().0.concat()
    }

    #[test]
    fn a_sound_pack_passes() {
        check(&keys(), &pack("packs/a"), &built(|_| {})).unwrap();
    }

    #[test]
    fn no_byte_can_change_unseen() {
        let bytes = built(|_| {});
        for position in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[position] ^= 1;
            let error = check(&keys(), &pack("packs/a"), &flipped).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "byte {position}");
        }
    }

    #[test]
    fn no_length_but_its_own_passes() {
        let bytes = built(|_| {});
        for length in 0..bytes.len() {
            assert!(check(&keys(), &pack("packs/a"), &bytes[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn another_pack_under_its_name_is_told_from_it() {
        let bytes = built(|_| {});
        assert!(check(&keys(), &pack("packs/b"), &bytes).is_err());
        let other = PackRef { salt: [4; SALT_BYTES], ..pack("packs/a") };
        assert!(check(&keys(), &other, &bytes).unwrap_err().one_line().contains("another pack"));
    }

    #[test]
    fn pages_that_lie_about_their_chunks_are_noticed() {
        let wrong: [fn(&mut MapPage); 3] = [
            |page| page.entries[1].as_mut().unwrap().frame = 1,
            |page| page.frames[0].offset += 1,
            |page| page.frames[0].number = 7,
        ];
        for spoil in wrong {
            let error = check(&keys(), &pack("packs/a"), &built(spoil)).unwrap_err();
            assert!(error.one_line().contains("frame 2"), "{}", error.one_line());
        }
    }
}

use std::{cell::RefCell, fmt, sync::Arc};

use bytes::Bytes;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use crate::{
    Error, KeyId, Keys, Result, compress,
    frame::decompress_into,
    keys::hkdf_sha256,
    limits,
    wire::{Reader, Writer},
};

/// Bytes of a pack's random salt.
pub const SALT_BYTES: usize = 16;
/// Bytes of a pack's header: magic 8, version 2, reserved 6, key id 8, salt 16.
pub const HEADER_BYTES: usize = 40;
/// Bytes of a pack's trailer: sealed length of the index 4, frames 4, magic 8.
pub const TRAILER_BYTES: usize = 16;
const HEADER_MAGIC: &[u8; 8] = b"STILLPK\n";
const TRAILER_MAGIC: &[u8; 8] = b"STILLEND";
/// Frame number under which the index is sealed; no frame has it.
const INDEX_NUMBER: u32 = u32::MAX;

/// A pack by name and salt: all it takes to open its frames.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PackRef {
    /// The object's name in the vault.
    pub name: Arc<str>,
    /// Its salt, repeated here so that a frame can be opened without reading the pack's header.
    pub salt: [u8; SALT_BYTES],
}

impl fmt::Debug for PackRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// What a frame holds; part of its associated data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    /// Up to 16 chunks, one behind the other.
    Chunks,
    /// One map page.
    Page,
    /// The pack's index.
    Index,
    /// A text of a record; in no pack.
    Text,
}

impl FrameKind {
    const fn code(self) -> u8 {
        match self {
            Self::Chunks => 1,
            Self::Page => 2,
            Self::Index => 3,
            Self::Text => 4,
        }
    }

    const fn structure(self) -> &'static str {
        match self {
            Self::Chunks => "chunk frame",
            Self::Page => "map page",
            Self::Index => "pack index",
            Self::Text => "sealed text",
        }
    }
}

thread_local! {
    // A thread opens one frame at a time, in place, and must leave the caller's bytes alone.
    static SEALED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Seals and opens the frames of one pack with AES-256-GCM: key = HKDF-SHA-256 of the vault's pack key (salt = the pack's
/// salt, info = `stillpoint v1 frames ` and the pack's name: two packs never share a key, even if randomness repeats itself),
/// nonce = frame number (32 bits, little-endian) and eight zeros, associated data =
/// vault id, kind, frame number, pack name.
#[derive(Clone)]
pub struct PackKey {
    key: LessSafeKey,
    vault: [u8; 16],
    name: Arc<str>,
}

impl PackKey {
    /// The key of `pack`.
    #[must_use]
    pub fn new(keys: &Keys, pack: &PackRef) -> Self {
        let key = hkdf_sha256(&pack.salt, &keys.pack, &[b"stillpoint v1 frames ", pack.name.as_bytes()].concat());
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).expect("the key has 32 bytes"));
        Self { key, vault: keys.vault.to_bytes(), name: Arc::clone(&pack.name) }
    }

    fn nonce(number: u32) -> Nonce {
        let [a, b, c, d] = number.to_le_bytes();
        Nonce::assume_unique_for_key([a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0])
    }

    fn associated(&self, kind: FrameKind, number: u32) -> Aad<Vec<u8>> {
        Aad::from([&self.vault[..], &[kind.code()], &number.to_le_bytes(), self.name.as_bytes()].concat())
    }

    /// Seals a container as frame `number`.
    pub(crate) fn seal(&self, kind: FrameKind, number: u32, mut container: Vec<u8>) -> Bytes {
        self.key
            .seal_in_place_append_tag(Self::nonce(number), self.associated(kind, number), &mut container)
            .expect("a container is below AES-GCM's limit of 64 GiB");
        container.into()
    }

    /// Opens frame `number` and decompresses it to at most `plain_max` bytes.
    ///
    /// # Errors
    /// [`Error::Authentication`] when it is damaged, of another kind, number, pack, vault or key; [`Error::Limit`];
    /// [`Error::Malformed`].
    pub fn open(&self, kind: FrameKind, number: u32, sealed: &[u8], plain_max: usize) -> Result<Vec<u8>> {
        let mut plain = Vec::new();
        self.open_into(kind, number, sealed, plain_max, &mut plain)?;
        Ok(plain)
    }

    /// As [`PackKey::open`], into a buffer that is used again; what it holds after an error has no meaning.
    ///
    /// # Errors
    /// As [`PackKey::open`].
    pub fn open_into(&self, kind: FrameKind, number: u32, sealed: &[u8], plain_max: usize, plain: &mut Vec<u8>) -> Result<()> {
        SEALED.with_borrow_mut(|buffer| {
            buffer.clear();
            buffer.extend_from_slice(sealed);
            let container = self
                .key
                .open_in_place(Self::nonce(number), self.associated(kind, number), buffer)
                .map_err(|_| Error::Authentication(kind.structure()))?;
            decompress_into(kind.structure(), container, plain_max, plain)
        })
    }
}

/// The first 40 bytes of a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Which master key sealed it.
    pub key_id: KeyId,
    /// Its salt.
    pub salt: [u8; SALT_BYTES],
}

impl Header {
    fn encode(self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.bytes(HEADER_MAGIC);
        writer.u16(limits::FORMAT_VERSION);
        writer.bytes(&[0; 6]);
        writer.bytes(&self.key_id);
        writer.bytes(&self.salt);
        writer.0
    }

    /// Reads a header.
    ///
    /// # Errors
    /// [`Error::Malformed`] when this is no pack, [`Error::Newer`].
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new("pack header", bytes);
        if reader.array::<8>()? != *HEADER_MAGIC {
            return Err(Error::malformed("pack header", "wrong magic"));
        }
        let found = reader.u16()?;
        match found {
            limits::FORMAT_VERSION => {}
            0 => return Err(Error::malformed("pack header", "there is no version 0")),
            _ => return Err(Error::Newer { structure: "pack", found, known: limits::FORMAT_VERSION }),
        }
        reader.take(6)?;
        Ok(Self { key_id: reader.array()?, salt: reader.array()? })
    }
}

/// The last 16 bytes of a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trailer {
    /// Sealed length of the index, which ends where the trailer begins.
    pub index_bytes: u32,
    /// Frames in the pack, the index not counted.
    pub frames: u32,
}

impl Trailer {
    /// Reads a trailer.
    ///
    /// # Errors
    /// [`Error::Malformed`] when a pack does not end here.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new("pack trailer", bytes);
        let trailer = Self { index_bytes: reader.u32()?, frames: reader.u32()? };
        if reader.array::<8>()? != *TRAILER_MAGIC {
            return Err(Error::malformed("pack trailer", "wrong magic"));
        }
        reader.end()?;
        if trailer.index_bytes as usize > limits::PACK_BYTES_MAX || trailer.frames as usize > limits::PACK_FRAMES_MAX {
            return Err(Error::Limit { structure: "pack trailer", limit: "index length or number of frames" });
        }
        Ok(trailer)
    }
}

/// One line of a pack's index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexEntry {
    /// Chunks or page.
    pub kind: FrameKind,
    /// First byte in the pack.
    pub offset: u32,
    /// Length in the pack, tag included.
    pub sealed_bytes: u32,
    /// Chunks inside; 0 for a page.
    pub chunks: u8,
}

/// Where each frame of a pack lies: from it and the pages a lost catalog can be rebuilt.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Index(pub Vec<IndexEntry>);

impl Index {
    const ENTRY_BYTES: usize = 10;

    fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.count(self.0.len());
        for entry in &self.0 {
            writer.u8(entry.kind.code());
            writer.u32(entry.offset);
            writer.u32(entry.sealed_bytes);
            writer.u8(entry.chunks);
        }
        writer.0
    }

    /// Opens the sealed index of a pack.
    ///
    /// # Errors
    /// As [`PackKey::open`].
    pub fn open(key: &PackKey, sealed: &[u8]) -> Result<Self> {
        let plain = key.open(FrameKind::Index, INDEX_NUMBER, sealed, limits::PACK_FRAMES_MAX * Self::ENTRY_BYTES + 4)?;
        let mut reader = Reader::new("pack index", &plain);
        let count = reader.count(limits::PACK_FRAMES_MAX, Self::ENTRY_BYTES)?;
        let mut entries = Vec::with_capacity(count);
        for _ in 0..count {
            let kind = match reader.u8()? {
                1 => FrameKind::Chunks,
                2 => FrameKind::Page,
                _ => return Err(Error::malformed("pack index", "unknown kind of frame")),
            };
            entries.push(IndexEntry { kind, offset: reader.u32()?, sealed_bytes: reader.u32()?, chunks: reader.u8()? });
        }
        reader.end()?;
        Ok(Self(entries))
    }
}

/// Gathers sealed frames into one pack, held in memory as the list of its parts.
pub struct PackBuilder {
    pack: PackRef,
    key: PackKey,
    parts: Vec<Bytes>,
    size_bytes: usize,
    index: Index,
}

impl PackBuilder {
    /// An empty pack; `pack` is fresh: its name was never used, its salt is new randomness.
    #[must_use]
    pub fn new(keys: &Keys, pack: PackRef) -> Self {
        let header: Bytes = Header { key_id: keys.key_id(), salt: pack.salt }.encode().into();
        let key = PackKey::new(keys, &pack);
        Self { pack, key, size_bytes: header.len(), parts: vec![header], index: Index::default() }
    }

    /// The pack being built.
    #[must_use]
    pub const fn pack(&self) -> &PackRef {
        &self.pack
    }

    /// Bytes so far, without the index and trailer.
    #[must_use]
    pub const fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    /// Whether no frame was added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.index.0.is_empty()
    }

    /// Seals `container` as the next frame; `chunks` is how many it holds (0 for a page). Returns the frame's number.
    pub fn push(&mut self, kind: FrameKind, chunks: u8, container: Vec<u8>) -> (u32, IndexEntry) {
        let number = u32::try_from(self.index.0.len()).expect("frames are bounded by the pack's size");
        let sealed = self.key.seal(kind, number, container);
        let narrow = |value: usize| u32::try_from(value).expect("a pack stays below 64 MiB: the packer closes it before");
        let entry = IndexEntry { kind, offset: narrow(self.size_bytes), sealed_bytes: narrow(sealed.len()), chunks };
        self.size_bytes += sealed.len();
        self.parts.push(sealed);
        self.index.0.push(entry);
        (number, entry)
    }

    /// Seals the index and ends the pack: its parts in order, and their length together.
    ///
    /// # Errors
    /// [`Error::Verify`]; [`Error::Limit`] when it outgrew [`limits::PACK_BYTES_MAX`].
    pub fn finish(mut self) -> Result<(Vec<Bytes>, u64)> {
        let sealed = self.key.seal(FrameKind::Index, INDEX_NUMBER, compress(&self.index.encode(), 1, &mut Vec::new())?);
        let mut trailer = Writer::default();
        trailer.count(sealed.len());
        trailer.count(self.index.0.len());
        trailer.bytes(TRAILER_MAGIC);
        self.size_bytes += sealed.len() + trailer.0.len();
        self.parts.push(sealed);
        self.parts.push(trailer.0.into());
        if self.size_bytes > limits::PACK_BYTES_MAX {
            return Err(Error::Limit { structure: "pack", limit: "size" });
        }
        Ok((self.parts, self.size_bytes as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MasterKey;

    fn keys() -> Keys {
        Keys::derive(stillpoint_model::VaultId::new(ulid::Ulid::from_parts(1, 1)), &MasterKey::new([9; 32]))
    }

    fn pack(name: &str) -> PackRef {
        PackRef { name: name.into(), salt: [3; SALT_BYTES] }
    }

    fn built() -> Vec<u8> {
        let mut builder = PackBuilder::new(&keys(), pack("packs/a"));
        for fill in 0..3_u8 {
            builder.push(FrameKind::Chunks, 1, compress(&[fill; 65536], 3, &mut Vec::new()).unwrap());
        }
        let (parts, size) = builder.finish().unwrap();
        let bytes = parts.concat();
        assert_eq!(bytes.len() as u64, size);
        bytes
    }

    fn index_of(bytes: &[u8], key: &PackKey) -> Result<Index> {
        Header::decode(&bytes[..HEADER_BYTES])?;
        let trailer = Trailer::decode(&bytes[bytes.len() - TRAILER_BYTES..])?;
        let end = bytes.len() - TRAILER_BYTES;
        let start = end.checked_sub(trailer.index_bytes as usize).ok_or(Error::malformed("pack", "index"))?;
        Index::open(key, &bytes[start..end])
    }

    #[test]
    fn a_pack_describes_itself_and_its_frames_open_by_number() {
        let bytes = built();
        let key = PackKey::new(&keys(), &pack("packs/a"));
        let index = index_of(&bytes, &key).unwrap();
        assert_eq!(index.0.len(), 3);
        for (number, entry) in index.0.iter().enumerate() {
            let sealed = &bytes[entry.offset as usize..][..entry.sealed_bytes as usize];
            let plain = key.open(FrameKind::Chunks, number as u32, sealed, limits::FRAME_BYTES_MAX).unwrap();
            assert_eq!(plain, vec![number as u8; 65536]);
            let elsewhere = PackKey::new(&keys(), &pack("packs/b"));
            for refused in [
                key.open(FrameKind::Chunks, number as u32 + 1, sealed, limits::FRAME_BYTES_MAX),
                key.open(FrameKind::Page, number as u32, sealed, limits::FRAME_BYTES_MAX),
                elsewhere.open(FrameKind::Chunks, number as u32, sealed, limits::FRAME_BYTES_MAX),
            ] {
                assert!(matches!(refused, Err(Error::Authentication(_))));
            }
        }
    }

    #[test]
    fn every_flipped_byte_is_noticed_by_header_index_or_frame() {
        let bytes = built();
        for position in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[position] ^= 0x10;
            let opened =
                Header::decode(&flipped).map(|header| PackRef { salt: header.salt, ..pack("packs/a") }).and_then(|pack| {
                    let key = PackKey::new(&keys(), &pack);
                    for (number, entry) in index_of(&flipped, &key)?.0.iter().enumerate() {
                        let sealed = &flipped[entry.offset as usize..][..entry.sealed_bytes as usize];
                        key.open(FrameKind::Chunks, number as u32, sealed, limits::FRAME_BYTES_MAX)?;
                    }
                    Ok(())
                });
            // Reserved bytes, the key id and the frame count are hints.
            let hint = (10..24).contains(&position) || (bytes.len() - 12..bytes.len() - 8).contains(&position);
            assert!(opened.is_err() || hint, "byte {position}");
        }
    }
}

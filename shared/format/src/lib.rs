//! The bytes of a vault: keys, signed records, sealed frames, map pages, packs and manifests. Pure functions over byte
//! slices; no I/O, no clock, no randomness. `SPEC.md` beside this crate is the normative text; `testdata/` holds golden
//! vaults that are only ever added to.
//!
//! Everything that parses checks lengths and counts against [`limits`] before it allocates.

mod chunk;
mod error;
mod frame;
mod key_file;
mod keys;
pub mod limits;
mod manifest;
mod pack;
mod page;
mod record;
mod sample;
mod sealed;
mod slot;
mod wire;

pub use chunk::{ChunkId, digest, is_zero};
pub use error::{Error, Result};
pub use frame::{COMPRESSION_LEVEL_DEFAULT, compress, decompress};
pub use key_file::{KEY_FILE_BYTES_MAX, key_file, parse_key_file};
pub use keys::{KeyId, Keys, MasterKey, SignatureKey};
pub use manifest::{DiskMap, Encoded, Manifest, PackUse, PageRef, Section, Sections};
pub use pack::{
    FrameKind, HEADER_BYTES, Header, Index, IndexEntry, PackBuilder, PackKey, PackRef, SALT_BYTES, TRAILER_BYTES, Trailer,
};
pub use page::{ChunkEntry, FrameRef, MapPage};
pub use record::{open_record, peek_record, seal_record};
pub use sample::{SampleIndex, samples_of};
pub use sealed::SealedText;
pub use slot::{KeySlot, SECRET_BYTES, Secret, ServiceKey, SlotKind, parse_recovery_key, recovery_key};

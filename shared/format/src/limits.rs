//! Upper bounds of everything that is parsed, each with its reason. They are part of the format.

use stillpoint_model::geometry::{CHUNK_BYTES, DISK_BYTES_MAX, PAGE_BYTES, PAGE_CHUNKS};

/// Newest format version this crate reads and the one it writes.
pub const FORMAT_VERSION: u16 = 1;
/// Chunks in one frame: 1 MiB is where zstd stops gaining and a ranged read is still small.
pub const FRAME_CHUNKS_MAX: usize = 16;
/// Plain bytes of a chunk frame.
pub const FRAME_BYTES_MAX: usize = FRAME_CHUNKS_MAX * CHUNK_BYTES as usize;
/// A pack is one conditional PUT held in memory.
pub const PACK_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes of one sealed frame: plain bytes stored raw, their 5-byte prefix, the tag.
pub const SEALED_FRAME_BYTES_MAX: usize = FRAME_BYTES_MAX + 5 + 16;
/// Frames in one pack: more would need frames smaller than a sealed page.
pub const PACK_FRAMES_MAX: usize = 1 << 18;
/// Packs that one page may draw on: every chunk from another one, and the page's own.
pub const PAGE_PACKS_MAX: usize = PAGE_CHUNKS + 1;
/// Length of a pack's name: `packs/` + item 63 + job 26 + group 8 + segment 8 + attempt 26 + n 8 and separators.
pub const PACK_NAME_BYTES_MAX: usize = 200;
/// Plain bytes of a page: 512 entries of 35, 512 packs of 218, 512 frames of 15, and its head.
pub const PAGE_PLAIN_BYTES_MAX: usize = 256 * 1024;
/// Pages of one manifest: the largest disk, once.
pub const MANIFEST_PAGES_MAX: usize = (DISK_BYTES_MAX / PAGE_BYTES) as usize;
/// Packs of one manifest: a full of the largest disk in the smallest segments.
pub const MANIFEST_PACKS_MAX: usize = 1 << 20;
/// Plain bytes of one manifest section: the pages or packs of the largest manifest.
pub const SECTION_PLAIN_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Entries of a sampled index: 1 chunk in 16 of 256 GiB; beyond that the index thins out.
pub const SAMPLES_MAX: usize = 1 << 18;
/// Sampling starts at 1 chunk in 16 (4 bits).
pub const SAMPLE_BITS_MIN: u8 = 4;
/// Bytes of a small signed record (item, ledger, point, key slot).
pub const RECORD_BYTES_MAX: u64 = 1024 * 1024;
/// Plain bytes of a text that is sealed into a record: a firmware's variables of 16 MiB, in base64.
pub const SEALED_TEXT_BYTES_MAX: usize = 24 * 1024 * 1024;
/// Sealed bytes of such a text: encoded, it leaves room for the rest of a record, and the variables of an OVMF (528 KiB) fit whatever they are.
pub const SEALED_TEXT_STORED_BYTES_MAX: usize = 576 * 1024;
/// Bytes of a plan or marker, whose size follows the number of extents or pages of a job or segment.
pub const PLAN_BYTES_MAX: u64 = 64 * 1024 * 1024;

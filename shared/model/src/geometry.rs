//! How a disk is divided: chunks of 64 KiB, pages of 512 chunks. These numbers are part of the vault format.

/// Bytes of a chunk, the unit of dedup.
pub const CHUNK_BYTES: u64 = 64 * 1024;
/// Chunks whose entries one map page holds.
pub const PAGE_CHUNKS: usize = 512;
/// Bytes of disk that one map page describes (32 MiB).
pub const PAGE_BYTES: u64 = CHUNK_BYTES * PAGE_CHUNKS as u64;
/// Unit in which disks are addressed; a disk's size is a multiple of it.
pub const SECTOR_BYTES: u64 = 512;
/// Largest disk a vault takes: 64 TiB, 2,097,152 pages.
pub const DISK_BYTES_MAX: u64 = 64 << 40;
/// Most disks of one machine.
pub const DISKS_MAX: usize = 64;

/// Pages of a disk of `size_bytes`.
#[must_use]
pub fn page_count(size_bytes: u64) -> u32 {
    u32::try_from(size_bytes.div_ceil(PAGE_BYTES)).unwrap_or(u32::MAX)
}

/// The byte range `[start, end)` of page `page` on a disk of `size_bytes`.
#[must_use]
pub fn page_range(page: u32, size_bytes: u64) -> (u64, u64) {
    let start = u64::from(page) * PAGE_BYTES;
    (start.min(size_bytes), (start + PAGE_BYTES).min(size_bytes))
}

use stillpoint_format::{DiskMap, Manifest, PackUse};
use stillpoint_model::{
    DiskName,
    geometry::{CHUNK_BYTES, page_range},
};

/// A disk that can be restored, as far as its target has to know.
#[derive(Debug, Clone)]
pub struct SourceDisk {
    /// Its name in the recovery point.
    pub name: DiskName,
    /// Its size.
    pub size_bytes: u64,
    /// What is written of it at most.
    pub data_bytes: u64,
}

impl SourceDisk {
    /// The disks of a point that `is_chosen`. Chunks are counted for the point as a whole; they are dealt out to the chosen disks as far as
    /// each one's pages reach.
    pub fn of(manifest: &Manifest, is_chosen: impl Fn(&DiskName) -> bool) -> Vec<Self> {
        let chunks = manifest.packs.iter().map(|used: &PackUse| used.live_chunks).fold(0, u64::saturating_add);
        let mut left = chunks.saturating_mul(CHUNK_BYTES);
        let source = |map: &DiskMap| {
            let pages = (0_u32..).zip(&map.pages).filter(|(_, page)| page.is_some());
            let reach: u64 = pages.map(|(number, _)| page_range(number, map.size_bytes)).map(|(start, end)| end - start).sum();
            let data_bytes = reach.min(left);
            left -= data_bytes;
            Self { name: map.name.clone(), size_bytes: map.size_bytes, data_bytes }
        };
        manifest.disks.iter().filter(|map| is_chosen(&map.name)).map(source).collect()
    }
}

use std::sync::Arc;

use stillpoint_format::{DiskMap, PackUse};
use stillpoint_model::{DiskName, Error, PointId, Result};
use stillpoint_ports::Cpu;
use stillpoint_vault::{FramePool, Point, Vault};
use tokio::sync::Semaphore;

use crate::{
    ahead::STREAMS,
    cache::Cache,
    disk::DiskReader,
    frames::{Frame, FrameKey},
    pages::{Page, PageKey},
};

/// Smallest cache that serves: some frames for each of a few readers.
pub const CACHE_BYTES_MIN: u64 = 16 << 20;
/// The part of the cache that is for map pages; the rest is for frames.
const PAGES_PART: u64 = 8;
/// Requests for frames under way at once.
const FETCHES_IN_FLIGHT: usize = 8;
/// Bytes fetched ahead of one stream at most.
const AHEAD_BYTES_MAX: u64 = 16 << 20;

/// Reads the disks of one recovery point. Memory: the point's map (20 bytes for each 32 MiB of disk, and the names of its packs), the
/// cache, and what is under way: at most eight requests of 4 MiB with what they unpack to.
pub struct PointReader {
    shared: Arc<Shared>,
}

/// What the disks of a point have in common.
pub struct Shared {
    pub vault: Vault,
    pub cpu: Arc<dyn Cpu>,
    pub point: PointId,
    pub packs: Vec<PackUse>,
    pub disks: Vec<DiskMap>,
    pub pages: Arc<Cache<PageKey, Page>>,
    pub frames: Arc<Cache<FrameKey, Arc<Frame>>>,
    pub fetches: Arc<Semaphore>,
    /// Frames stay in the cache, in memory of their own size.
    pub pool: Arc<FramePool>,
}

impl Shared {
    /// Bytes that may be fetched ahead of one stream: the cache keeps them for all streams of a disk until they are read.
    pub fn ahead_bytes(&self) -> u64 {
        (self.frames.bytes_max() / STREAMS as u64).min(AHEAD_BYTES_MAX)
    }
}

impl PointReader {
    /// Reads the manifest of `point`. The cache takes up to `cache_bytes`, [`CACHE_BYTES_MIN`] at least.
    ///
    /// # Errors
    /// As reading the manifest.
    pub async fn open(vault: Vault, cpu: Arc<dyn Cpu>, point: &Point, cache_bytes: u64) -> Result<Self> {
        let manifest = vault.manifest(point).await?;
        let cache_bytes = cache_bytes.max(CACHE_BYTES_MIN);
        let pages_bytes = cache_bytes / PAGES_PART;
        let shared = Shared {
            vault,
            cpu,
            point: point.id,
            packs: manifest.packs,
            disks: manifest.disks,
            pages: Cache::new(pages_bytes),
            frames: Cache::new(cache_bytes - pages_bytes),
            fetches: Arc::new(Semaphore::new(FETCHES_IN_FLIGHT)),
            pool: Arc::new(FramePool::fresh()),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The disks of the point, in its order.
    #[must_use]
    pub fn disks(&self) -> Vec<DiskReader> {
        (0..self.shared.disks.len()).map(|index| DiskReader::new(Arc::clone(&self.shared), index)).collect()
    }

    /// One disk.
    ///
    /// # Errors
    /// `missing`.
    pub fn disk(&self, name: &DiskName) -> Result<DiskReader> {
        let index = self.shared.disks.iter().position(|map| map.name == *name);
        let missing = || Error::missing(format!("point {} has no disk {name}", self.shared.point));
        index.map(|index| DiskReader::new(Arc::clone(&self.shared), index)).ok_or_else(missing)
    }
}

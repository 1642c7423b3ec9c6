use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use stillpoint_model::{Error, Extent, JobId, Result};
use stillpoint_ports::{DiskWriter, Target, TargetDisk};

use crate::Disk;

/// What lies in a place before it is restored to: a restore that leaves a byte out shows.
const JUNK: u8 = 0xA5;

#[derive(Debug, Clone, Default)]
struct State {
    partial: BTreeMap<(JobId, String), Disk>,
    published: BTreeMap<String, (JobId, Disk)>,
}

/// A place for restored disks, in memory. It outlives the processes that write to it; what they wrote and did not sync is lost
/// with them.
#[derive(Debug, Clone, Default)]
pub struct MemoryTarget(Arc<Mutex<State>>);

impl MemoryTarget {
    /// A copy that goes its own way.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self(Arc::new(Mutex::new(self.state().clone())))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Jobs that hold a disk which is not published.
    #[must_use]
    pub fn partial(&self) -> Vec<JobId> {
        let mut jobs: Vec<JobId> = self.state().partial.keys().map(|(job, _)| *job).collect();
        jobs.dedup();
        jobs
    }

    /// Places of published disks, and who published them.
    #[must_use]
    pub fn published(&self) -> BTreeMap<String, JobId> {
        self.state().published.iter().map(|(location, (job, _))| (location.clone(), *job)).collect()
    }

    /// Takes a published disk away.
    #[must_use]
    pub fn take(&self, location: &str) -> Option<Disk> {
        self.state().published.remove(location).map(|(_, disk)| disk)
    }
}

#[async_trait]
impl Target for MemoryTarget {
    async fn prepare(&self, job: JobId, disks: &[TargetDisk]) -> Result<()> {
        let mut state = self.state();
        if let Some(taken) = disks.iter().find(|disk| !disk.overwrite && state.published.contains_key(&disk.location)) {
            return Err(Error::conflict(format!("{} exists", taken.location)));
        }
        for disk in disks {
            let place = state.partial.entry((job, disk.location.clone()));
            place.or_insert_with(|| Disk::filled(disk.size_bytes, JUNK));
        }
        Ok(())
    }

    async fn probe(&self, _disk: &TargetDisk, _bytes: Bytes) -> Result<Option<u64>> {
        Ok(None)
    }

    async fn open(&self, job: JobId, disk: &TargetDisk) -> Result<Box<dyn DiskWriter>> {
        let key = (job, disk.location.clone());
        if !self.state().partial.contains_key(&key) {
            return Err(Error::missing(format!("{} was not prepared or is gone", disk.location)));
        }
        Ok(Box::new(Writer { target: self.clone(), key, size_bytes: disk.size_bytes, unsynced: Mutex::default() }))
    }

    async fn publish(&self, job: JobId, disks: &[TargetDisk]) -> Result<()> {
        let mut state = self.state();
        for disk in disks {
            let ours = state.published.get(&disk.location).map(|(by, _)| *by == job);
            match state.partial.remove(&(job, disk.location.clone())) {
                Some(_) if ours == Some(false) && !disk.overwrite => {
                    return Err(Error::conflict(format!("{} exists", disk.location)));
                }
                Some(written) => drop(state.published.insert(disk.location.clone(), (job, written))),
                None if ours == Some(true) => {}
                None => return Err(Error::missing(format!("{} was not prepared or is gone", disk.location))),
            }
        }
        Ok(())
    }

    async fn discard(&self, job: JobId, _disks: &[TargetDisk]) -> Result<()> {
        self.state().partial.retain(|(owner, _), _| *owner != job);
        Ok(())
    }
}

enum Change {
    Write(u64, Bytes),
    Zero(Extent),
}

struct Writer {
    target: MemoryTarget,
    key: (JobId, String),
    size_bytes: u64,
    unsynced: Mutex<Vec<Change>>,
}

impl Writer {
    fn push(&self, extent: Extent, change: Change) -> Result<()> {
        if extent.end() > self.size_bytes {
            return Err(Error::internal(format!("a write of {} bytes at {} leaves the disk", extent.length, extent.offset)));
        }
        self.unsynced.lock().unwrap_or_else(PoisonError::into_inner).push(change);
        Ok(())
    }
}

#[async_trait]
impl DiskWriter for Writer {
    async fn write(&self, offset: u64, data: Bytes) -> Result<()> {
        self.push(Extent::new(offset, data.len() as u64), Change::Write(offset, data))
    }

    async fn zero(&self, extent: Extent) -> Result<()> {
        self.push(extent, Change::Zero(extent))
    }

    async fn sync(&self) -> Result<()> {
        let mut state = self.target.state();
        let disk = state.partial.get_mut(&self.key);
        let disk = disk.ok_or_else(|| Error::missing(format!("{} is gone", self.key.1)))?;
        for change in self.unsynced.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            match change {
                Change::Write(offset, data) => disk.write(offset, &data),
                Change::Zero(extent) => disk.trim(extent),
            }
        }
        Ok(())
    }
}

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use stillpoint_model::{Error, JobId, Result};
use stillpoint_ports::{
    DiskReader, DiskSnapshot, Ending, FoundDisk, Holding, MachineSource, Platform, Snapshot, SnapshotRequest,
};
use stillpoint_testkit::{MemoryPlatform, TestRandom};

use crate::{Faults, report::Tally};

/// The hypervisor, seen through a connection that fails at times.
pub(crate) struct FlakyPlatform {
    pub(crate) inner: Arc<MemoryPlatform>,
    pub(crate) random: Arc<TestRandom>,
    pub(crate) faults: Mutex<Faults>,
    pub(crate) tally: Mutex<Tally>,
}

impl FlakyPlatform {
    /// Whether the fault happens that `rate` picks out.
    fn happens(&self, what: &'static str, rate: impl Fn(&Faults) -> u64) -> bool {
        let rate = rate(&self.faults.lock().unwrap_or_else(PoisonError::into_inner));
        let happens = rate > 0 && self.random.below(100) < rate;
        if happens {
            self.tally.lock().unwrap_or_else(PoisonError::into_inner).fault(what);
        }
        happens
    }
}

#[async_trait]
impl Platform for FlakyPlatform {
    async fn inspect(&self, machine: &MachineSource) -> Result<Vec<FoundDisk>> {
        self.inner.inspect(machine).await
    }

    async fn snapshot(&self, request: &SnapshotRequest) -> Result<Snapshot> {
        let snapshot = self.inner.snapshot(request).await?;
        if self.happens("snapshot unreported", |faults| faults.snapshot_unreported) {
            return Err(Error::unavailable("the hypervisor did not answer"));
        }
        Ok(snapshot)
    }

    async fn keep_only(&self, snapshot: &Snapshot) {
        self.inner.keep_only(snapshot).await;
    }

    async fn open(&self, disk: &DiskSnapshot) -> Result<Box<dyn DiskReader>> {
        if self.happens("snapshot gone", |faults| faults.snapshot_gone) {
            self.inner.lose(disk);
            return Err(Error::missing(format!("the snapshot of disk {} is gone", disk.name)));
        }
        let reader = self.inner.open(disk).await?;
        if self.happens("disk read failed", |faults| faults.read_failed) {
            return Ok(Box::new(Broken));
        }
        Ok(reader)
    }

    async fn release(&self, job: JobId, held: Holding<'_>, ending: Ending) -> Result<()> {
        self.inner.release(job, held, ending).await
    }
}

/// A disk that cannot be read.
struct Broken;

#[async_trait]
impl DiskReader for Broken {
    async fn read(&self, _offset: u64, _buffer: Vec<u8>) -> Result<Vec<u8>> {
        Err(Error::unavailable("the disk did not answer"))
    }

    async fn confirm(&self) -> Result<()> {
        Ok(())
    }
}

use std::{
    fs::{File, OpenOptions, TryLockError},
    num::NonZeroU32,
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use rustix::{
    fs::OFlags,
    time::{ClockId, clock_gettime},
};
use stillpoint_model::{Error, JobId, Result};
use stillpoint_ports::{
    DiskReader, DiskSnapshot, Ending, FoundDisk, Holding, MachineSource, Platform, Platforms, Snapshot, SnapshotRequest,
};

/// Bytes of one read, as hypervisors and clouds count them; longer ones count as several.
pub const READ_BYTES: u64 = 256 << 10;
/// Until another process is looked for again, which holds the lock for as long as two short calls take.
const PAUSE: Duration = Duration::from_millis(1);

/// So many reads a second of the disks of all machines of this host, by all processes of one user that are given such a limit. What they have
/// taken stands in a file in memory: until when, in nanoseconds since the host's start.
pub struct HostReads {
    file: Mutex<File>,
    per_second: NonZeroU32,
}

impl HostReads {
    /// The limit of this host.
    ///
    /// # Errors
    /// `denied`, `missing`: the file cannot be made, or is somebody else's.
    pub fn of_host(per_second: NonZeroU32) -> Result<Self> {
        let user = rustix::process::geteuid().as_raw();
        Self::in_file(Path::new(&format!("/dev/shm/stillpoint-reads-{user}")), per_second)
    }

    fn in_file(path: &Path, per_second: NonZeroU32) -> Result<Self> {
        // Anybody may make files in that folder: nothing is written through a link, or to a file of another user's.
        let nofollow = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default();
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(nofollow);
        let opened = options.open(path).and_then(|file| file.metadata().map(|about| (file, about)));
        let (file, about) =
            opened.map_err(|error| Error::from(error).context(format!("reads are counted in {}", path.display())))?;
        if !about.is_file() || about.uid() != rustix::process::geteuid().as_raw() {
            return Err(Error::denied(format!("reads are counted in {}, which is somebody else's; remove it", path.display())));
        }
        Ok(Self { file: Mutex::new(file), per_second })
    }

    /// The same platforms, whose disks are read at this rate.
    #[must_use]
    pub fn over(self, platforms: &Platforms) -> Platforms {
        let reads = Arc::new(self);
        platforms.map(|platform| Arc::new(Paced { platform, reads: Arc::clone(&reads) }))
    }

    /// Returns when a read of so many bytes may begin.
    async fn turn(&self, bytes: u64) -> Result<()> {
        let cost = Duration::from_secs_f64(bytes.div_ceil(READ_BYTES) as f64 / f64::from(self.per_second.get()));
        let begin = loop {
            if let Some(begin) = self.take(cost)? {
                break begin;
            }
            tokio::time::sleep(PAUSE).await;
        };
        tokio::time::sleep(begin.saturating_sub(uptime())).await;
        Ok(())
    }

    /// When a read may begin that takes so long at this rate; `None` while another process takes its own.
    fn take(&self, cost: Duration) -> Result<Option<Duration>> {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error.into()),
            Ok(()) => {}
        }
        let mut taken = [0; 8];
        // Nothing is written yet where the file is new; a count that is cut short is none.
        let known =
            file.read_exact_at(&mut taken, 0).map_or(Duration::ZERO, |()| Duration::from_nanos(u64::from_le_bytes(taken)));
        let begin = known.max(uptime());
        let until = u64::try_from((begin + cost).as_nanos()).unwrap_or(u64::MAX);
        let written = file.write_all_at(&until.to_le_bytes(), 0);
        file.unlock()?;
        written?;
        Ok(Some(begin))
    }
}

/// Time since the host's start: the same for all its processes, and nobody sets it.
fn uptime() -> Duration {
    Duration::try_from(clock_gettime(ClockId::Monotonic)).unwrap_or_default()
}

/// A platform whose disks are read at the host's rate.
struct Paced {
    platform: Arc<dyn Platform>,
    reads: Arc<HostReads>,
}

struct PacedReader {
    reader: Box<dyn DiskReader>,
    reads: Arc<HostReads>,
}

#[async_trait]
impl Platform for Paced {
    async fn inspect(&self, machine: &MachineSource) -> Result<Vec<FoundDisk>> {
        self.platform.inspect(machine).await
    }

    async fn holders(&self, machine: &MachineSource) -> Result<Vec<JobId>> {
        self.platform.holders(machine).await
    }

    async fn snapshot(&self, request: &SnapshotRequest) -> Result<Snapshot> {
        self.platform.snapshot(request).await
    }

    async fn keep_only(&self, snapshot: &Snapshot) {
        self.platform.keep_only(snapshot).await;
    }

    async fn open(&self, disk: &DiskSnapshot) -> Result<Box<dyn DiskReader>> {
        let reader = self.platform.open(disk).await?;
        Ok(Box::new(PacedReader { reader, reads: Arc::clone(&self.reads) }))
    }

    async fn release(&self, job: JobId, held: Holding<'_>, ending: Ending) -> Result<()> {
        self.platform.release(job, held, ending).await
    }

    async fn untrack(&self, machine: &MachineSource) -> Result<usize> {
        self.platform.untrack(machine).await
    }
}

#[async_trait]
impl DiskReader for PacedReader {
    async fn read(&self, offset: u64, buffer: Vec<u8>) -> Result<Vec<u8>> {
        self.reads.turn(buffer.len() as u64).await?;
        self.reader.read(offset, buffer).await
    }

    async fn confirm(&self) -> Result<()> {
        self.reader.confirm().await
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    /// Two handles are as two processes: locks are the opened file's.
    #[tokio::test]
    async fn all_who_read_share_the_rate_of_the_host() {
        let path = std::env::temp_dir().join(format!("stillpoint-reads-{}", std::process::id()));
        let both = [(); 2].map(|()| HostReads::in_file(&path, NonZeroU32::new(100).unwrap()).unwrap());
        let begun = Instant::now();
        // Ten reads by each, of which one is long; the first of all waits for nothing.
        let read = async |reads: &HostReads| {
            for bytes in [512, READ_BYTES, 3 * READ_BYTES, READ_BYTES, READ_BYTES, READ_BYTES, READ_BYTES, 1] {
                reads.turn(bytes).await.unwrap();
            }
        };
        tokio::join!(read(&both[0]), read(&both[1]));
        assert!(begun.elapsed() >= Duration::from_millis(190), "{:?}", begun.elapsed());
        std::fs::remove_file(path).unwrap();
    }
    #[test]
    fn nothing_is_written_through_a_link() {
        let path = std::env::temp_dir().join(format!("stillpoint-reads-link-{}", std::process::id()));
        std::os::unix::fs::symlink(path.with_extension("target"), &path).unwrap();
        assert!(HostReads::in_file(&path, NonZeroU32::MIN).is_err());
        assert!(!path.with_extension("target").exists());
        std::fs::remove_file(path).unwrap();
    }
}

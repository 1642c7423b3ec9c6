use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use stillpoint_model::{Consistency, Error, JobId, Result};
use stillpoint_ports::{
    Clock, DiskReader, DiskSnapshot, Ending, FoundDisk, Holding, MachineSource, Platform, Snapshot, SnapshotRequest,
};

use crate::{
    blocking::blocking,
    disk,
    reader::ImageReader,
    snapshot::{self, Cut},
};

/// How long a file system may go on stamping writes with the same time: two kernel ticks at 100 Hz. A disk looked at
/// twice, this far apart, with the same times, was not written to between, and the next write will show.
const TICK: Duration = Duration::from_millis(20);
/// How often a set of disks may turn out to have changed before the snapshot is given up.
const ATTEMPTS: usize = 3;

/// Platform `image`: raw disk files and block devices of this machine. See the crate's documentation for what it proves.
///
/// Gives crash consistency; a better one that was wanted becomes a warning. Works on any number of machines at once.
pub struct ImagePlatform {
    clock: Arc<dyn Clock>,
}

impl ImagePlatform {
    /// The platform; `clock` stamps the instant of a snapshot and waits a moment before one.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock }
    }

    /// Tries until all disks stand still for a moment or only one clone is needed.
    async fn cut(&self, request: &SnapshotRequest) -> Result<Vec<Cut>> {
        let job = request.job;
        for _ in 0..ATTEMPTS {
            let sources = request.machine.disks.clone();
            let look = blocking(move || snapshot::look(&sources)).await?;
            self.clock.sleep(TICK).await;
            if let Some((made, cuts)) = blocking(move || snapshot::cut(look, job)).await? {
                // When nobody waits for it any more the snapshot is being released, and clones made after that would stay.
                made.keep();
                return Ok(cuts);
            }
        }
        Err(Error::conflict(format!(
            "the disks of {} kept changing while the snapshot was taken; stop the machine or use a platform that can freeze it",
            request.item
        )))
    }
}

#[async_trait]
impl Platform for ImagePlatform {
    /// Refuses, beside what cannot be read: relative paths, folders, pipes, sockets and character devices, sizes that are
    /// 0, odd or beyond a vault's disks, images that are not raw, and one disk under two names.
    async fn inspect(&self, machine: &MachineSource) -> Result<Vec<FoundDisk>> {
        if let Some(name) = machine.settings.keys().next() {
            return Err(Error::invalid(format!("platform image has no setting '{}'", name.escape_debug())));
        }
        let sources = machine.disks.clone();
        let found = move || {
            let sizes: Vec<u64> = disk::open_all(&sources)?.iter().map(|disk| disk.size_bytes).collect();
            Ok(sources.into_iter().zip(sizes).map(|(source, size_bytes)| FoundDisk { source, size_bytes }).collect())
        };
        blocking(found).await
    }

    /// After a crash in here, what was cloned is found by the job's id and removed by the next try or by `release`.
    async fn snapshot(&self, request: &SnapshotRequest) -> Result<Snapshot> {
        let (job, sources) = (request.job, request.machine.disks.clone());
        blocking(move || snapshot::remove(job, &sources, &[])).await?;
        let cuts = self.cut(request).await?;
        let instant = self.clock.now();
        let obtained = Consistency::Crash;
        let lasting = cuts.iter().all(Cut::is_clone);
        let mut warnings: Vec<String> = cuts.iter().filter_map(Cut::warning).collect();
        if request.wanted > obtained {
            warnings.push(format!("platform image gives {obtained} consistency; wanted {}", request.wanted));
        }
        let disks = blocking(move || cuts.iter().map(Cut::describe).collect::<Result<Vec<_>>>()).await;
        if disks.is_err() {
            let sources = request.machine.disks.clone();
            blocking(move || snapshot::remove(job, &sources, &[])).await?;
        }
        Ok(Snapshot { warnings, ..Snapshot::new(instant, obtained, disks?, lasting) })
    }

    async fn open(&self, disk: &DiskSnapshot) -> Result<Box<dyn DiskReader>> {
        // Not the whole description: its extents may be many.
        let (name, size_bytes, handle) = (disk.name.clone(), disk.size_bytes, disk.handle.clone());
        blocking(move || Ok(Box::new(ImageReader::open(&name, size_bytes, &handle)?) as Box<dyn DiskReader>)).await
    }

    async fn release(&self, job: JobId, held: Holding<'_>, _ending: Ending) -> Result<()> {
        let (sources, handles) = match held {
            Holding::Machine(machine) => (machine.disks.clone(), Vec::new()),
            Holding::Snapshot(snapshot) => {
                (Vec::new(), snapshot.disks.iter().map(|disk| (disk.name.clone(), disk.handle.clone())).collect())
            }
        };
        blocking(move || snapshot::remove(job, &sources, &handles)).await
    }
}

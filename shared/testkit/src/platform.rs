use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use jiff::Timestamp;
use stillpoint_model::{
    Consistency, DiskName, Error, Extent, JobId, Result,
    geometry::{CHUNK_BYTES, SECTOR_BYTES},
};
use stillpoint_ports::{
    Baseline, Clock, DiskReader, DiskSnapshot, DiskSource, Ending, FoundDisk, Holding, MachineSource, Platform, Since, Snapshot,
    SnapshotRequest,
};

use crate::{Disk, TestClock, tracking::Tracking};

/// The disks of one snapshot, as they were.
type Taken = Vec<(DiskName, Disk)>;

#[derive(Debug, Clone, Default)]
struct State {
    disks: BTreeMap<String, Disk>,
    held: BTreeMap<JobId, BTreeMap<String, Disk>>,
    taken: BTreeMap<JobId, (Timestamp, Taken)>,
    /// All that were ever taken.
    shown: BTreeMap<(JobId, Timestamp), Taken>,
    /// Jobs whose snapshot vanished.
    lost: BTreeSet<JobId>,
    /// By handle, what of a copy is kept, where that is not all.
    kept: BTreeMap<String, Vec<Extent>>,
    /// Snapshots so far.
    serial: u64,
    /// By location, where changes are tracked.
    tracking: Option<BTreeMap<String, Tracking>>,
    /// Forgets one change in so many; none at 0.
    forgets: u64,
    changes: u64,
    /// Blocks of each location of which a change was ever forgotten.
    untold: BTreeMap<String, BTreeSet<u64>>,
}

impl State {
    /// What is told of a disk that is in the snapshot `taken`: what changed since an earlier one, if that is known.
    fn tell(&mut self, source: &DiskSource, disk: &Disk, taken: Since, since: Option<Since>) -> (Vec<Extent>, Baseline) {
        let Some(all) = &mut self.tracking else { return (disk.extents(), Baseline::Zero) };
        let tracking = all.entry(source.location.clone()).or_default();
        let changed = since.and_then(|since| tracking.since(since, &source.name, disk.size_bytes()));
        tracking.mark(taken, source.name.clone(), disk.size_bytes());
        changed.map_or_else(|| (disk.extents(), Baseline::Zero), |changed| (changed, Baseline::Parent))
    }
}

/// A hypervisor whose disks lie in memory. It outlives the processes that use it, remembers what every snapshot showed, and
/// shows which snapshots were not given back.
#[derive(Debug)]
pub struct MemoryPlatform {
    clock: Arc<TestClock>,
    state: Mutex<State>,
}

impl MemoryPlatform {
    /// A hypervisor without disks.
    #[must_use]
    pub fn new(clock: Arc<TestClock>) -> Self {
        Self { clock, state: Mutex::default() }
    }

    /// A copy that goes its own way, by another clock.
    #[must_use]
    pub fn fork(&self, clock: Arc<TestClock>) -> Self {
        Self { clock, state: Mutex::new(self.state().clone()) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a disk, or puts another in its place.
    pub fn put(&self, location: &str, disk: Disk) {
        let mut state = self.state();
        state.disks.insert(location.to_owned(), disk);
        state.tracking.as_mut().map(|all| all.remove(location));
    }

    /// What a disk is now.
    #[must_use]
    pub fn disk(&self, location: &str) -> Option<Disk> {
        self.state().disks.get(location).cloned()
    }

    /// From here on changes are tracked, and snapshots say what has changed.
    pub fn track(&self) {
        self.state().tracking = Some(BTreeMap::new());
    }

    /// Crashes and starts again: disks are as they were, and what was known of changes is lost.
    pub fn crash(&self) {
        self.state().tracking.iter_mut().flat_map(BTreeMap::values_mut).for_each(Tracking::lose);
    }

    /// Changes a disk while its machine runs; one that is not there is made, with no bytes.
    pub fn change(&self, location: &str, change: impl FnOnce(&mut Disk)) {
        let mut state = self.state();
        let disk = state.disks.entry(location.to_owned()).or_default();
        let before = disk.clone();
        change(disk);
        let changed = disk.changed_since(&before);
        state.changes += 1;
        let forgets = state.forgets > 0 && state.changes.is_multiple_of(state.forgets);
        let State { tracking: Some(all), untold, .. } = &mut *state else { return };
        if forgets {
            untold.entry(location.to_owned()).or_default().extend(changed.iter().map(|extent| extent.offset / CHUNK_BYTES));
        } else {
            all.entry(location.to_owned()).or_default().note(changed);
        }
    }

    /// From here on one change in so many is forgotten: whoever counts on the platform's word misses it.
    pub fn forget(&self, one_in: u64) {
        self.state().forgets = one_in;
    }

    /// Blocks (64 KiB) of a disk of which a change was ever forgotten.
    #[must_use]
    pub fn untold(&self, location: &str) -> BTreeSet<u64> {
        self.state().untold.get(location).cloned().unwrap_or_default()
    }

    /// A snapshot vanishes, of which this is a disk.
    pub fn lose(&self, disk: &DiskSnapshot) {
        let mut state = self.state();
        let found = state.held.iter().find(|(_, copies)| copies.contains_key(&disk.handle)).map(|(job, _)| *job);
        if let Some(job) = found {
            state.held.remove(&job);
            state.lost.insert(job);
        }
    }

    /// Whether a job's snapshot vanished.
    #[must_use]
    pub fn is_lost(&self, job: JobId) -> bool {
        self.state().lost.contains(&job)
    }

    /// Jobs that hold a snapshot.
    #[must_use]
    pub fn held(&self) -> Vec<JobId> {
        self.state().held.keys().copied().collect()
    }

    /// What the newest snapshot of a job showed, and when; also after it was given back.
    #[must_use]
    pub fn taken(&self, job: JobId) -> Option<(Timestamp, Vec<(DiskName, Disk)>)> {
        self.state().taken.get(&job).cloned()
    }

    /// What the snapshot of a job at this instant showed; also after it was given back or another took its place.
    #[must_use]
    pub fn shown(&self, job: JobId, instant: Timestamp) -> Option<Vec<(DiskName, Disk)>> {
        self.state().shown.get(&(job, instant)).cloned()
    }
}

/// Names one disk of one snapshot: a snapshot that was taken anew is another.
fn handle(job: JobId, serial: u64, location: &str) -> String {
    format!("{job} {serial} {location}")
}

#[async_trait]
impl Platform for MemoryPlatform {
    async fn inspect(&self, machine: &MachineSource) -> Result<Vec<FoundDisk>> {
        let state = self.state();
        let found = |source: &DiskSource| {
            let disk = state.disks.get(&source.location);
            let disk = disk.ok_or_else(|| Error::missing(format!("there is no disk {}", source.location)))?;
            if disk.size_bytes() == 0 || disk.size_bytes() % SECTOR_BYTES != 0 {
                return Err(Error::invalid(format!("disk {} has {} bytes", source.location, disk.size_bytes())));
            }
            Ok(FoundDisk { source: source.clone(), size_bytes: disk.size_bytes() })
        };
        machine.disks.iter().map(found).collect()
    }

    async fn snapshot(&self, request: &SnapshotRequest) -> Result<Snapshot> {
        self.inspect(&request.machine).await?;
        let instant = self.clock.now();
        let mut state = self.state();
        state.serial += 1;
        let serial = state.serial;
        let mut copies = BTreeMap::new();
        let mut taken = Vec::new();
        let mut disks = Vec::new();
        for source in &request.machine.disks {
            let disk = state.disks.get(&source.location).cloned().unwrap_or_default();
            let (extents, baseline) = state.tell(source, &disk, Since { job: request.job, instant }, request.since);
            disks.push(DiskSnapshot {
                name: source.name.clone(),
                size_bytes: disk.size_bytes(),
                extents,
                baseline,
                handle: handle(request.job, serial, &source.location),
            });
            taken.push((source.name.clone(), disk.clone()));
            copies.insert(handle(request.job, serial, &source.location), disk);
        }
        state.held.insert(request.job, copies);
        state.shown.insert((request.job, instant), taken.clone());
        state.taken.insert(request.job, (instant, taken));
        Ok(Snapshot::new(instant, Consistency::Crash, disks, true))
    }

    async fn keep_only(&self, snapshot: &Snapshot) {
        let kept = snapshot.disks.iter().map(|disk| (disk.handle.clone(), disk.extents.clone()));
        self.state().kept.extend(kept);
    }

    async fn open(&self, disk: &DiskSnapshot) -> Result<Box<dyn DiskReader>> {
        let state = self.state();
        let found = state.held.values().find_map(|copies| copies.get(&disk.handle)).cloned();
        let found =
            found.ok_or_else(|| Error::missing(format!("the snapshot of disk {} was released or taken anew", disk.name)))?;
        Ok(Box::new(Reader { disk: found, kept: state.kept.get(&disk.handle).cloned() }))
    }

    async fn release(&self, job: JobId, _held: Holding<'_>, _ending: Ending) -> Result<()> {
        self.state().held.remove(&job);
        Ok(())
    }
}

struct Reader {
    disk: Disk,
    kept: Option<Vec<Extent>>,
}

#[async_trait]
impl DiskReader for Reader {
    async fn read(&self, offset: u64, mut buffer: Vec<u8>) -> Result<Vec<u8>> {
        let end = offset + buffer.len() as u64;
        if end > self.disk.size_bytes() {
            return Err(Error::internal(format!("a read of {} bytes at {offset} leaves the disk", buffer.len())));
        }
        let is_kept = |kept: &Vec<Extent>| kept.iter().any(|extent| extent.offset <= offset && end <= extent.end());
        if self.kept.as_ref().is_some_and(|kept| !is_kept(kept)) {
            return Err(Error::internal(format!("a read of {} bytes at {offset} of what need not be kept", buffer.len())));
        }
        self.disk.read(offset, &mut buffer);
        Ok(buffer)
    }

    async fn confirm(&self) -> Result<()> {
        Ok(())
    }
}

use std::{borrow::Cow, collections::BTreeMap};

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stillpoint_model::{
    Consistency, DiskName, Error, Extent, ItemName, JobId, Result,
    geometry::{PAGE_BYTES, page_count, page_range},
};

/// One disk as its machine's record names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskSource {
    /// The disk's name within the machine.
    pub name: DiskName,
    /// Where the platform finds it; for `image` a path.
    pub location: String,
}

/// A machine as its record names it to its platform.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MachineSource {
    /// The disks that the record names; a platform that finds disks by itself goes by them only where it cannot ask.
    pub disks: Vec<DiskSource>,
    /// How the machine is reached and treated, in the platform's own words.
    pub settings: BTreeMap<String, String>,
}

/// A disk that can be backed up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundDisk {
    /// What it is called and where it is.
    pub source: DiskSource,
    /// Its size.
    pub size_bytes: u64,
}

/// A snapshot of the machine whose bytes are in the vault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Since {
    /// The job that it was taken for.
    pub job: JobId,
    /// Its instant: a job may have taken several.
    pub instant: Timestamp,
}

/// What to take a snapshot of.
#[derive(Debug, Clone)]
pub struct SnapshotRequest {
    /// The job that asks; names everything the platform creates, so that leftovers can be told apart.
    pub job: JobId,
    /// The machine.
    pub item: ItemName,
    /// How the machine is found.
    pub machine: MachineSource,
    /// The consistency asked for.
    pub wanted: Consistency,
    /// What the backup will be compared with: only against this may a platform that tracks changes answer with [`Baseline::Parent`].
    pub since: Option<Since>,
}

/// What holds outside a disk's [`DiskSnapshot::extents`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Baseline {
    /// Zeros: the extents are all data of the disk.
    Zero,
    /// The bytes of the snapshot that [`SnapshotRequest::since`] names: the extents are what changed since, proven by the platform (same
    /// disk, same size, no change untold: I4).
    Parent,
}

/// One disk of a snapshot. Stored in the job's plan, so that any process at the site can go on reading.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskSnapshot {
    /// The disk's name.
    pub name: DiskName,
    /// Its size; a multiple of 512.
    pub size_bytes: u64,
    /// Sorted, disjoint, within the size.
    pub extents: Vec<Extent>,
    /// What holds outside the extents.
    pub baseline: Baseline,
    /// The platform's own description of where and what to read; opaque to everybody else, at most 4 KiB.
    pub handle: String,
}

impl DiskSnapshot {
    /// Extents outside of which the disk is zero: where only changes are known, all of it.
    #[must_use]
    pub fn data(&self) -> Cow<'_, [Extent]> {
        match self.baseline {
            Baseline::Zero => Cow::Borrowed(&self.extents),
            Baseline::Parent => Cow::Owned(vec![Extent::new(0, self.size_bytes)]),
        }
    }
}

/// Bytes of `extents` in each map page of a disk of this size.
#[must_use]
pub fn bytes_by_page(extents: &[Extent], size_bytes: u64) -> Vec<u64> {
    let mut bytes = vec![0; page_count(size_bytes) as usize];
    for extent in extents {
        for page in extent.offset / PAGE_BYTES..extent.end().div_ceil(PAGE_BYTES) {
            let (start, end) = page_range(page as u32, size_bytes);
            if let (Some(part), Some(sum)) = (extent.clip(start, end), bytes.get_mut(page as usize)) {
                *sum += part.length;
            }
        }
    }
    bytes
}

/// That changes of a disk could not be told from those that the vault has, and why: all of it is read and compared, and tracking begins anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrackingReset {
    /// The disk.
    pub disk: DiskName,
    /// Why, in one line.
    pub reason: String,
}

/// How a snapshot's job ended, to the platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Its point is committed: the next backup counts changes from this snapshot.
    Committed,
    /// It made no point: the next backup counts changes from where this one did.
    Abandoned,
}

/// What a machine's firmware remembers from one start to the next: boot entries, keys that secure boot trusts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirmwareVariables {
    /// The file that they are in, as the machine's configuration names it.
    pub file: String,
    /// All bytes, as the guest has them. They may hold secrets.
    pub bytes: Vec<u8>,
}

impl FirmwareVariables {
    /// Most bytes that are kept with a point.
    pub const BYTES_MAX: u64 = 16 << 20;
}

/// A point-in-time copy of all disks of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    /// The one instant whose bytes all disks show.
    pub instant: Timestamp,
    /// The consistency reached.
    pub obtained: Consistency,
    /// All of the machine's disks that are backed up.
    pub disks: Vec<DiskSnapshot>,
    /// What the operator should know about how it was taken.
    pub warnings: Vec<String>,
    /// Whether it is a copy that can be read while the machine goes on, until it is given back: only such a one can be kept.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lasting: bool,
    /// For how long the guest's file systems stood still, if they did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frozen_ms: Option<u64>,
    /// Disks that were to be read by their changes and are not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tracking_resets: Vec<TrackingReset>,
    /// What the machine can be made again from; it may hold secrets, so it is stored sealed only, and elsewhere.
    #[serde(skip)]
    pub configuration: Option<String>,
    /// What its firmware remembers, of about the same instant; stored as the configuration is.
    #[serde(skip)]
    pub firmware_variables: Option<FirmwareVariables>,
}

impl Snapshot {
    /// A snapshot of which nothing else is to be said.
    #[must_use]
    pub fn new(instant: Timestamp, obtained: Consistency, disks: Vec<DiskSnapshot>, lasting: bool) -> Self {
        let (warnings, tracking_resets) = (Vec::new(), Vec::new());
        let (frozen_ms, configuration, firmware_variables) = (None, None, None);
        Self { instant, obtained, disks, warnings, lasting, frozen_ms, tracking_resets, configuration, firmware_variables }
    }
}

/// What is known of a snapshot that is given back.
#[derive(Debug, Clone, Copy)]
pub enum Holding<'a> {
    /// The snapshot.
    Snapshot(&'a Snapshot),
    /// Where to look for whatever the job has left behind.
    Machine(&'a MachineSource),
}

/// What runs a machine, reached from the machine's site.
#[async_trait]
pub trait Platform: Send + Sync {
    /// Checks that the machine can be backed up, without touching it, and returns its disks. Called when a machine is added.
    ///
    /// # Errors
    /// `missing`, `invalid`, `denied`, naming the disk or the setting, and the reason.
    async fn inspect(&self, machine: &MachineSource) -> Result<Vec<FoundDisk>>;

    /// Jobs whose snapshots stand in the way of another one of the machine. Of these, those that are over must be released first.
    ///
    /// # Errors
    /// As `inspect`.
    async fn holders(&self, _machine: &MachineSource) -> Result<Vec<JobId>> {
        Ok(Vec::new())
    }

    /// Takes a snapshot of all disks at one instant. Repeating it for the same job first removes what an earlier,
    /// interrupted try of that job left behind.
    ///
    /// # Errors
    /// As `inspect`; `conflict` when the disk is in use in a way that forbids reading it.
    async fn snapshot(&self, request: &SnapshotRequest) -> Result<Snapshot>;

    /// Nothing but the extents of this snapshot will be read: the platform need keep no more. Where it does, no harm is done.
    async fn keep_only(&self, _snapshot: &Snapshot) {}

    /// Opens one disk of a snapshot.
    ///
    /// # Errors
    /// `missing` when the snapshot is gone, `conflict` when the disk is no longer what was snapshotted.
    async fn open(&self, disk: &DiskSnapshot) -> Result<Box<dyn DiskReader>>;

    /// Gives the snapshot back. Repeating it is harmless, and so is calling it for a job that got no snapshot
    /// (whatever it left behind is then found by its id at the machine).
    ///
    /// # Errors
    /// `unavailable` or `denied`: something of the job may still exist.
    async fn release(&self, job: JobId, held: Holding<'_>, ending: Ending) -> Result<()>;

    /// Takes away whatever tells which blocks of the machine changed; the next snapshot begins that anew. Returns how many disks had any.
    ///
    /// # Errors
    /// `invalid` where the platform tracks nothing; `conflict` while a snapshot stands; as `inspect`.
    async fn untrack(&self, _machine: &MachineSource) -> Result<usize> {
        Err(Error::invalid("this platform does not track changes of disks"))
    }
}

/// Reads one disk of a snapshot; several reads may be under way at once.
#[async_trait]
pub trait DiskReader: Send + Sync {
    /// Fills `buffer` (its whole length) from `offset` and gives it back; the range lies within the disk.
    ///
    /// # Errors
    /// `unavailable`, `missing` or `internal`; the buffer is lost.
    async fn read(&self, offset: u64, buffer: Vec<u8>) -> Result<Vec<u8>>;

    /// Proves, after reading, that what was read is of the snapshot's instant.
    ///
    /// # Errors
    /// `conflict`: the disk changed under the reader and the bytes must not be used.
    async fn confirm(&self) -> Result<()>;
}

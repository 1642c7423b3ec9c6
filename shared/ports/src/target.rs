use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use stillpoint_model::{DiskName, Extent, JobId, Result};

/// One disk that a restore writes. Stored in the job's plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetDisk {
    /// The disk's name in the recovery point.
    pub name: DiskName,
    /// Its size; a multiple of 512.
    pub size_bytes: u64,
    /// Bytes of it that are not zero chunks: what will be written at most.
    pub data_bytes: u64,
    /// Where it goes: the absolute path of a raw file to be or of a block device, `qcow2:` and such a path, the address of an NBD
    /// export, `nbd://HOST:PORT/EXPORT` or `nbd+unix:///EXPORT?socket=/PATH`, or the URL of an object to be, `s3://bucket/os.raw`.
    pub location: String,
    /// Whether something that exists there may be replaced.
    pub overwrite: bool,
    /// Whether the file that is replaced stays, as `<file>.before-<job>`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keep_replaced: bool,
    /// What its target may be asked for; all disks of one target share it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<TargetLimits>,
}

/// What a target may be asked for by each process that writes to it; without limit where it says nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetLimits {
    /// Which target: disks that name the same one share its limits.
    pub target: String,
    /// Bytes written in one second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_second: Option<u64>,
    /// Writes under way at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub streams: Option<u32>,
}

/// Where restored disks are written. Everything is keyed by the job, so a repeated step finds what an earlier one began.
#[async_trait]
pub trait Target: Send + Sync {
    /// Checks all disks (existence, free space, size, permission) before touching any, then makes each one's place
    /// under a temporary name. Repeating it keeps what was written.
    ///
    /// # Errors
    /// `conflict` when the place is taken, `invalid`, `denied`, `unavailable` when it is too small or full.
    async fn prepare(&self, job: JobId, disks: &[TargetDisk]) -> Result<()>;

    /// Looks at all that `prepare` will look at and touches nothing, so that what can be refused is refused before there is
    /// a job. A target that cannot tell beforehand lets everything pass.
    ///
    /// # Errors
    /// As [`Target::prepare`].
    async fn check(&self, _job: JobId, _disks: &[TargetDisk]) -> Result<()> {
        Ok(())
    }

    /// Writes `bytes` where the disk would be written, waits until they are safe, and removes them again: how long that takes tells how
    /// fast the target is now. Returns the free bytes there, where that is known.
    ///
    /// # Errors
    /// `invalid` where nothing can be written but the disk itself; as [`Target::prepare`].
    async fn probe(&self, disk: &TargetDisk, bytes: Bytes) -> Result<Option<u64>>;

    /// Opens a prepared disk for writing.
    ///
    /// # Errors
    /// `missing` when it was not prepared or is gone.
    async fn open(&self, job: JobId, disk: &TargetDisk) -> Result<Box<dyn DiskWriter>>;

    /// Makes the disks visible under their final names, complete and synced. Repeating it is harmless.
    ///
    /// # Errors
    /// `conflict` when the place was taken meanwhile; `unavailable`.
    async fn publish(&self, job: JobId, disks: &[TargetDisk]) -> Result<()>;

    /// Removes what the job wrote under temporary names. Repeating it is harmless. Block devices and NBD exports keep what was written.
    ///
    /// # Errors
    /// `unavailable` or `denied`: something may still exist.
    async fn discard(&self, job: JobId, disks: &[TargetDisk]) -> Result<()>;
}

/// Writes one disk; several writes may be under way at once.
#[async_trait]
pub trait DiskWriter: Send + Sync {
    /// Writes `data` at `offset`; the range lies within the disk.
    ///
    /// # Errors
    /// `unavailable` (full disk), `denied`, `internal`.
    async fn write(&self, offset: u64, data: Bytes) -> Result<()>;

    /// Makes `extent` read as zeros; costs nothing where it already does.
    ///
    /// # Errors
    /// As `write`.
    async fn zero(&self, extent: Extent) -> Result<()>;

    /// Returns once everything written through this writer survives a power cut.
    ///
    /// # Errors
    /// As `write`.
    async fn sync(&self) -> Result<()>;
}

//! Restored disks as files and block devices of this machine.

mod place;
mod prepare;
mod publish;
mod writer;

use std::path::Path;

use async_trait::async_trait;
use stillpoint_model::{Error, JobId, Result};
use stillpoint_ports::{DiskWriter, Target, TargetDisk};

use crate::{
    blocking::blocking,
    hidden::{self, Made},
    label::label,
};
use writer::ImageWriter;

/// Writes restored disks to raw files and block devices of this machine; a location is an absolute path.
///
/// # Files
/// A file to be grows as `.<file>.stillpoint-<job>.partial` beside its place: sparse, readable by its owner alone, there
/// for any later process to resume or discard. [`Target::publish`] syncs it and renames it in one step, without
/// `overwrite` only onto nothing. A file that is replaced passes on its owner and mode; a
/// symbolic link is refused, because a restore writes to the place it was given and to no other.
///
/// # Block devices
/// A device is written where it is, from the first write on: publishing it only syncs it and discarding leaves what was
/// written. Without `overwrite` it must begin and end with 1 MiB of zeros, so a job that has written to a device cannot
/// prepare it again: prepare once, before the plan, and resume with [`Target::open`].
///
/// # Crash consistency
/// A power cut leaves nothing, the partial file, or the whole file. When the partial file is gone and a file of the right
/// size has its name, an earlier try of the job is taken to have published it.
#[derive(Debug, Clone, Copy, Default)]
pub struct ImageTarget;

impl ImageTarget {
    /// The target. It keeps nothing in memory: all it knows of a job is in the file system.
    #[must_use]
    pub fn new() -> Self {
        Self
    }
}

#[async_trait]
impl Target for ImageTarget {
    /// # Errors
    /// Beside the port's: `missing` when the folder to write to does not exist; `invalid`, not `unavailable`, when the
    /// restore does not fit, because waiting makes no room; `conflict` also when a machine, a mount or an array uses what
    /// would be replaced. An error leaves no file that this call made.
    async fn prepare(&self, job: JobId, disks: &[TargetDisk]) -> Result<()> {
        let disks = disks.to_vec();
        // When nobody waits for it any more the job is being discarded, and files made after that would stay for ever.
        blocking(move || prepare::prepare(job, &disks)).await.map(Made::keep)
    }

    async fn check(&self, job: JobId, disks: &[TargetDisk]) -> Result<()> {
        let disks = disks.to_vec();
        blocking(move || prepare::check(job, &disks).map(drop)).await
    }

    async fn open(&self, job: JobId, disk: &TargetDisk) -> Result<Box<dyn DiskWriter>> {
        let disk = disk.clone();
        blocking(move || Ok(Box::new(ImageWriter::open(job, &disk)?) as Box<dyn DiskWriter>)).await
    }

    async fn publish(&self, job: JobId, disks: &[TargetDisk]) -> Result<()> {
        let disks = disks.to_vec();
        blocking(move || publish::publish(job, &disks)).await
    }

    async fn discard(&self, job: JobId, disks: &[TargetDisk]) -> Result<()> {
        let disks = disks.to_vec();
        blocking(move || disks.iter().map(|disk| discard(job, disk)).fold(Ok(()), Result::and)).await
    }
}

/// Whatever the place is by now; beside a device, or a name too long for a partial file, there is nothing to find.
fn discard(job: JobId, disk: &TargetDisk) -> Result<()> {
    let Ok(partial) = hidden::sibling(Path::new(&disk.location), job, hidden::PARTIAL) else { return Ok(()) };
    let label = label(&disk.name, &disk.location);
    hidden::remove(&partial).map_err(|error| Error::from(error).context(format!("{label}: cannot discard it")))
}

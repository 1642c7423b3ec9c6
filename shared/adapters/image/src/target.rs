//! Restored disks as files and block devices of this machine.

mod daemon;
mod location;
mod nbd;
mod place;
mod prepare;
mod probe;
mod publish;
mod qcow2;
mod writer;

use async_trait::async_trait;
use bytes::Bytes;
use stillpoint_model::{Error, JobId, Result};
use stillpoint_ports::{DiskWriter, Target, TargetDisk};

use crate::{
    blocking::blocking,
    disk::open_read,
    hidden::{self, Made},
    label::label,
};
use daemon::Daemon;
use location::Location;
use nbd::NbdWriter;
use place::{FilePlace, Place};
use writer::ImageWriter;

/// Writes restored disks to raw files, qcow2 images and block devices of this machine, and to NBD exports; what a location says of these
/// is at [`TargetDisk::location`].
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
/// An NBD export is treated in the same way.
///
/// # qcow2
/// The partial file of an image is written through a storage daemon (`qemu-storage-daemon`) that the first step starts, that outlives the
/// process which did, and that ends before the image gets its name. QEMU's image lock keeps it to one daemon, so all steps of such a
/// restore have to run on one host.
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
        nbd::check(disks).await?;
        let disks = disks.to_vec();
        // When nobody waits for it any more the job is being discarded, and files made after that would stay for ever.
        blocking(move || prepare::prepare(job, &disks)).await.map(Made::keep)
    }

    async fn check(&self, job: JobId, disks: &[TargetDisk]) -> Result<()> {
        nbd::check(disks).await?;
        let disks = disks.to_vec();
        blocking(move || prepare::check(job, &disks).map(drop)).await
    }

    /// # Errors
    /// Beside the port's: `invalid` for a device and an NBD export.
    async fn probe(&self, disk: &TargetDisk, bytes: Bytes) -> Result<Option<u64>> {
        let disk = disk.clone();
        blocking(move || probe::probe(&disk, &bytes)).await.map(Some)
    }

    async fn open(&self, job: JobId, disk: &TargetDisk) -> Result<Box<dyn DiskWriter>> {
        let (owned, label) = (disk.clone(), || label(&disk.name, &disk.location));
        let client = match Location::of(disk)? {
            Location::Raw(_) => return Ok(Box::new(blocking(move || ImageWriter::open(job, &owned)).await?)),
            Location::Export(address, export) => nbd::connect(disk, &address, &export).await?,
            Location::Qcow2(_) => match blocking(move || Place::of(job, &owned)).await? {
                Place::File(FilePlace { partial, daemon: Some(daemon), .. }) => {
                    daemon.connect(&partial).await.map_err(|error| error.context(label()))?
                }
                _ => return Err(Error::internal(format!("{} is no image", label()))),
            },
        };
        Ok(Box::new(NbdWriter::new(disk, client)?))
    }

    async fn publish(&self, job: JobId, disks: &[TargetDisk]) -> Result<()> {
        nbd::publish(disks).await?;
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
    let (path, daemon) = match Location::of(disk) {
        Ok(Location::Raw(path)) => (path, None),
        Ok(Location::Qcow2(path)) => {
            let daemon = Daemon::of(job, disk, &path);
            (path, daemon.ok())
        }
        _ => return Ok(()),
    };
    let Ok(partial) = hidden::sibling(&path, job, hidden::PARTIAL) else { return Ok(()) };
    let context = |error: Error| error.context(format!("{}: cannot discard it", label(&disk.name, &disk.location)));
    let image = daemon.as_ref().and_then(|_| open_read(&partial).ok());
    hidden::remove(&partial).map_err(|error| context(error.into()))?;
    let Some(daemon) = daemon else { return Ok(()) };
    qcow2::remove_drafts(&path, job).map_err(|error| context(error.into()))?;
    image.map_or_else(|| daemon.end(), |image| daemon.end_all(&image)).map_err(context)
}

use std::{
    fs::File,
    io::{self, ErrorKind},
    num::NonZero,
    os::unix::fs::FileExt,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use rustix::{
    fs::{Advice, FallocateFlags, SeekFrom, fadvise, fallocate, seek},
    io::Errno,
};
use stillpoint_model::{Error, Extent, JobId, Result};
use stillpoint_ports::{DiskWriter, TargetDisk};

use super::place::{Place, open_options};
use crate::{blocking::blocking, device, disk::Kind, label::label};

/// Zeros written at once where neither file system nor device can make a hole.
const ZEROS_BYTES: usize = 1 << 20;
/// So much is written before the disk is told to begin: what waits in memory until the sync at the end keeps it idle meanwhile.
const WAITING_BYTES: u64 = 16 << 20;

/// Writes one disk of a restore.
pub(crate) struct ImageWriter(Arc<Open>);

struct Open {
    label: String,
    file: File,
    kind: Kind,
    size_bytes: u64,
    waiting: Mutex<Waiting>,
}

/// What was written and is perhaps in memory only.
#[derive(Default)]
struct Waiting {
    reach: Option<Extent>,
    bytes: u64,
}

impl Waiting {
    /// Counts a write; returns what the disk is to begin with now.
    fn add(&mut self, extent: Extent) -> Option<Extent> {
        let reach = self.reach.map_or(extent, |reach| {
            let start = reach.offset.min(extent.offset);
            Extent::new(start, reach.end().max(extent.end()) - start)
        });
        (self.reach, self.bytes) = (Some(reach), self.bytes + extent.length);
        if self.bytes < WAITING_BYTES {
            return None;
        }
        *self = Self::default();
        Some(reach)
    }
}

impl ImageWriter {
    /// Opens a partial file that was prepared, or a device.
    pub(crate) fn open(job: JobId, disk: &TargetDisk) -> Result<Self> {
        let label = label(&disk.name, &disk.location);
        let context = |error: io::Error| Error::from(error).context(&label);
        let (path, kind) = match Place::of(job, disk)? {
            Place::File(place) => (place.partial, Kind::File),
            Place::Device(path) => (path, Kind::Device),
            Place::Export => return Err(Error::internal(format!("{label} is no file"))),
        };
        let file = open_options().open(path).map_err(|error| match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => {
                Error::missing(format!("{label} was not prepared or is gone; restore again"))
            }
            _ => context(error),
        })?;
        let found_bytes = match kind {
            Kind::File => file.metadata().map_err(context)?.len(),
            Kind::Device => device::size_bytes(&file).map_err(context)?,
        };
        if found_bytes < disk.size_bytes {
            let wanted_bytes = disk.size_bytes;
            return Err(Error::missing(format!(
                "{label} has {found_bytes} bytes and was prepared for {wanted_bytes}; restore again"
            )));
        }
        Ok(Self(Arc::new(Open { label, file, kind, size_bytes: disk.size_bytes, waiting: Mutex::default() })))
    }

    async fn run(
        &self,
        what: &'static str,
        extent: Extent,
        work: impl FnOnce(&File) -> io::Result<()> + Send + 'static,
    ) -> Result<()> {
        let open = Arc::clone(&self.0);
        // A device may be larger than the disk: what lies past the disk is not ours.
        if extent.end() > open.size_bytes {
            return Err(Error::internal(format!("{}: asked to {what} past its end", open.label)));
        }
        blocking(move || work(&open.file).map_err(|error| Error::from(error).context(format!("{}: cannot {what}", open.label))))
            .await
    }
}

#[async_trait]
impl DiskWriter for ImageWriter {
    async fn write(&self, offset: u64, data: Bytes) -> Result<()> {
        let extent = Extent::new(offset, data.len() as u64);
        let begin = self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner).add(extent);
        self.run("write", extent, move |file| {
            file.write_all_at(&data, offset)?;
            if let Some(extent) = begin {
                begin_writing(file, extent);
            }
            Ok(())
        })
        .await
    }

    async fn zero(&self, extent: Extent) -> Result<()> {
        let kind = self.0.kind;
        self.run("zero", extent, move |file| match kind {
            Kind::File => zero_file(file, extent),
            Kind::Device => zero_device(file, extent),
        })
        .await
    }

    async fn sync(&self) -> Result<()> {
        self.run("sync", Extent::new(0, 0), File::sync_data).await
    }
}

/// Has the disk begin with what was written, without waiting for it: Linux does so before it forgets what is no longer needed. Advice, which
/// not every file system takes; whether the bytes are safe tells the sync.
fn begin_writing(file: &File, extent: Extent) {
    fadvise(file, extent.offset, NonZero::new(extent.length), Advice::DontNeed).ok();
}

/// A new file is one hole; only a try before this one can have left data.
fn zero_file(file: &File, extent: Extent) -> io::Result<()> {
    match seek(file, SeekFrom::Data(extent.offset)) {
        Err(Errno::NXIO) => return Ok(()),
        Ok(data) if data >= extent.end() => return Ok(()),
        _ => {}
    }
    if allocate(file, FallocateFlags::PUNCH_HOLE, extent)? { Ok(()) } else { write_zeros(file, extent) }
}

/// A device that cannot forget sectors may still be told to zero them, and takes written zeros in any case.
fn zero_device(file: &File, extent: Extent) -> io::Result<()> {
    let done = allocate(file, FallocateFlags::PUNCH_HOLE, extent)? || allocate(file, FallocateFlags::ZERO_RANGE, extent)?;
    if done { Ok(()) } else { write_zeros(file, extent) }
}

/// `false` when the file system or device has no such operation, or not for this alignment.
fn allocate(file: &File, how: FallocateFlags, extent: Extent) -> io::Result<bool> {
    match fallocate(file, how | FallocateFlags::KEEP_SIZE, extent.offset, extent.length) {
        Ok(()) => Ok(true),
        Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn write_zeros(file: &File, extent: Extent) -> io::Result<()> {
    let zeros = vec![0; ZEROS_BYTES];
    let mut offset = extent.offset;
    while offset < extent.end() {
        let length = usize::try_from(extent.end() - offset).unwrap_or(ZEROS_BYTES).min(ZEROS_BYTES);
        file.write_all_at(&zeros[..length], offset)?;
        offset += length as u64;
    }
    Ok(())
}

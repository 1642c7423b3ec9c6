use std::{
    fs::{self, File},
    io::ErrorKind,
    os::unix::fs::{FileExt, MetadataExt},
    sync::Arc,
};

use async_trait::async_trait;
use rustix::fs::{Advice, fadvise};
use stillpoint_model::{DiskName, Error, Result};
use stillpoint_ports::DiskReader;

use crate::{
    blocking::blocking,
    disk::{Kind, open_read},
    handle::{Handle, Mode},
    identity::Identity,
    label::label,
};

/// Reads one disk of a snapshot, without copying and without allocating.
pub(crate) struct ImageReader(Arc<Open>);

struct Open {
    label: String,
    handle: Handle,
    file: File,
}

impl ImageReader {
    /// Opens what `handle` names and checks that it is what was snapshotted.
    pub(crate) fn open(name: &DiskName, size_bytes: u64, handle: &str) -> Result<Self> {
        let handle = Handle::decode(handle).map_err(|error| error.context(format!("disk {name}")))?;
        let label = label(name, handle.path());
        let file = open_read(handle.path()).map_err(|error| match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => {
                Error::missing(format!("{label}: its snapshot is gone; back up again"))
            }
            _ => Error::from(error).context(&label),
        })?;
        // Only a hint; a file system that does not take it reads the same bytes.
        let _ = fadvise(&file, 0, None, Advice::Sequential);
        let open = Open { label, handle, file };
        open.check()?;
        if open.handle.identity.size != size_bytes {
            return Err(Error::invalid(format!("{}: the plan and the handle disagree about its size", open.label)));
        }
        Ok(Self(Arc::new(open)))
    }
}

impl Open {
    /// Whether the open file is still what was snapshotted.
    fn check(&self) -> Result<()> {
        let kind = self.handle.mode.kind();
        let metadata = self.file.metadata().map_err(|error| Error::from(error).context(&self.label))?;
        if Kind::of(&metadata) != Some(kind) {
            return Err(self.changed());
        }
        let found = Identity::of(&self.file, kind).map_err(|error| Error::from(error).context(&self.label))?;
        if self.handle.is(found) { Ok(()) } else { Err(self.changed()) }
    }

    /// Whether the path still leads to it: a disk that was replaced as a whole is no longer that machine's disk.
    fn check_path(&self) -> Result<()> {
        let same = |metadata: &fs::Metadata| match self.handle.mode {
            // The clone keeps its bytes for this reader even after its name was removed.
            Mode::Reflink => true,
            Mode::InPlace => self.handle.is(Identity::of_file(metadata)),
            Mode::Device => metadata.rdev() == self.handle.identity.dev,
        };
        match fs::metadata(self.handle.path()) {
            Ok(metadata) if same(&metadata) => Ok(()),
            Err(_) if self.handle.mode == Mode::Reflink => Ok(()),
            Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::from(error).context(&self.label)),
            _ => Err(self.changed()),
        }
    }

    fn changed(&self) -> Error {
        let label = &self.label;
        Error::conflict(match self.handle.mode {
            Mode::Reflink => format!("{label}: its snapshot was changed or replaced; back up again"),
            Mode::InPlace => {
                format!(
                    "{label} changed while it was being backed up; stop the machine or put the disk on a file system with reflinks"
                )
            }
            Mode::Device => format!("{label} was written to while it was being backed up; stop the machine"),
        })
    }
}

#[async_trait]
impl DiskReader for ImageReader {
    async fn read(&self, offset: u64, mut buffer: Vec<u8>) -> Result<Vec<u8>> {
        let open = Arc::clone(&self.0);
        blocking(move || match open.file.read_exact_at(&mut buffer, offset) {
            Ok(()) => Ok(buffer),
            // The range lies within the size at the snapshot, so the disk was cut short since.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Err(open.changed()),
            Err(error) => Err(Error::from(error).context(format!("{}: cannot read at byte {offset}", open.label))),
        })
        .await
    }

    async fn confirm(&self) -> Result<()> {
        let open = Arc::clone(&self.0);
        blocking(move || open.check().and_then(|()| open.check_path())).await
    }
}

use std::{
    collections::HashMap,
    fs::{self, File, Metadata, OpenOptions},
    io::ErrorKind,
    os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;
use stillpoint_model::{
    DiskName, Error, Result,
    geometry::{DISK_BYTES_MAX, SECTOR_BYTES},
};
use stillpoint_ports::DiskSource;

use crate::{device, hidden, label::label};

/// First bytes of image formats that a raw disk would be mistaken for.
const FORMATS: [(&[u8], &str); 4] = [(b"QFI\xfb", "qcow2"), (b"KDMV", "vmdk"), (b"vhdxfile", "vhdx"), (b"conectix", "vhd")];

/// What holds a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Device,
}

impl Kind {
    /// `None` for everything that cannot be a disk.
    pub(crate) fn of(metadata: &Metadata) -> Option<Self> {
        let kind = metadata.file_type();
        if kind.is_file() {
            Some(Self::File)
        } else if kind.is_block_device() {
            Some(Self::Device)
        } else {
            None
        }
    }

    /// What tells two disks apart whatever paths lead to them.
    pub(crate) fn key(self, metadata: &Metadata) -> (u64, u64) {
        match self {
            Self::File => (metadata.dev(), metadata.ino()),
            Self::Device => (metadata.rdev(), 0),
        }
    }
}

/// A disk that passed every check, open for reading.
#[derive(Debug)]
pub(crate) struct Disk {
    pub(crate) name: DiskName,
    /// Symbolic links resolved.
    pub(crate) path: PathBuf,
    pub(crate) file: File,
    pub(crate) kind: Kind,
    pub(crate) size_bytes: u64,
    key: (u64, u64),
}

impl Disk {
    /// Checks one disk and opens it; nothing is read but its first bytes.
    ///
    /// # Errors
    /// `missing`, `invalid` or `denied`, on one line that names the disk, the path, the reason and the way out.
    pub(crate) fn open(source: &DiskSource) -> Result<Self> {
        let label = label(&source.name, &source.location);
        let path = Path::new(&source.location);
        if !path.is_absolute() {
            return Err(Error::invalid(format!("{label} is not an absolute path; give one that begins with '/'")));
        }
        let found = fs::metadata(path).map_err(|error| cannot_open(&label, error))?;
        // Looked at before opening: opening a character device may act on it, opening a pipe may wait for ever.
        Kind::of(&found).ok_or_else(|| not_a_disk(&label, &found))?;
        let file = open_read(path).map_err(|error| cannot_open(&label, error))?;
        let metadata = file.metadata().map_err(|error| cannot_open(&label, error))?;
        let kind = Kind::of(&metadata).ok_or_else(|| not_a_disk(&label, &metadata))?;
        let size_bytes = match kind {
            Kind::File => metadata.len(),
            Kind::Device => device::size_bytes(&file).map_err(|error| cannot_open(&label, error))?,
        };
        if kind == Kind::File {
            check_format(&label, &file)?;
        }
        check_size(&label, size_bytes)?;
        let key = kind.key(&metadata);
        Ok(Self { name: source.name.clone(), path: hidden::resolve(path), file, kind, size_bytes, key })
    }

    /// How messages name it.
    pub(crate) fn label(&self) -> String {
        label(&self.name, &self.path)
    }
}

/// Checks and opens all disks of a machine.
///
/// # Errors
/// As [`Disk::open`]; `invalid` when two names lead to the same disk.
pub(crate) fn open_all(sources: &[DiskSource]) -> Result<Vec<Disk>> {
    let disks = sources.iter().map(Disk::open).collect::<Result<Vec<_>>>()?;
    let mut seen = HashMap::new();
    for disk in &disks {
        if let Some(other) = seen.insert(disk.key, &disk.name) {
            let label = disk.label();
            return Err(Error::invalid(format!("{label} is the same as disk {other}; give each disk its own path")));
        }
    }
    Ok(disks)
}

/// Opens for reading without ever waiting (a file may have become a pipe since it was looked at).
pub(crate) fn open_read(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path)
}

fn cannot_open(label: &str, error: std::io::Error) -> Error {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => {
            Error::missing(format!("{label} does not exist; correct its path, or take the disk out of the machine"))
        }
        ErrorKind::PermissionDenied => {
            Error::denied(format!("{label} may not be read by this user; permit it, or run as another user"))
        }
        _ => Error::from(error).context(label),
    }
}

fn not_a_disk(label: &str, metadata: &Metadata) -> Error {
    let kind = metadata.file_type();
    let what = match () {
        () if kind.is_dir() => "a folder",
        () if kind.is_char_device() => "a character device",
        () if kind.is_fifo() => "a pipe",
        () if kind.is_socket() => "a socket",
        () => "neither a file nor a block device",
    };
    Error::invalid(format!("{label} is {what}; give a raw disk file or a block device"))
}

fn check_size(label: &str, size_bytes: u64) -> Result<()> {
    if size_bytes == 0 {
        return Err(Error::invalid(format!("{label} has 0 bytes; give a disk that holds something")));
    }
    if !size_bytes.is_multiple_of(SECTOR_BYTES) {
        return Err(Error::invalid(format!(
            "{label} has {size_bytes} bytes, not a multiple of {SECTOR_BYTES}, so it is no raw disk or is cut short; give a whole raw disk"
        )));
    }
    if size_bytes > DISK_BYTES_MAX {
        return Err(Error::invalid(format!(
            "{label} has {size_bytes} bytes, more than the {DISK_BYTES_MAX} a vault takes; split it into smaller disks"
        )));
    }
    Ok(())
}

/// A container copied as if it were a raw disk would miss its backing file, and restore as something no machine boots.
fn check_format(label: &str, file: &File) -> Result<()> {
    let mut head = [0; 8];
    file.read_at(&mut head, 0).map_err(|error| cannot_open(label, error))?;
    match FORMATS.iter().find(|(magic, _)| head.starts_with(magic)) {
        Some((_, format)) => Err(Error::invalid(format!(
            "{label} is a {format} image and platform image takes raw disks; convert it with qemu-img convert -O raw"
        ))),
        None => Ok(()),
    }
}

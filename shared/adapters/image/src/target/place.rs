use std::{
    fs::{self, File, Metadata, OpenOptions},
    io::{self, ErrorKind},
    os::unix::fs::{FileTypeExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;
use stillpoint_model::{Error, JobId, Result};
use stillpoint_ports::TargetDisk;

use super::{daemon::Daemon, location::Location, qcow2};
use crate::{
    disk::open_read,
    hidden::{self, PARTIAL},
    label::label,
    lock,
};

/// Where a disk is restored to.
pub(crate) enum Place {
    File(FilePlace),
    Device(PathBuf),
    /// An export, which is looked at over its connection.
    Export,
}

/// A file, to be or to be replaced.
pub(crate) struct FilePlace {
    /// The final name.
    pub(crate) path: PathBuf,
    /// Its name until it is complete.
    pub(crate) partial: PathBuf,
    /// What has the final name now.
    pub(crate) present: Option<Box<Metadata>>,
    /// Who writes the partial file, where that is a qcow2 image.
    pub(crate) daemon: Option<Daemon>,
}

impl Place {
    /// Looks where `disk` goes, touching nothing.
    ///
    /// # Errors
    /// `invalid` when nothing can be restored there, whatever is permitted; `denied` when one may not look.
    pub(crate) fn of(job: JobId, disk: &TargetDisk) -> Result<Self> {
        let label = label(&disk.name, &disk.location);
        let (path, is_qcow2) = match Location::of(disk)? {
            Location::Raw(path) => (path, false),
            Location::Qcow2(path) => (path, true),
            Location::Export(..) => return Ok(Self::Export),
        };
        let path = path.as_path();
        let invalid = |what: &str| Err(Error::invalid(format!("{label} {what}; name a file or a block device")));
        let present = match fs::metadata(path) {
            // Links to devices are how devices are named (/dev/disk/by-id/…, /dev/<group>/<volume>).
            Ok(metadata) if metadata.file_type().is_block_device() && is_qcow2 => {
                return Err(Error::invalid(format!("{label} is a block device, which gets raw disks; give its path alone")));
            }
            Ok(metadata) if metadata.file_type().is_block_device() => return Ok(Self::Device(hidden::resolve(path))),
            Ok(metadata) => Some(metadata),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => None,
            Err(error) => return Err(Error::from(error).context(label)),
        };
        match present.as_ref().map(Metadata::file_type) {
            Some(kind) if kind.is_dir() => return invalid("is a folder"),
            Some(kind) if !kind.is_file() => return invalid("is neither a file nor a block device"),
            _ if fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink()) => return invalid("is a symbolic link"),
            _ => {}
        }
        let partial = hidden::sibling(path, job, PARTIAL).map_err(|error| error.context(&label))?;
        let daemon = is_qcow2.then(|| Daemon::of(job, disk, path)).transpose().map_err(|error| error.context(&label))?;
        let present = present.map(Box::new);
        Ok(Self::File(FilePlace { path: path.to_path_buf(), partial, present, daemon }))
    }
}

impl FilePlace {
    /// The folder it goes to.
    pub(crate) fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }

    /// The size of a file at this place, as a guest sees it.
    pub(crate) fn size_bytes(&self, file: &File) -> io::Result<u64> {
        if self.daemon.is_some() { qcow2::size_bytes(file) } else { Ok(file.metadata()?.len()) }
    }

    /// Refuses to replace the file of a running machine, which would be left on a file without a name.
    pub(crate) fn check_unused(&self, label: &str) -> Result<()> {
        if self.present.is_none() {
            return Ok(());
        }
        let present = open_read(&self.path).map_err(|error| Error::from(error).context(label))?;
        if lock::in_use(&present)? { Err(in_use(label, MACHINE, "stop the machine")) } else { Ok(()) }
    }
}

/// Who keeps a place, when QEMU's image locks show it.
pub(crate) const MACHINE: &str = "a machine (QEMU holds its image locks)";

/// The refusal of a place that somebody uses.
pub(crate) fn in_use(label: &str, by: &str, cure: &str) -> Error {
    Error::conflict(format!("{label} is in use by {by}; {cure}, or restore to another place"))
}

/// How an existing target is opened: for reading and writing, not through a symbolic link that somebody put in place of
/// a partial file.
pub(crate) fn open_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed());
    options
}

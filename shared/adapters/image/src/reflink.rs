use std::{
    fs::{File, OpenOptions},
    io::ErrorKind,
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
};

use rustix::{
    fs::{IFlags, ioctl_ficlone, ioctl_getflags, ioctl_setflags},
    io::Errno,
};
use stillpoint_model::{Error, JobId, Result};

use crate::{
    disk::{Disk, Kind},
    hidden::{self, Made, SNAPSHOT},
};

/// A clone and where it lies.
pub(crate) struct Clone {
    pub(crate) path: PathBuf,
    pub(crate) file: File,
}

/// Clones a disk's file beside it, atomically even while it is written to, and syncs the clone.
/// `None` when the file system, or the right to write beside the disk, does not allow it.
///
/// # Errors
/// `conflict` when another attempt of the job makes the same clone, or the disk's size changes; `unavailable` when the
/// file system is full.
pub(crate) fn clone(disk: &Disk, job: JobId, made: &mut Made) -> Result<Option<Clone>> {
    if disk.kind == Kind::Device {
        return Ok(None);
    }
    // A file name with no room for the job's id.
    let Ok(path) = hidden::sibling(&disk.path, job, SNAPSHOT) else { return Ok(None) };
    let context =
        |error: std::io::Error| Error::from(error).context(format!("{}: cannot make a snapshot beside it", disk.label()));
    let file = match OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem) => return Ok(None),
        Err(error) => return Err(context(error)),
    };
    made.add(path.clone());
    copy_nocow(&disk.file, &file);
    match ioctl_ficlone(&file, &disk.file) {
        Ok(()) => {}
        Err(Errno::OPNOTSUPP | Errno::XDEV | Errno::INVAL | Errno::NOTTY | Errno::NOSYS) => {
            hidden::remove(&path).map_err(context)?;
            return Ok(None);
        }
        Err(error) => return Err(context(error.into())),
    }
    // Other processes read the clone after this one has ended, perhaps after a power cut.
    file.sync_all().map_err(context)?;
    if file.metadata().map_err(context)?.len() != disk.size_bytes {
        return Err(Error::conflict(format!("{} changed its size while the snapshot was taken; try again", disk.label())));
    }
    Ok(Some(Clone { path, file }))
}

/// btrfs clones a file without copy-on-write (as libvirt makes them) only into another such file. Elsewhere the flag
/// means nothing, and where it cannot be set the clone says so.
fn copy_nocow(disk: &File, clone: &File) {
    let flag = |file| ioctl_getflags(file).unwrap_or(IFlags::empty());
    let (wanted, present) = (flag(disk) & IFlags::NOCOW, flag(clone));
    if wanted != present & IFlags::NOCOW {
        let _ = ioctl_setflags(clone, (present - IFlags::NOCOW) | wanted);
    }
}

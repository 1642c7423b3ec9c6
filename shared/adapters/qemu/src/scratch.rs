//! Files beside a machine's disks that hold old blocks while a backup reads.

use std::{
    fs::{self, OpenOptions},
    io::ErrorKind as Io,
    os::unix::fs::{OpenOptionsExt, chown},
    path::{Path, PathBuf},
};

use stillpoint_model::{Error, JobId, Result, geometry::DISKS_MAX};

use crate::{line::Peer, machine::MachineDisk, names, settings::Settings};

/// The scratch file of a disk.
///
/// # Errors
/// `invalid` when none is set and there is no folder beside the disk.
pub(crate) fn place(settings: &Settings, disk: &MachineDisk, job: JobId, position: usize) -> Result<PathBuf> {
    Ok(folder(settings, &disk.file, disk.name.as_str())?.join(names::scratch_file(job, position)))
}

pub(crate) fn folder<'a>(settings: &'a Settings, file: &'a Path, name: &str) -> Result<&'a Path> {
    if let Some(folder) = &settings.scratch {
        return Ok(folder);
    }
    let beside = file.parent().filter(|folder| file.is_absolute() && !folder.starts_with("/dev"));
    beside.ok_or_else(|| {
        Error::invalid(format!(
            "disk {name} lies at '{}', and no scratch file can be made beside that; say with the setting scratch in which folder",
            file.display()
        ))
    })
}

/// Makes an empty, sparse file of a disk's size that QEMU may write to.
///
/// # Errors
/// `denied`, `unavailable` (full), naming the file.
pub(crate) fn make(path: &Path, size_bytes: u64, owner: Option<Peer>) -> Result<()> {
    let make = || {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.set_len(size_bytes)?;
        match owner.filter(|owner| owner.user != rustix::process::geteuid().as_raw()) {
            Some(owner) => chown(path, Some(owner.user), Some(owner.group)),
            None => Ok(()),
        }
    };
    make().map_err(|error: std::io::Error| Error::from(error).context(format!("scratch file {}", path.display())))
}

/// Removes a file that may be there.
///
/// # Errors
/// `denied`, `unavailable`.
pub(crate) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != Io::NotFound => Err(Error::from(error).context(format!("{}", path.display()))),
        _ => Ok(()),
    }
}

/// Folders in which a machine's scratch files lie, if they can be told.
pub(crate) fn folders(settings: &Settings, files: impl Iterator<Item = PathBuf>) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = files.filter_map(|file| folder(settings, &file, "").map(Path::to_owned).ok()).collect();
    all.extend(settings.scratch.clone());
    all.sort_unstable();
    all.dedup();
    all
}

/// Removes whatever a job has left in a folder.
///
/// # Errors
/// As [`remove`]; a folder that is not there holds nothing.
pub(crate) fn sweep(folder: &Path, job: JobId) -> Result<()> {
    (0..DISKS_MAX).try_for_each(|position| remove(&folder.join(names::scratch_file(job, position))))
}

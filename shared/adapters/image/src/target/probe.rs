use std::{
    fs::{self, File},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
};

use stillpoint_model::{Error, Result};
use stillpoint_ports::TargetDisk;

use super::location::Location;

/// Bytes written at once.
const PIECE: usize = 1 << 20;

/// A file that goes when it is dropped.
struct Probe(PathBuf);

impl Drop for Probe {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.0));
    }
}

/// Writes and syncs a file in the folder of the disk, or the next that exists above it. Returns what was free before.
pub(crate) fn probe(disk: &TargetDisk, bytes: &[u8]) -> Result<u64> {
    let (Location::Raw(path) | Location::Qcow2(path)) = Location::of(disk)? else { return Err(unmeasured(disk)) };
    if path.metadata().is_ok_and(|found| !found.is_file()) {
        return Err(unmeasured(disk));
    }
    let folder = path.ancestors().skip(1).find(|folder| folder.is_dir());
    let folder = folder.ok_or_else(|| Error::missing(format!("{} is in no folder", path.display())))?;
    let free_bytes = free_bytes(folder)?;
    write(folder, bytes).map_err(|error| Error::from(error).context(format!("cannot write to {}", folder.display())))?;
    Ok(free_bytes)
}

fn unmeasured(disk: &TargetDisk) -> Error {
    Error::invalid(format!("disk {}: how fast {} is cannot be measured, only folders and stores", disk.name, disk.location))
}

fn write(folder: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let probe = Probe(folder.join(format!(".stillpoint-probe-{}-{:p}", std::process::id(), bytes)));
    let mut file = File::create_new(&probe.0)?;
    for (number, piece) in bytes.chunks(PIECE).enumerate() {
        match file.write_all(piece) {
            // That there is no room is seen by the free bytes.
            Err(error) if error.kind() == ErrorKind::StorageFull && number > 0 => break,
            other => other?,
        }
    }
    file.sync_data()
}

/// What is free on the file system of a folder.
pub(crate) fn free_bytes(folder: &Path) -> Result<u64> {
    let found = rustix::fs::statvfs(folder).map_err(|error| Error::from(std::io::Error::from(error)))?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

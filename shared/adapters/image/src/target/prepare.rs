//! Everything that can be known before a restore writes its first byte.

use std::{
    collections::{HashMap, HashSet},
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind},
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use rustix::fs::{Access, AtFlags, CWD, OFlags, accessat};
use stillpoint_model::{Error, Extent, JobId, Result};
use stillpoint_ports::TargetDisk;

use super::{
    place::{FilePlace, MACHINE, Place, in_use, open_options},
    probe::free_bytes,
    qcow2,
};
use crate::{
    device,
    disk::Kind,
    hidden::{self, Made},
    label::{label, shown},
    lock,
};

/// What is looked at, at either end of a block device, to tell whether it holds data: partition tables, their copies, and
/// the headers of file systems and volumes lie there.
const ENDS_BYTES: u64 = 1 << 20;
/// A claim that outlasts half a second is no passing one.
const CLAIM_TRIES: u32 = 10;
const CLAIM_PAUSE: Duration = Duration::from_millis(50);
/// Unit of `st_blocks`.
const STAT_BLOCK_BYTES: u64 = 512;

/// Checks all disks and touches none.
pub(crate) fn check(job: JobId, disks: &[TargetDisk]) -> Result<Vec<Place>> {
    let places = disks.iter().map(|disk| Place::of(job, disk)).collect::<Result<Vec<_>>>()?;
    check_distinct(disks, &places)?;
    for (disk, place) in disks.iter().zip(&places) {
        match place {
            Place::File(place) => check_file(disk, place)?,
            Place::Device(path) => check_device(disk, path)?,
            Place::Export => {}
        }
    }
    check_space(disks, &places)?;
    Ok(places)
}

/// Checks all disks, then makes their partial files; an error removes those that this call made, and so does whoever drops
/// the result.
pub(crate) fn prepare(job: JobId, disks: &[TargetDisk]) -> Result<Made> {
    let places = check(job, disks)?;
    let mut made = Made::default();
    for (disk, place) in disks.iter().zip(&places) {
        if let Place::File(place) = place {
            create(place, job, disk.size_bytes, &mut made)
                .map_err(|error| error.context(format!("{}: cannot make its file", label(&disk.name, &disk.location))))?;
        }
    }
    Ok(made)
}

fn check_distinct(disks: &[TargetDisk], places: &[Place]) -> Result<()> {
    let mut paths = HashSet::new();
    let mut keys = HashSet::new();
    for (disk, place) in disks.iter().zip(places) {
        let (path, present) = match place {
            Place::File(place) => (
                hidden::resolve(place.folder()).join(place.path.file_name().unwrap_or_default()),
                place.present.as_deref().cloned(),
            ),
            Place::Device(path) => (path.clone(), fs::metadata(path).ok()),
            Place::Export => (PathBuf::from(&disk.location), None),
        };
        // By path for what does not exist yet, by number for what has several names.
        let key = present.and_then(|metadata| Some(Kind::of(&metadata)?.key(&metadata)));
        if !paths.insert(path) || key.is_some_and(|key| !keys.insert(key)) {
            let label = label(&disk.name, &disk.location);
            return Err(Error::invalid(format!("{label} is the target of another disk too; give each disk its own path")));
        }
    }
    Ok(())
}

fn check_file(disk: &TargetDisk, place: &FilePlace) -> Result<()> {
    let label = label(&disk.name, &disk.location);
    let folder = place.folder();
    match fs::metadata(folder) {
        Ok(metadata) if metadata.is_dir() => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(Error::missing(format!("{label}: folder {} does not exist; create it", shown(folder))));
        }
        Err(error) if error.kind() != ErrorKind::NotADirectory => return Err(Error::from(error).context(label)),
        _ => return Err(Error::invalid(format!("{label}: {} is not a folder; name a file in a folder", shown(folder)))),
    }
    if place.present.is_some() && !disk.overwrite {
        return Err(Error::conflict(format!("{label} exists; give --overwrite to replace it")));
    }
    place.check_unused(&label)?;
    accessat(CWD, folder, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)
        .map_err(|error| Error::from(io::Error::from(error)).context(format!("{label}: may not write to {}", shown(folder))))
}

fn check_device(disk: &TargetDisk, path: &Path) -> Result<()> {
    let label = label(&disk.name, &disk.location);
    let context = |error: io::Error| Error::from(error).context(&label);
    let device = match claim(path) {
        Ok(device) => device,
        Err(error) if error.kind() == ErrorKind::ResourceBusy => {
            return Err(in_use(&label, "this system (mounted, or part of an array or volume group)", "unmount it"));
        }
        Err(error) => return Err(context(error)),
    };
    if lock::in_use(&device)? {
        return Err(in_use(&label, MACHINE, "stop the machine"));
    }
    let size_bytes = device::size_bytes(&device).map_err(context)?;
    if size_bytes < disk.size_bytes {
        return Err(too_small(&label, size_bytes, disk.size_bytes));
    }
    if !disk.overwrite && !ends_are_zero(&device, size_bytes).map_err(context)? {
        return Err(holds_data(&label));
    }
    Ok(())
}

/// The refusal of a device or an export that the disk does not fit.
pub(crate) fn too_small(label: &str, size_bytes: u64, needed: u64) -> Error {
    Error::invalid(format!("{label} has {size_bytes} bytes and the disk {needed}; give one that is as large"))
}

/// The refusal of a device or an export that is in use for something else, as its ends show.
pub(crate) fn holds_data(label: &str) -> Error {
    Error::conflict(format!("{label} holds data; give --overwrite to replace it"))
}

/// What must be zeros of a device or an export of this size.
pub(crate) fn zero_ends(size_bytes: u64) -> [Extent; 2] {
    let length = ENDS_BYTES.min(size_bytes);
    [0, size_bytes - length].map(|offset| Extent::new(offset, length))
}

/// Opens a device that nobody has claimed: O_EXCL without O_CREAT asks the kernel.
fn claim(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(OFlags::EXCL.bits().cast_signed());
    let mut left = CLAIM_TRIES;
    loop {
        left -= 1;
        match options.open(path) {
            // Whoever sets up a loop device or reads a partition table claims devices in passing.
            Err(error) if error.kind() == ErrorKind::ResourceBusy && left > 0 => thread::sleep(CLAIM_PAUSE),
            result => return result,
        }
    }
}

fn ends_are_zero(device: &File, size_bytes: u64) -> io::Result<bool> {
    for end in zero_ends(size_bytes) {
        let mut buffer = vec![0; usize::try_from(end.length).unwrap_or(usize::MAX)];
        device.read_exact_at(&mut buffer, end.offset)?;
        if buffer.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Compares what the restore will write with what is free, for each file system.
fn check_space(disks: &[TargetDisk], places: &[Place]) -> Result<()> {
    let mut needed: HashMap<u64, (u64, PathBuf)> = HashMap::new();
    for (disk, place) in disks.iter().zip(places) {
        let Place::File(place) = place else { continue };
        let context = |error: io::Error| Error::from(error).context(label(&disk.name, &disk.location));
        let folder = place.folder();
        let file_system = fs::metadata(folder).map_err(context)?.dev();
        // What an earlier try of the job has written need not be written to free space again.
        let written = fs::symlink_metadata(&place.partial).map_or(0, |metadata| metadata.blocks() * STAT_BLOCK_BYTES);
        let entry = needed.entry(file_system).or_insert_with(|| (0, folder.to_path_buf()));
        entry.0 = entry.0.saturating_add(disk.data_bytes.saturating_sub(written));
    }
    for (needed_bytes, folder) in needed.into_values() {
        let free_bytes = free_bytes(&folder).map_err(|error| error.context(shown(&folder)))?;
        if needed_bytes > free_bytes {
            let folder = shown(folder);
            return Err(Error::invalid(format!(
                "restore needs {needed_bytes} bytes, {folder} has {free_bytes} free; make room or restore to another place"
            )));
        }
    }
    Ok(())
}

/// Makes an empty disk of `size_bytes`, or takes up the one that an earlier try of the job made.
fn create(place: &FilePlace, job: JobId, size_bytes: u64, made: &mut Made) -> Result<()> {
    match place.daemon {
        Some(_) => qcow2::create(&place.path, &place.partial, job, size_bytes, made),
        None => Ok(create_sparse(&place.partial, size_bytes, made)?),
    }
}

fn create_sparse(partial: &Path, size_bytes: u64, made: &mut Made) -> io::Result<()> {
    let file = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(partial) {
        Ok(file) => {
            made.add(partial.to_path_buf());
            file
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => open_options().open(partial)?,
        Err(error) => return Err(error),
    };
    if file.metadata()?.len() != size_bytes {
        file.set_len(size_bytes)?;
    }
    // A marker in the vault says "written" only if the file it was written to is still there after a power cut.
    file.sync_all()?;
    hidden::sync_folder(partial)
}

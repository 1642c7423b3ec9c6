//! Taking and removing a snapshot: the blocking half of the platform.

use std::{fs::File, path::Path};

use rustix::io::Errno;
use stillpoint_model::{DiskName, Error, JobId, Result};
use stillpoint_ports::{Baseline, DiskSnapshot, DiskSource};

use crate::{
    disk::{self, Disk, Kind},
    extents,
    handle::{Handle, Mode},
    hidden::{self, Made, SNAPSHOT},
    identity::Identity,
    label::{label, shown},
    lock, reflink,
};

/// All disks of a machine, as they were at a first look.
pub(crate) struct Look {
    disks: Vec<Disk>,
    identities: Vec<Identity>,
}

/// Opens and checks the disks and notes what would change if they were written to.
pub(crate) fn look(sources: &[DiskSource]) -> Result<Look> {
    let disks = disk::open_all(sources)?;
    for disk in &disks {
        // A page that is dirty and mapped by a writer can change again without touching the file's times; once written
        // out, the next store to it shows. Files that cannot be synced have no such pages.
        match disk.file.sync_all() {
            Err(error) if error.raw_os_error() != Some(Errno::INVAL.raw_os_error()) => {
                return Err(Error::from(error).context(disk.label()));
            }
            _ => {}
        }
    }
    let identities = identities(&disks)?;
    Ok(Look { disks, identities })
}

fn identities(disks: &[Disk]) -> Result<Vec<Identity>> {
    let identity = |disk: &Disk| Identity::of(&disk.file, disk.kind).map_err(|error| Error::from(error).context(disk.label()));
    disks.iter().map(identity).collect()
}

/// One disk of a cut: what will be read.
pub(crate) struct Cut {
    disk: Disk,
    handle: Handle,
    file: File,
}

/// Clones what can be cloned and pins the rest by its identity. `None`, with nothing left behind, when a disk changed
/// since the look, so that there is no one instant that all of them show. Whoever drops [`Made`] removes the clones.
///
/// # Errors
/// `conflict` when a disk that must be read in place may be written to by QEMU.
pub(crate) fn cut(look: Look, job: JobId) -> Result<Option<(Made, Vec<Cut>)>> {
    let mut made = Made::default();
    let sources: Vec<(Handle, File)> = look
        .disks
        .iter()
        .zip(&look.identities)
        .map(|(disk, identity)| source(disk, *identity, job, &mut made))
        .collect::<Result<_>>()?;
    // One clone alone is atomic, whatever is written meanwhile.
    let atomic = matches!(&sources[..], [(handle, _)] if handle.mode == Mode::Reflink);
    if !atomic && identities(&look.disks)? != look.identities {
        return Ok(None);
    }
    let cuts = look.disks.into_iter().zip(sources).map(|(disk, (handle, file))| Cut { disk, handle, file });
    Ok(Some((made, cuts.collect())))
}

/// Where a disk will be read, and how; `looked` is its identity at the look.
fn source(disk: &Disk, looked: Identity, job: JobId, made: &mut Made) -> Result<(Handle, File)> {
    let context = |error: std::io::Error| Error::from(error).context(disk.label());
    if let Some(clone) = reflink::clone(disk, job, made)? {
        let identity = Identity::of(&clone.file, Kind::File).map_err(context)?;
        return Ok((Handle { path: clone.path, mode: Mode::Reflink, identity }, clone.file));
    }
    if lock::may_change(&disk.file)? {
        return Err(Error::conflict(format!(
            "{} is in use by a running machine (QEMU holds its image locks); stop the machine or put the disk on a file system with reflinks",
            disk.label()
        )));
    }
    let mode = if disk.kind == Kind::Device { Mode::Device } else { Mode::InPlace };
    Ok((Handle { path: disk.path.clone(), mode, identity: looked }, disk.file.try_clone().map_err(context)?))
}

impl Cut {
    /// The disk as the plan describes it.
    pub(crate) fn describe(&self) -> Result<DiskSnapshot> {
        let size_bytes = self.handle.identity.size;
        let extents = extents::data(&self.file, self.disk.kind, size_bytes)
            .map_err(|error| Error::from(error).context(format!("{}: cannot find its holes", self.disk.label())))?;
        let handle = self.handle.encode().map_err(|error| error.context(self.disk.label()))?;
        Ok(DiskSnapshot { name: self.disk.name.clone(), size_bytes, extents, baseline: Baseline::Zero, handle })
    }

    /// Whether it is read from a clone, which stays as it is whatever becomes of the disk.
    pub(crate) fn is_clone(&self) -> bool {
        self.handle.mode == Mode::Reflink
    }

    /// What the operator should know of how this disk is read.
    pub(crate) fn warning(&self) -> Option<String> {
        let uncounted = self.handle.mode == Mode::Device && self.handle.identity.sectors_written.is_none();
        uncounted.then(|| {
            let label = self.disk.label();
            format!("{label} is a block device whose writes this system does not count: nothing proves that it did not change")
        })
    }
}

/// Removes whatever `job` made beside `sources` or is named in one of `handles`; goes on after an error and returns the first.
pub(crate) fn remove(job: JobId, sources: &[DiskSource], handles: &[(DiskName, String)]) -> Result<()> {
    let named = handles.iter().map(|(name, handle)| remove_named(job, name, handle));
    let found =
        sources.iter().map(|source| match hidden::sibling(&hidden::resolve(Path::new(&source.location)), job, SNAPSHOT) {
            Ok(path) => remove_file(&path, || label(&source.name, &source.location)),
            // No name could have been made for it.
            Err(_) => Ok(()),
        });
    named.chain(found).fold(Ok(()), Result::and)
}

fn remove_named(job: JobId, name: &DiskName, handle: &str) -> Result<()> {
    let handle = Handle::decode(handle).map_err(|error| error.context(format!("disk {name}")))?;
    if handle.mode != Mode::Reflink {
        return Ok(());
    }
    if !hidden::belongs(handle.path(), job, SNAPSHOT) {
        return Err(Error::invalid(format!("{} is not a snapshot of job {job}; it was not removed", shown(handle.path()))));
    }
    remove_file(handle.path(), || label(name, handle.path()))
}

fn remove_file(path: &Path, label: impl Fn() -> String) -> Result<()> {
    hidden::remove(path).map_err(|error| Error::from(error).context(format!("{}: cannot remove its snapshot", label())))
}

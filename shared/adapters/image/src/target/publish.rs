use std::{
    fs::{self, File, Metadata},
    io::{self, ErrorKind},
    os::unix::fs::{MetadataExt, PermissionsExt, fchown},
    path::Path,
};

use rustix::{
    fs::{CWD, RenameFlags, renameat_with},
    io::Errno,
};
use stillpoint_model::{Error, JobId, Result};
use stillpoint_ports::TargetDisk;

use super::place::{FilePlace, Place, open_options};
use crate::{
    hidden,
    label::{label, shown},
};

/// What is left to do for one disk.
enum Step {
    Sync(File),
    Rename(FilePlace, File),
    /// An earlier try did it, perhaps without getting to the sync.
    SyncFolder(FilePlace),
}

/// Looks at all disks before renaming any, so that a place which was taken meanwhile costs nothing.
pub(crate) fn publish(job: JobId, disks: &[TargetDisk]) -> Result<()> {
    let steps = disks.iter().map(|disk| plan(job, disk)).collect::<Result<Vec<_>>>()?;
    for (disk, step) in disks.iter().zip(steps) {
        let context = |error: io::Error| match error.kind() {
            ErrorKind::AlreadyExists => taken(disk),
            _ => Error::from(error).context(format!("{}: cannot publish it", label(&disk.name, &disk.location))),
        };
        run(step, disk.overwrite).map_err(context)?;
    }
    Ok(())
}

fn taken(disk: &TargetDisk) -> Error {
    let label = label(&disk.name, &disk.location);
    Error::conflict(format!("{label} exists since the restore began; move it away, or restore again with --overwrite"))
}

fn plan(job: JobId, disk: &TargetDisk) -> Result<Step> {
    let label = label(&disk.name, &disk.location);
    let context = |error: io::Error| Error::from(error).context(&label);
    let place = match Place::of(job, disk)? {
        Place::Device(path) => return Ok(Step::Sync(open_options().open(path).map_err(context)?)),
        Place::File(place) => place,
    };
    let file = match open_options().open(&place.partial) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            // Looked at again: another try may have published it since the first look.
            let present = fs::symlink_metadata(&place.path).ok().filter(Metadata::is_file);
            let published = present.is_some_and(|present| present.len() == disk.size_bytes);
            let gone = || Error::missing(format!("{label}: what was restored of it is gone; restore again"));
            return if published { Ok(Step::SyncFolder(place)) } else { Err(gone()) };
        }
        Err(error) => return Err(context(error)),
    };
    let metadata = file.metadata().map_err(context)?;
    if metadata.len() != disk.size_bytes {
        return Err(Error::conflict(format!(
            "{label}: its unfinished file changed its size; discard the restore and begin again"
        )));
    }
    match &place.present {
        Some(present) if !disk.overwrite && !same_file(present, &metadata) => return Err(taken(disk)),
        // Asked again: a restore is long enough to start a machine in.
        _ => place.check_unused(&label)?,
    }
    Ok(Step::Rename(place, file))
}

fn run(step: Step, overwrite: bool) -> io::Result<()> {
    let place = match step {
        Step::Sync(device) => return device.sync_all(),
        Step::Rename(place, file) => {
            if let Some(present) = &place.present {
                inherit(&file, present, &place.path);
            }
            file.sync_all()?;
            let renamed = if overwrite {
                fs::rename(&place.partial, &place.path)
            } else {
                rename_onto_nothing(&place.partial, &place.path)
            };
            match renamed {
                // The same event may be handled twice at once; the other try has published this very file.
                Err(error) if error.kind() == ErrorKind::NotFound && is_now(&file, &place.path) => {}
                result => result?,
            }
            place
        }
        Step::SyncFolder(place) => place,
    };
    hidden::sync_folder(&place.path)
}

/// A machine can start from a replaced disk only if its user may still open it.
fn inherit(file: &File, present: &Metadata, path: &Path) {
    let owner = fchown(file, Some(present.uid()), Some(present.gid()));
    // The mode last: changing the owner clears bits of it.
    let mode = file.set_permissions(fs::Permissions::from_mode(present.mode() & 0o7777));
    if let Err(error) = owner.and(mode) {
        tracing::warn!(path = %shown(path), %error, "the restored disk has another owner or mode than the one it replaces");
    }
}

/// Renames in one step that fails with `AlreadyExists` when the new name is taken by another file.
fn rename_onto_nothing(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Not every file system (NFS) has that flag; all that lack it have links.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => link_and_unlink(from, to),
        // Killed between link and unlink, an earlier try left the file with both names.
        Err(Errno::EXIST) => link_and_unlink(from, to),
        result => Ok(result?),
    }
}

/// The same in two steps, of which the first can be repeated.
fn link_and_unlink(from: &Path, to: &Path) -> io::Result<()> {
    match fs::hard_link(from, to) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists && same_file(&fs::metadata(to)?, &fs::metadata(from)?) => {}
        result => result?,
    }
    fs::remove_file(from)
}

/// Whether `path` names the open `file`.
fn is_now(file: &File, path: &Path) -> bool {
    let both = file.metadata().and_then(|ours| Ok((ours, fs::symlink_metadata(path)?)));
    both.is_ok_and(|(ours, theirs)| same_file(&ours, &theirs))
}

fn same_file(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_of_publishing_replace_nothing_and_finish_what_was_begun() {
        for publish in [rename_onto_nothing, link_and_unlink] {
            let folder = tempfile::tempdir().unwrap();
            let (from, to) = (folder.path().join("partial"), folder.path().join("disk"));
            fs::write(&from, "restored").unwrap();
            fs::write(&to, "precious").unwrap();
            assert_eq!(publish(&from, &to).unwrap_err().kind(), ErrorKind::AlreadyExists);
            assert_eq!(fs::read(&to).unwrap(), b"precious");
            fs::remove_file(&to).unwrap();
            fs::hard_link(&from, &to).unwrap();
            publish(&from, &to).unwrap();
            assert!(!from.exists());
            fs::rename(&to, &from).unwrap();
            publish(&from, &to).unwrap();
            assert_eq!((fs::read(&to).unwrap(), from.exists()), (b"restored".to_vec(), false));
        }
    }
}

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
    /// It is done over the export's connection.
    Nothing,
}

/// Looks at all disks before renaming any, so that a place which was taken meanwhile costs nothing.
pub(crate) fn publish(job: JobId, disks: &[TargetDisk]) -> Result<()> {
    disks.iter().try_for_each(|disk| end_daemon(job, disk))?;
    let steps = disks.iter().map(|disk| plan(job, disk)).collect::<Result<Vec<_>>>()?;
    for (disk, step) in disks.iter().zip(steps) {
        let context = |error: io::Error| match error.kind() {
            ErrorKind::AlreadyExists => taken(disk),
            _ => Error::from(error).context(format!("{}: cannot publish it", label(&disk.name, &disk.location))),
        };
        run(step, job, disk).map_err(context)?;
        // A step that came late may have begun to start one before the name changed.
        end_daemon(job, disk)?;
    }
    Ok(())
}

/// From here on nobody changes an image any more.
fn end_daemon(job: JobId, disk: &TargetDisk) -> Result<()> {
    let label = label(&disk.name, &disk.location);
    let Place::File(FilePlace { partial, daemon: Some(daemon), .. }) = Place::of(job, disk)? else { return Ok(()) };
    let ended = match open_options().open(partial) {
        Ok(image) => daemon.end_all(&image),
        Err(_) => daemon.end(),
    };
    ended.map_err(|error| error.context(label))
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
        Place::Export => return Ok(Step::Nothing),
    };
    let file = match open_options().open(&place.partial) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            // Looked at again: another try may have published it since the first look.
            let present = fs::symlink_metadata(&place.path).ok().filter(Metadata::is_file);
            let size_bytes = |_| File::open(&place.path).and_then(|file| place.size_bytes(&file)).ok();
            let published = present.and_then(size_bytes) == Some(disk.size_bytes);
            let gone = || Error::missing(format!("{label}: what was restored of it is gone; restore again"));
            return if published { Ok(Step::SyncFolder(place)) } else { Err(gone()) };
        }
        Err(error) => return Err(context(error)),
    };
    let metadata = file.metadata().map_err(context)?;
    if place.size_bytes(&file).map_err(context)? != disk.size_bytes {
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

fn run(step: Step, job: JobId, disk: &TargetDisk) -> io::Result<()> {
    let place = match step {
        Step::Sync(device) => return device.sync_all(),
        Step::Nothing => return Ok(()),
        Step::Rename(place, file) => {
            if let Some(present) = &place.present {
                inherit(&file, present, &place.path);
            }
            file.sync_all()?;
            if disk.keep_replaced && place.present.is_some() {
                keep(&place.path, job)?;
            }
            let renamed = if disk.overwrite {
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

/// Gives the file that is replaced a second name; an earlier try may have done so.
fn keep(path: &Path, job: JobId) -> io::Result<()> {
    let mut kept = path.as_os_str().to_owned();
    kept.push(format!(".before-{job}"));
    match fs::hard_link(path, &kept) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            if same_file(&fs::symlink_metadata(path)?, &fs::symlink_metadata(&kept)?) { Ok(()) } else { Err(error) }
        }
        linked => linked,
    }
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
pub(super) fn rename_onto_nothing(from: &Path, to: &Path) -> io::Result<()> {
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

use std::{collections::BTreeMap, io, path::PathBuf};

use rustix::fs::{stat, statvfs};
use stillpoint_model::{Error, Result};

use super::domain::DomainDisk;

/// Of a disk's bytes, the part that a guest may overwrite while a backup reads: one in so many.
const OVERWRITTEN: u64 = 20;
/// Of the space that was free at the start, or of the disks' bytes where these are fewer, the part that stays free: one in so many.
const KEPT_FREE: u64 = 10;

/// A folder with scratch files, and the bytes of its file system that must stay free.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Watched {
    pub(super) folder: PathBuf,
    pub(super) keep_free_bytes: u64,
}

/// Looks at the space for scratch files, each with its disk.
///
/// # Errors
/// `missing`, `denied`; `unavailable` when it is little: libvirt pauses a guest whose scratch file cannot grow.
pub(super) fn check(scratch: &[PathBuf], disks: &[DomainDisk]) -> Result<Vec<Watched>> {
    let mut by_system: BTreeMap<u64, (PathBuf, u64)> = BTreeMap::new();
    for (file, disk) in scratch.iter().zip(disks) {
        let folder = file.parent().unwrap_or(file).to_owned();
        let system = stat(&folder).map_err(|error| Error::from(io::Error::from(error)).context(folder.display()))?.st_dev;
        by_system.entry(system).or_insert((folder, 0)).1 += disk.size_bytes;
    }
    by_system.into_values().map(|(folder, disks_bytes)| one(folder, disks_bytes)).collect()
}

fn one(folder: PathBuf, disks_bytes: u64) -> Result<Watched> {
    let space = statvfs(&folder).map_err(|error| Error::from(io::Error::from(error)).context(folder.display()))?;
    let free = space.f_bavail * space.f_frsize;
    let needed = disks_bytes / OVERWRITTEN;
    if free < needed {
        return Err(Error::unavailable(format!(
            "{} has {free} bytes free and a backup may need {needed} there for what the guest overwrites meanwhile; free some, or say with --scratch where there is more",
            folder.display()
        )));
    }
    Ok(Watched { folder, keep_free_bytes: free.min(disks_bytes) / KEPT_FREE })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_with_little_space_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let scratch = [folder.path().join("a"), folder.path().join("b")];
        let disk =
            |size_bytes| DomainDisk { name: "vda".parse().unwrap(), format: "raw".to_owned(), file: "/a".into(), size_bytes };
        let watched = check(&scratch, &[disk(1 << 20), disk(1 << 20)]).unwrap();
        assert!(matches!(&watched[..], [one] if one.folder == folder.path() && one.keep_free_bytes == (2 << 20) / 10));
        let error = check(&scratch, &[disk(1 << 20), disk(1 << 60)]).unwrap_err().to_string();
        assert!(error.contains(folder.path().to_str().unwrap()), "{error}");
    }
}

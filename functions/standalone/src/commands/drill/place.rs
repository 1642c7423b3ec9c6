//! The folder that a drill restores into: nobody else's, held while the drill lives, gone afterwards.

use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};

use stillpoint_model::{Error, Result};

/// What the names of such folders begin with; an id follows.
const PREFIX: &str = "stillpoint-drill-";
/// The file in it whose lock says that its drill lives. A lock on a file of a shared file system is seen by all its hosts, and a kernel
/// gives it back whatever ends its process.
const LOCK: &str = "lock";
/// Another drill that cleans up may take a folder away before its lock is there.
const TRIES: u32 = 5;

/// Dropped, it removes what it holds; [`Place::remove`] also says whether that went well.
pub struct Place {
    folder: PathBuf,
    is_removed: bool,
    _lock: File,
}

impl Place {
    /// A new folder below `into`; `id` gives a new id each time.
    pub fn new(into: &Path, id: impl Fn() -> String) -> Result<Self> {
        for _ in 0..TRIES {
            let folder = into.join(format!("{PREFIX}{}", id()));
            let cannot = |error: std::io::Error| Error::from(error).context(format!("cannot make {}", folder.display()));
            fs::DirBuilder::new().mode(0o700).create(&folder).map_err(cannot)?;
            let path = folder.join(LOCK);
            let Ok(lock) = OpenOptions::new().write(true).create_new(true).open(&path) else { continue };
            if lock.try_lock().is_ok() && is_at(&lock, &path) {
                return Ok(Self { folder, is_removed: false, _lock: lock });
            }
        }
        Err(Error::unavailable(format!("no folder below {} can be held", into.display())))
    }

    /// What dead drills have left below `into`, held from now on.
    pub fn dead(into: &Path) -> Result<Vec<Self>> {
        let cannot = |error: std::io::Error| Error::from(error).context(format!("cannot read {}", into.display()));
        let mut dead = Vec::new();
        for entry in fs::read_dir(into).map_err(cannot)? {
            let entry = entry.map_err(cannot)?;
            let is_ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
            if is_ours && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                dead.extend(Self::held_if_dead(entry.path()));
            }
        }
        Ok(dead)
    }

    /// `None` where its drill lives, or is about to.
    fn held_if_dead(folder: PathBuf) -> Option<Self> {
        let names: Vec<_> = fs::read_dir(&folder).ok()?.flatten().map(|entry| entry.file_name()).collect();
        let path = folder.join(LOCK);
        if names.is_empty() {
            // Its drill may be about to write the lock, and then takes another folder.
            drop(fs::remove_dir(&folder));
            return None;
        }
        // A drill writes nothing before its lock; without one, somebody who removed the folder was ended.
        let is_locked = names.iter().any(|name| name == LOCK);
        let lock = OpenOptions::new().write(true).create(!is_locked).truncate(false).open(&path).ok()?;
        lock.try_lock().ok()?;
        is_at(&lock, &path).then_some(Self { folder, is_removed: false, _lock: lock })
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Removes it and all that is in it.
    pub fn remove(mut self) -> Result<()> {
        self.is_removed = true;
        clear(&self.folder)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.is_removed {
            drop(clear(&self.folder));
        }
    }
}

fn clear(folder: &Path) -> Result<()> {
    let cannot = |error: std::io::Error| Error::from(error).context(format!("cannot remove {}", folder.display()));
    fs::remove_dir_all(folder).map_err(cannot)
}

/// Whether the file at `path` is the open one.
fn is_at(file: &File, path: &Path) -> bool {
    let identity = |found: &fs::Metadata| (found.dev(), found.ino());
    matches!((file.metadata(), fs::symlink_metadata(path)), (Ok(open), Ok(found)) if identity(&open) == identity(&found))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn into(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("stillpoint-place-{name}-{}", std::process::id()));
        drop(fs::remove_dir_all(&folder));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn what_lives_stays_and_what_is_dead_goes() {
        let into = into("dead");
        let living = Place::new(&into, || "living".to_owned()).unwrap();
        fs::create_dir_all(into.join("stillpoint-drill-half-removed")).unwrap();
        fs::write(into.join("stillpoint-drill-half-removed/os.raw"), "rest").unwrap();
        fs::create_dir_all(into.join("stillpoint-drill-dead")).unwrap();
        fs::write(into.join("stillpoint-drill-dead/lock"), "").unwrap();
        fs::create_dir_all(into.join("stillpoint-drill-empty")).unwrap();
        fs::create_dir_all(into.join("of-somebody-else")).unwrap();
        fs::write(into.join("stillpoint-drill-file"), "no folder").unwrap();
        for dead in Place::dead(&into).unwrap() {
            dead.remove().unwrap();
        }
        let mut left: Vec<_> = fs::read_dir(&into).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["of-somebody-else", "stillpoint-drill-file", "stillpoint-drill-living"]);
        drop(living);
        assert!(!into.join("stillpoint-drill-living").exists(), "dropped, it goes");
        fs::remove_dir_all(into).unwrap();
    }
}

use std::{
    fs, io,
    io::Write,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use stillpoint_model::{Error, Result};

use crate::Store;

/// More than this is no age but a clock that was wrong, then or now: one that began in 1970, or jumped ten years.
const AGE_MAX: Duration = Duration::from_secs(5 * 365 * 86_400);
/// A file that is written to see the file system's clock. No listing shows a name like this, and no writer's file has the number 0.
const CLOCK: &str = "clock#0";

impl Store {
    /// Removes what killed writers left in a vault's directory: the file beside an object's name, as in `name#1`, that was to become it.
    /// Only where `is_name` knows the object's name, and where nothing was written to the file for longer than `older_than`
    /// by the clock of the file system. Returns how many went. Other stores have nothing of the kind, and no request is made to them.
    ///
    /// Somebody may still be about to go on with such a file after standing still for so long: his create then fails as `unavailable`.
    ///
    /// # Errors
    /// `unavailable` when the directory is away; `denied` and others as the file system has it.
    pub async fn remove_unfinished(&self, older_than: Duration, is_name: fn(&str) -> bool) -> Result<u64> {
        let Some(directory) = self.directory.clone() else { return Ok(0) };
        self.present()?;
        let work = move || remove(&directory, older_than, is_name);
        let removed = tokio::task::spawn_blocking(work).await;
        removed
            .map_err(|error| Error::internal("a look for unfinished objects broke off").with_source(error))?
            .map_err(|error| Error::from(error).context("cannot remove what killed writers left in the vault's directory"))
    }
}

fn remove(directory: &Path, older_than: Duration, is_name: fn(&str) -> bool) -> io::Result<u64> {
    let now = match time_in(directory) {
        // Another run is here at this moment.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(0),
        other => other?,
    };
    let mut removed = 0;
    for path in unfinished(directory, is_name)? {
        let Some(status) = unless_gone(fs::symlink_metadata(&path))? else { continue };
        // Written after `now`: not old, whatever the difference is.
        let Ok(age) = now.duration_since(status.modified()?) else { continue };
        if age > older_than && age < AGE_MAX && unless_gone(fs::remove_file(&path))?.is_some() {
            removed += 1;
        }
    }
    Ok(removed)
}

/// The time in a directory, which may be another machine's. Whatever is there under the file's name is not written to.
fn time_in(directory: &Path) -> io::Result<SystemTime> {
    let path = directory.join(CLOCK);
    unless_gone(fs::remove_file(&path))?;
    let mut file = fs::File::create_new(&path)?;
    file.write_all(b"now")?;
    // Until then a network's file system may show the time of this machine.
    file.sync_all()?;
    let now = file.metadata()?.modified()?;
    unless_gone(fs::remove_file(&path))?;
    Ok(now)
}

/// Files that are named as those are that become objects. Links are not followed.
fn unfinished(directory: &Path, is_name: fn(&str) -> bool) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![directory.to_owned()];
    while let Some(folder) = folders.pop() {
        let Some(entries) = unless_gone(fs::read_dir(&folder))? else { continue };
        for entry in entries {
            let Some(entry) = unless_gone(entry)? else { continue };
            let (kind, path) = (entry.file_type()?, entry.path());
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file()
                && path.strip_prefix(directory).ok().and_then(Path::to_str).and_then(object_of).is_some_and(is_name)
            {
                found.push(path);
            }
        }
    }
    Ok(found)
}

/// The object that a file of this name was to become: `object_store` puts `#` and the first number that is free behind the object's name.
fn object_of(file: &str) -> Option<&str> {
    let (object, number) = file.split_once('#')?;
    number.parse::<u32>().is_ok_and(|parsed| parsed > 0 && parsed.to_string() == number).then_some(object)
}

/// Nothing where it is gone: others write and delete here meanwhile.
fn unless_gone<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    };

    use bytes::Bytes;
    use stillpoint_model::ErrorKind;
    use stillpoint_system::SystemClock;

    use super::*;
    use crate::Access;

    const WEEK: Duration = Duration::from_secs(7 * 86_400);
    const DAY: Duration = Duration::from_secs(86_400);

    fn store(name: &str) -> (PathBuf, Store) {
        let folder = std::env::temp_dir().join(format!("stillpoint-unfinished-{name}-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("vault.json"), "{}").unwrap();
        let url = format!("file://{}", folder.display());
        (folder, Store::open(&url, Access::Existing, Arc::new(SystemClock)).unwrap())
    }

    fn is_pack(name: &str) -> bool {
        name.starts_with("packs/")
    }

    /// A file that was last written `age` ago, or in as long from now.
    fn put(folder: &Path, name: &str, age: Result<Duration, Duration>) {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let now = SystemTime::now();
        let at = age.map_or_else(|ahead| now + ahead, |age| now - age);
        fs::File::create(path).unwrap().set_modified(at).unwrap();
    }

    #[tokio::test]
    async fn only_files_of_writers_that_are_long_dead_are_removed() {
        let (folder, store) = store("age");
        let old = ["packs/a/three#1", "packs/a/b/two#12", "packs/a/x.json#2"];
        old.iter().for_each(|name| put(&folder, name, Ok(WEEK + DAY)));
        let kept = [
            ("packs/a/fresh#1", Ok(Duration::ZERO)),
            ("packs/a/six-days#1", Ok(WEEK - DAY)),
            ("packs/a/tomorrow#1", Err(DAY)),
            ("packs/a/of-1970#1", SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_err(|error| error.duration())),
            ("packs/a/object", Ok(10 * WEEK)),
            ("packs/a/one#", Ok(10 * WEEK)),
            ("packs/a/one#0", Ok(10 * WEEK)),
            ("packs/a/one#01", Ok(10 * WEEK)),
            ("packs/a/one#+1", Ok(10 * WEEK)),
            ("packs/a/one#1#1", Ok(10 * WEEK)),
            ("packs/a/one#1x", Ok(10 * WEEK)),
            ("packs/a/one#1/inside", Ok(10 * WEEK)),
            ("packs/a/one#99999999999", Ok(10 * WEEK)),
            ("notes#1", Ok(10 * WEEK)),
        ];
        kept.iter().for_each(|(name, age)| put(&folder, name, *age));
        std::os::unix::fs::symlink(folder.join("packs/a/object"), folder.join("packs/a/link#1")).unwrap();
        assert_eq!(store.remove_unfinished(WEEK, is_pack).await.unwrap(), 3);
        for name in old {
            assert!(!folder.join(name).exists(), "{name}");
        }
        for (name, _) in kept {
            assert!(folder.join(name).exists(), "{name}");
        }
        assert!(folder.join("packs/a/link#1").is_symlink());
        assert_eq!(store.remove_unfinished(WEEK, is_pack).await.unwrap(), 0);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[tokio::test]
    async fn what_a_killed_run_or_somebody_else_left_under_the_clocks_name_is_not_written_to() {
        let (folder, store) = store("clock");
        fs::write(folder.join("precious"), "precious").unwrap();
        std::os::unix::fs::symlink(folder.join("precious"), folder.join(CLOCK)).unwrap();
        put(&folder, "packs/one#1", Ok(WEEK + DAY));
        assert_eq!(store.remove_unfinished(WEEK, is_pack).await.unwrap(), 1);
        assert_eq!(fs::read(folder.join("precious")).unwrap(), b"precious");
        assert!(!folder.join(CLOCK).exists());
        fs::remove_dir_all(&folder).unwrap();
    }

    #[tokio::test]
    async fn a_directory_that_is_away_is_not_looked_through() {
        let (folder, store) = store("away");
        fs::remove_file(folder.join("vault.json")).unwrap();
        assert_eq!(store.remove_unfinished(WEEK, is_pack).await.unwrap_err().kind(), ErrorKind::Unavailable);
        assert!(fs::read_dir(&folder).unwrap().next().is_none());
        fs::remove_dir(&folder).unwrap();
    }

    /// As it would be for a writer that stood still for a week in the middle of its create.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_writer_whose_file_was_removed_fails_as_unavailable_and_nothing_is_there() {
        let (folder, store) = store("writer");
        let done = Arc::new(AtomicBool::new(false));
        let (path, ended) = (folder.join("packs"), Arc::clone(&done));
        fs::create_dir(&path).unwrap();
        let remover = std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                for entry in fs::read_dir(&path).unwrap().flatten() {
                    if entry.file_name().to_str().and_then(object_of).is_some() {
                        drop(fs::remove_file(entry.path()));
                    }
                }
            }
        });
        let body = Bytes::from(vec![7_u8; 1 << 20]);
        for number in 0.. {
            let name = format!("packs/{number}");
            match store.create(&name, vec![body.clone()]).await {
                Ok(()) => fs::remove_file(folder.join(&name)).unwrap(),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
                    assert!(!folder.join(&name).exists());
                    break;
                }
            }
        }
        done.store(true, Ordering::Relaxed);
        remover.join().unwrap();
        fs::remove_dir_all(&folder).unwrap();
    }
}

use std::{
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    io::{self, Seek, SeekFrom, Write},
    os::unix::{
        ffi::OsStrExt,
        fs::{OpenOptionsExt, symlink},
    },
    path::{Path, PathBuf},
};

use stillpoint_model::{Error, ErrorKind, Result};

use crate::{
    entry::{EntryKind, shown},
    path::VolumePath,
    volume::Volume,
};

/// Deepest folder that is copied.
const DEPTH_MAX: usize = 128;
/// Folders of one copy; with what files hold together, how folders that contain themselves are noticed.
const FOLDERS_MAX: u64 = 1_000_000;
/// How much larger than its file system, in all, what is copied may be: files have holes.
const GROWTH_MAX: u64 = 16;
/// Zeros that are not written, but left out.
const HOLE_BYTES: usize = 4096;

/// Copies files and folders out of a volume. They are complete before they appear under their name: until then they lie beside it,
/// under a name that begins with a full stop, which goes again when something fails.
pub struct CopyOut<'a> {
    volume: &'a Volume,
    size_bytes: u64,
    copied: Copied,
    links: Vec<(PathBuf, Vec<u8>)>,
}

/// What was copied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Copied {
    /// Regular files.
    pub files: u64,
    /// Folders.
    pub folders: u64,
    /// Symbolic links.
    pub links: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// What was left out, and why, one line each; the first hundred.
    pub warnings: Vec<String>,
}

/// Warnings that are kept.
const WARNINGS_MAX: usize = 100;

impl<'a> CopyOut<'a> {
    /// Copies out of `volume`, whose window has `size_bytes`.
    #[must_use]
    pub fn of(volume: &'a Volume, size_bytes: u64) -> Self {
        Self { volume, size_bytes, copied: Copied::default(), links: Vec::new() }
    }

    /// Copies the file at `path`, or with `recursive` the folder, to `target`.
    ///
    /// # Errors
    /// `conflict` where `target` exists, unless a file is to be put in the place of a file by `overwrite`; as the volume; as the file
    /// system of the target.
    pub fn run(mut self, path: &VolumePath, target: &Path, recursive: bool, overwrite: bool) -> Result<Copied> {
        let entry = self.volume.entry(path)?;
        let is_folder = entry.kind == EntryKind::Folder;
        if is_folder && !recursive {
            return Err(Error::invalid(format!("{} is a folder; -r takes all of it", path.shown())));
        }
        match fs::symlink_metadata(target) {
            Ok(there) if is_folder || there.is_dir() || !overwrite => {
                let how = if is_folder || there.is_dir() { "" } else { "; --overwrite replaces it" };
                return Err(Error::conflict(format!("{} exists{how}", target.display())));
            }
            _ => {}
        }
        let partial = Partial::beside(target)?;
        if is_folder {
            self.folder(path, &partial.0, 0)?;
            self.make_links();
            let made = File::open(&partial.0).map_err(|error| cannot_write(target, error))?;
            rustix::fs::syncfs(made).map_err(|error| cannot_write(target, error.into()))?;
        } else {
            let file = self.file(path, &partial.0, entry.mode)?;
            file.sync_all().map_err(|error| cannot_write(target, error))?;
        }
        partial.publish(target, is_folder || !overwrite)?;
        Ok(self.copied)
    }

    fn file(&mut self, path: &VolumePath, target: &Path, mode: Option<u16>) -> Result<File> {
        let mut options = OpenOptions::new();
        // Neither set-user-id nor anybody else's rights beyond what the file had.
        options.write(true).create_new(true).mode(u32::from(mode.unwrap_or(0o666) & 0o777) | 0o600);
        let file = options.open(target).map_err(|error| cannot_write(target, error))?;
        let mut sparse = Sparse { file, end: 0 };
        self.copied.bytes += self.volume.copy(path, &mut sparse)?;
        self.copied.files += 1;
        sparse.finish().map_err(|error| cannot_write(target, error))
    }

    fn folder(&mut self, path: &VolumePath, target: &Path, depth: usize) -> Result<()> {
        let bytes_max = self.size_bytes.saturating_mul(GROWTH_MAX);
        if depth > DEPTH_MAX || self.copied.folders > FOLDERS_MAX || self.copied.bytes > bytes_max {
            return Err(Error::corrupt(format!(
                "{} holds more than its file system can: folders contain themselves",
                path.shown()
            )));
        }
        fs::create_dir(target).map_err(|error| cannot_write(target, error))?;
        self.copied.folders += 1;
        for entry in self.volume.list(path)? {
            let from = path.join(&entry.name);
            if !is_name(&entry.name) {
                self.warn(format!("{} is left out: that is no name", from.shown()));
                continue;
            }
            let to = target.join(OsStr::from_bytes(&entry.name));
            let done = match (entry.kind, entry.target) {
                (EntryKind::Folder, _) => self.folder(&from, &to, depth + 1),
                (EntryKind::File, _) => self.file(&from, &to, entry.mode).map(drop),
                (EntryKind::Link, Some(goal)) => {
                    self.links.push((to, goal));
                    Ok(())
                }
                _ => {
                    self.warn(format!("{} is left out: it is no file, folder or link", from.shown()));
                    Ok(())
                }
            };
            match done {
                // What its file system keeps in a way that is not read here does not stop the rest.
                Err(error) if error.kind() == ErrorKind::Invalid => {
                    self.warn(format!("{} is left out: {}", from.shown(), error.one_line()))
                }
                done => done?,
            }
        }
        Ok(())
    }

    /// Links come last, when nothing is written any more that one could lead astray.
    fn make_links(&mut self) {
        for (place, goal) in std::mem::take(&mut self.links) {
            match symlink(OsStr::from_bytes(&goal), &place) {
                Ok(()) => self.copied.links += 1,
                Err(error) => self.warn(format!("the link to {} is left out: {error}", shown(&goal))),
            }
        }
    }

    fn warn(&mut self, warning: String) {
        if self.copied.warnings.len() < WARNINGS_MAX {
            self.copied.warnings.push(warning);
        }
    }
}

/// Whether a name of a foreign file system names something in its folder here.
fn is_name(name: &[u8]) -> bool {
    !matches!(name, b"" | b"." | b"..") && !name.iter().any(|byte| matches!(byte, b'/' | 0)) && name.len() <= 255
}

fn cannot_write(path: &Path, error: io::Error) -> Error {
    Error::from(error).context(format!("cannot write {}", shown(path.as_os_str().as_bytes())))
}

/// What is not complete yet; removed unless it is published.
struct Partial(PathBuf);

impl Partial {
    fn beside(target: &Path) -> Result<Self> {
        let name = target.file_name().ok_or_else(|| Error::invalid(format!("{} names no file", target.display())))?;
        let mut hidden = OsStr::new(".").to_owned();
        hidden.push(name);
        hidden.push(format!(".{}.partial", std::process::id()));
        let path = target.with_file_name(hidden);
        match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self(path)),
            Err(error) => Err(cannot_write(target, error)),
            Ok(_) => Err(Error::conflict(format!("{} exists, left by an earlier run; remove it", path.display()))),
        }
    }

    fn publish(self, target: &Path, must_be_new: bool) -> Result<()> {
        let flags = if must_be_new { rustix::fs::RenameFlags::NOREPLACE } else { rustix::fs::RenameFlags::empty() };
        let renamed = rustix::fs::renameat_with(rustix::fs::CWD, &self.0, rustix::fs::CWD, target, flags);
        let renamed = match renamed {
            // Not every file system can refuse to replace; whether something was there was looked at before.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => fs::rename(&self.0, target),
            renamed => renamed.map_err(io::Error::from),
        };
        renamed.map_err(|error| cannot_write(target, error))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // Either fails where it is the other, or was published.
        drop(fs::remove_file(&self.0).or_else(|_| fs::remove_dir_all(&self.0)));
    }
}

/// Writes a file, and leaves out what is zero.
struct Sparse {
    file: File,
    end: u64,
}

impl Write for Sparse {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for piece in bytes.chunks(HOLE_BYTES) {
            if piece.iter().any(|byte| *byte != 0) {
                self.file.seek(SeekFrom::Start(self.end))?;
                self.file.write_all(piece)?;
            }
            self.end += piece.len() as u64;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Sparse {
    fn finish(self) -> io::Result<File> {
        self.file.set_len(self.end)?;
        Ok(self.file)
    }
}

//! Names of what this crate makes beside a disk, and their removal. A name carries the job's id and nothing else tells
//! who made it, so only names of exactly this form are ever deleted.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use stillpoint_model::{Error, JobId, Result};

use crate::label::shown;

/// A reflinked copy that a backup reads.
pub(crate) const SNAPSHOT: &str = "snapshot";
/// A disk that a restore has not finished.
pub(crate) const PARTIAL: &str = "partial";
/// Longest file name of Linux file systems, in bytes.
const FILE_NAME_BYTES_MAX: usize = 255;

fn suffix(job: JobId, role: &str) -> String {
    format!(".stillpoint-{job}.{role}")
}

/// The hidden sibling of `path` for `job`: `.<file name>.stillpoint-<job>.<role>`.
///
/// # Errors
/// `invalid` when `path` has no file name or the sibling's name would be too long for a file system.
pub(crate) fn sibling(path: &Path, job: JobId, role: &str) -> Result<PathBuf> {
    let file_name = path.file_name().ok_or_else(|| Error::invalid(format!("{} names no file", shown(path))))?;
    let mut hidden = OsString::from(".");
    hidden.push(file_name);
    hidden.push(suffix(job, role));
    if hidden.len() > FILE_NAME_BYTES_MAX {
        let most = FILE_NAME_BYTES_MAX + file_name.len() - hidden.len();
        return Err(Error::invalid(format!("the file name of {} is too long; give it at most {most} bytes", shown(path))));
    }
    Ok(path.with_file_name(hidden))
}

/// Whether `path` is a hidden name that `job` made.
pub(crate) fn belongs(path: &Path, job: JobId, role: &str) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.starts_with('.') && name.ends_with(&suffix(job, role)) && name.len() > suffix(job, role).len() + 1
}

/// `path` with symbolic links resolved, as far as it exists; hidden siblings lie beside the real file.
pub(crate) fn resolve(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf())
}

/// Removes a hidden file and makes that survive a power cut. Nothing there is success.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    // Looked at first, because a read-only file system refuses to unlink even what does not exist.
    match fs::symlink_metadata(path).and_then(|_| fs::remove_file(path)) {
        Ok(()) => sync_folder(path),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Makes creations, renames and removals beside `path` survive a power cut.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
}

/// Files made by a step that may yet fail; dropped without [`Made::keep`], they are removed.
#[derive(Debug, Default)]
pub(crate) struct Made(Vec<PathBuf>);

impl Made {
    pub(crate) fn add(&mut self, path: PathBuf) {
        self.0.push(path);
    }

    /// The step succeeded.
    pub(crate) fn keep(mut self) {
        self.0.clear();
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for path in &self.0 {
            if let Err(error) = remove(path) {
                tracing::warn!(path = %shown(path), %error, "left behind; releasing or discarding the job removes it");
            }
        }
    }
}

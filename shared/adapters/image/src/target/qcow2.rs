//! Images of format qcow2: what is read of them without QEMU, and how an empty one is made.

use std::{
    fs::{self, File},
    io::{self, ErrorKind},
    os::unix::fs::{FileExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{self, Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use stillpoint_model::{Error, JobId, Result};

use super::publish::rename_onto_nothing;
use crate::{
    hidden::{self, Made},
    label::shown,
};

/// An image that is being made: nobody takes up one that is not whole.
const DRAFT: &str = "draft-";
/// Magic, version, backing file's offset and length, cluster bits; then the size.
const HEADER_BYTES: usize = 32;
const SIZE_AT: usize = 24;

/// The size that a guest sees.
pub(crate) fn size_bytes(image: &File) -> io::Result<u64> {
    let mut header = [0; HEADER_BYTES];
    image.read_exact_at(&mut header, 0).map_err(|_| io::Error::new(ErrorKind::InvalidData, "it is no qcow2 image"))?;
    let size = header.last_chunk().filter(|_| header.starts_with(b"QFI\xfb"));
    debug_assert_eq!(SIZE_AT + size_of::<u64>(), HEADER_BYTES);
    size.map(|size| u64::from_be_bytes(*size)).ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "it is no qcow2 image"))
}

/// Makes an empty image as the partial file of `path`, or takes up the one that is there.
///
/// It gets its name when it is whole: a second process that makes it at the same time must not empty what the first one has begun to fill.
pub(crate) fn create(path: &Path, partial: &Path, job: JobId, size_bytes: u64, made: &mut Made) -> Result<()> {
    if partial.exists() {
        return Ok(());
    }
    let draft = draft(path, job)?;
    let mut unfinished = Made::default();
    unfinished.add(draft.clone());
    run(Command::new("qemu-img").args(["create", "-q", "-f", "qcow2", "--"]).arg(&draft).arg(size_bytes.to_string()))?;
    let file = File::open(&draft)?;
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    file.sync_all()?;
    match rename_onto_nothing(&draft, partial) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(()),
        renamed => renamed?,
    }
    made.add(partial.to_path_buf());
    Ok(hidden::sync_folder(partial)?)
}

/// A name that no other call uses, in this process or another.
fn draft(path: &Path, job: JobId) -> Result<PathBuf> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    hidden::sibling(path, job, &format!("{DRAFT}{}-{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed)))
}

/// Removes what killed processes left of [`create`].
pub(crate) fn remove_drafts(path: &Path, job: JobId) -> io::Result<()> {
    let Ok(prefix) = hidden::sibling(path, job, DRAFT) else { return Ok(()) };
    let (Some(folder), Some(prefix)) = (prefix.parent(), prefix.file_name().and_then(|name| name.to_str())) else {
        return Ok(());
    };
    let entries = match fs::read_dir(folder) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(prefix)) {
            hidden::remove(&entry.path())?;
        }
    }
    Ok(())
}

/// Runs a program of QEMU's to its end.
///
/// # Errors
/// `missing` without the program; `unavailable` with what it said when it failed: a full disk, a lock that another process holds.
pub(crate) fn run(command: &mut Command) -> Result<Output> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().map_err(|error| {
        Error::from(error).context(format!("cannot run {program}, which qcow2 needs (Debian: qemu-utils, qemu-system-common)"))
    })?;
    if output.status.success() {
        return Ok(output);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.trim().lines().last().unwrap_or("it said nothing").chars().take(500).collect::<String>();
    Err(Error::unavailable(format!("{program} failed ({}): {}", output.status, shown(last))))
}

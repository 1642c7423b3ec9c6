use std::io::{self, Write};

use stillpoint_model::{Error, ErrorKind, Result};

use crate::{
    entry::{Entry, EntryKind},
    ext::Ext,
    fat::Fat,
    identify::Content,
    nt::Nt,
    path::VolumePath,
    source::Window,
};

/// Bytes that a parser may read for anything but the content of a file: a large file system whose journal was not replayed needs
/// most.
pub const BUDGET_BYTES: u64 = 2 << 30;
/// Entries of one folder that are held in memory; about 200 bytes each.
pub const ENTRIES_MAX: usize = 1_000_000;
/// Bytes of a file read at once.
const PIECE_BYTES: usize = 256 * 1024;

/// A file system that can be read. Paths are found as its own system would find them: FAT and NTFS do not tell small letters from
/// capital ones.
pub enum Volume {
    /// ext2, ext3, ext4.
    Ext(Ext),
    /// FAT12, FAT16, FAT32.
    Fat(Fat),
    /// NTFS.
    Nt(Nt),
}

impl Volume {
    /// Opens the file system in a window.
    ///
    /// # Errors
    /// `invalid` where no reader serves it, or it uses what its reader does not know; `corrupt`; as the source.
    pub fn open(content: Content, window: &Window) -> Result<Self> {
        window.allow(BUDGET_BYTES);
        match content {
            Content::Ext(_) => Ext::open(window).map(Self::Ext),
            Content::Fat => Fat::open(window).map(Self::Fat),
            Content::Ntfs => Nt::open(window).map(Self::Nt),
            other => Err(Error::invalid(format!("no reader serves {}", other.as_str()))),
        }
    }

    fn window(&self) -> &Window {
        match self {
            Self::Ext(ext) => ext.window(),
            Self::Fat(fat) => fat.window(),
            Self::Nt(nt) => nt.window(),
        }
    }

    /// What is at a path; links on the way are followed, and at its end.
    ///
    /// # Errors
    /// `missing`, `corrupt`; as the source.
    pub fn entry(&self, path: &VolumePath) -> Result<Entry> {
        self.window().allow(BUDGET_BYTES);
        match self {
            Self::Ext(ext) => ext.entry(path),
            Self::Fat(fat) => fat.entry(path),
            Self::Nt(nt) => nt.entry(path),
        }
    }

    /// What a folder holds, by name, without itself and the one above.
    ///
    /// # Errors
    /// `missing`, `invalid` where it is no folder, `corrupt`; as the source.
    pub fn list(&self, path: &VolumePath) -> Result<Vec<Entry>> {
        self.window().allow(BUDGET_BYTES);
        let mut entries = match self {
            Self::Ext(ext) => ext.list(path)?,
            Self::Fat(fat) => fat.list(path)?,
            Self::Nt(nt) => nt.list(path)?,
        };
        entries.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(entries)
    }

    /// Writes the bytes of a regular file to `sink`, and returns how many there were.
    ///
    /// # Errors
    /// `missing`, `invalid` where it is no regular file or stored in a way that its reader does not know, `corrupt`; as the source and
    /// the sink.
    pub fn copy(&self, path: &VolumePath, sink: &mut dyn Write) -> Result<u64> {
        let entry = self.entry(path)?;
        match entry.kind {
            EntryKind::File => {}
            EntryKind::Folder => return Err(Error::invalid(format!("{} is a folder; get -r takes all of it", path.shown()))),
            EntryKind::Link | EntryKind::Special => return Err(Error::invalid(format!("{} is no regular file", path.shown()))),
        }
        if entry.size_bytes > self.window().size_bytes() {
            let size = entry.size_bytes;
            return Err(Error::invalid(format!(
                "{} says of itself that it has {size} bytes, more than its file system",
                path.shown()
            )));
        }
        self.window().allow(BUDGET_BYTES.saturating_add(entry.size_bytes.saturating_mul(2)));
        match self {
            Self::Ext(ext) => ext.copy(path, sink),
            Self::Fat(fat) => fat.copy(path, sink),
            Self::Nt(nt) => nt.copy(path, sink),
        }
    }
}

/// Copies from a parser to a sink; what went wrong at either end keeps its meaning.
pub fn pump(window: &Window, read: &mut dyn FnMut(&mut [u8]) -> Result<usize>, sink: &mut dyn Write) -> Result<u64> {
    let mut piece = vec![0; PIECE_BYTES];
    let mut copied = 0;
    loop {
        let mut filled = 0;
        while filled < piece.len() {
            match read(&mut piece[filled..])? {
                0 => break,
                length => filled += length,
            }
        }
        if filled == 0 {
            return Ok(copied);
        }
        sink.write_all(&piece[..filled]).map_err(|error| Error::from(error).context("cannot write the file"))?;
        copied += filled as u64;
        if copied > window.size_bytes() {
            return Err(Error::corrupt("a file is larger than its file system"));
        }
    }
}

/// The error of a parser: what the source answered, where that is the reason.
pub fn parsed(window: &Window, path: &str, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    match window.failure() {
        Some(failure) => failure.context(path),
        None => Error::corrupt(path.to_owned()).with_source(error),
    }
}

/// The same for parsers that give errors of the standard library.
pub fn parsed_io(window: &Window, path: &str, error: io::Error) -> Error {
    match (window.failure(), error.kind()) {
        (Some(failure), _) => failure.context(path),
        (None, io::ErrorKind::NotFound) => missing(path),
        (None, _) => Error::corrupt(path.to_owned()).with_source(error),
    }
}

/// There is no such thing.
pub fn missing(path: &str) -> Error {
    Error::new(ErrorKind::Missing, format!("{path} does not exist"))
}

/// A folder has more entries than are held.
pub fn crowded(path: &str) -> Error {
    Error::invalid(format!("{path} has more than {ENTRIES_MAX} entries"))
}

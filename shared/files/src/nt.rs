use std::{cell::RefCell, io::Write};

use jiff::{SignedDuration, Timestamp};
use ntfs::{
    Ntfs, NtfsAttributeFlags, NtfsError, NtfsFile, NtfsReadSeek,
    indexes::NtfsFileNameIndex,
    structured_values::{NtfsFileAttributeFlags, NtfsFileName, NtfsFileNamespace},
};
use stillpoint_model::{Error, Result};

use crate::{
    entry::{Entry, EntryKind, Modified},
    path::VolumePath,
    source::Window,
    volume::{ENTRIES_MAX, crowded, missing, parsed, pump},
};

/// Largest record of a file that is believed; 1 KiB and 4 KiB are usual.
const RECORD_BYTES_MAX: u32 = 64 * 1024;
/// Seconds from 1601, when NTFS begins to count, to 1970.
const EPOCH_SECONDS: i64 = 11_644_473_600;

/// NTFS, by `ntfs`.
pub struct Nt {
    system: Ntfs,
    /// The parser moves in it.
    stream: RefCell<Window>,
    window: Window,
}

impl Nt {
    pub fn open(window: &Window) -> Result<Self> {
        let mut stream = window.clone();
        let failed = |error| parsed(window, "its NTFS file system", error);
        let mut system = Ntfs::new(&mut stream).map_err(failed)?;
        if system.file_record_size() > RECORD_BYTES_MAX {
            return Err(Error::corrupt("its NTFS file system has records of a size that none has"));
        }
        system.read_upcase_table(&mut stream).map_err(failed)?;
        Ok(Self { system, stream: RefCell::new(stream), window: window.clone() })
    }

    pub const fn window(&self) -> &Window {
        &self.window
    }

    pub fn entry(&self, path: &VolumePath) -> Result<Entry> {
        match self.find(path)? {
            (file, Some(name)) => {
                let mut entry = entry(&name);
                // The copy of the size in the folder may be old.
                if entry.kind == EntryKind::File {
                    entry.size_bytes = self.data_length(&file, &path.shown())?;
                }
                Ok(entry)
            }
            (_, None) => {
                let name = Vec::new();
                Ok(Entry { name, kind: EntryKind::Folder, size_bytes: 0, modified: None, mode: None, target: None })
            }
        }
    }

    pub fn list(&self, path: &VolumePath) -> Result<Vec<Entry>> {
        let shown = path.shown();
        let (file, _) = self.find(path)?;
        if !file.is_directory() {
            return Err(Error::invalid(format!("{shown} is no folder")));
        }
        let failed = |error| parsed(&self.window, &shown, error);
        let stream = &mut *self.stream.borrow_mut();
        let index = file.directory_index(stream).map_err(failed)?;
        let mut found = index.entries();
        let mut entries = Vec::new();
        while let Some(next) = found.next(stream) {
            let Some(name) = next.map_err(failed)?.key() else { continue };
            let name = name.map_err(failed)?;
            // The short names of long ones, and the root in itself.
            if name.namespace() == NtfsFileNamespace::Dos || name.name().u16_iter().eq([u16::from(b'.')]) {
                continue;
            }
            if entries.len() == ENTRIES_MAX {
                return Err(crowded(&shown));
            }
            entries.push(entry(&name));
        }
        Ok(entries)
    }

    pub fn copy(&self, path: &VolumePath, sink: &mut dyn Write) -> Result<u64> {
        let shown = path.shown();
        let (file, _) = self.find(path)?;
        let failed = |error| parsed(&self.window, &shown, error);
        let stream = &mut *self.stream.borrow_mut();
        let Some(item) = file.data(stream, "") else { return Ok(0) };
        let item = item.map_err(failed)?;
        let attribute = item.to_attribute().map_err(failed)?;
        if attribute.flags().intersects(NtfsAttributeFlags::COMPRESSED | NtfsAttributeFlags::ENCRYPTED) {
            return Err(Error::invalid(format!("{shown} is compressed or encrypted by its file system, which is not read here")));
        }
        let mut value = attribute.value(stream).map_err(failed)?;
        let size = value.len();
        let mut read = |buffer: &mut [u8]| value.read(stream, buffer).map_err(failed);
        let copied = pump(&self.window, &mut read, sink)?;
        if copied == size { Ok(copied) } else { Err(Error::corrupt(format!("{shown} ends after {copied} of {size} bytes"))) }
    }

    fn data_length(&self, file: &NtfsFile<'_>, shown: &str) -> Result<u64> {
        let failed = |error| parsed(&self.window, shown, error);
        let stream = &mut *self.stream.borrow_mut();
        match file.data(stream, "") {
            None => Ok(0),
            Some(item) => Ok(item.map_err(failed)?.to_attribute().map_err(failed)?.value_length()),
        }
    }

    /// The file at a path, with its name in its folder; the root has none.
    fn find(&self, path: &VolumePath) -> Result<(NtfsFile<'_>, Option<NtfsFileName>)> {
        let shown = path.shown();
        let failed = |error: NtfsError| match error {
            NtfsError::NotADirectory { .. } => missing(&shown),
            error => parsed(&self.window, &shown, error),
        };
        let stream = &mut *self.stream.borrow_mut();
        let (mut file, mut called) = (self.system.root_directory(stream).map_err(failed)?, None);
        for name in path.names() {
            let name = std::str::from_utf8(name).map_err(|_| missing(&shown))?;
            let next = {
                let index = file.directory_index(stream).map_err(failed)?;
                let mut finder = index.finder();
                let found = NtfsFileNameIndex::find(&mut finder, &self.system, stream, name).ok_or_else(|| missing(&shown))?;
                let found = found.map_err(failed)?;
                called = found.key().transpose().map_err(failed)?;
                found.to_file(&self.system, stream).map_err(failed)?
            };
            file = next;
        }
        Ok((file, called))
    }
}

fn entry(name: &NtfsFileName) -> Entry {
    let attributes = name.file_attributes();
    let kind = match () {
        () if attributes.contains(NtfsFileAttributeFlags::REPARSE_POINT) => EntryKind::Special,
        () if name.is_directory() => EntryKind::Folder,
        () => EntryKind::File,
    };
    let since_1601 = name.modification_time().nt_timestamp();
    let seconds = i64::try_from(since_1601 / 10_000_000).unwrap_or(i64::MAX).saturating_sub(EPOCH_SECONDS);
    let instant = Timestamp::UNIX_EPOCH.checked_add(SignedDuration::from_secs(seconds));
    Entry {
        name: name.name().to_string_lossy().into_bytes(),
        kind,
        size_bytes: if kind == EntryKind::File { name.data_size() } else { 0 },
        modified: instant.ok().map(Modified::At),
        mode: None,
        target: None,
    }
}

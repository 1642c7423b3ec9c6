use std::io::{Read, Write};

use fatfs::{DateTime, Dir, DirEntry, FileSystem, FsOptions};
use stillpoint_model::{Error, Result};

use crate::{
    entry::{Entry, EntryKind, Modified},
    path::VolumePath,
    source::Window,
    volume::{ENTRIES_MAX, crowded, missing, parsed_io, pump},
};

/// FAT12, FAT16 and FAT32, by `fatfs`.
pub struct Fat {
    system: FileSystem<Window>,
    window: Window,
}

impl Fat {
    pub fn open(window: &Window) -> Result<Self> {
        let system = FileSystem::new(window.clone(), FsOptions::new().update_accessed_date(false));
        let system = system.map_err(|error| parsed_io(window, "its FAT file system", error))?;
        Ok(Self { system, window: window.clone() })
    }

    pub const fn window(&self) -> &Window {
        &self.window
    }

    pub fn entry(&self, path: &VolumePath) -> Result<Entry> {
        Ok(match self.find(path)? {
            Some(found) => entry(&found),
            None => Entry { name: Vec::new(), kind: EntryKind::Folder, size_bytes: 0, modified: None, mode: None, target: None },
        })
    }

    pub fn list(&self, path: &VolumePath) -> Result<Vec<Entry>> {
        let shown = path.shown();
        let folder = self.folder(path)?;
        let mut entries = Vec::new();
        for found in folder.iter() {
            let found = found.map_err(|error| parsed_io(&self.window, &shown, error))?;
            let entry = entry(&found);
            if matches!(entry.name.as_slice(), b"." | b"..") {
                continue;
            }
            if entries.len() == ENTRIES_MAX {
                return Err(crowded(&shown));
            }
            entries.push(entry);
        }
        Ok(entries)
    }

    pub fn copy(&self, path: &VolumePath, sink: &mut dyn Write) -> Result<u64> {
        let shown = path.shown();
        let found = self.find(path)?.filter(DirEntry::is_file).ok_or_else(|| missing(&shown))?;
        let size = found.len();
        let mut file = found.to_file();
        let mut read = |buffer: &mut [u8]| file.read(buffer).map_err(|error| parsed_io(&self.window, &shown, error));
        let copied = pump(&self.window, &mut read, sink)?;
        if copied == size { Ok(copied) } else { Err(Error::corrupt(format!("{shown} ends after {copied} of {size} bytes"))) }
    }

    /// The entry at a path; none for the root, which has none.
    fn find(&self, path: &VolumePath) -> Result<Option<DirEntry<'_, Window>>> {
        let shown = path.shown();
        let (mut folder, mut found) = (self.system.root_dir(), None);
        for (depth, name) in path.names().iter().enumerate() {
            let name = std::str::from_utf8(name).map_err(|_| missing(&shown))?;
            let mut entries = folder.iter();
            let next = loop {
                match entries.next() {
                    None => return Err(missing(&shown)),
                    Some(Err(error)) => return Err(parsed_io(&self.window, &shown, error)),
                    Some(Ok(entry)) if is_called(&entry, name) => break entry,
                    Some(Ok(_)) => {}
                }
            };
            if depth + 1 < path.names().len() {
                if !next.is_dir() {
                    return Err(missing(&shown));
                }
                folder = next.to_dir();
            }
            found = Some(next);
        }
        Ok(found)
    }

    fn folder(&self, path: &VolumePath) -> Result<Dir<'_, Window>> {
        match self.find(path)? {
            None => Ok(self.system.root_dir()),
            Some(found) if found.is_dir() => Ok(found.to_dir()),
            Some(_) => Err(Error::invalid(format!("{} is no folder", path.shown()))),
        }
    }
}

fn is_called(entry: &DirEntry<'_, Window>, name: &str) -> bool {
    let same = |other: &str| other.chars().flat_map(char::to_uppercase).eq(name.chars().flat_map(char::to_uppercase));
    same(&entry.file_name()) || same(&entry.short_file_name())
}

fn entry(found: &DirEntry<'_, Window>) -> Entry {
    Entry {
        name: found.file_name().into_bytes(),
        kind: if found.is_dir() { EntryKind::Folder } else { EntryKind::File },
        size_bytes: found.len(),
        modified: modified(found.modified()),
        mode: None,
        target: None,
    }
}

fn modified(time: DateTime) -> Option<Modified> {
    let number = |value: u16| i8::try_from(value).ok();
    let (date, clock) = (time.date, time.time);
    let (year, nanoseconds) = (i16::try_from(date.year).ok()?, i32::from(clock.millis).checked_mul(1_000_000)?);
    let (month, day, hour, minute, second) =
        (number(date.month)?, number(date.day)?, number(clock.hour)?, number(clock.min)?, number(clock.sec)?);
    jiff::civil::DateTime::new(year, month, day, hour, minute, second, nanoseconds).ok().map(Modified::Local)
}

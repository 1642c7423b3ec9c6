use std::io::Write;

use ext4_view::{Ext4, Ext4Error, FileType, Metadata};
use jiff::Timestamp;
use stillpoint_model::{Error, Result};

use crate::{
    entry::{Entry, EntryKind, Modified},
    path::VolumePath,
    source::Window,
    volume::{ENTRIES_MAX, crowded, missing, parsed, pump},
};

/// Links followed on the way to a file, as Linux does.
const LINKS_MAX: usize = 40;
/// Longest target of a link, as on Linux; the reader would take memory by what the link says of itself.
const TARGET_BYTES_MAX: u64 = 4096;
/// Most block groups: 512 TiB in groups of the usual 128 MiB. The reader takes 16 bytes for each before it has seen one.
const GROUPS_MAX: u64 = 4 << 20;

/// ext2, ext3 and ext4, by `ext4-view`. A journal that was not replayed is applied in memory.
pub struct Ext {
    system: Ext4,
    window: Window,
}

impl Ext {
    pub fn open(window: &Window) -> Result<Self> {
        check_groups(window)?;
        let loaded = Ext4::load(Box::new(window.clone()));
        let system = loaded.map_err(|error| failed(window, "its ext file system", error))?;
        Ok(Self { system, window: window.clone() })
    }

    pub const fn window(&self) -> &Window {
        &self.window
    }

    pub fn entry(&self, path: &VolumePath) -> Result<Entry> {
        let real = self.resolve(path)?;
        self.at(&real, path.last().unwrap_or_default())
    }

    pub fn list(&self, path: &VolumePath) -> Result<Vec<Entry>> {
        let real = self.resolve(path)?;
        let shown = real.shown();
        let bytes = real.bytes();
        let folder = self.system.read_dir(bytes.as_slice()).map_err(|error| failed(&self.window, &shown, error))?;
        let mut entries = Vec::new();
        for found in folder {
            let found = found.map_err(|error| failed(&self.window, &shown, error))?;
            let name = found.file_name().as_ref().to_vec();
            if matches!(name.as_slice(), b"." | b"..") {
                continue;
            }
            if entries.len() == ENTRIES_MAX {
                return Err(crowded(&shown));
            }
            let metadata = found.metadata().map_err(|error| failed(&self.window, &shown, error))?;
            let target = metadata.is_symlink().then(|| self.target(&real.join(&name), &metadata)).transpose()?;
            entries.push(entry(name, &metadata, target));
        }
        Ok(entries)
    }

    pub fn copy(&self, path: &VolumePath, sink: &mut dyn Write) -> Result<u64> {
        let real = self.resolve(path)?;
        let bytes = real.bytes();
        let shown = path.shown();
        let mut file = self.system.open(bytes.as_slice()).map_err(|error| failed(&self.window, &shown, error))?;
        let mut read = |buffer: &mut [u8]| file.read_bytes(buffer).map_err(|error| failed(&self.window, &shown, error));
        pump(&self.window, &mut read, sink)
    }

    fn metadata(&self, path: &VolumePath) -> Result<Metadata> {
        let bytes = path.bytes();
        self.system.symlink_metadata(bytes.as_slice()).map_err(|error| failed(&self.window, &path.shown(), error))
    }

    fn at(&self, path: &VolumePath, name: &[u8]) -> Result<Entry> {
        let metadata = self.metadata(path)?;
        let target = metadata.is_symlink().then(|| self.target(path, &metadata)).transpose()?;
        Ok(entry(name.to_vec(), &metadata, target))
    }

    fn target(&self, path: &VolumePath, metadata: &Metadata) -> Result<Vec<u8>> {
        if metadata.len() > TARGET_BYTES_MAX {
            return Err(Error::corrupt(format!("{} is a link of {} bytes", path.shown(), metadata.len())));
        }
        let bytes = path.bytes();
        let target = self.system.read_link(bytes.as_slice()).map_err(|error| failed(&self.window, &path.shown(), error))?;
        Ok(AsRef::<[u8]>::as_ref(&target).to_vec())
    }

    /// The path without links: each name is looked at before the reader would follow it.
    fn resolve(&self, path: &VolumePath) -> Result<VolumePath> {
        let mut left: Vec<Vec<u8>> = path.names().iter().rev().cloned().collect();
        let mut real: Vec<Vec<u8>> = Vec::new();
        let mut links = 0;
        while let Some(name) = left.pop() {
            if name == b".." {
                real.pop();
                continue;
            }
            let next = VolumePath::from(real.clone()).join(&name);
            let metadata = self.metadata(&next)?;
            if !metadata.is_symlink() {
                real.push(name);
                continue;
            }
            links += 1;
            if links > LINKS_MAX {
                return Err(Error::invalid(format!("{} leads over more than {LINKS_MAX} links", path.shown())));
            }
            let target = self.target(&next, &metadata)?;
            if target.starts_with(b"/") {
                real.clear();
            }
            let names = target.split(|byte| *byte == b'/').filter(|name| !matches!(*name, b"" | b"."));
            left.extend(names.rev().map(Vec::from));
        }
        Ok(real.into())
    }
}

/// Refuses a superblock that would make the reader take memory for more block groups than a disk can have.
fn check_groups(window: &Window) -> Result<()> {
    let mut block = [0; 1024];
    window.read_at(1024, &mut block)?;
    let number = |at: usize| u64::from(u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]]));
    let blocks = number(0x4) | if number(0x60) & 0x80 == 0 { 0 } else { number(0x150) << 32 };
    let groups = blocks / number(0x20).max(1);
    if groups <= GROUPS_MAX {
        Ok(())
    } else {
        Err(Error::corrupt("its ext file system says of itself that it is larger than a disk can be"))
    }
}

fn entry(name: Vec<u8>, metadata: &Metadata, target: Option<Vec<u8>>) -> Entry {
    let modified = metadata.modified();
    let instant = Timestamp::new(modified.seconds(), i32::try_from(modified.nanoseconds()).unwrap_or(0));
    let kind = match metadata.file_type() {
        FileType::Regular => EntryKind::File,
        FileType::Directory => EntryKind::Folder,
        FileType::Symlink => EntryKind::Link,
        _ => EntryKind::Special,
    };
    let modified = instant.ok().map(Modified::At);
    Entry { name, kind, size_bytes: metadata.len(), modified, mode: Some(metadata.mode()), target }
}

fn failed(window: &Window, path: &str, error: Ext4Error) -> Error {
    match &error {
        Ext4Error::NotFound => missing(path),
        Ext4Error::NotADirectory => Error::invalid(format!("{path} is no folder")),
        Ext4Error::IsADirectory | Ext4Error::IsASpecialFile => Error::invalid(format!("{path} is no regular file")),
        Ext4Error::Encrypted => Error::invalid(format!("{path} is encrypted by its file system")),
        Ext4Error::Incompatible(_) => Error::invalid(format!("{path} uses what is not read here")).with_source(error),
        _ => parsed(window, path, error),
    }
}

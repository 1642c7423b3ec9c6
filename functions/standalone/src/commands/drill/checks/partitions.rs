//! What the restored disks are divided into, and what their parts hold.

use std::{fs::File, ops::Range, os::unix::fs::FileExt, path::PathBuf, sync::Arc};

use stillpoint_files::{Content, Source, TableKind, Window, guarded, identify, partitions};
use stillpoint_model::{DiskName, Error, Result};

use super::{Finding, Outcome, Restored};
use crate::output;

/// Where the kind of the first partition stands in a master boot record, and the kind that says there is a GPT.
const FIRST_KIND: u64 = 450;
const GPT_GUARD: u8 = 0xee;

/// A restored disk.
struct Disk {
    file: File,
    size_bytes: u64,
}

impl Disk {
    fn open(path: &PathBuf) -> Result<Self> {
        let file = File::open(path)?;
        Ok(Self { size_bytes: file.metadata()?.len(), file })
    }

    /// Whether its first record says that it has a GPT.
    fn is_gpt(&self) -> Result<bool> {
        let mut kind = [0];
        if self.size_bytes > FIRST_KIND {
            self.file.read_exact_at(&mut kind, FIRST_KIND)?;
        }
        Ok(kind == [GPT_GUARD])
    }
}

impl Source for Disk {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        Ok(self.file.read_exact_at(buffer, offset)?)
    }
}

/// A partition, or a disk without any.
pub struct Part {
    pub disk: DiskName,
    pub path: PathBuf,
    /// None of a disk without a table.
    pub number: Option<u32>,
    pub bytes: Range<u64>,
    pub content: Content,
}

impl Part {
    /// As people call it.
    pub fn shown(&self) -> String {
        match self.number {
            Some(number) => format!("disk {}, partition {number}", self.disk),
            None => format!("disk {}", self.disk),
        }
    }
}

/// All parts of all disks.
pub fn parts(restored: &Restored) -> Result<Vec<Part>> {
    let mut parts = Vec::new();
    for (name, path) in &restored.disks {
        parts.extend(guarded(|| of_disk(name, path)).map_err(|error| error.context(format!("disk {name}")))?);
    }
    Ok(parts)
}

fn of_disk(name: &DiskName, path: &PathBuf) -> Result<Vec<Part>> {
    let disk = Disk::open(path)?;
    let (size, is_gpt) = (disk.size_bytes, disk.is_gpt()?);
    let source: Arc<dyn Source> = Arc::new(disk);
    let table = partitions(&source)?;
    if is_gpt && table.kind == TableKind::Mbr {
        return Err(Error::corrupt("its first record says that it has a GPT, and none can be read"));
    }
    let places: Vec<(Option<u32>, Range<u64>)> = match table.kind {
        TableKind::None => vec![(None, 0..size)],
        TableKind::Mbr | TableKind::Gpt => {
            let place = |part: &stillpoint_files::Partition| (Some(part.number), part.offset..part.offset + part.length);
            table.partitions.iter().map(place).collect()
        }
    };
    let part = |(number, bytes): (Option<u32>, Range<u64>)| {
        let content = identify(&Window::new(Arc::clone(&source), bytes.start, bytes.end - bytes.start))?;
        Ok(Part { disk: name.clone(), path: path.clone(), number, bytes, content })
    };
    places.into_iter().map(part).collect()
}

pub fn check(restored: &Restored) -> Result<Finding> {
    let parts = parts(restored)?;
    let is_known = |part: &&Part| part.number.is_some() || !matches!(part.content, Content::Empty | Content::Unknown);
    let line = |part: &Part| {
        format!("{}: {}, {}", part.shown(), part.content.as_str(), output::bytes(part.bytes.end - part.bytes.start))
    };
    let details = parts.iter().map(line).collect();
    let finding = match parts.iter().filter(is_known).count() {
        0 => Finding::new(Outcome::Skipped, "no disk has a partition table or a file system that is known here"),
        known => Finding::new(Outcome::Passed, format!("{known} partitions and file systems on {} disks", restored.disks.len())),
    };
    Ok(Finding { details, ..finding })
}

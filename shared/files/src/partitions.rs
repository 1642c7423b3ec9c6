use std::sync::Arc;

use stillpoint_model::Result;

use crate::source::{Source, Window};

/// Most partitions that are read of one table; Windows and Linux know 128.
const PARTITIONS_MAX: usize = 256;
/// Number of the first logical partition.
const LOGICAL: u32 = 5;
const SECTOR_BYTES: u64 = 512;

/// How a disk is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableKind {
    /// A master boot record, extended partitions included.
    Mbr,
    /// A GUID partition table.
    Gpt,
    /// Not at all: one file system from its first byte on, or nothing.
    None,
}

/// One partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Its number, as Linux counts: from 1, logical ones from 5.
    pub number: u32,
    /// First byte.
    pub offset: u64,
    /// Bytes, none beyond the end of the disk.
    pub length: u64,
    /// Its name in the table; GPT has them.
    pub label: String,
}

/// The partition table of a disk. `mbrman` and `gpt` do this too; the first stands on a crate that is given up, the second takes
/// memory by what a table says of itself and panics at entries of another size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// What kind it is.
    pub kind: TableKind,
    /// The partitions, by number.
    pub partitions: Vec<Partition>,
}

/// Reads the partition table of a disk; where the first copy of a GPT is damaged, its second.
///
/// # Errors
/// As the source.
pub fn partitions(source: &Arc<dyn Source>) -> Result<Table> {
    let disk = Disk(Window::new(Arc::clone(source), 0, u64::MAX));
    let none = Table { kind: TableKind::None, partitions: Vec::new() };
    let Some(record) = disk.read(0, SECTOR_BYTES)? else { return Ok(none) };
    let Some(entries) = mbr_entries(&record) else { return Ok(none) };
    if entries.iter().any(|entry| entry.is_gpt_guard()) {
        for sector_bytes in [SECTOR_BYTES, 4096] {
            let last = (disk.0.size_bytes() / sector_bytes).saturating_sub(1);
            for at in [1, last] {
                if let Some(partitions) = disk.gpt(at, sector_bytes)? {
                    return Ok(Table { kind: TableKind::Gpt, partitions });
                }
            }
        }
    }
    let partitions = disk.mbr(&entries)?;
    let kind = if partitions.is_empty() { TableKind::None } else { TableKind::Mbr };
    Ok(Table { kind, partitions })
}

/// One of the four entries of a master boot record, or of the records that extended partitions are chained by.
#[derive(Debug, Clone, Copy)]
struct MbrEntry {
    kind: u8,
    first: u64,
    sectors: u64,
}

impl MbrEntry {
    const fn is_used(&self) -> bool {
        self.kind != 0 && self.sectors != 0
    }

    const fn is_extended(&self) -> bool {
        matches!(self.kind, 0x05 | 0x0f | 0x85)
    }

    const fn is_gpt_guard(&self) -> bool {
        self.kind == 0xee
    }
}

/// The entries, where the record is one: file systems begin with records that end in the same two bytes.
fn mbr_entries(record: &[u8]) -> Option<[MbrEntry; 4]> {
    let bytes = record.get(446..512).filter(|rest| rest[64..] == [0x55, 0xaa])?;
    let entry = |index: usize| {
        let entry = &bytes[index * 16..index * 16 + 16];
        let number = |at: usize| u64::from(u32::from_le_bytes([entry[at], entry[at + 1], entry[at + 2], entry[at + 3]]));
        (entry[0] & 0x7f == 0).then(|| MbrEntry { kind: entry[4], first: number(8), sectors: number(12) })
    };
    Some([entry(0)?, entry(1)?, entry(2)?, entry(3)?])
}

struct Disk(Window);

impl Disk {
    /// `None` where it does not reach so far.
    fn read(&self, offset: u64, length: u64) -> Result<Option<Vec<u8>>> {
        if offset.checked_add(length).is_none_or(|end| end > self.0.size_bytes()) {
            return Ok(None);
        }
        let mut bytes = vec![0; length as usize];
        self.0.allow(length);
        self.0.read_at(offset, &mut bytes)?;
        Ok(Some(bytes))
    }

    /// The partition of these bytes, as far as the disk has them.
    fn clipped(&self, number: u32, offset: u64, length: u64, label: String) -> Option<Partition> {
        let length = length.min(self.0.size_bytes().checked_sub(offset)?);
        (length > 0).then_some(Partition { number, offset, length, label })
    }

    fn mbr(&self, entries: &[MbrEntry; 4]) -> Result<Vec<Partition>> {
        let mut partitions = Vec::new();
        let mut logical = Vec::new();
        for (number, entry) in (1..).zip(entries).filter(|(_, entry)| entry.is_used()) {
            if entry.is_extended() {
                self.logical(entry.first, &mut logical)?;
            } else {
                partitions.extend(self.clipped(number, entry.first * SECTOR_BYTES, entry.sectors * SECTOR_BYTES, String::new()));
            }
        }
        partitions.extend(logical);
        Ok(partitions)
    }

    /// Follows the chain of an extended partition that begins at sector `start`.
    fn logical(&self, start: u64, partitions: &mut Vec<Partition>) -> Result<()> {
        let mut at = start;
        for _ in 0..PARTITIONS_MAX {
            let Some(record) = self.read(at * SECTOR_BYTES, SECTOR_BYTES)? else { break };
            let Some([data, next, ..]) = mbr_entries(&record) else { break };
            if data.is_used() {
                let number = LOGICAL + partitions.len() as u32;
                let (offset, length) = ((at + data.first) * SECTOR_BYTES, data.sectors * SECTOR_BYTES);
                partitions.extend(self.clipped(number, offset, length, String::new()));
            }
            if !next.is_extended() || next.first == 0 {
                break;
            }
            at = start + next.first;
        }
        Ok(())
    }

    /// The partitions of the table whose header is at sector `at`.
    fn gpt(&self, at: u64, sector_bytes: u64) -> Result<Option<Vec<Partition>>> {
        let header = self.read(at.saturating_mul(sector_bytes), SECTOR_BYTES)?;
        let Some(header) = header.filter(|header| header.starts_with(b"EFI PART") && u64_at(header, 24) == at) else {
            return Ok(None);
        };
        let (count, size) = (u32_at(&header, 80) as usize, u64::from(u32_at(&header, 84)));
        if !(128..=4096).contains(&size) {
            return Ok(None);
        }
        let length = count.min(PARTITIONS_MAX) as u64 * size;
        let Some(table) = self.read(u64_at(&header, 72).saturating_mul(sector_bytes), length)? else { return Ok(None) };
        let entries = (1..).zip(table.chunks_exact(size as usize)).filter(|(_, entry)| entry[..16] != [0; 16]);
        let partition = |(number, entry): (u32, &[u8])| {
            let (first, last) = (u64_at(entry, 32), u64_at(entry, 40));
            let sectors = last.checked_sub(first)?.saturating_add(1);
            let label: Vec<u16> = entry[56..128].chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
            let label = String::from_utf16_lossy(label.split(|unit| *unit == 0).next().unwrap_or_default());
            self.clipped(number, first.checked_mul(sector_bytes)?, sectors.saturating_mul(sector_bytes), label)
        };
        Ok(Some(entries.filter_map(partition).collect()))
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

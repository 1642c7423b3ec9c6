//! Every chunk of every restored disk against the point's map, by the keyed id that the vault has for it: the restore itself is not
//! believed.

use std::{fs::File, os::unix::fs::FileExt};

use stillpoint_format::{DiskMap, MapPage, PackUse, PageRef};
use stillpoint_model::{
    Error, Result,
    geometry::{CHUNK_BYTES, page_range},
};

use super::{Finding, Outcome, Restored, extents::first_not_zero};

/// Pages that are asked for together: those of 2 GiB of disk.
const PAGES: usize = 64;
/// Places that are named.
const NAMED_MAX: usize = 10;

/// What was compared.
#[derive(Default)]
struct Comparison {
    chunks: u64,
    zeros: u64,
    different: u64,
    named: Vec<String>,
}

pub fn check(restored: &Restored) -> Result<Finding> {
    let manifest = restored.handle.block_on(restored.vault.manifest(&restored.point))?;
    let mut compared = Comparison::default();
    for map in &manifest.disks {
        let found = restored.disks.iter().find(|(name, _)| *name == map.name);
        let (_, path) = found.ok_or_else(|| Error::missing(format!("disk {} was not restored", map.name)))?;
        let file = File::open(path)?;
        let size = file.metadata()?.len();
        if size != map.size_bytes {
            return Err(Error::corrupt(format!("disk {} has {size} bytes, and not {}", map.name, map.size_bytes)));
        }
        compared.disk(restored, &manifest.packs, map, &file)?;
    }
    let Comparison { chunks, zeros, different, named } = compared;
    let of = format!("{chunks} chunks and {zeros} of zeros");
    let finding = match different {
        0 => Finding::new(Outcome::Passed, format!("{of} are what the point's map says")),
        _ => Finding::new(Outcome::Failed, format!("{different} of {of} are not what the point's map says")),
    };
    Ok(Finding { details: named, ..finding })
}

impl Comparison {
    fn disk(&mut self, restored: &Restored, packs: &[PackUse], map: &DiskMap, file: &File) -> Result<()> {
        let pages: Vec<(u32, Option<PageRef>)> = (0..).zip(map.pages.iter().copied()).collect();
        for pages in pages.chunks(PAGES) {
            let places: Vec<PageRef> = pages.iter().filter_map(|(_, page)| *page).collect();
            let mut read = restored.handle.block_on(restored.vault.pages(packs, &places)).into_iter();
            for (number, page) in pages {
                restored.go_on()?;
                match page.and_then(|_| read.next()) {
                    Some(page) => self.page(restored, map, file, *number, &page?)?,
                    None => self.zeros(map, file, page_range(*number, map.size_bytes))?,
                }
            }
        }
        Ok(())
    }

    fn page(&mut self, restored: &Restored, map: &DiskMap, file: &File, number: u32, page: &MapPage) -> Result<()> {
        let (start, end) = page_range(number, map.size_bytes);
        if page.entries.len() as u64 != (end - start).div_ceil(CHUNK_BYTES) {
            return Err(Error::corrupt(format!("page {number} of disk {} has another length than its disk says", map.name)));
        }
        let mut chunk = vec![0; CHUNK_BYTES as usize];
        for (at, entry) in (start..end).step_by(CHUNK_BYTES as usize).zip(&page.entries) {
            let length = CHUNK_BYTES.min(end - at);
            match entry {
                None => self.zeros(map, file, (at, at + length))?,
                Some(entry) => {
                    chunk[length as usize..].fill(0);
                    file.read_exact_at(&mut chunk[..length as usize], at)?;
                    self.chunks += 1;
                    if restored.vault.keys().chunk_id(&chunk) != entry.id {
                        self.differs(map, at);
                    }
                }
            }
        }
        Ok(())
    }

    fn zeros(&mut self, map: &DiskMap, file: &File, (start, end): (u64, u64)) -> Result<()> {
        self.zeros += (end - start).div_ceil(CHUNK_BYTES);
        if let Some(at) = first_not_zero(file, start..end)? {
            self.differs(map, at - at % CHUNK_BYTES);
        }
        Ok(())
    }

    fn differs(&mut self, map: &DiskMap, at: u64) {
        self.different += 1;
        if self.named.len() < NAMED_MAX {
            self.named.push(format!("disk {}: the chunk at byte {at}", map.name));
        }
    }
}

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use stillpoint_model::{
    DiskName, NAME_BYTES_MAX,
    geometry::{DISK_BYTES_MAX, DISKS_MAX, SECTOR_BYTES, page_count},
};

use crate::{
    Error, PackRef, Result, SALT_BYTES, SampleIndex, compress, decompress, limits,
    wire::{Reader, Writer},
};

const MAGIC: &[u8; 8] = b"STILLMF\n";
const HEADER_BYTES: u64 = 16;
/// Pack number that means a page of zeros only.
const ZERO: u32 = u32::MAX;
const LEVEL: i32 = 3;

/// A pack that a point needs, and how much of it is alive in this point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackUse {
    /// The pack.
    pub pack: PackRef,
    /// Its size, so that a listing shows truncation.
    pub size_bytes: u64,
    /// Entries of this point's pages that lie in it.
    pub live_chunks: u64,
    /// Stored bytes these account for (each chunk an equal share of its frame).
    pub live_bytes: u64,
    /// Pages of this point that lie in it.
    pub live_pages: u64,
}

/// Where a map page lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PageRef {
    /// Position in the manifest's list of packs.
    pub pack: u32,
    /// The frame's number in that pack.
    pub frame: u32,
    /// First byte in the pack.
    pub offset: u32,
    /// Length in the pack, tag included.
    pub sealed_bytes: u32,
}

/// The disk map: a page per 32 MiB, `None` where all is zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskMap {
    /// The disk's name.
    pub name: DiskName,
    /// Its size.
    pub size_bytes: u64,
    /// [`page_count`] of the size many.
    pub pages: Vec<Option<PageRef>>,
}

/// What a recovery point consists of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Manifest {
    /// Every pack that restoring the point reads, sorted by name.
    pub packs: Vec<PackUse>,
    /// The disks, in the machine's order.
    pub disks: Vec<DiskMap>,
    /// Samples of the point's chunks; a page's ordinal counts the pages of all disks in order.
    pub samples: SampleIndex,
}

/// Where a section lies in the manifest object, and the BLAKE3 of its bytes there. Stands in the signed `point.json`, so a
/// section can be read and checked without the others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Section {
    /// First byte in the object.
    pub offset: u64,
    /// Length in the object.
    pub length: u64,
    /// BLAKE3 of these bytes, hex.
    pub blake3: String,
}

impl Section {
    /// The section's bytes in the object.
    #[must_use]
    pub const fn range(&self) -> Range<u64> {
        self.offset..self.offset.saturating_add(self.length)
    }

    /// Whether `bytes` are the section's.
    ///
    /// # Errors
    /// [`Error::Authentication`].
    fn check(&self, bytes: &[u8]) -> Result<()> {
        let authentic = HEXLOWER.decode(self.blake3.as_bytes()).is_ok_and(|hash| hash == blake3::hash(bytes).as_bytes());
        if authentic { Ok(()) } else { Err(Error::Authentication("manifest")) }
    }
}

/// The sections of a manifest object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sections {
    /// The packs.
    pub packs: Section,
    /// The disk maps.
    pub disks: Section,
    /// The sampled index.
    pub samples: Section,
}

impl Sections {
    /// Bytes of the whole object; `None` when the sections do not follow one another from the header on.
    #[must_use]
    pub fn object_bytes(&self) -> Option<u64> {
        let mut end = HEADER_BYTES;
        for section in [&self.packs, &self.disks, &self.samples] {
            if section.offset != end || section.length > limits::SECTION_PLAIN_BYTES_MAX as u64 + 5 {
                return None;
            }
            end = section.range().end;
        }
        Some(end)
    }
}

/// A manifest as it is stored.
#[derive(Debug, Clone)]
pub struct Encoded {
    /// The object.
    pub bytes: Bytes,
    /// For `point.json`.
    pub sections: Sections,
}

impl Manifest {
    /// Writes the object: magic 8, version 2, reserved 6, then the three sections.
    ///
    /// # Errors
    /// [`Error::Limit`], [`Error::Verify`].
    pub fn encode(&self) -> Result<Encoded> {
        if self.packs.len() > limits::MANIFEST_PACKS_MAX || self.disks.len() > DISKS_MAX {
            return Err(Error::Limit { structure: "manifest", limit: "packs or disks" });
        }
        let mut object = Writer::default();
        object.bytes(MAGIC);
        object.u16(limits::FORMAT_VERSION);
        object.bytes(&[0; 6]);
        let mut append = |plain: Vec<u8>| -> Result<Section> {
            if plain.len() > limits::SECTION_PLAIN_BYTES_MAX {
                return Err(Error::Limit { structure: "manifest", limit: "size of a section" });
            }
            let stored = compress(&plain, LEVEL, &mut Vec::new())?;
            let blake3 = HEXLOWER.encode(blake3::hash(&stored).as_bytes());
            let section = Section { offset: object.0.len() as u64, length: stored.len() as u64, blake3 };
            object.bytes(&stored);
            Ok(section)
        };
        let sections = Sections {
            packs: append(self.encode_packs())?,
            disks: append(self.encode_disks())?,
            samples: append(self.encode_samples())?,
        };
        Ok(Encoded { bytes: object.0.into(), sections })
    }

    /// Checks and reads a whole object.
    ///
    /// # Errors
    /// [`Error::Authentication`] when it is not the object that `sections` describe; [`Error::Malformed`], [`Error::Limit`].
    pub fn decode(bytes: &[u8], sections: &Sections) -> Result<Self> {
        let mut reader = Reader::new("manifest", bytes);
        let (magic, version) = (reader.array::<8>()?, reader.u16()?);
        if magic == *MAGIC && version > limits::FORMAT_VERSION {
            return Err(Error::Newer { structure: "manifest", found: version, known: limits::FORMAT_VERSION });
        }
        if magic != *MAGIC || version != limits::FORMAT_VERSION || sections.object_bytes() != Some(bytes.len() as u64) {
            return Err(Error::Authentication("manifest"));
        }
        let slice = |section: &Section| &bytes[section.offset as usize..section.range().end as usize];
        let packs = Self::decode_packs(&sections.packs, slice(&sections.packs))?;
        let disks = Self::decode_disks(&sections.disks, slice(&sections.disks), packs.len())?;
        let samples = Self::decode_samples(&sections.samples, slice(&sections.samples))?;
        Ok(Self { packs, disks, samples })
    }

    fn encode_packs(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.count(self.packs.len());
        for used in &self.packs {
            writer.text(&used.pack.name);
            writer.bytes(&used.pack.salt);
            for number in [used.size_bytes, used.live_chunks, used.live_bytes, used.live_pages] {
                writer.u64(number);
            }
        }
        writer.0
    }

    /// Checks and reads the packs section alone: what an existence audit needs.
    ///
    /// # Errors
    /// As [`Manifest::decode`].
    pub fn decode_packs(section: &Section, stored: &[u8]) -> Result<Vec<PackUse>> {
        section.check(stored)?;
        let plain = decompress("manifest packs", stored, limits::SECTION_PLAIN_BYTES_MAX)?;
        let mut reader = Reader::new("manifest packs", &plain);
        let count = reader.count(limits::MANIFEST_PACKS_MAX, 2 + SALT_BYTES + 32)?;
        let mut packs = Vec::with_capacity(count);
        for _ in 0..count {
            packs.push(PackUse {
                pack: PackRef { name: Arc::from(reader.text(limits::PACK_NAME_BYTES_MAX)?), salt: reader.array()? },
                size_bytes: reader.u64()?,
                live_chunks: reader.u64()?,
                live_bytes: reader.u64()?,
                live_pages: reader.u64()?,
            });
        }
        reader.end()?;
        Ok(packs)
    }

    fn encode_disks(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.count(self.disks.len());
        for disk in &self.disks {
            writer.text(disk.name.as_str());
            writer.u64(disk.size_bytes);
            // One column after the other: neighbours differ little, so they compress.
            let column = |pick: fn(&PageRef) -> u32| disk.pages.iter().flatten().map(pick);
            disk.pages.iter().for_each(|page| writer.u32(page.map_or(ZERO, |page| page.pack)));
            column(|page| page.frame).for_each(|number| writer.u32(number));
            column(|page| page.offset).for_each(|number| writer.u32(number));
            column(|page| page.sealed_bytes).for_each(|number| writer.u32(number));
        }
        writer.0
    }

    fn decode_disks(section: &Section, stored: &[u8], packs: usize) -> Result<Vec<DiskMap>> {
        let malformed = |reason| Error::malformed("manifest disks", reason);
        section.check(stored)?;
        let plain = decompress("manifest disks", stored, limits::SECTION_PLAIN_BYTES_MAX)?;
        let mut reader = Reader::new("manifest disks", &plain);
        let count = reader.count(DISKS_MAX, 10)?;
        let mut disks = Vec::with_capacity(count);
        for _ in 0..count {
            let name = reader.text(NAME_BYTES_MAX)?.parse().map_err(|_| malformed("not a disk name"))?;
            if disks.iter().any(|disk: &DiskMap| disk.name == name) {
                return Err(malformed("two disks of one name"));
            }
            let size_bytes = reader.u64()?;
            if size_bytes == 0 || size_bytes > DISK_BYTES_MAX || size_bytes % SECTOR_BYTES != 0 {
                return Err(malformed("impossible disk size"));
            }
            let mut column = |length: usize| -> Result<Vec<u32>> {
                let bytes = reader.take(length * 4)?;
                Ok(bytes.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
            };
            let numbers = column(page_count(size_bytes) as usize)?;
            let used = numbers.iter().filter(|pack| **pack != ZERO).count();
            let (frames, offsets, lengths) = (column(used)?, column(used)?, column(used)?);
            let mut next = 0..used;
            let page = |pack: u32| -> Result<Option<PageRef>> {
                if pack == ZERO {
                    return Ok(None);
                }
                let at = next.next().filter(|_| (pack as usize) < packs).ok_or(malformed("a page names no pack"))?;
                Ok(Some(PageRef { pack, frame: frames[at], offset: offsets[at], sealed_bytes: lengths[at] }))
            };
            if disks.iter().map(|disk| disk.pages.len()).sum::<usize>() + numbers.len() > limits::MANIFEST_PAGES_MAX {
                return Err(Error::Limit { structure: "manifest", limit: "pages" });
            }
            disks.push(DiskMap { name, size_bytes, pages: numbers.into_iter().map(page).collect::<Result<_>>()? });
        }
        reader.end()?;
        Ok(disks)
    }

    fn encode_samples(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.u8(self.samples.bits());
        writer.count(self.samples.entries().len());
        self.samples.entries().iter().for_each(|(sample, _)| writer.u64(*sample));
        self.samples.entries().iter().for_each(|(_, page)| writer.u32(*page));
        writer.0
    }

    fn decode_samples(section: &Section, stored: &[u8]) -> Result<SampleIndex> {
        section.check(stored)?;
        let plain = decompress("manifest samples", stored, limits::SECTION_PLAIN_BYTES_MAX)?;
        let mut reader = Reader::new("manifest samples", &plain);
        let bits = reader.u8()?;
        let count = reader.count(limits::SAMPLES_MAX, 12)?;
        let samples = (0..count).map(|_| reader.u64()).collect::<Result<Vec<u64>>>()?;
        let pages = (0..count).map(|_| reader.u32()).collect::<Result<Vec<u32>>>()?;
        reader.end()?;
        Ok(SampleIndex::new(bits, samples.into_iter().zip(pages).collect()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use stillpoint_model::geometry::PAGE_BYTES;

    use super::*;

    fn arbitrary_manifest() -> impl Strategy<Value = Manifest> {
        let page = proptest::option::of((0..3_u32, any::<u32>(), any::<u32>(), any::<u32>()));
        proptest::collection::vec(proptest::collection::vec(page, 1..20), 0..4).prop_map(|disks| Manifest {
            packs: (0..3)
                .map(|n| PackUse {
                    pack: PackRef { name: format!("packs/{n}").into(), salt: [n; 16] },
                    size_bytes: 100,
                    live_chunks: 3,
                    live_bytes: 50,
                    live_pages: 1,
                })
                .collect(),
            disks: disks
                .into_iter()
                .enumerate()
                .map(|(n, pages)| DiskMap {
                    name: format!("disk{n}").parse().unwrap(),
                    size_bytes: pages.len() as u64 * PAGE_BYTES - 512,
                    pages: pages
                        .into_iter()
                        .map(|page| page.map(|(pack, frame, offset, sealed_bytes)| PageRef { pack, frame, offset, sealed_bytes }))
                        .collect(),
                })
                .collect(),
            samples: SampleIndex::new(4, vec![(16, 0), (48, 1)]),
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(manifest in arbitrary_manifest()) {
            let encoded = manifest.encode().unwrap();
            prop_assert_eq!(Manifest::decode(&encoded.bytes, &encoded.sections).unwrap(), manifest);
        }
    }

    #[test]
    fn every_flipped_byte_beyond_the_reserved_ones_and_every_cut_is_noticed() {
        let manifest = Manifest {
            packs: vec![],
            disks: vec![DiskMap { name: "os".parse().unwrap(), size_bytes: PAGE_BYTES * 3, pages: vec![None; 3] }],
            samples: SampleIndex::default(),
        };
        let encoded = manifest.encode().unwrap();
        for position in (0..encoded.bytes.len()).filter(|position| !(10..16).contains(position)) {
            let mut flipped = encoded.bytes.to_vec();
            flipped[position] ^= 1;
            assert!(Manifest::decode(&flipped, &encoded.sections).is_err(), "byte {position}");
            assert!(Manifest::decode(&encoded.bytes[..position], &encoded.sections).is_err(), "cut at {position}");
        }
    }
}

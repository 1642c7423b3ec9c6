use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use stillpoint_model::{Extent, geometry::CHUNK_BYTES, merge};
use stillpoint_ports::Random;

use crate::TestRandom;

const BLOCK: usize = CHUNK_BYTES as usize;
/// A block of zeros, shared by all disks, so that zeros are mostly told by their place in memory.
static ZEROS: LazyLock<Arc<Vec<u8>>> = LazyLock::new(|| Arc::new(vec![0; BLOCK]));

/// The bytes of one disk. Blocks that were never written, or were trimmed, read as zeros and take no room; a clone shares
/// blocks until one side writes.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    size_bytes: u64,
    blocks: BTreeMap<u64, Arc<Vec<u8>>>,
}

impl Disk {
    /// A disk of holes.
    #[must_use]
    pub const fn new(size_bytes: u64) -> Self {
        Self { size_bytes, blocks: BTreeMap::new() }
    }

    /// A disk on which every byte is `byte`.
    #[must_use]
    pub fn filled(size_bytes: u64, byte: u8) -> Self {
        let block = Arc::new(vec![byte; BLOCK]);
        let blocks = (0..size_bytes.div_ceil(CHUNK_BYTES)).map(|number| (number, Arc::clone(&block))).collect();
        let mut disk = Self { size_bytes, blocks };
        disk.resize(size_bytes);
        disk
    }

    /// Its size.
    #[must_use]
    pub const fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Writes `bytes` at `offset`; what lies beyond the end is dropped.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) {
        let mut at = offset;
        let end = offset.saturating_add(bytes.len() as u64).min(self.size_bytes);
        while at < end {
            let inside = (at % CHUNK_BYTES) as usize;
            let length = (BLOCK - inside).min((end - at) as usize);
            let from = (at - offset) as usize;
            let block = self.blocks.entry(at / CHUNK_BYTES).or_insert_with(|| Arc::clone(&ZEROS));
            Arc::make_mut(block)[inside..inside + length].copy_from_slice(&bytes[from..from + length]);
            at += length as u64;
        }
    }

    /// Writes noise that follows from `seed`: it neither compresses nor repeats.
    pub fn write_noise(&mut self, extent: Extent, seed: u64) {
        let mut noise = vec![0; extent.length as usize];
        TestRandom::new(seed).fill(&mut noise);
        self.write(extent.offset, &noise);
    }

    /// Writes zeros: they read like a hole, and are data to whoever asks where data is.
    pub fn write_zeros(&mut self, extent: Extent) {
        for block in blocks_of(extent, self.size_bytes) {
            if block.length == CHUNK_BYTES {
                self.blocks.insert(block.offset / CHUNK_BYTES, Arc::clone(&ZEROS));
            } else {
                self.write(block.offset, &ZEROS[..block.length as usize]);
            }
        }
    }

    /// Makes a hole, where whole blocks are covered; zeros elsewhere.
    pub fn trim(&mut self, extent: Extent) {
        for block in blocks_of(extent, self.size_bytes) {
            if block.length == CHUNK_BYTES {
                self.blocks.remove(&(block.offset / CHUNK_BYTES));
            } else if self.blocks.contains_key(&(block.offset / CHUNK_BYTES)) {
                self.write(block.offset, &ZEROS[..block.length as usize]);
            }
        }
    }

    /// Cuts the disk or adds a hole at its end.
    pub fn resize(&mut self, size_bytes: u64) {
        self.size_bytes = size_bytes;
        drop(self.blocks.split_off(&size_bytes.div_ceil(CHUNK_BYTES)));
        if let Some(last) = self.blocks.get_mut(&(size_bytes / CHUNK_BYTES)) {
            // What is cut off does not come back when the disk grows again.
            let beyond = (size_bytes % CHUNK_BYTES) as usize;
            if last[beyond..].iter().any(|byte| *byte != 0) {
                Arc::make_mut(last)[beyond..].fill(0);
            }
        }
    }

    /// Fills `buffer` from `offset`.
    pub fn read(&self, offset: u64, buffer: &mut [u8]) {
        let mut at = 0;
        while at < buffer.len() {
            let place = offset + at as u64;
            let inside = (place % CHUNK_BYTES) as usize;
            let length = (BLOCK - inside).min(buffer.len() - at);
            match self.blocks.get(&(place / CHUNK_BYTES)) {
                Some(block) => buffer[at..at + length].copy_from_slice(&block[inside..inside + length]),
                None => buffer[at..at + length].fill(0),
            }
            at += length;
        }
    }

    /// A part of the disk as a disk of its own, from the block that `offset` lies in.
    #[must_use]
    pub fn part(&self, extent: Extent) -> Self {
        let first = extent.offset / CHUNK_BYTES;
        let blocks = self.blocks.range(first..extent.end().div_ceil(CHUNK_BYTES));
        let blocks = blocks.map(|(number, block)| (number - first, Arc::clone(block))).collect();
        let mut part = Self { size_bytes: extent.length, blocks };
        part.resize(extent.length);
        part
    }

    /// Whether every byte is zero.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.difference(&Self::new(self.size_bytes)).is_none()
    }

    /// Where data is: sorted, disjoint, whole blocks but for the disk's end.
    #[must_use]
    pub fn extents(&self) -> Vec<Extent> {
        let blocks = self.blocks.keys().map(|number| Extent::new(number * CHUNK_BYTES, CHUNK_BYTES)).collect();
        merge(blocks, CHUNK_BYTES, self.size_bytes)
    }

    /// Blocks that were written or trimmed since `before` was cloned from this disk, whether or not their bytes are others now; also
    /// beyond its end, where it was cut.
    #[must_use]
    pub fn changed_since(&self, before: &Self) -> Vec<Extent> {
        let numbers: std::collections::BTreeSet<&u64> = self.blocks.keys().chain(before.blocks.keys()).collect();
        let is_same = |number: &u64| match (self.blocks.get(number), before.blocks.get(number)) {
            (Some(ours), Some(theirs)) => Arc::ptr_eq(ours, theirs),
            _ => false,
        };
        let changed = numbers.into_iter().filter(|number| !is_same(number));
        changed.map(|number| Extent::new(number * CHUNK_BYTES, CHUNK_BYTES)).collect()
    }

    /// Numbers of the blocks in whose bytes two disks differ.
    #[must_use]
    pub fn differing_blocks(&self, other: &Self) -> std::collections::BTreeSet<u64> {
        let numbers = self.blocks.keys().chain(other.blocks.keys()).copied();
        numbers.filter(|number| self.blocks.get(number).unwrap_or(&ZEROS) != other.blocks.get(number).unwrap_or(&ZEROS)).collect()
    }

    /// The first byte in which two disks differ, or the end of the shorter one when nothing else does.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Option<u64> {
        let numbers: std::collections::BTreeSet<&u64> = self.blocks.keys().chain(other.blocks.keys()).collect();
        for number in numbers {
            let (ours, theirs) = (self.blocks.get(number).unwrap_or(&ZEROS), other.blocks.get(number).unwrap_or(&ZEROS));
            if !Arc::ptr_eq(ours, theirs)
                && ours != theirs
                && let Some(at) = ours.iter().zip(theirs.iter()).position(|(a, b)| a != b)
            {
                return Some(number * CHUNK_BYTES + at as u64);
            }
        }
        (self.size_bytes != other.size_bytes).then(|| self.size_bytes.min(other.size_bytes))
    }
}

impl PartialEq for Disk {
    fn eq(&self, other: &Self) -> bool {
        self.difference(other).is_none()
    }
}

/// `extent`, cut at the end of the disk and at blocks.
fn blocks_of(extent: Extent, size_bytes: u64) -> impl Iterator<Item = Extent> {
    let end = extent.end().min(size_bytes);
    let first = extent.offset / CHUNK_BYTES;
    (first..end.div_ceil(CHUNK_BYTES)).filter_map(move |number| {
        let start = number * CHUNK_BYTES;
        Extent::new(start, CHUNK_BYTES).clip(extent.offset, end)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(disk: &Disk) -> Vec<u8> {
        let mut bytes = vec![0; disk.size_bytes() as usize];
        disk.read(0, &mut bytes);
        bytes
    }

    #[test]
    fn a_disk_does_what_a_vector_does() {
        let size = CHUNK_BYTES * 5 + 512;
        let random = TestRandom::new(1);
        let (mut disk, mut model) = (Disk::new(size), vec![0_u8; size as usize]);
        for step in 0..300_u32 {
            let offset = random.below(disk.size_bytes());
            let extent = Extent::new(offset, 1 + random.below(CHUNK_BYTES * 3));
            let end = (extent.end() as usize).min(model.len());
            match step % 5 {
                0 | 1 => {
                    let byte = (step % 250) as u8 + 1;
                    disk.write(offset, &vec![byte; extent.length as usize]);
                    model[offset as usize..end].fill(byte);
                }
                2 => {
                    disk.trim(extent);
                    model[offset as usize..end].fill(0);
                }
                3 => {
                    disk.write_zeros(extent);
                    model[offset as usize..end].fill(0);
                }
                _ => {
                    let size = 512 * (1 + random.below(size / 512));
                    disk.resize(size);
                    model.resize(size as usize, 0);
                }
            }
            assert_eq!(bytes(&disk), model, "step {step}");
            let outside = |at: u64| !disk.extents().iter().any(|extent| (extent.offset..extent.end()).contains(&at));
            assert!((0..disk.size_bytes()).step_by(4096).all(|at| model[at as usize] == 0 || !outside(at)), "step {step}");
        }
    }

    #[test]
    fn holes_and_written_zeros_are_the_same_bytes() {
        let (mut a, b) = (Disk::new(CHUNK_BYTES * 2), Disk::new(CHUNK_BYTES * 2));
        a.write_zeros(Extent::new(0, CHUNK_BYTES));
        assert_eq!(a, b);
        assert_ne!(a.extents(), b.extents());
        a.write(70_000, &[1]);
        assert_eq!(a.difference(&b), Some(70_000));
        assert_eq!(Disk::filled(1000, 0).difference(&Disk::new(2000)), Some(1000));
    }
}

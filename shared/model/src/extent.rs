use serde::{Deserialize, Serialize};

use crate::geometry::CHUNK_BYTES;

/// `{offset, length}` in bytes on one disk; length is never 0. JSON: `[offset, length]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "(u64, u64)", into = "(u64, u64)")]
pub struct Extent {
    /// First byte.
    pub offset: u64,
    /// Number of bytes.
    pub length: u64,
}

impl Extent {
    /// The extent of `length` bytes at `offset`.
    #[must_use]
    pub const fn new(offset: u64, length: u64) -> Self {
        Self { offset, length }
    }

    /// First byte after the extent; saturates, so that a hostile record cannot wrap round.
    #[must_use]
    pub const fn end(self) -> u64 {
        self.offset.saturating_add(self.length)
    }

    /// The part inside `[start, end)`, if any.
    #[must_use]
    pub fn clip(self, start: u64, end: u64) -> Option<Self> {
        let from = self.offset.max(start);
        let to = self.end().min(end);
        (from < to).then(|| Self::new(from, to - from))
    }
}

impl From<(u64, u64)> for Extent {
    fn from((offset, length): (u64, u64)) -> Self {
        Self { offset, length }
    }
}

impl From<Extent> for (u64, u64) {
    fn from(extent: Extent) -> Self {
        (extent.offset, extent.length)
    }
}

/// Sorts extents, widens each to multiples of `unit` bytes (but not past `limit`), and joins those that touch.
#[must_use]
pub fn merge(mut extents: Vec<Extent>, unit: u64, limit: u64) -> Vec<Extent> {
    extents.sort_unstable();
    let mut merged: Vec<Extent> = Vec::with_capacity(extents.len());
    for extent in extents {
        let start = extent.offset / unit * unit;
        let end = extent.end().div_ceil(unit).saturating_mul(unit).min(limit);
        match merged.last_mut() {
            Some(last) if start <= last.end() => last.length = last.length.max(end.saturating_sub(last.offset)),
            _ if start < end => merged.push(Extent::new(start, end - start)),
            _ => {}
        }
    }
    merged
}

/// Most extents of one disk in a plan: with more holes than that a disk is described more coarsely. Some zeros are read then, and the plan
/// stays a few MiB whatever the disk.
pub const EXTENTS_MAX: usize = 1 << 16;

/// Extents of one disk, gathered from its beginning to its end in bounded memory and widened to whole chunks.
#[derive(Debug)]
pub struct ExtentList {
    size_bytes: u64,
    most: usize,
    unit: u64,
    extents: Vec<Extent>,
}

impl ExtentList {
    /// None yet, of a disk of this size; never more than twice `most` are held, and no more than `most` come out.
    #[must_use]
    pub const fn new(size_bytes: u64, most: usize) -> Self {
        Self { size_bytes, most, unit: CHUNK_BYTES, extents: Vec::new() }
    }

    /// Adds one.
    pub fn push(&mut self, extent: Extent) {
        self.extents.push(extent);
        if self.extents.len() >= 2 * self.most {
            self.coarsen();
        }
    }

    /// All of them, sorted and disjoint.
    #[must_use]
    pub fn finish(mut self) -> Vec<Extent> {
        self.coarsen();
        self.extents
    }

    /// Widens extents to whole units, and doubles the unit until few enough are left.
    fn coarsen(&mut self) {
        loop {
            self.extents = merge(std::mem::take(&mut self.extents), self.unit, self.size_bytes);
            if self.extents.len() <= self.most {
                return;
            }
            self.unit *= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merge_widens_joins_and_stays_inside_the_disk() {
        let extents = vec![Extent::new(70_000, 10), Extent::new(0, 1), Extent::new(65_536 * 4, 100_000)];
        assert_eq!(merge(extents, 65_536, 65_536 * 5 + 512), [Extent::new(0, 131_072), Extent::new(262_144, 66_048)]);
        assert_eq!(merge(vec![Extent::new(1 << 20, 5)], 65_536, 1000), []);
    }

    #[test]
    fn clip_keeps_the_common_part() {
        assert_eq!(Extent::new(10, 10).clip(15, 100), Some(Extent::new(15, 5)));
        assert_eq!(Extent::new(10, 10).clip(20, 100), None);
    }
}

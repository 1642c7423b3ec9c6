use std::collections::BTreeMap;

use stillpoint_model::{DiskName, Extent, Mutation, geometry::CHUNK_BYTES, merge};
use stillpoint_ports::Since;

/// A snapshot that changes of a disk can be counted from.
#[derive(Debug, Clone)]
struct Checkpoint {
    name: DiskName,
    size_bytes: u64,
    breaks: u64,
    /// Changes before it.
    changes: u64,
}

/// What a hypervisor remembers of the changes to one disk, until it crashes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tracking {
    /// Changes by their number.
    changes: BTreeMap<u64, Vec<Extent>>,
    next: u64,
    /// Times that changes were lost.
    breaks: u64,
    checkpoints: BTreeMap<Since, Checkpoint>,
}

impl Tracking {
    /// A change was made.
    pub(crate) fn note(&mut self, extents: Vec<Extent>) {
        if !extents.is_empty() {
            self.changes.insert(self.next, extents);
            self.next += 1;
        }
    }

    /// All changes so far are forgotten.
    pub(crate) fn lose(&mut self) {
        self.changes.clear();
        self.breaks += 1;
    }

    /// A snapshot was taken of the disk.
    pub(crate) fn mark(&mut self, snapshot: Since, name: DiskName, size_bytes: u64) {
        self.checkpoints.insert(snapshot, Checkpoint { name, size_bytes, breaks: self.breaks, changes: self.next });
    }

    /// All that has changed since a snapshot of the same disk in the same size, if no change was lost since.
    pub(crate) fn since(&self, snapshot: Since, name: &DiskName, size_bytes: u64) -> Option<Vec<Extent>> {
        let checkpoint = self.checkpoints.get(&snapshot)?;
        let is_unbroken = checkpoint.breaks == self.breaks || Mutation::TrackingTrusted.is_active();
        let is_same = checkpoint.name == *name && checkpoint.size_bytes == size_bytes;
        let changes = || self.changes.range(checkpoint.changes..).flat_map(|(_, extents)| extents).copied().collect();
        (is_unbroken && is_same).then(|| merge(changes(), CHUNK_BYTES, size_bytes))
    }
}

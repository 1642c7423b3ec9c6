//! The new manifest: the parent's, changed by the markers. Pure.

use std::collections::{BTreeMap, HashMap};

use stillpoint_format::{DiskMap, Manifest, MapPage, PackRef, PackUse, PageRef, SampleIndex};
use stillpoint_jobs::{BackupPlan, Marker, PackDelta, PagePlace, Plan, Transferred};
use stillpoint_model::{Error, Result, geometry::page_count};

/// A pack's use while it is being summed up; differences may pass through negative values.
#[derive(Clone, Copy, Default)]
struct Use {
    size_bytes: u64,
    chunks: i64,
    bytes: i64,
    pages: i64,
}

/// A page of the new point, by pack rather than by position.
type Place = (PackRef, PageRef);

/// Builds a manifest step by step.
pub(crate) struct Builder {
    uses: BTreeMap<PackRef, Use>,
    disks: Vec<(DiskMap, Vec<Option<Place>>)>,
    samples: Vec<(u64, (usize, u32))>,
    bits: u8,
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

impl Builder {
    /// The parent's manifest, on the disks of the new point: pages of disks that are gone or beyond a disk's new end are
    /// left out (and returned by [`dropped`] to be counted out).
    pub(crate) fn new(plan: &Plan<BackupPlan>, parent: Option<&Manifest>) -> Self {
        let mut builder = Self { uses: BTreeMap::new(), disks: Vec::new(), samples: Vec::new(), bits: 0 };
        for disk in &plan.detail.snapshot.disks {
            let map = DiskMap { name: disk.name.clone(), size_bytes: disk.size_bytes, pages: Vec::new() };
            builder.disks.push((map, vec![None; page_count(disk.size_bytes) as usize]));
        }
        let Some(parent) = parent else { return builder };
        builder.bits = parent.samples.bits();
        for used in &parent.packs {
            let entry = builder.uses.entry(used.pack.clone()).or_default();
            *entry = Use {
                size_bytes: used.size_bytes,
                chunks: signed(used.live_chunks),
                bytes: signed(used.live_bytes),
                pages: signed(used.live_pages),
            };
        }
        let mut moved = HashMap::new();
        let mut ordinal = 0_u32;
        for map in &parent.disks {
            let position = builder.disks.iter().position(|(disk, _)| disk.name == map.name);
            for (number, page) in (0_u32..).zip(&map.pages) {
                let slot = position.and_then(|position| Some((position, builder.disks[position].1.get_mut(number as usize)?)));
                if let (Some((position, slot)), Some(page)) = (slot, page) {
                    *slot = Some((parent.packs[page.pack as usize].pack.clone(), *page));
                    moved.insert(ordinal, (position, number));
                }
                ordinal += 1;
            }
        }
        let kept = parent.samples.entries().iter().filter_map(|(sample, ordinal)| Some((*sample, *moved.get(ordinal)?)));
        builder.samples.extend(kept);
        builder
    }

    /// Counts out a page of the parent that the new point does not have.
    pub(crate) fn drop_page(&mut self, page: &MapPage) {
        if let Some(own) = page.packs.first() {
            self.uses.entry(own.clone()).or_default().pages -= 1;
        }
        for entry in page.entries.iter().flatten() {
            let (frame, pack) = page.locate(entry);
            let used = self.uses.entry(pack.clone()).or_default();
            used.chunks -= 1;
            used.bytes -= signed(frame.bytes_per_chunk());
        }
    }

    /// Applies all markers.
    pub(crate) fn apply(&mut self, plan: &Plan<BackupPlan>, markers: &[Marker<Transferred>]) -> Result<()> {
        let changed: std::collections::HashSet<(usize, u32)> = markers
            .iter()
            .flat_map(|marker| {
                let disk = usize::from(plan.segments[marker.segment as usize].disk);
                marker.detail.pages.iter().map(move |change| (disk, change.page))
            })
            .collect();
        self.samples.retain(|(_, page)| !changed.contains(page));
        for marker in markers {
            let disk = usize::from(plan.segments[marker.segment as usize].disk);
            self.apply_one(disk, &marker.detail)?;
        }
        Ok(())
    }

    fn apply_one(&mut self, disk: usize, detail: &Transferred) -> Result<()> {
        let corrupt = || Error::corrupt("a marker names no such page or pack");
        for delta in &detail.packs {
            let used = self.uses.entry(pack_ref(delta)).or_default();
            used.size_bytes = delta.size_bytes;
            used.chunks += delta.chunks;
            used.bytes += delta.bytes;
            used.pages += delta.pages;
        }
        for change in &detail.pages {
            let slot = self.disks.get_mut(disk).and_then(|(_, pages)| pages.get_mut(change.page as usize)).ok_or_else(corrupt)?;
            *slot = match &change.place {
                PagePlace::Zero => None,
                PagePlace::At { pack, frame, offset, sealed_bytes, samples } => {
                    self.samples.extend(samples.0.iter().map(|sample| (*sample, (disk, change.page))));
                    let pack = pack_ref(detail.packs.get(*pack as usize).ok_or_else(corrupt)?);
                    Some((pack, PageRef { pack: 0, frame: *frame, offset: *offset, sealed_bytes: *sealed_bytes }))
                }
            };
        }
        Ok(())
    }

    /// The manifest; packs of which nothing is alive, and those to avoid, are left out.
    pub(crate) fn finish(self, avoid: &[String]) -> Result<Manifest> {
        let alive = |used: &Use| used.chunks > 0 || used.pages > 0;
        let count = |value: i64| u64::try_from(value).unwrap_or(0);
        let packs: Vec<PackUse> = self
            .uses
            .into_iter()
            .filter(|(pack, used)| alive(used) && !avoid.iter().any(|name| *name == *pack.name))
            .map(|(pack, used)| PackUse {
                pack,
                size_bytes: used.size_bytes,
                live_chunks: count(used.chunks),
                live_bytes: count(used.bytes),
                live_pages: count(used.pages),
            })
            .collect();
        let positions: HashMap<&PackRef, u32> = packs.iter().map(|used| &used.pack).zip(0_u32..).collect();
        let mut first_ordinals = Vec::new();
        let mut ordinals = 0_u32;
        let mut disks = Vec::with_capacity(self.disks.len());
        for (map, pages) in self.disks {
            first_ordinals.push(ordinals);
            ordinals += pages.len() as u32;
            let place = |place: Option<Place>| match place {
                None => Ok(None),
                Some((pack, page)) => {
                    let pack = *positions
                        .get(&pack)
                        .ok_or_else(|| Error::internal(format!("{} holds a page and is counted as unused", pack.name)))?;
                    Ok(Some(PageRef { pack, ..page }))
                }
            };
            disks.push(DiskMap { pages: pages.into_iter().map(place).collect::<Result<_>>()?, ..map });
        }
        let samples = self.samples.into_iter().map(|(sample, (disk, page))| (sample, first_ordinals[disk] + page)).collect();
        Ok(Manifest { packs, disks, samples: SampleIndex::new(self.bits, samples) })
    }
}

fn pack_ref(delta: &PackDelta) -> PackRef {
    PackRef { name: delta.name.as_str().into(), salt: delta.salt }
}

/// Pages of the parent that the new point has no place for.
pub(crate) fn dropped(plan: &Plan<BackupPlan>, parent: &Manifest) -> Vec<PageRef> {
    let disks = &plan.detail.snapshot.disks;
    let kept =
        |map: &DiskMap| disks.iter().find(|disk| disk.name == map.name).map_or(0, |disk| page_count(disk.size_bytes) as usize);
    parent.disks.iter().flat_map(|map| map.pages.iter().skip(kept(map)).flatten().copied()).collect()
}

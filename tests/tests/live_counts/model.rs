//! A machine that changes, and what its disks should be.

use std::collections::BTreeMap;

use proptest::{prelude::*, sample::Index, test_runner::TestCaseResult};
use stillpoint_format::{Manifest, PageRef};
use stillpoint_jobs::{Job, Outcome};
use stillpoint_model::{
    DiskName, Extent, ItemName, JobState, PointId,
    geometry::{CHUNK_BYTES, page_range},
};
use stillpoint_testkit::{Disk, World};

pub const MIB: u64 = 1 << 20;
/// Most disks that a machine has at a time.
const DISKS_MAX: usize = 4;
/// Three map pages at most.
const DISK_BYTES_MAX: u64 = 80 * MIB;

pub fn machine(name: &str) -> ItemName {
    name.parse().unwrap()
}

/// What may happen to a machine. Disks are chosen by an index among those it has.
#[derive(Debug, Clone)]
pub enum Step {
    /// Noise: new chunks.
    Write(Index, u64, u64, u64),
    /// One of a few known patterns: chunks that may lie elsewhere already.
    Copy(Index, u64, u8),
    Zero(Index, u64, u64),
    Trim(Index, u64, u64),
    Resize(Index, u64),
    Add(u64),
    Remove(Index),
    /// A day passes.
    Backup,
}

pub fn steps() -> impl Strategy<Value = Vec<Step>> {
    let offset = || prop_oneof![Just(0), (0..DISK_BYTES_MAX / 512).prop_map(|sector| sector * 512), 0..DISK_BYTES_MAX];
    let size = || (1..DISK_BYTES_MAX / 512).prop_map(|sectors| sectors * 512);
    let disk = any::<Index>;
    let step = prop_oneof![
        4 => (disk(), offset(), 1..400_000_u64, any::<u64>()).prop_map(|(d, at, length, seed)| Step::Write(d, at, length, seed)),
        3 => (disk(), offset(), 0..6_u8).prop_map(|(d, at, pattern)| Step::Copy(d, at, pattern)),
        2 => (disk(), offset(), 1..3 * MIB).prop_map(|(d, at, length)| Step::Zero(d, at, length)),
        2 => (disk(), offset(), 1..40 * MIB).prop_map(|(d, at, length)| Step::Trim(d, at, length)),
        2 => (disk(), size()).prop_map(|(d, size)| Step::Resize(d, size)),
        1 => size().prop_map(Step::Add),
        1 => disk().prop_map(Step::Remove),
        5 => Just(Step::Backup),
    ];
    proptest::collection::vec(step, 8..40)
}

/// A machine and what its disks should be.
pub struct Machine {
    pub world: World,
    pub item: ItemName,
    pub disks: BTreeMap<DiskName, Disk>,
    added: u32,
    pub points: Vec<(PointId, BTreeMap<DiskName, Disk>, Manifest)>,
}

impl Machine {
    pub async fn new(seed: u64) -> Self {
        let world = World::new(seed).await.unwrap();
        let mut machine = Self { world, item: machine("web-01"), disks: BTreeMap::new(), added: 0, points: Vec::new() };
        machine.add(40 * MIB + 512);
        machine
    }

    fn add(&mut self, size_bytes: u64) {
        if self.disks.len() < DISKS_MAX {
            self.added += 1;
            self.disks.insert(format!("disk-{}", self.added).parse().unwrap(), Disk::new(size_bytes));
        }
    }

    pub fn step(&mut self, step: &Step) {
        let chosen = |index: &Index, disks: &BTreeMap<DiskName, Disk>| disks.keys().nth(index.index(disks.len())).cloned();
        let mut on = |index: &Index, change: &dyn Fn(&mut Disk)| {
            let name = chosen(index, &self.disks).unwrap();
            change(self.disks.get_mut(&name).unwrap());
        };
        match step {
            Step::Write(disk, at, length, seed) => on(disk, &|disk| disk.write_noise(Extent::new(*at, *length), *seed)),
            Step::Copy(disk, at, pattern) => {
                let mut template = Disk::new(32 * CHUNK_BYTES);
                template.write_noise(Extent::new(0, 32 * CHUNK_BYTES), 77 + u64::from(*pattern));
                let mut bytes = vec![0; (32 * CHUNK_BYTES) as usize];
                template.read(0, &mut bytes);
                on(disk, &|disk| disk.write(at / CHUNK_BYTES * CHUNK_BYTES, &bytes));
            }
            Step::Zero(disk, at, length) => on(disk, &|disk| disk.write_zeros(Extent::new(*at, *length))),
            Step::Trim(disk, at, length) => on(disk, &|disk| disk.trim(Extent::new(*at, *length))),
            Step::Resize(disk, size) => on(disk, &|disk| disk.resize(*size)),
            Step::Add(size) => self.add(*size),
            Step::Remove(index) if self.disks.len() > 1 => {
                let name = chosen(index, &self.disks).unwrap();
                self.disks.remove(&name);
            }
            Step::Remove(_) | Step::Backup => {}
        }
    }

    pub async fn back_up(&mut self) -> Outcome {
        let names: Vec<DiskName> = self.disks.keys().cloned().collect();
        for (name, disk) in &self.disks {
            self.world.platform.put(&format!("{}/{name}", self.item), disk.clone());
        }
        self.world.protect(&self.item, &names).await.unwrap();
        let job = self.world.backup(&self.item).await.unwrap();
        let outcome = completed(&job);
        let id = outcome.point.unwrap();
        let point = self.world.vault().point(&self.item, id).await.unwrap();
        let manifest = self.world.vault().manifest(&point).await.unwrap();
        self.points.push((id, self.disks.clone(), manifest));
        outcome
    }

    /// Every point is what the disks were, whatever came after it.
    pub async fn assert_points_restore(&self) -> TestCaseResult {
        for (number, (id, disks, _)) in self.points.iter().enumerate() {
            let back = self.world.read_back(&self.item, *id).await.unwrap();
            prop_assert!(back.keys().eq(disks.keys()), "point {number} has other disks");
            for (name, disk) in disks {
                prop_assert_eq!(disk.difference(&back[name]), None, "point {} disk {}", number, name);
            }
        }
        Ok(())
    }

    /// The newest point shares a page with the one before if and only if its bytes did not change, or had to move out of a pack that the
    /// one before hardly needed; what is all zeros has none.
    pub fn assert_copy_on_write(&self) -> TestCaseResult {
        let Some((_, now, manifest)) = self.points.last() else { return Ok(()) };
        for (name, disk) in now {
            for (number, place) in places(manifest, name).into_iter().enumerate() {
                let page = page_of(disk, number as u32);
                prop_assert_eq!(place.is_none(), page.is_zero(), "disk {} page {}", name, number);
                let [.., (_, before, earlier), _] = &self.points[..] else { continue };
                let Some(old) = before.get(name).filter(|old| page_range(number as u32, old.size_bytes()).0 < old.size_bytes())
                else {
                    continue;
                };
                // A page of another length is another page, unless there is nothing in either.
                let was = page_of(old, number as u32);
                let same = was == page || was.is_zero() && page.is_zero();
                let shared = places(earlier, name)[number] == place;
                let may_move = same && has_thin_pack(earlier);
                let last = self.points.len() - 1;
                prop_assert!(same == shared || may_move, "disk {} page {} of point {}: {} {}", name, number, last, same, shared);
            }
        }
        Ok(())
    }
}

fn completed(job: &Job) -> Outcome {
    assert_eq!(job.state(), JobState::Completed, "{:?}", job.newest);
    job.newest.outcome.clone().unwrap()
}

/// What a page of disk holds, in whole chunks: the last one of a disk is filled up with zeros.
fn page_of(disk: &Disk, number: u32) -> Disk {
    let (start, end) = page_range(number, disk.size_bytes());
    disk.part(Extent::new(start, (end - start).next_multiple_of(CHUNK_BYTES)))
}

/// Where the pages of a disk lie, by the names of packs.
fn places(manifest: &Manifest, name: &DiskName) -> Vec<Option<(String, u32)>> {
    let map = manifest.disks.iter().find(|map| map.name == *name).unwrap();
    let place = |page: &PageRef| (manifest.packs[page.pack as usize].pack.name.to_string(), page.frame);
    map.pages.iter().map(|page| page.as_ref().map(place)).collect()
}

/// Whether a pack is worth storing again (decision 0010): at least 256 KiB, of which the point needs less than a quarter.
fn has_thin_pack(manifest: &Manifest) -> bool {
    let pages: Vec<&PageRef> = manifest.disks.iter().flat_map(|disk| disk.pages.iter().flatten()).collect();
    (0_u32..).zip(&manifest.packs).any(|(place, used)| {
        let of_pages: u64 = pages.iter().filter(|page| page.pack == place).map(|page| u64::from(page.sealed_bytes)).sum();
        used.size_bytes >= 256 << 10 && (used.live_bytes + of_pages) * 4 < used.size_bytes
    })
}

/// Chunks, bytes and pages that are alive in each pack, counted from the pages themselves.
async fn recount(world: &World, manifest: &Manifest) -> BTreeMap<String, (u64, u64, u64)> {
    let refs: Vec<PageRef> = manifest.disks.iter().flat_map(|disk| disk.pages.iter().flatten().copied()).collect();
    let mut counts = BTreeMap::<String, (u64, u64, u64)>::new();
    for page in world.vault().pages(&manifest.packs, &refs).await {
        let page = page.unwrap();
        counts.entry(page.packs[0].name.to_string()).or_default().2 += 1;
        for entry in page.entries.iter().flatten() {
            let (frame, pack) = page.locate(entry);
            let count = counts.entry(pack.name.to_string()).or_default();
            count.0 += 1;
            count.1 += frame.bytes_per_chunk();
        }
    }
    counts
}

pub async fn assert_counts(world: &World, manifest: &Manifest) -> TestCaseResult {
    let said: BTreeMap<String, (u64, u64, u64)> = manifest
        .packs
        .iter()
        .map(|used| (used.pack.name.to_string(), (used.live_chunks, used.live_bytes, used.live_pages)))
        .collect();
    prop_assert_eq!(said, recount(world, manifest).await, "the manifest's counts, left, are not those of its pages");
    Ok(())
}

/// The disks of an installed system: two pages full of noise, and a little in a third.
pub async fn installed(seed: u64) -> Machine {
    let mut machine = Machine::new(seed).await;
    let disk = machine.disks.values_mut().next().unwrap();
    disk.resize(70 * MIB);
    disk.write_noise(Extent::new(MIB, 12 * MIB), 5);
    disk.write_noise(Extent::new(33 * MIB, 12 * MIB), 6);
    disk.write_noise(Extent::new(65 * MIB, 4 * MIB), 7);
    machine.back_up().await;
    machine
}

/// Runs steps on a new machine; after each backup the newest manifest is recounted, and in the end every point is restored.
pub async fn live(steps: Vec<Step>, seed: u64) -> TestCaseResult {
    let mut machine = Machine::new(seed).await;
    for step in steps.iter().chain([&Step::Backup]) {
        machine.step(step);
        if matches!(step, Step::Backup) {
            machine.back_up().await;
            let (_, _, manifest) = machine.points.last().unwrap();
            assert_counts(&machine.world, manifest).await?;
            machine.assert_copy_on_write()?;
        }
    }
    machine.assert_points_restore().await?;
    prop_assert_eq!(machine.world.leftovers().await.unwrap(), [""; 0]);
    Ok(())
}

/// Runs one case on this thread.
pub fn run(case: impl Future<Output = TestCaseResult>) -> TestCaseResult {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(case)
}

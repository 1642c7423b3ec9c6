//! A vault with some machines, what a day does to them, and what must be in it.

use std::collections::{BTreeMap, BTreeSet};

use stillpoint_jobs::{Job, Operation};
use stillpoint_model::{Extent, ItemName, JobState, MarkKind, PointId};
use stillpoint_testkit::{Disk, World};
use stillpoint_vault::{Mark, Name};

pub const MIB: u64 = 1 << 20;
const DAY_MS: i64 = 86_400_000;
/// For how long deleted points can be undeleted here.
pub const UNDELETE_DAYS: i64 = 14;

pub fn machine() -> ItemName {
    "web-01".parse().unwrap()
}

/// Adds a machine with one disk of 4 MiB.
pub async fn add_machine(world: &World, name: &str, seed: u64) -> ItemName {
    let mut os = Disk::new(4 * MIB);
    os.write_noise(Extent::new(0, MIB), seed);
    world.platform.put(&format!("{name}/os"), os);
    let item = name.parse().unwrap();
    world.protect(&item, &["os".parse().unwrap()]).await.unwrap();
    item
}

/// A world with an empty vault and one machine.
pub async fn world(seed: u64) -> World {
    let world = World::new(seed).await.unwrap();
    add_machine(&world, "web-01", seed).await;
    world
}

/// A world whose machine has `points` points, one a day.
pub async fn world_with_points(seed: u64, points: u64) -> (World, Vec<PointId>) {
    let world = world(seed).await;
    let mut ids = Vec::new();
    for day in 0..points {
        ids.push(next_day(&world, &machine(), seed + 1 + day).await);
    }
    (world.restart().await.unwrap(), ids)
}

pub fn pass_days(world: &World, days: i64) {
    world.clock.jump(days * DAY_MS);
}

/// A day passes, in which a fifth of the data changes, by turns one or another, and a backup is made.
pub async fn next_day(world: &World, item: &ItemName, seed: u64) -> PointId {
    pass_days(world, 1);
    world.platform.change(&format!("{item}/os"), |os| {
        os.write_noise(Extent::new((seed % 2) * 400_000, 200_000), seed);
    });
    let job = world.backup(item).await.unwrap();
    assert_eq!(job.state(), JobState::Completed, "{:?}", job.newest);
    job.newest.outcome.and_then(|outcome| outcome.point).unwrap()
}

/// Writes a mark on a point, as `prune` or an operator does.
pub async fn mark(world: &World, item: &ItemName, id: PointId, mark: MarkKind) {
    let entry = world.vault().point_entry(item, id).await.unwrap();
    let now = world.clock.fork();
    let mut body = Mark::new(mark, stillpoint_ports::Clock::now(&now), "operator", "the test says so");
    if mark == MarkKind::Deleted {
        now.jump(UNDELETE_DAYS * DAY_MS);
        body.until = Some(stillpoint_ports::Clock::now(&now));
    }
    world.vault().mark(item, &entry, &body).await.unwrap();
}

/// Deletes points softly.
pub async fn bury(world: &World, item: &ItemName, ids: &[PointId]) {
    for id in ids {
        mark(world, item, *id, MarkKind::Deleted).await;
    }
}

/// Runs `collect` and returns its ended job.
pub async fn collect_job(world: &World) -> Job {
    world.task(Operation::Collect).await.unwrap()
}

pub type Counts = BTreeMap<String, u64>;

/// Runs `collect`, which has nothing to complain about, and returns what it did.
pub async fn collect(world: &World) -> Counts {
    let job = collect_job(world).await;
    assert_eq!(job.state(), JobState::Completed, "{:?}", job.newest);
    job.newest.outcome.unwrap().counts
}

pub async fn committed(world: &World, item: &ItemName) -> Vec<PointId> {
    world.vault().afresh().point_ids(item).await.unwrap()
}

/// Names of all packs.
pub async fn packs(world: &World) -> BTreeSet<String> {
    let names = world.content.names().await.unwrap();
    names.into_iter().filter(|name| matches!(name.parse(), Ok(Name::Pack { .. }))).collect()
}

/// What the points that are there need: found by reading whole manifests, which `collect` does not.
pub async fn needed(world: &World) -> BTreeSet<String> {
    let vault = world.vault().afresh();
    let mut needed = BTreeSet::new();
    for item in vault.store().list_folder(Name::POINTS).await.unwrap().folders {
        let item: ItemName = item.parse().unwrap();
        for listing in vault.points(&item).await.unwrap() {
            let point = listing.point.unwrap();
            let manifest = vault.manifest(&point).await.unwrap();
            needed.extend(manifest.packs.iter().map(|used| used.pack.name.to_string()));
            needed.extend([point.manifest.name.clone(), Name::Point(item.clone(), point.id).to_string()]);
        }
    }
    needed
}

/// Packs, manifests and commits that are there.
pub async fn present(world: &World) -> BTreeSet<String> {
    let is_data = |name: &String| matches!(name.parse(), Ok(Name::Pack { .. } | Name::Manifest(..) | Name::Point(..)));
    world.content.names().await.unwrap().into_iter().filter(is_data).collect()
}

/// Asserts that exactly what is needed is there.
pub async fn assert_clean(world: &World, when: &str) {
    let (present, needed) = (present(world).await, needed(world).await);
    let litter: Vec<_> = present.difference(&needed).collect();
    let lost: Vec<_> = needed.difference(&present).collect();
    assert!(litter.is_empty() && lost.is_empty(), "{when}: litter {litter:?}, lost {lost:?}");
}

/// Asserts that nothing is under way and that every point is what its snapshot was.
pub async fn assert_sound(world: &World, items: &[ItemName], when: &str) {
    assert_eq!(world.leftovers().await.unwrap(), [""; 0], "{when}");
    for item in items {
        assert_eq!(world.wrong_points(item).await.unwrap(), [""; 0], "{when}");
    }
}

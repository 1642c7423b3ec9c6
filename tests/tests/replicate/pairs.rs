//! Two vaults.

use stillpoint_jobs::{Job, Operation};
use stillpoint_model::{JobState, PointId};
use stillpoint_testkit::World;
use stillpoint_vault::{PointEntry, Wanted};

use crate::machine::{a_day_passes, machine, world_with_a_point};

pub const DAY_MS: i64 = 86_400_000;

pub fn within_an_hour() -> Wanted {
    Wanted { target_seconds: 3600, retention: None }
}

/// A vault with so many points, each of another day, and its empty replica.
pub async fn pair(seed: u64, points: u64) -> (World, World) {
    let primary = world_with_a_point(seed).await;
    for day in 1..points {
        next_day(&primary, seed + 1000 * day).await;
    }
    let replica = primary.pair(within_an_hour()).await.unwrap();
    (primary, replica)
}

/// A backup, and what the guest does after it.
pub async fn next_day(world: &World, seed: u64) -> Job {
    let job = world.backup(&machine()).await.unwrap();
    assert_eq!(job.state(), JobState::Completed, "{:?}", job.newest);
    a_day_passes(world, seed);
    world.clock.jump(DAY_MS);
    job
}

/// Copies what is missing, by one job.
pub async fn replicate(replica: &World) -> Job {
    replica.task(Operation::Replicate { item: None, records: true }).await.unwrap()
}

/// Copies all that is missing, and expects no trouble.
pub async fn replicate_all(replica: &World) -> Job {
    let job = replicate(replica).await;
    assert_eq!(job.state(), JobState::Completed, "{:?}", job.newest);
    job
}

pub fn count(job: &Job, name: &str) -> u64 {
    job.newest.outcome.as_ref().unwrap_or_else(|| panic!("{:?}", job.newest)).counts[name]
}

pub async fn points(world: &World) -> Vec<PointId> {
    world.vault().point_ids(&machine()).await.unwrap()
}

pub async fn entry(world: &World, point: PointId) -> PointEntry {
    world.vault().point_entry(&machine(), point).await.unwrap()
}

/// Names under `folder` that the world's vault has.
pub async fn names(world: &World, folder: &str) -> Vec<String> {
    let all = world.content.names().await.unwrap();
    all.into_iter().filter(|name| name.starts_with(folder)).collect()
}

/// Bytes of all packs of the world's vault.
pub async fn pack_bytes(world: &World) -> u64 {
    let mut sum = 0;
    for name in names(world, "packs/").await {
        sum += world.content.bytes(&name).await.unwrap().len() as u64;
    }
    sum
}

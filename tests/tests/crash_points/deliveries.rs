//! Events come twice, late, in any order, or not at all.

use std::collections::BTreeMap;

use stillpoint_model::JobState;
use stillpoint_testkit::{Manners, World};

use crate::{
    machine::{assert_sound, machine, world_with_a_point},
    progress::point_of,
};

const BAD_MANNERS: [Manners; 4] = [
    Manners { twice: false, two_snapshots: false, again_at_the_end: false, lost_percent: 0 },
    Manners { twice: true, two_snapshots: false, again_at_the_end: true, lost_percent: 0 },
    Manners { twice: false, two_snapshots: false, again_at_the_end: true, lost_percent: 40 },
    Manners { twice: true, two_snapshots: false, again_at_the_end: true, lost_percent: 60 },
];

/// What a job left in its ledger: (number, state) of each record, without its time.
async fn ledger(world: &World) -> Vec<String> {
    let names = world.content.names().await.unwrap();
    names.into_iter().filter(|name| name.starts_with("jobs/") && name.ends_with(".json")).collect()
}

#[tokio::test]
async fn a_backup_is_the_same_however_its_events_come() {
    let base = world_with_a_point(11_000).await;
    let usual = base.fork().await.unwrap();
    let wanted = usual.read_back(&machine(), point_of(&usual.backup(&machine()).await.unwrap())).await.unwrap();
    drop(usual);
    for (seed, manners) in (0..40).zip(BAD_MANNERS.into_iter().cycle()) {
        let world = base.fork().await.unwrap();
        let when = format!("seed {seed}, {manners:?}");
        let job = world.backup_by(&machine(), seed, manners).await.unwrap_or_else(|error| panic!("{when}: {}", error.one_line()));
        assert_eq!(job.state(), JobState::Completed, "{when}: {:?}", job.newest.reason);
        assert_eq!(world.vault().point_ids(&machine()).await.unwrap().len(), 2, "{when}: one job makes one point");
        let ended = ledger(&world).await.into_iter().filter(|name| name.contains(&format!("{}/", job.id)));
        assert_eq!(ended.filter(|name| name.ends_with("-completed.json")).count(), 1, "{when}: a job ends once");
        let found: BTreeMap<_, _> = world.read_back(&machine(), point_of(&job)).await.unwrap();
        assert!(found == wanted, "{when}: the point is another");
        assert_sound(&world, &when).await;
    }
}

#[tokio::test]
async fn a_restore_is_the_same_however_its_events_come() {
    let base = world_with_a_point(12_000).await;
    let backup = base.backup(&machine()).await.unwrap();
    let (_, taken) = base.platform.taken(backup.id).unwrap();
    for (seed, manners) in (0..40).zip(BAD_MANNERS.into_iter().cycle()) {
        let world = base.fork().await.unwrap();
        let when = format!("seed {seed}, {manners:?}");
        let restored = world.restore_by(&machine(), point_of(&backup), "here", seed, manners).await;
        let job = restored.unwrap_or_else(|error| panic!("{when}: {}", error.one_line()));
        assert_eq!(job.state(), JobState::Completed, "{when}: {:?}", job.newest.reason);
        for (name, disk) in &taken {
            let found = world.target.take(&format!("here/{name}")).unwrap();
            assert_eq!(found.difference(disk), None, "{when}: disk {name}");
        }
        assert_eq!(world.leftovers().await.unwrap(), [""; 0], "{when}");
    }
}

/// Two processes handle one request at once: the second snapshot replaces the first, and the plan may be the first one's. Then
/// the job fails and says so; no point is ever made of the one's extents and the other's bytes.
#[tokio::test]
async fn two_snapshots_of_one_job_never_mix() {
    let base = world_with_a_point(13_000).await;
    let manners = Manners { twice: true, two_snapshots: true, again_at_the_end: true, lost_percent: 0 };
    for seed in 0..20 {
        let world = base.fork().await.unwrap();
        let job = world.backup_by(&machine(), seed, manners).await.unwrap();
        let reason = job.newest.reason.clone().unwrap_or_default();
        assert!(job.state() == JobState::Completed || reason.contains("taken anew"), "seed {seed}: {:?}", job.newest);
        let points = world.vault().point_ids(&machine()).await.unwrap().len();
        assert_eq!(points, if job.state() == JobState::Completed { 2 } else { 1 }, "seed {seed}");
        assert_eq!(world.leftovers().await.unwrap(), [""; 0], "seed {seed}");
        assert_eq!(world.backup(&machine()).await.unwrap().state(), JobState::Completed, "seed {seed}");
        assert_sound(&world, &format!("seed {seed}")).await;
    }
}

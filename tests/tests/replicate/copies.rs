//! What is copied, and what it takes.

use stillpoint_jobs::Operation;
use stillpoint_model::{ErrorKind, JobState, MarkKind};
use stillpoint_ports::Clock as _;
use stillpoint_vault::{Mark, Wanted};

use crate::{
    machine::{assert_sound, machine},
    pairs::*,
};

#[tokio::test]
async fn a_vault_with_history_is_whole_in_its_replica_when_the_primary_is_gone() {
    let (primary, replica) = pair(50_000, 3).await;
    assert!(points(&replica).await.is_empty());
    let job = replicate_all(&replica).await;
    assert_eq!((count(&job, "points"), count(&job, "points_left")), (3, 0));
    assert_eq!(points(&replica).await, points(&primary).await);
    for folder in ["packs/", "keys/", "items/", "points/"] {
        for name in names(&primary, folder).await {
            assert_eq!(primary.content.bytes(&name).await.unwrap(), replica.content.bytes(&name).await.unwrap(), "{name}");
        }
    }
    assert_eq!(count(&job, "moved_bytes"), pack_bytes(&primary).await, "what is stored is what was moved");
    replica.lose(&primary);
    assert_sound(&replica.restart().await.unwrap(), "without the primary").await;
}

#[tokio::test]
async fn a_days_increment_takes_two_requests_for_each_pack_and_twenty() {
    let (primary, replica) = pair(50_100, 2).await;
    replicate_all(&replica).await;
    next_day(&primary, 50_190).await;
    let replica = replica.restart().await.unwrap();
    let before = pack_bytes(&replica).await;
    primary.store.reset();
    replica.reach(&primary);
    replica.store.reset();
    // As the timer asks for it.
    let job = replica.task(Operation::Replicate { item: None, records: false }).await.unwrap();
    let calls = [replica.store.calls(), primary.store.calls()];
    let (packs, moved) = (count(&job, "packs"), count(&job, "moved_bytes"));
    assert_eq!(moved, pack_bytes(&replica).await - before);
    // The last is the test's own look at how the job ended.
    let requests = calls.iter().map(Vec::len).sum::<usize>() as u64 - 1;
    assert!(requests <= 2 * packs + 20, "{packs} packs in {requests} requests: {calls:#?}");
}

#[tokio::test]
async fn nothing_is_copied_twice() {
    let (_, replica) = pair(50_200, 2).await;
    replicate_all(&replica).await;
    let before = replica.content.names().await.unwrap();
    let job = replicate_all(&replica).await;
    assert_eq!(["points", "packs", "moved_bytes", "records"].map(|name| count(&job, name)), [0; 4]);
    let new = replica.content.names().await.unwrap().into_iter().filter(|name| !before.contains(name));
    assert!(new.into_iter().all(|name| name.starts_with("jobs/")));
}

#[tokio::test]
async fn a_point_that_the_primary_lost_part_of_does_not_keep_the_others() {
    let (primary, replica) = pair(50_300, 3).await;
    let newest = *points(&primary).await.last().unwrap();
    let job = primary.vault().point(&machine(), newest).await.unwrap().job;
    let own = names(&primary, "packs/").await.into_iter().find(|name| name.contains(&job.to_string())).unwrap();
    primary.content.remove(&own).await.unwrap();
    let job = replicate(&replica).await;
    assert_eq!(job.state(), JobState::CompletedWithWarnings);
    let warnings = job.newest.outcome.unwrap().warnings;
    assert!(warnings.iter().any(|warning| warning.contains(&own)), "{warnings:?}");
    let found = points(&replica).await;
    assert!(found.len() == 2 && !found.contains(&newest), "{found:?}");
    assert_sound(&replica, "beside a point that is lost").await;
}

#[tokio::test]
async fn holds_go_along_and_are_released_with_those_of_the_primary() {
    let (primary, replica) = pair(50_400, 2).await;
    let [first, second] = points(&primary).await[..] else { panic!("two points") };
    let mark = |kind| Mark::new(kind, primary.clock.now(), "operator", "evidence");
    let write = |world, point, kind| {
        let mark = mark(kind);
        async move { mark_point(world, point, &mark).await }
    };
    replicate_all(&replica).await;
    write(&primary, first, MarkKind::Held).await;
    write(&replica, second, MarkKind::Held).await;
    replicate_all(&replica).await;
    assert!(entry(&replica, first).await.held().is_some());
    write(&primary, first, MarkKind::Released).await;
    replicate_all(&replica).await;
    assert!(entry(&replica, first).await.held().is_none());
    assert!(entry(&replica, second).await.held().is_some(), "what the replica's operator holds is his");
}

async fn mark_point(world: &stillpoint_testkit::World, point: stillpoint_model::PointId, mark: &Mark) {
    let entry = entry(world, point).await;
    world.vault().mark(&machine(), &entry, mark).await.unwrap();
}

#[tokio::test]
async fn a_place_that_holds_something_else_is_no_replica() {
    let (primary, replica) = pair(50_500, 1).await;
    let other = stillpoint_testkit::World::new(50_600).await.unwrap();
    let wanted = Wanted { target_seconds: 60, retention: None };
    let store = |world: &stillpoint_testkit::World| world.vault().store().clone();
    let refused = |outcome: stillpoint_model::Result<_>| outcome.err().map(|error| error.kind());
    let into_other = primary.vault().pair(store(&other), "memory:///other", "memory:///", wanted.clone()).await;
    assert_eq!(refused(into_other), Some(ErrorKind::Conflict));
    let into_itself = primary.vault().pair(store(&primary), "memory:///", "memory:///", wanted.clone()).await;
    assert_eq!(refused(into_itself), Some(ErrorKind::Conflict));
    let of_replica = replica.vault().pair(store(&other), "memory:///other", "memory:///replica", wanted.clone()).await;
    assert_eq!(refused(of_replica), Some(ErrorKind::Denied));
    // With another target, it is the same pair.
    primary.vault().pair(store(&replica), "memory:///replica", "memory:///", wanted).await.unwrap();
    replicate_all(&replica).await;
    let backup = replica.backup(&machine()).await.unwrap_err();
    assert_eq!(backup.kind(), ErrorKind::Denied, "{}", backup.one_line());
}

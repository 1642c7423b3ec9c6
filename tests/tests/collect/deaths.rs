//! A process dies at its first, second, … last call of `collect`, and the next one goes on.

use stillpoint_events::Outgoing;
use stillpoint_jobs::Operation;
use stillpoint_model::{JobState, PointId};
use stillpoint_testkit::{CallKind, Fault, World};

use crate::vaults::*;

/// More calls than a run makes here.
const CALLS_MAX: usize = 500;

/// Lets a backup die in its middle and gives it up: packs without a point, and a manifest where it came so far.
async fn leave_orphans(world: &World, dies_at: impl Fn(&str) -> bool) -> World {
    let trial = world.fork().await.unwrap();
    trial.backup(&machine()).await.unwrap();
    let calls = trial.store.calls();
    let last = calls.iter().rposition(|call| call.kind == CallKind::Put && dies_at(&call.name)).unwrap();
    world.store.reset();
    world.store.fault(last + 1, Fault::KillAfter);
    assert!(world.store.until_death(world.backup(&machine())).await.is_none());
    let next = world.restart().await.unwrap();
    let job = next.engine.unfinished().await.unwrap()[0];
    if let Ok(event) = next.engine.stop(job, JobState::Cancelled, "the test gives it up").await {
        let event: Outgoing = event;
        assert_eq!(next.run(&[job], vec![event], Vec::new()).await.unwrap()[0].state(), JobState::Cancelled);
    } else {
        assert_eq!(next.take_on().await.unwrap()[0].state(), JobState::Completed);
    }
    next
}

/// A world with something of each kind to collect, the ids of points that stay, and whether the first run was there already.
async fn littered(seed: u64, is_condemned: bool) -> (World, Vec<PointId>) {
    let (world, ids) = world_with_points(seed, 6).await;
    bury(&world, &machine(), &ids[..4]).await;
    pass_days(&world, UNDELETE_DAYS + 1);
    world.platform.change("web-01/os", |os| os.write_noise(stillpoint_model::Extent::new(MIB, 300_000), seed + 50));
    let world = leave_orphans(&world, |name| name.starts_with("packs/")).await;
    let world = leave_orphans(&world, |name| name.contains("/manifest-")).await;
    if is_condemned {
        let counts = collect(&world).await;
        assert_eq!(counts["points_condemned"], 4);
    }
    let left = committed(&world, &machine()).await.into_iter().filter(|id| !ids[..4].contains(id)).collect();
    (world.restart().await.unwrap(), left)
}

#[tokio::test]
async fn orphans_of_killed_jobs_and_manifests_of_dead_attempts_go() {
    let (world, left) = littered(1000, false).await;
    let first = collect(&world).await;
    assert!(first["objects_condemned"] >= 3, "{first:?}");
    let second = collect(&world).await;
    assert!(second["objects_deleted"] > first["objects_condemned"], "points too: {second:?}");
    assert_eq!(committed(&world, &machine()).await, left);
    assert_clean(&world, "after two runs").await;
    assert_sound(&world, &[machine()], "after two runs").await;
}

/// Lets `collect` die at every call; returns how many calls it makes.
async fn dies_everywhere(base: (World, Vec<PointId>), fault: Fault) -> usize {
    let (base, left) = base;
    for number in 1..CALLS_MAX {
        let first = base.fork().await.unwrap();
        first.store.fault(number, fault);
        let ended = first.store.until_death(first.task(Operation::Collect)).await;
        let is_over = ended.is_some();
        if let Some(job) = ended {
            assert_eq!(job.unwrap().state(), JobState::Completed);
        }
        let when = format!("{fault:?} at call {number}, {:?}", first.store.calls().get(number - 1));
        let world = first.restart().await.unwrap();
        // What stays is whole at every moment; condemned points may refuse.
        let wrong = world.wrong_points(&machine()).await.unwrap();
        let wrong: Vec<_> = wrong.iter().filter(|wrong| left.iter().any(|id| wrong.contains(&id.to_string()))).collect();
        assert!(wrong.is_empty(), "{when}: {wrong:?}");
        for job in world.take_on().await.unwrap() {
            assert_eq!(job.state(), JobState::Completed, "{when}: {:?}", job.newest.reason);
        }
        let new = world.backup(&machine()).await.unwrap();
        assert_eq!(new.state(), JobState::Completed, "{when}: {:?}", new.newest);
        let new = new.newest.outcome.unwrap().point.unwrap();
        for _ in 0..3 {
            collect(&world).await;
        }
        assert_eq!(committed(&world, &machine()).await, [left.as_slice(), &[new]].concat(), "{when}");
        assert_clean(&world, &when).await;
        assert_sound(&world, &[machine()], &when).await;
        if is_over {
            return number - 1;
        }
    }
    panic!("a run makes more than {CALLS_MAX} calls");
}

#[tokio::test]
async fn the_run_that_condemns_dies_before_each_call() {
    let calls = dies_everywhere(littered(2000, false).await, Fault::KillBefore).await;
    assert!(calls > 20, "{calls}");
}

#[tokio::test]
async fn the_run_that_condemns_dies_after_each_call() {
    let calls = dies_everywhere(littered(3000, false).await, Fault::KillAfter).await;
    assert!(calls > 20, "{calls}");
}

#[tokio::test]
async fn the_run_that_frees_and_deletes_dies_before_each_call() {
    let calls = dies_everywhere(littered(4000, true).await, Fault::KillBefore).await;
    assert!(calls > 50, "{calls}");
}

#[tokio::test]
async fn the_run_that_frees_and_deletes_dies_after_each_call() {
    let calls = dies_everywhere(littered(5000, true).await, Fault::KillAfter).await;
    assert!(calls > 50, "{calls}");
}

#[tokio::test]
async fn a_listing_that_fails_ends_the_run_before_anything_is_deleted() {
    let (base, _) = littered(6000, true).await;
    let clean = base.fork().await.unwrap();
    collect(&clean).await;
    let calls = clean.store.calls();
    let deletes = calls.iter().position(|call| call.kind == CallKind::Delete).unwrap();
    let lists: Vec<usize> = (0..deletes).filter(|place| calls[*place].kind == CallKind::List).collect();
    assert!(lists.len() >= 4, "{calls:?}");
    for place in lists {
        let world = base.fork().await.unwrap();
        let before = present(&world).await;
        // The process is gone before the job is tried again, or the second try would find the store in order.
        world.store.fault(place + 1, Fault::ErrorBefore);
        world.store.fault(place + 2, Fault::KillBefore);
        assert!(world.store.until_death(world.task(Operation::Collect)).await.is_none(), "call {place}");
        assert!(world.store.calls().iter().all(|call| call.kind != CallKind::Delete), "call {place}: {:?}", calls[place]);
        assert_eq!(present(&world).await, before, "call {place}: {:?}", calls[place]);
    }
}

#[tokio::test]
async fn calls_that_fail_or_lose_their_answers_do_no_harm() {
    let (base, left) = littered(7000, true).await;
    let clean = base.fork().await.unwrap();
    collect(&clean).await;
    for number in 1..=clean.store.calls().len() {
        for fault in [Fault::ErrorBefore, Fault::ErrorAfter, Fault::MetItself, Fault::ShortRead, Fault::FlippedRead] {
            let world = base.fork().await.unwrap();
            world.store.fault(number, fault);
            let when = format!("{fault:?} at call {number}");
            drop(world.task(Operation::Collect).await);
            let world = world.restart().await.unwrap();
            world.take_on().await.unwrap();
            for _ in 0..3 {
                collect(&world).await;
            }
            assert_eq!(committed(&world, &machine()).await, left, "{when}");
            assert_clean(&world, &when).await;
        }
    }
}

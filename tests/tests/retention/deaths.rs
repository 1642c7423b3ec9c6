//! A process dies at its first, second, … last call to the store while it prunes, and two prune at once.

use serde_json::json;
use stillpoint_model::{AlarmKind, JobState, MarkKind};
use stillpoint_testkit::Fault;

use crate::{
    alarms::rung,
    estate::{DAY_MS, Estate, count},
};

/// More calls than the job makes: a loop that never ends is a failure too.
const CALLS_MAX: usize = 500;

/// Two machines of which a few points go, one of them without a young point.
async fn estate(seed: u64) -> Estate {
    let estate = Estate::new(seed, 2, json!({ "daily": 3 }), json!([{ "daily": "06:00" }])).await;
    estate.commit_each(DAY_MS, 5).await;
    for _ in 0..2 {
        estate.pass(DAY_MS);
        estate.commit(&estate.machines[0], None).await;
    }
    estate.pass(DAY_MS);
    estate.restart().await
}

/// Asserts that what was to go has gone, once, and nothing else has.
async fn assert_pruned(estate: &Estate, expected: &crate::estate::Ids, when: &str) {
    assert_eq!(estate.deleted().await, *expected, "{when}");
    let entries = estate.world.vault().all_point_entries().await.unwrap();
    for entry in entries.values().flatten() {
        let tombstones = entry.marks.iter().filter(|(_, mark)| *mark == MarkKind::Deleted).count();
        assert!(tombstones <= 1 && entry.committed, "{when}: {entry:?}");
    }
    assert_eq!(rung(estate, AlarmKind::NoGoodPoint).await, (1, 0), "{when}");
    assert!(estate.world.engine.unfinished().await.unwrap().is_empty(), "{when}: every job ends");
}

async fn dies_everywhere(seed: u64, fault: Fault) -> usize {
    let base = estate(seed).await;
    let expected = base.preview().await;
    assert_eq!(expected.len(), 5 + 4, "of the silent machine the newest point stays");
    for number in 1..CALLS_MAX {
        let first = base.fork().await;
        first.world.store.fault(number, fault);
        if first.world.store.until_death(first.prune()).await.is_some() {
            first.world.store.reset();
            assert_pruned(&first, &expected, "without a fault").await;
            return number - 1;
        }
        let when = format!("{fault:?} at call {number}, {:?}", first.world.store.calls()[number - 1]);
        let second = first.restart().await;
        assert!(second.deleted().await.is_subset(&expected), "{when}: nothing else has gone");
        for job in second.world.take_on().await.unwrap() {
            assert_eq!(job.state(), JobState::Completed, "{when}: {:?}", job.newest.reason);
        }
        // Where the process died before the job was there, nobody takes it on.
        assert_eq!(second.prune().await.state(), JobState::Completed, "{when}");
        assert_pruned(&second, &expected, &when).await;
    }
    panic!("prune makes more than {CALLS_MAX} calls");
}

#[tokio::test]
async fn prune_dies_before_each_call() {
    let calls = dies_everywhere(500, Fault::KillBefore).await;
    assert!(calls > 20, "{calls}");
}

#[tokio::test]
async fn prune_dies_after_each_call() {
    let calls = dies_everywhere(501, Fault::KillAfter).await;
    assert!(calls > 20, "{calls}");
}

#[tokio::test]
async fn answers_that_are_lost_change_nothing() {
    for (seed, fault) in (502..).zip([Fault::ErrorBefore, Fault::ErrorAfter, Fault::MetItself]) {
        let base = estate(seed).await;
        let expected = base.preview().await;
        for number in 1..CALLS_MAX {
            let world = base.fork().await;
            world.world.store.fault(number, fault);
            let when = format!("{fault:?} at call {number}");
            if let Err(error) = world.world.task(stillpoint_jobs::Operation::Prune).await {
                let next = world.restart().await;
                assert!(next.deleted().await.is_subset(&expected), "{when}: {}", error.one_line());
                next.world.take_on().await.unwrap();
            }
            let calls = world.world.store.calls().len();
            let last = world.restart().await;
            assert_eq!(last.prune().await.state(), JobState::Completed, "{when}");
            assert_pruned(&last, &expected, &when).await;
            if calls < number {
                break;
            }
        }
    }
}

#[tokio::test]
async fn two_at_once_write_each_tombstone_once() {
    for seed in 510..530 {
        let one = estate(seed).await;
        let expected = one.preview().await;
        let other = one.restart().await;
        let (first, second) = tokio::join!(one.prune(), other.prune());
        assert_eq!(count(&first, "tombstoned") + count(&second, "tombstoned"), expected.len() as u64, "seed {seed}");
        assert_pruned(&one.restart().await, &expected, &format!("seed {seed}")).await;
    }
}

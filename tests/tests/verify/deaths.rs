//! A process dies at its first, second, … last call of a verification, and the next one goes on.

use std::collections::BTreeSet;

use stillpoint_jobs::Job;
use stillpoint_model::JobState;
use stillpoint_testkit::{Fault, World};

use crate::scene::*;

/// More calls than a run makes here.
const CALLS_MAX: usize = 500;

/// A world with one corrupt pack, and what that hurts.
async fn damaged(seed: u64) -> (World, String, BTreeSet<Of>) {
    let (world, points) = world(seed).await;
    let (pack, hurt) = packs(&world, &points).await.into_iter().max_by_key(|(_, points)| points.len()).unwrap();
    Damage::Flipped(90).befalls(&world, &pack).await;
    (world.restart().await.unwrap(), pack, hurt)
}

async fn assert_said_once(world: &World, job: &Job, pack: &str, hurt: &BTreeSet<Of>, when: &str) {
    assert_found(world, job, pack, hurt, when).await;
    let names = world.content.names().await.unwrap();
    let marks = names.iter().filter(|name| name.contains("/marks/")).count();
    assert_eq!(marks, hurt.len(), "{when}: each point is marked once");
    let raised = names.iter().filter(|name| name.starts_with("alarms/")).count();
    let machines: BTreeSet<_> = hurt.iter().map(|(item, _)| item).collect();
    assert_eq!(raised, machines.len(), "{when}: each alarm is raised once");
}

async fn dies_everywhere(seed: u64, fault: Fault) {
    let (base, pack, hurt) = damaged(seed).await;
    for number in 1..CALLS_MAX {
        let first = base.fork().await.unwrap();
        first.store.fault(number, fault);
        if let Some(job) = first.store.until_death(verify_all(&first)).await {
            first.store.reset();
            assert_said_once(&first, &job, &pack, &hurt, "without a fault").await;
            assert!(number > 40, "{number}");
            return;
        }
        let when = format!("{fault:?} at call {number}, {:?}", first.store.calls()[number - 1]);
        let second = first.restart().await.unwrap();
        let taken_on = second.take_on().await.unwrap().pop();
        // Dead before the job was there, or after all was done: the operator tries again.
        let job = match taken_on {
            Some(job) => job,
            None => verify_all(&second).await,
        };
        assert_said_once(&second, &job, &pack, &hurt, &when).await;
    }
    panic!("it makes more than {CALLS_MAX} calls");
}

#[tokio::test]
async fn a_verification_dies_before_each_call() {
    dies_everywhere(41_000, Fault::KillBefore).await;
}

#[tokio::test]
async fn a_verification_dies_after_each_call() {
    dies_everywhere(42_000, Fault::KillAfter).await;
}

/// Segments that have their markers are not read again.
#[tokio::test]
async fn what_was_read_before_a_death_is_not_read_again() {
    let (base, _) = world(43_000).await;
    let dry = base.fork().await.unwrap();
    verify_all(&dry).await;
    let reads = packs_read(&dry).len();
    let last = dry.store.calls().iter().rposition(|call| call.name.contains("/done/")).unwrap();
    drop(dry);
    let first = base.fork().await.unwrap();
    first.store.fault(last + 1, Fault::KillAfter);
    assert!(first.store.until_death(verify_all(&first)).await.is_none());
    assert_eq!(packs_read(&first).len(), reads);
    let second = first.restart().await.unwrap();
    assert_eq!(second.take_on().await.unwrap()[0].state(), JobState::Completed);
    assert_eq!(packs_read(&second), [""; 0]);
}

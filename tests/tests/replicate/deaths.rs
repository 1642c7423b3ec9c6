//! Processes that die, and stores that fail, at each call.

use stillpoint_jobs::Operation;
use stillpoint_model::JobState;
use stillpoint_testkit::{Fault, World};

use crate::{machine::assert_sound, pairs::*};

const CALLS_MAX: usize = 400;

/// The same pair again, that goes its own way from here.
async fn fork((primary, replica): &(World, World)) -> (World, World) {
    let (primary, replica) = (primary.fork().await.unwrap(), replica.fork().await.unwrap());
    replica.reach(&primary);
    (primary, replica)
}

/// Lets the replica's process die at every call to its own store; returns how many there are.
async fn dies_everywhere(base: &(World, World), fault: Fault) -> usize {
    let all = points(&base.0).await;
    for number in 1..CALLS_MAX {
        let (_primary, first) = fork(base).await;
        first.store.fault(number, fault);
        if let Some(job) = first.store.until_death(replicate(&first)).await {
            assert_eq!(job.state(), JobState::Completed);
            return number - 1;
        }
        let when = format!("{fault:?} at call {number}, {:?}", first.store.calls()[number - 1]);
        let second = first.restart().await.unwrap();
        // What the replica shows is whole, also now.
        assert_eq!(second.wrong_points(&crate::machine::machine()).await.unwrap(), [""; 0], "{when}");
        for job in second.take_on().await.unwrap() {
            assert_eq!(job.state(), JobState::Completed, "{when}: {:?}", job.newest.reason);
        }
        replicate_all(&second).await;
        assert_eq!(points(&second).await, all, "{when}");
        assert_sound(&second, &when).await;
    }
    panic!("more than {CALLS_MAX} calls");
}

#[tokio::test]
async fn a_replication_dies_before_and_after_each_call() {
    for (seed, fault) in [(51_000, Fault::KillBefore), (51_100, Fault::KillAfter)] {
        let calls = dies_everywhere(&pair(seed, 2).await, fault).await;
        assert!(calls > 25, "{calls}");
    }
}

/// The primary's store fails, lies or ends at each call: no point is shown that is not whole, and what is missing comes later.
#[tokio::test]
async fn a_primary_that_fails_at_any_call_does_no_damage() {
    for (seed, fault) in [(51_200, Fault::ErrorBefore), (51_300, Fault::ShortRead), (51_400, Fault::Denied)] {
        let base = pair(seed, 2).await;
        let (primary, replica) = fork(&base).await;
        primary.store.reset();
        replicate_all(&replica).await;
        let calls = primary.store.calls().len();
        assert!(calls > 12, "{calls}");
        for number in 1..=calls {
            let (primary, replica) = fork(&base).await;
            primary.store.reset();
            primary.store.fault(number, fault);
            let when = format!("{fault:?} at call {number}");
            if let Err(error) = replica.task(Operation::Replicate { item: None, records: true }).await {
                // It was refused when some points were visible already: the job is not failed, but goes on when that is mended.
                assert_eq!(fault, Fault::Denied, "{when}: {}", error.one_line());
                let replica = replica.restart().await.unwrap();
                let ended = replica.take_on().await.unwrap();
                assert!(ended.iter().all(|job| job.state() == JobState::Completed), "{when}: {ended:?}");
            }
            assert_sound(&replica, &when).await;
            replicate_all(&replica).await;
            assert_eq!(points(&replica).await, points(&primary).await, "{when}");
        }
    }
}

#[tokio::test]
async fn a_primary_that_is_cut_off_in_between_leaves_a_clear_state() {
    let base = pair(51_500, 2).await;
    let (primary, replica) = fork(&base).await;
    primary.store.reset();
    for number in 1..60 {
        primary.store.fault(number + 8, Fault::ErrorBefore);
    }
    let job = replicate(&replica).await;
    assert_eq!(job.state(), JobState::Failed, "{:?}", job.newest);
    let reason = job.newest.reason.unwrap();
    assert!(reason.contains("the connection was lost"), "{reason}");
    assert!(points(&replica).await.is_empty());
    replica.reach(&base.0);
    replicate_all(&replica).await;
    assert_sound(&replica, "after the primary was away").await;
}

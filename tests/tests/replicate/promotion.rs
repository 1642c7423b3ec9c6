//! The primary is lost, and the replica takes its place.

use stillpoint_jobs::{Decision, Operation};
use stillpoint_model::{ErrorKind, JobState};
use stillpoint_vault::Role;

use crate::{
    machine::{a_day_passes, assert_sound, machine},
    pairs::*,
};

#[tokio::test]
async fn backups_go_on_by_increments_and_a_new_replica_is_filled() {
    let (primary, replica) = pair(52_000, 2).await;
    replicate_all(&replica).await;
    replica.lose(&primary);
    replica.vault().promote().await.unwrap();
    let promoted = replica.restart().await.unwrap();
    let job = promoted.backup(&machine()).await.unwrap();
    assert_eq!(job.state(), JobState::Completed, "{:?}", job.newest);
    let outcome = job.newest.outcome.unwrap();
    let full: u64 = 120 << 20;
    assert!(outcome.changed_bytes < full / 20, "an increment: {outcome:?}");
    let point = promoted.vault().point(&machine(), outcome.point.unwrap()).await.unwrap();
    assert_eq!(point.parent, points(&primary).await.last().copied());
    a_day_passes(&promoted, 52_050);
    assert_sound(&promoted, "after the promotion").await;
    let next = promoted.pair(within_an_hour()).await.unwrap();
    replicate_all(&next).await;
    assert_eq!(points(&next).await, points(&promoted).await);
    next.lose(&promoted);
    assert_sound(&next, "the next replica, alone").await;
}

#[tokio::test]
async fn a_promoted_vault_takes_no_copies_any_more() {
    let (primary, replica) = pair(52_100, 2).await;
    let engine = &replica.engine;
    replica.vault().promote().await.unwrap();
    let job = replicate(&replica).await;
    assert_eq!(job.state(), JobState::Failed);
    assert!(job.newest.reason.clone().unwrap().contains("no replica"), "{:?}", job.newest);
    assert!(points(&replica).await.is_empty());
    assert!(matches!(engine.decision(job.id).await.unwrap(), Some(Decision::Stop { .. })));
    let roles = [primary.vault(), replica.vault()].map(|vault| async move { vault.pairing().await.unwrap().unwrap().role });
    let [first, second] = roles;
    assert_eq!((first.await, second.await), (Role::Primary, Role::Promoted));
    let refused = primary.vault().promote().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    replica.vault().promote().await.unwrap();
}

#[tokio::test]
async fn the_old_primary_is_told_when_it_comes_back() {
    let (primary, replica) = pair(52_200, 1).await;
    replicate_all(&replica).await;
    replica.vault().promote().await.unwrap();
    primary.turn().await.unwrap();
    let alarms = primary.vault().alarms().await.unwrap();
    let open: Vec<String> = alarms.open().map(|(alarm, _)| alarm.to_string()).collect();
    assert_eq!(open, ["replica-lags/@replicate"]);
    assert!(replica.task(Operation::Collect).await.unwrap().state().is_end());
}

//! Crash points: a process dies at its first, second, … last call to the store, before or after the call has had its effect, and
//! the next process goes on from what is there. After each death every committed point is whole, nothing is held on the platform
//! or at the target, and no segment that was done is stored again.

#[cfg(test)]
#[path = "crash_points/damage.rs"]
mod damage;
#[cfg(test)]
#[path = "crash_points/deaths.rs"]
mod deaths;
#[cfg(test)]
#[path = "crash_points/deliveries.rs"]
mod deliveries;
#[cfg(test)]
#[path = "crash_points/faults.rs"]
mod faults;
#[cfg(test)]
#[path = "crash_points/kept.rs"]
mod kept;
#[cfg(test)]
#[path = "crash_points/machine.rs"]
mod machine;
#[cfg(test)]
#[path = "crash_points/progress.rs"]
mod progress;
#[cfg(test)]
#[path = "crash_points/stopped.rs"]
mod stopped;

use deaths::{backup_dies_everywhere, restore_dies_everywhere};
use kept::{
    keeping_backup_dies_everywhere, release_dies_everywhere, snapshot_restore_dies_everywhere, stopped_after_every_death,
};
use machine::{assert_sound, machine, world, world_with_a_point};
use stillpoint_model::JobState;
use stillpoint_testkit::Fault;

#[tokio::test]
async fn a_full_backup_dies_before_each_call() {
    let calls = backup_dies_everywhere(&world(1000).await, Fault::KillBefore).await;
    assert!(calls > 24, "{calls}");
}

#[tokio::test]
async fn a_full_backup_dies_after_each_call() {
    let calls = backup_dies_everywhere(&world(2000).await, Fault::KillAfter).await;
    assert!(calls > 24, "{calls}");
}

#[tokio::test]
async fn an_incremental_backup_dies_before_each_call() {
    let calls = backup_dies_everywhere(&world_with_a_point(3000).await, Fault::KillBefore).await;
    assert!(calls > 30, "{calls}");
}

#[tokio::test]
async fn an_incremental_backup_dies_after_each_call() {
    let calls = backup_dies_everywhere(&world_with_a_point(4000).await, Fault::KillAfter).await;
    assert!(calls > 30, "{calls}");
}

#[tokio::test]
async fn a_restore_dies_before_each_call() {
    let calls = restore_dies_everywhere(&world_with_a_point(5000).await, Fault::KillBefore).await;
    assert!(calls > 30, "{calls}");
}

#[tokio::test]
async fn a_restore_dies_after_each_call() {
    let calls = restore_dies_everywhere(&world_with_a_point(6000).await, Fault::KillAfter).await;
    assert!(calls > 30, "{calls}");
}

#[tokio::test]
async fn a_backup_that_keeps_its_snapshot_dies_at_each_call() {
    let base = world(9000).await;
    for fault in [Fault::KillBefore, Fault::KillAfter] {
        let calls = keeping_backup_dies_everywhere(&base, fault).await;
        assert!(calls > 26, "{calls}");
    }
}

#[tokio::test]
async fn a_transfer_that_fails_at_any_call_leaves_the_snapshot() {
    let kept = stopped_after_every_death(&world(10_000).await, Fault::KillAfter).await;
    assert!(kept > 5, "{kept}");
}

#[tokio::test]
async fn giving_a_kept_snapshot_back_dies_at_each_call() {
    for (seed, fault) in [(11_000, Fault::KillBefore), (11_500, Fault::KillAfter)] {
        let calls = release_dies_everywhere(&world(seed).await, fault).await;
        assert!(calls > 5, "{calls}");
    }
}

#[tokio::test]
async fn a_restore_from_a_snapshot_dies_at_each_call() {
    for (seed, fault) in [(12_000, Fault::KillBefore), (12_500, Fault::KillAfter)] {
        let calls = snapshot_restore_dies_everywhere(&world(seed).await, fault).await;
        assert!(calls > 10, "{calls}");
    }
}

/// A job that kills every process that touches it ends all the same, and holds nothing then.
#[tokio::test]
async fn a_job_on_which_every_process_dies_is_given_up() {
    let base = world(7000).await;
    base.store.fault(18, Fault::KillAfter);
    assert!(base.store.until_death(base.backup(&machine())).await.is_none());
    assert_eq!(base.platform.held().len(), 1, "it dies with a snapshot");
    let mut process = base.restart().await.unwrap();
    // It got segments done; those after it die before they do.
    for _ in 0..5 {
        process.store.fault(9, Fault::KillBefore);
        assert!(process.store.until_death(process.take_on()).await.is_none());
        process = process.restart().await.unwrap();
    }
    let job = process.take_on().await.unwrap().pop().unwrap();
    assert_eq!(job.state(), JobState::Failed);
    assert!(job.newest.reason.unwrap().contains("processes died"), "the reason says why");
    let last = process.restart().await.unwrap();
    assert_eq!(last.backup(&machine()).await.unwrap().state(), JobState::Completed);
    assert_sound(&last, "given up").await;
}

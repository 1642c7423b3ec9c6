//! Snapshots that are kept: made, given back in time, and restored from, by processes that die.

use stillpoint_events::{Outgoing, SegmentsTransferred};
use stillpoint_jobs::{Job, Operation};
use stillpoint_model::{Consistency, Extent, JobState};
use stillpoint_testkit::{Fault, World};

use crate::{
    deaths::CALLS_MAX,
    machine::{MIB, assert_sound, machine},
};

/// How long snapshots are kept here, in seconds.
const KEEP: u32 = 172_800;

fn time_passes(world: &World) {
    world.clock.jump(i64::from(KEEP) * 1_000 + 1_000);
}

/// Asserts that all that is kept restores to what the disks were; in a copy of the world.
async fn assert_restorable(world: &World, when: &str) {
    assert_eq!(world.fork().await.unwrap().wrong_snapshots().await.unwrap(), [""; 0], "{when}");
}

/// Asserts that what was kept is given back by the next process after its time, and not before.
async fn assert_given_back_in_time(world: &World, when: &str) {
    let held = world.platform.held();
    world.restart().await.unwrap().take_on().await.unwrap();
    assert_eq!(world.platform.held(), held, "{when}: its time is not over");
    time_passes(world);
    let last = world.restart().await.unwrap();
    assert!(last.take_on().await.unwrap().is_empty(), "{when}");
    assert_eq!(last.platform.held(), [], "{when}: its time is over");
    assert_sound(&last, when).await;
}

/// Lets a backup that keeps its snapshot die at every call; returns how many calls it makes.
pub async fn keeping_backup_dies_everywhere(base: &World, fault: Fault) -> usize {
    let is_kept = |job: &Job| job.newest.outcome.as_ref().is_some_and(|outcome| outcome.kept.is_some());
    for number in 1..CALLS_MAX {
        let first = base.fork().await.unwrap();
        first.store.fault(number, fault);
        if let Some(job) = first.store.until_death(first.backup_keeping(&machine(), KEEP)).await {
            let job = job.unwrap();
            assert!(job.state() == JobState::Completed && is_kept(&job), "{:?}", job.newest);
            return number - 1;
        }
        let when = format!("{fault:?} at call {number}, {:?}", first.store.calls()[number - 1]);
        first.platform.change("web-01/os", |os| os.write_noise(Extent::new(20 * MIB, 5000), number as u64));
        let second = first.restart().await.unwrap();
        for job in second.take_on().await.unwrap() {
            assert!(job.state() == JobState::Completed && is_kept(&job), "{when}: {:?}", job.newest);
        }
        assert_sound(&second, &when).await;
        assert_restorable(&second, &when).await;
        assert_given_back_in_time(&second, &when).await;
    }
    panic!("the backup makes more than {CALLS_MAX} calls");
}

/// Lets a backup die at every call and be stopped then, as its host does when a transfer fails for good.
pub async fn stopped_after_every_death(base: &World, fault: Fault) -> usize {
    let mut kept = 0;
    for number in 1..CALLS_MAX {
        let first = base.fork().await.unwrap();
        first.store.fault(number, fault);
        if first.store.until_death(first.backup_keeping(&machine(), KEEP)).await.is_some() {
            return kept;
        }
        let when = format!("{fault:?} at call {number}, {:?}", first.store.calls()[number - 1]);
        let second = first.restart().await.unwrap();
        for id in second.engine.unfinished().await.unwrap() {
            // One that is being sealed already cannot be stopped any more.
            drop(second.engine.stop(id, JobState::Failed, "the store is full").await);
        }
        for job in second.take_on().await.unwrap() {
            let outcome = job.newest.outcome.clone().unwrap_or_default();
            match job.state() {
                JobState::Completed => assert!(outcome.point.is_some() && outcome.kept.is_some(), "{when}"),
                JobState::CompletedWithWarnings => {
                    assert!(outcome.point.is_none() && outcome.kept.is_some(), "{when}");
                    assert!(outcome.warnings[0].contains("the transfer failed: the store is full"), "{when}: {outcome:?}");
                    kept += 1;
                }
                // Nothing was on record that it is kept.
                JobState::Failed => assert!(second.platform.held().is_empty(), "{when}"),
                state => panic!("{when}: {state}"),
            }
        }
        assert_sound(&second, &when).await;
        assert_restorable(&second, &when).await;
        assert_eq!(second.backup(&machine()).await.unwrap().state(), JobState::Completed, "{when}: the next backup");
        assert_given_back_in_time(&second, &when).await;
    }
    panic!("the backup makes more than {CALLS_MAX} calls");
}

/// Lets processes that give a kept snapshot back die at every call; returns how many calls that makes.
pub async fn release_dies_everywhere(base: &World, fault: Fault) -> usize {
    base.backup_keeping(&machine(), KEEP).await.unwrap();
    time_passes(base);
    let base = base.restart().await.unwrap();
    for number in 1..CALLS_MAX {
        let first = base.fork().await.unwrap();
        first.store.fault(number, fault);
        if first.store.until_death(first.take_on()).await.is_some() {
            assert_eq!(first.platform.held(), []);
            return number - 1;
        }
        let when = format!("{fault:?} at call {number}, {:?}", first.store.calls()[number - 1]);
        let second = first.restart().await.unwrap();
        second.take_on().await.unwrap();
        assert_eq!(second.engine.kept_snapshots().await.unwrap(), [], "{when}");
        assert_sound(&second, &when).await;
    }
    panic!("giving back makes more than {CALLS_MAX} calls");
}

/// Lets a restore from a kept snapshot die at every call; returns how many calls it makes.
pub async fn snapshot_restore_dies_everywhere(base: &World, fault: Fault) -> usize {
    let job = base.backup_keeping(&machine(), KEEP).await.unwrap();
    let (_, taken) = base.platform.taken(job.id).unwrap();
    base.platform.change("web-01/os", |os| os.write_noise(Extent::new(0, 5 * MIB), 77));
    let published = |world: &World, when: &str| {
        let whole = taken.iter().filter(|(name, disk)| {
            let found = world.target.clone().fork().take(&format!("here/{name}"));
            found.is_some_and(|found| {
                assert_eq!(found.difference(disk), None, "{when}: {name} has its name and is not whole");
                true
            })
        });
        whole.count()
    };
    for number in 1..CALLS_MAX {
        let first = base.fork().await.unwrap();
        first.store.fault(number, fault);
        if let Some(restored) = first.store.until_death(first.restore_snapshot(job.id, "here")).await {
            assert_eq!(restored.unwrap().state(), JobState::Completed);
            assert_eq!(published(&first, "without a fault"), taken.len());
            return number - 1;
        }
        let when = format!("{fault:?} at call {number}, {:?}", first.store.calls()[number - 1]);
        published(&first, &when);
        let second = first.restart().await.unwrap();
        let jobs = second.take_on().await.unwrap();
        for job in &jobs {
            assert_eq!(job.state(), JobState::Completed, "{when}: {:?}", job.newest.reason);
        }
        let whole = published(&second, &when);
        assert!(whole == taken.len() || jobs.is_empty(), "{when}: {whole} disks have their names");
        assert_eq!(second.platform.held(), [job.id], "{when}: reading gives nothing back");
        assert_sound(&second, &when).await;
    }
    panic!("the restore makes more than {CALLS_MAX} calls");
}

/// A snapshot that is given back while a restore reads it.
#[tokio::test]
async fn a_restore_whose_snapshot_goes_says_so_and_leaves_nothing() {
    let base = crate::machine::world(13_000).await;
    let job = base.backup_keeping(&machine(), KEEP).await.unwrap();
    let mut outcomes = Vec::new();
    for number in 1..CALLS_MAX {
        let first = base.fork().await.unwrap();
        first.store.fault(number, Fault::KillAfter);
        if first.store.until_death(first.restore_snapshot(job.id, "here")).await.is_some() {
            break;
        }
        let when = format!("at call {number}");
        time_passes(&first);
        let second = first.restart().await.unwrap();
        for restore in second.take_on().await.unwrap() {
            let reason = restore.newest.reason.clone().unwrap_or_default();
            let said = reason.contains("kept") || reason.contains("cannot be restored from any more");
            assert!(restore.state() == JobState::Completed || said, "{when}: {:?}", restore.newest);
            outcomes.push(restore.state());
        }
        assert_eq!(second.platform.held(), [], "{when}");
        assert_sound(&second, &when).await;
    }
    assert!(outcomes.contains(&JobState::Failed) && outcomes.contains(&JobState::Completed), "{outcomes:?}");
}

#[tokio::test]
async fn who_cancels_keeps_nothing() {
    let world = crate::machine::world(14_000).await;
    world.store.fault(20, Fault::KillBefore);
    assert!(world.store.until_death(world.backup_keeping(&machine(), KEEP)).await.is_none());
    let second = world.restart().await.unwrap();
    let [id] = second.engine.unfinished().await.unwrap()[..] else { panic!("one job") };
    assert_eq!(second.engine.kept_snapshots().await.unwrap().len(), 1, "it came that far");
    drop(second.engine.stop(id, JobState::Cancelled, "no longer wanted").await.unwrap());
    let job = second.take_on().await.unwrap().pop().unwrap();
    assert_eq!(job.state(), JobState::Cancelled);
    assert_eq!(second.engine.kept_snapshots().await.unwrap(), []);
    assert_sound(&second, "cancelled").await;
}

/// A backup that is its snapshot alone, whose processes die, and of which a stranger says that all is transferred.
#[tokio::test]
async fn a_snapshot_alone_dies_at_each_call_and_never_makes_a_point() {
    let base = crate::machine::world(15_000).await;
    let what = Operation::Backup {
        item: machine(),
        wanted: Consistency::Crash,
        keep_until: None,
        slot: None,
        instant_restore_seconds: KEEP,
        snapshot_only: true,
    };
    for number in 1..CALLS_MAX {
        let first = base.fork().await.unwrap();
        first.store.fault(number, Fault::KillAfter);
        if first.store.until_death(first.task(what.clone())).await.is_some() {
            assert!(number > 8, "{number}");
            return;
        }
        let when = format!("at call {number}, {:?}", first.store.calls()[number - 1]);
        let second = first.restart().await.unwrap();
        for job in second.engine.unfinished().await.unwrap() {
            second.run(&[], vec![Outgoing::new(&SegmentsTransferred { job })], Vec::new()).await.unwrap();
        }
        for job in second.take_on().await.unwrap() {
            let outcome = job.newest.outcome.clone().unwrap_or_default();
            assert_eq!(job.state(), JobState::CompletedWithWarnings, "{when}: {:?}", job.newest);
            assert!(outcome.point.is_none() && outcome.kept.is_some(), "{when}: {outcome:?}");
        }
        assert_eq!(second.vault().point_ids(&machine()).await.unwrap(), [], "{when}");
        assert_restorable(&second, &when).await;
        assert_given_back_in_time(&second, &when).await;
    }
    panic!("it makes more than {CALLS_MAX} calls");
}

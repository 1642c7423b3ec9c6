//! Crash points: a process dies at its first, second, … last call to the store, before or after the call has had its effect, and
//! the next process goes on from what is there. After each death every committed point is whole, nothing is held on the platform
//! or at the target, and no segment that was done is stored again.

#[path = "crash_points/damage.rs"]
mod damage;
#[path = "crash_points/deliveries.rs"]
mod deliveries;
#[path = "crash_points/faults.rs"]
mod faults;
#[path = "crash_points/machine.rs"]
mod machine;

use machine::{MIB, Progress, assert_sound, machine, point_of, world, world_with_a_point};
use stillpoint_model::{Extent, JobState};
use stillpoint_testkit::{Fault, World};

/// More calls than any of the jobs makes: a loop that never ends is a failure too.
const CALLS_MAX: usize = 1000;

/// Lets a backup die at every call; returns how many calls it makes.
async fn backup_dies_everywhere(base: &World, fault: Fault) -> usize {
    for number in 1..CALLS_MAX {
        let first = base.fork().await.unwrap();
        first.store.fault(number, fault);
        if let Some(job) = first.store.until_death(first.backup(&machine())).await {
            assert_eq!(job.unwrap().state(), JobState::Completed);
            first.store.reset();
            assert_sound(&first, "without a fault").await;
            return number - 1;
        }
        let when = format!("{fault:?} at call {number}, {:?}", first.store.calls()[number - 1]);
        let at_death = Progress::of(&first.content).await;
        // The guest goes on meanwhile; what it does now belongs into a point only if the snapshot is still to be taken.
        first.platform.change("web-01/os", |os| os.write_noise(Extent::new(20 * MIB, 5000), number as u64));
        let second = first.restart().await.unwrap();
        for job in second.take_on().await.unwrap() {
            assert_eq!(job.state(), JobState::Completed, "{when}: {:?}", job.newest.reason);
        }
        at_death.assert_nothing_repeated(&Progress::of(&second.content).await, &when);
        assert_eq!(second.leftovers().await.unwrap(), [""; 0], "{when}");
        let next = second.backup(&machine()).await.unwrap();
        assert_eq!(next.state(), JobState::Completed, "{when}, then a new backup: {:?}", next.newest);
        assert_sound(&second, &when).await;
    }
    panic!("the backup makes more than {CALLS_MAX} calls");
}

/// Lets a restore die at every call; returns how many calls it makes.
async fn restore_dies_everywhere(base: &World, fault: Fault) -> usize {
    let job = base.backup(&machine()).await.unwrap();
    let (point, (_, taken)) = (point_of(&job), base.platform.taken(job.id).unwrap());
    // What has its final name is whole; returns how many disks have.
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
        if let Some(job) = first.store.until_death(first.restore(&machine(), point, "here")).await {
            assert_eq!(job.unwrap().state(), JobState::Completed);
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
        assert_sound(&second, &when).await;
    }
    panic!("the restore makes more than {CALLS_MAX} calls");
}

#[tokio::test]
async fn a_full_backup_dies_before_each_call() {
    let calls = backup_dies_everywhere(&world(1000).await, Fault::KillBefore).await;
    assert!(calls > 30, "{calls}");
}

#[tokio::test]
async fn a_full_backup_dies_after_each_call() {
    let calls = backup_dies_everywhere(&world(2000).await, Fault::KillAfter).await;
    assert!(calls > 30, "{calls}");
}

#[tokio::test]
async fn an_incremental_backup_dies_before_each_call() {
    let calls = backup_dies_everywhere(&world_with_a_point(3000).await, Fault::KillBefore).await;
    assert!(calls > 40, "{calls}");
}

#[tokio::test]
async fn an_incremental_backup_dies_after_each_call() {
    let calls = backup_dies_everywhere(&world_with_a_point(4000).await, Fault::KillAfter).await;
    assert!(calls > 40, "{calls}");
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

/// A job that kills every process that touches it ends all the same, and holds nothing then.
#[tokio::test]
async fn a_job_on_which_every_process_dies_is_given_up() {
    let base = world(7000).await;
    base.store.fault(25, Fault::KillAfter);
    assert!(base.store.until_death(base.backup(&machine())).await.is_none());
    assert_eq!(base.platform.held().len(), 1, "it dies with a snapshot");
    let mut process = base.restart().await.unwrap();
    for _ in 0..4 {
        process.store.fault(12, Fault::KillBefore);
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

//! A process dies at its first, second, … last call, and the next one goes on.

use stillpoint_model::{Extent, JobState};
use stillpoint_testkit::{Fault, World};

use crate::{
    machine::{MIB, assert_sound, machine},
    progress::{Progress, point_of},
};

/// More calls than any of the jobs makes: a loop that never ends is a failure too.
pub const CALLS_MAX: usize = 1000;

/// Lets a backup die at every call; returns how many calls it makes.
pub async fn backup_dies_everywhere(base: &World, fault: Fault) -> usize {
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
pub async fn restore_dies_everywhere(base: &World, fault: Fault) -> usize {
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

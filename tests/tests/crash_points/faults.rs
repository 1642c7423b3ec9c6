//! Calls that fail once: a trouble that passes is no trouble, an answer that is lost is looked up, and a wrong byte is noticed.

use stillpoint_model::{ErrorKind, JobState};
use stillpoint_testkit::{Fault, World};

use crate::{
    deaths::CALLS_MAX,
    machine::{assert_sound, machine, world_with_a_point},
    progress::point_of,
};

/// The faults of one try: given to calls that follow each other.
fn arm(world: &World, number: usize, faults: &[Fault]) {
    (number..).zip(faults).for_each(|(number, fault)| world.store.fault(number, *fault));
}

/// Lets `faults` befall a backup at every call; returns how many calls it makes. What a command meets before its job runs is
/// the command's error, and the next command mends it.
async fn backup_bears(base: &World, faults: &[Fault]) -> usize {
    for number in 1..CALLS_MAX {
        let first = base.fork().await.unwrap();
        arm(&first, number, faults);
        let outcome = first.backup(&machine()).await;
        let calls = first.store.calls();
        first.store.reset();
        if calls.len() < number {
            return calls.len();
        }
        let when = format!("{faults:?} at call {number}, {:?}", calls[number - 1]);
        match outcome {
            Ok(job) => assert_eq!(job.state(), JobState::Completed, "{when}: {:?}", job.newest),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{when}: {}", error.one_line()),
        }
        let second = first.restart().await.unwrap();
        for job in second.take_on().await.unwrap() {
            assert_eq!(job.state(), JobState::Completed, "{when}: {:?}", job.newest.reason);
        }
        assert_eq!(second.leftovers().await.unwrap(), [""; 0], "{when}");
        let next = second.backup(&machine()).await.unwrap();
        assert_eq!(next.state(), JobState::Completed, "{when}, then a new backup: {:?}", next.newest);
        assert_sound(&second, &when).await;
    }
    panic!("the backup makes more than {CALLS_MAX} calls");
}

/// Lets `faults` befall a restore at every call; `mended` says that it must succeed all the same.
async fn restore_bears(base: &World, faults: &[Fault], mended: bool) -> usize {
    let backup = base.backup(&machine()).await.unwrap();
    let (_, taken) = base.platform.taken(backup.id).unwrap();
    let point = point_of(&backup);
    let process = base.restart().await.unwrap();
    for number in 1..CALLS_MAX {
        let world = process.fork().await.unwrap();
        arm(&world, number, faults);
        let outcome = world.restore(&machine(), point, "here").await;
        let calls = world.store.calls();
        world.store.reset();
        let when = format!("{faults:?} at call {number}, {:?}", calls.get(number - 1));
        let completed = outcome.as_ref().is_ok_and(|job| job.state() == JobState::Completed);
        let published = world.target.published().len();
        assert!(published == taken.len() || published == 0 && !completed, "{when}: {outcome:?}");
        for (name, disk) in taken.iter().filter(|_| published > 0) {
            assert_eq!(world.target.take(&format!("here/{name}")).unwrap().difference(disk), None, "{when}: {name}");
        }
        if calls.len() < number {
            return calls.len();
        }
        let passing = matches!(&outcome, Err(error) if error.kind() == ErrorKind::Unavailable);
        assert!(completed || passing || !mended, "{when}: {outcome:?}");
        let next = world.restart().await.unwrap();
        next.take_on().await.unwrap();
        assert_eq!(next.leftovers().await.unwrap(), [""; 0], "{when}");
    }
    panic!("the restore makes more than {CALLS_MAX} calls");
}

#[tokio::test]
async fn a_backup_outlasts_passing_trouble_at_each_call() {
    let calls = backup_bears(&world_with_a_point(21_000).await, &[Fault::ErrorBefore]).await;
    assert!(calls > 30, "{calls}");
}

#[tokio::test]
async fn a_backup_finds_out_what_became_of_each_call_whose_answer_was_lost() {
    let base = world_with_a_point(22_000).await;
    backup_bears(&base, &[Fault::ErrorAfter]).await;
    backup_bears(&base, &[Fault::MetItself]).await;
}

/// The answer to a create is lost, and so is the first look at what became of it.
#[tokio::test]
async fn a_backup_outlasts_two_troubles_in_a_row() {
    let base = world_with_a_point(23_000).await;
    backup_bears(&base, &[Fault::ErrorAfter, Fault::ErrorBefore]).await;
    backup_bears(&base, &[Fault::MetItself, Fault::ErrorBefore]).await;
}

/// The store is gone for as long as the process lives: the next one finishes the job.
#[tokio::test]
async fn a_backup_outlasts_an_outage_that_begins_at_any_call() {
    backup_bears(&world_with_a_point(28_000).await, &[Fault::ErrorBefore; 3000]).await;
}

#[tokio::test]
async fn a_backup_outlasts_an_answer_that_breaks_off() {
    backup_bears(&world_with_a_point(24_000).await, &[Fault::ShortRead]).await;
}

#[tokio::test]
async fn a_restore_outlasts_passing_trouble_at_each_call() {
    for (seed, fault) in (25_000..).step_by(100).zip([Fault::ErrorBefore, Fault::ErrorAfter, Fault::MetItself, Fault::ShortRead])
    {
        let calls = restore_bears(&world_with_a_point(seed).await, &[fault], true).await;
        assert!(calls > 30, "{calls}");
    }
}

#[tokio::test]
async fn a_restore_never_writes_a_wrong_byte() {
    restore_bears(&world_with_a_point(26_000).await, &[Fault::FlippedRead], false).await;
}

/// A wrong bit on the way may cost a job, or a second copy of what the page held; no point ever.
#[tokio::test]
async fn a_backup_notices_a_wrong_bit_at_each_call() {
    let base = world_with_a_point(27_000).await;
    for number in 1..CALLS_MAX {
        let first = base.fork().await.unwrap();
        first.store.fault(number, Fault::FlippedRead);
        let outcome = first.backup(&machine()).await;
        let calls = first.store.calls();
        first.store.reset();
        if calls.len() < number {
            return;
        }
        let when = format!("call {number}, {:?}", calls[number - 1]);
        if let Ok(job) = outcome {
            assert!(job.newest.reason.is_some() || job.newest.outcome.is_some(), "{when}");
        }
        let second = first.restart().await.unwrap();
        second.take_on().await.unwrap();
        assert_eq!(second.leftovers().await.unwrap(), [""; 0], "{when}");
        let next = second.backup(&machine()).await.unwrap();
        assert_eq!(next.state(), JobState::Completed, "{when}, then a new backup: {:?}", next.newest);
        assert_sound(&second, &when).await;
    }
}

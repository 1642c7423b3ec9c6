//! Runs of `collect` while a backup, a restore or another run stands still at each of its calls, or begins.

use futures_util::{
    future::{Either, join, join_all, select},
    pin_mut,
};
use stillpoint_jobs::{Job, Operation, Rotation};
use stillpoint_model::{JobState, PointId};
use stillpoint_testkit::{Fault, World};

use crate::vaults::*;

const CALLS_MAX: usize = 500;

/// A world in which every point that a backup could be compared with is to be freed, but for another machine's.
async fn ripe(seed: u64, is_condemned: bool) -> (World, Vec<PointId>) {
    let (world, ids) = world_with_points(seed, 4).await;
    let other = add_machine(&world, "web-02", seed).await;
    next_day(&world, &other, seed + 100).await;
    bury(&world, &machine(), &ids).await;
    pass_days(&world, UNDELETE_DAYS + 1);
    if is_condemned {
        assert_eq!(collect(&world).await["points_condemned"], 4);
    }
    (world.restart().await.unwrap(), ids)
}

/// Runs `work` of `first`, and while it stands still at call `number`, `collect` three times in another process. Without a value
/// when it makes fewer calls.
async fn stands_still<T>(first: &World, number: usize, work: impl Future<Output = T>) -> (T, bool) {
    first.store.fault(number, Fault::Freeze);
    let is_over = std::cell::Cell::new(false);
    let others = async {
        while !first.store.is_frozen() {
            if is_over.get() {
                return false;
            }
            tokio::task::yield_now().await;
        }
        let second = first.restart().await.unwrap();
        for _ in 0..3 {
            collect(&second).await;
        }
        first.store.thaw();
        true
    };
    let work = async {
        let value = work.await;
        is_over.set(true);
        value
    };
    join(work, others).await
}

/// The point of a job that made one.
fn point_of(job: &Job) -> PointId {
    assert_eq!(job.state(), JobState::Completed, "{:?}", job.newest);
    job.newest.outcome.as_ref().and_then(|outcome| outcome.point).unwrap()
}

async fn backup_stands_still_everywhere(base: World) -> usize {
    let items = [machine(), "web-02".parse().unwrap()];
    for number in 1..CALLS_MAX {
        let world = base.fork().await.unwrap();
        let (job, stood) = stands_still(&world, number, world.backup(&machine())).await;
        let when = format!("frozen at call {number}, {:?}", world.store.calls().get(number - 1));
        let point = point_of(&job.unwrap());
        let world = world.restart().await.unwrap();
        for _ in 0..3 {
            collect(&world).await;
        }
        assert_eq!(committed(&world, &machine()).await, [point], "{when}");
        assert_clean(&world, &when).await;
        assert_sound(&world, &items, &when).await;
        if !stood {
            return number - 1;
        }
    }
    panic!("a backup makes more than {CALLS_MAX} calls");
}

#[tokio::test]
async fn a_backup_that_stands_still_while_its_parent_is_condemned_is_waited_for() {
    let calls = backup_stands_still_everywhere(ripe(10_000, false).await.0).await;
    assert!(calls > 20, "{calls}");
}

#[tokio::test]
async fn a_backup_that_begins_after_its_parent_was_condemned_refers_to_nothing_of_it() {
    let calls = backup_stands_still_everywhere(ripe(11_000, true).await.0).await;
    assert!(calls > 20, "{calls}");
}

/// A backup dies instead, and another process finishes it after `collect` has run.
#[tokio::test]
async fn a_backup_that_died_and_is_taken_on_after_collect_has_run_is_whole() {
    let base = ripe(12_000, false).await.0;
    let items = [machine(), "web-02".parse().unwrap()];
    for number in 1..CALLS_MAX {
        let world = base.fork().await.unwrap();
        world.store.fault(number, Fault::KillAfter);
        let is_over = world.store.until_death(world.backup(&machine())).await.is_some();
        let when = format!("died at call {number}, {:?}", world.store.calls().get(number - 1));
        let world = world.restart().await.unwrap();
        for _ in 0..3 {
            collect(&world).await;
        }
        for job in world.take_on().await.unwrap() {
            assert_eq!(job.state(), JobState::Completed, "{when}: {:?}", job.newest.reason);
        }
        for _ in 0..3 {
            collect(&world).await;
        }
        assert_clean(&world, &when).await;
        assert_sound(&world, &items, &when).await;
        if is_over {
            return assert!(number > 20, "{number}");
        }
    }
    panic!("a backup makes more than {CALLS_MAX} calls");
}

#[tokio::test]
async fn a_restore_that_stands_still_while_its_point_is_condemned_ends_right() {
    let (base, ids) = ripe(13_000, false).await;
    let id = ids[2];
    let job = base.vault().point(&machine(), id).await.unwrap().job;
    let (mut restored, mut refused) = (0, 0);
    for number in 2..CALLS_MAX {
        let world = base.fork().await.unwrap();
        let (ended, stood) = stands_still(&world, number, world.restore(&machine(), id, "here")).await;
        let when = format!("frozen at call {number}, {:?}", world.store.calls().get(number - 1));
        let ended = ended.unwrap();
        if ended.state() == JobState::Completed {
            restored += 1;
            let taken = world.platform.taken(job).unwrap().1;
            assert_eq!(taken[0].1.difference(&world.target.take("here/os").unwrap()), None, "{when}");
        } else {
            refused += 1;
            let reason = ended.newest.reason.unwrap_or_default();
            assert!(reason.contains("was deleted, and its time to be undeleted is over"), "{when}: {reason}");
        }
        let world = world.restart().await.unwrap();
        for _ in 0..3 {
            collect(&world).await;
        }
        assert_eq!(committed(&world, &machine()).await, [], "{when}");
        assert_clean(&world, &when).await;
        if !stood {
            assert!(restored > 5 && refused > 0 && refused < restored, "{restored} restored, {refused} refused");
            return;
        }
    }
    panic!("a restore makes more than {CALLS_MAX} calls");
}

#[tokio::test]
async fn a_run_that_stands_still_while_others_run_deletes_nothing_that_is_needed() {
    for (seed, is_condemned) in [(14_000, false), (15_000, true)] {
        let (base, _) = ripe(seed, is_condemned).await;
        let mut calls = 0;
        for number in 1..CALLS_MAX {
            let world = base.fork().await.unwrap();
            world.store.fault(number, Fault::Freeze);
            // While it stands still, another run goes on, and a backup that knows what that has left.
            let others = async {
                while !world.store.is_frozen() {
                    tokio::task::yield_now().await;
                }
                let second = world.restart().await.unwrap();
                collect(&second).await;
                point_of(&second.backup(&machine()).await.unwrap());
                collect(&second).await;
                point_of(&second.backup(&machine()).await.unwrap());
                world.store.thaw();
            };
            let work = world.task(Operation::Collect);
            pin_mut!(work, others);
            let is_over = match select(work, others).await {
                Either::Left((job, _)) => {
                    job.unwrap();
                    true
                }
                Either::Right(((), work)) => {
                    work.await.unwrap();
                    false
                }
            };
            let when = format!("frozen at call {number}, {:?}", world.store.calls().get(number - 1));
            let world = world.restart().await.unwrap();
            for _ in 0..3 {
                collect(&world).await;
            }
            assert_clean(&world, &when).await;
            assert_sound(&world, &[machine(), "web-02".parse().unwrap()], &when).await;
            calls = number - 1;
            if is_over {
                break;
            }
        }
        assert!(calls > 20, "{calls}");
    }
}

#[tokio::test]
async fn two_runs_at_once_do_what_one_does() {
    for seed in 16_000..16_030 {
        let (base, _) = ripe(seed, seed % 2 == 0).await;
        let worlds = [base.restart().await.unwrap(), base.restart().await.unwrap()];
        for jobs in [1, 2, 3] {
            let ended = join_all(worlds.iter().map(|world| world.task(Operation::Collect))).await;
            for job in ended {
                assert_eq!(job.unwrap().state(), JobState::Completed, "seed {seed}, time {jobs}");
            }
        }
        let world = base.restart().await.unwrap();
        collect(&world).await;
        assert_eq!(committed(&world, &machine()).await, [], "seed {seed}");
        assert_clean(&world, &format!("seed {seed}")).await;
        assert_sound(&world, &["web-02".parse().unwrap()], &format!("seed {seed}")).await;
    }
}

#[tokio::test]
async fn a_verification_that_stands_still_while_points_go_finds_no_damage() {
    let (base, _) = ripe(17_000, false).await;
    let what = Operation::Verify { item: None, read: Some(Rotation::ALL) };
    for number in 1..CALLS_MAX {
        let world = base.fork().await.unwrap();
        let (job, stood) = stands_still(&world, number, world.task(what.clone())).await;
        let when = format!("frozen at call {number}, {:?}", world.store.calls().get(number - 1));
        let job = job.unwrap();
        assert_eq!(job.state(), JobState::Completed, "{when}: {:?}", job.newest);
        let world = world.restart().await.unwrap();
        for _ in 0..3 {
            collect(&world).await;
        }
        assert!(world.content.names().await.unwrap().iter().all(|name| !name.ends_with("-damaged.json")), "{when}");
        assert_eq!(committed(&world, &machine()).await, [], "{when}");
        assert_clean(&world, &when).await;
        if !stood {
            return assert!(number > 15, "{number}");
        }
    }
    panic!("a verification makes more than {CALLS_MAX} calls");
}

/// `collect` dies at each of its calls while a backup, a restore or a verification stands still in its middle.
#[tokio::test]
async fn a_run_dies_at_each_call_beside_jobs_that_stand_still() {
    let items = [machine(), "web-02".parse().unwrap()];
    for is_condemned in [false, true] {
        let (base, ids) = ripe(18_000, is_condemned).await;
        for number in 1..CALLS_MAX {
            let world = base.fork().await.unwrap();
            let backup = world.restart().await.unwrap();
            let restore = world.restart().await.unwrap();
            let verify = world.restart().await.unwrap();
            for (store, at) in
                [(&backup.store, 12 + number % 9), (&restore.store, 8 + number % 5), (&verify.store, 9 + number % 7)]
            {
                store.fault(at, Fault::Freeze);
            }
            let is_over = std::cell::Cell::new(false);
            let runs = async {
                // A restore of a condemned point is refused, and over.
                let is_in_place = |one: &World| one.store.is_frozen() || (is_condemned && one.store.calls().len() > 7);
                for process in [&backup, &restore, &verify] {
                    while !is_in_place(process) {
                        tokio::task::yield_now().await;
                    }
                }
                world.store.fault(number, Fault::KillAfter);
                is_over.set(world.store.until_death(world.task(Operation::Collect)).await.is_some());
                let next = world.restart().await.unwrap();
                collect(&next).await;
                collect(&next).await;
                [&backup, &restore, &verify].iter().for_each(|process| process.store.thaw());
            };
            let what = Operation::Verify { item: None, read: Some(Rotation::ALL) };
            let ((made, back), (found, ())) =
                join(join(backup.backup(&machine()), restore.restore(&machine(), ids[2], "here")), join(verify.task(what), runs))
                    .await;
            let when = format!("condemned {is_condemned}, died at call {number}, {:?}", world.store.calls().get(number - 1));
            let point = point_of(&made.unwrap());
            assert_eq!(found.unwrap().state(), JobState::Completed, "{when}");
            let back = back.unwrap();
            assert!(back.state() == JobState::Completed || is_condemned, "{when}: {:?}", back.newest);
            let world = world.restart().await.unwrap();
            world.take_on().await.unwrap();
            for _ in 0..3 {
                collect(&world).await;
            }
            assert_eq!(committed(&world, &machine()).await, [point], "{when}");
            assert_clean(&world, &when).await;
            assert_sound(&world, &items, &when).await;
            if is_over.get() {
                assert!(number > 20, "{number}");
                break;
            }
        }
    }
}

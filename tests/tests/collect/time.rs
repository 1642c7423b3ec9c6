//! Clocks that are wrong, what only age sweeps, and what a run costs.

use stillpoint_jobs::Operation;
use stillpoint_model::{JobState, Requests, Subject, Task};
use stillpoint_testkit::{CallKind, World};
use stillpoint_vault::{Kind, Name};

use crate::vaults::*;

const YEAR: i64 = 365;

async fn run_thrice_whatever_is_said(world: &World) {
    for _ in 0..3 {
        let job = world.task(Operation::Collect).await.unwrap();
        assert!(matches!(job.state(), JobState::Completed | JobState::CompletedWithWarnings), "{:?}", job.newest);
    }
}

#[tokio::test]
async fn a_clock_a_year_ahead_frees_nothing() {
    let (world, mut ids) = world_with_points(30_000, 4).await;
    bury(&world, &machine(), &ids[..2]).await;
    pass_days(&world, YEAR);
    run_thrice_whatever_is_said(&world).await;
    assert_eq!(committed(&world, &machine()).await, ids, "deleted points can still be undeleted");
    // A backup is made by this clock, which is then set right.
    ids.push(next_day(&world, &machine(), 30_050).await);
    run_thrice_whatever_is_said(&world).await;
    pass_days(&world, -YEAR);
    run_thrice_whatever_is_said(&world).await;
    ids.push(next_day(&world, &machine(), 30_051).await);
    run_thrice_whatever_is_said(&world).await;
    let found = committed(&world, &machine()).await;
    assert!(ids.iter().all(|id| found.contains(id)));
    assert_sound(&world, &[machine()], "a year ahead and right again").await;
}

#[tokio::test]
async fn a_clock_a_year_back_frees_nothing_and_loses_nothing() {
    let (world, ids) = world_with_points(30_100, 4).await;
    bury(&world, &machine(), &ids[..2]).await;
    pass_days(&world, UNDELETE_DAYS + 1);
    assert_eq!(collect(&world).await["points_condemned"], 2);
    pass_days(&world, -YEAR);
    let world = world.restart().await.unwrap();
    run_thrice_whatever_is_said(&world).await;
    assert_eq!(committed(&world, &machine()).await, ids, "condemned, and not over by this clock");
    let early = next_day(&world, &machine(), 30_150).await;
    run_thrice_whatever_is_said(&world).await;
    pass_days(&world, YEAR);
    run_thrice_whatever_is_said(&world).await;
    let found = committed(&world, &machine()).await;
    assert!(found.contains(&early) && ids[2..].iter().all(|id| found.contains(id)));
    assert_sound(&world, &[machine()], "a year back and right again").await;
}

async fn requests(world: &World) -> Requests {
    let job = collect_job(world).await;
    assert_eq!(job.state(), JobState::Completed);
    job.newest.outcome.unwrap().requests
}

#[tokio::test]
async fn requests_do_not_grow_with_the_points_that_are_kept_and_no_pack_is_read() {
    let mut seen = Vec::new();
    for points in [3, 12] {
        let (world, _) = world_with_points(30_200 + points, points).await;
        collect(&world).await;
        let world = world.restart().await.unwrap();
        let idle = requests(&world).await;
        next_day(&world, &machine(), 30_290).await;
        let world = world.restart().await.unwrap();
        let one_new = requests(&world).await;
        assert_eq!(one_new.get, idle.get + 2, "a new point costs two reads: {idle:?}, {one_new:?}");
        assert_eq!(one_new.list, idle.list);
        assert_eq!(one_new.put, idle.put + 1, "and the next census");
        let calls = world.store.calls();
        assert!(calls.iter().all(|call| call.kind != CallKind::Get || !call.name.starts_with("packs/")));
        seen.push(idle);
    }
    assert_eq!(seen[0], seen[1], "three points or twelve");
    assert!(seen[0].list <= 14 && seen[0].get <= 6, "{:?}", seen[0]);
}

#[tokio::test]
async fn a_deleted_object_costs_one_request() {
    let (world, ids) = world_with_points(30_300, 9).await;
    bury(&world, &machine(), &ids[..8]).await;
    pass_days(&world, UNDELETE_DAYS + 1);
    collect(&world).await;
    let world = world.restart().await.unwrap();
    let job = collect_job(&world).await.newest.outcome.unwrap();
    let swept = job.counts["objects_swept"];
    assert_eq!(job.requests.delete, job.counts["objects_deleted"] + swept);
    assert!(job.requests.put <= 8 + 6, "a mark for each point, and the run's own: {:?}", job.requests);
}

const ANY: Kind = Kind::small("any");

#[tokio::test]
async fn history_is_swept_by_age_and_ledgers_are_not() {
    let (world, ids) = world_with_points(30_400, 2).await;
    let vault = world.vault();
    for seq in 1..=130 {
        vault.create_record(ANY, &Name::Tick(seq), &seq).await.unwrap();
    }
    let due = vault.clock().now();
    let slot = Name::Slot("2026-01-02T00:00:00Z".parse().unwrap(), Subject::Task(Task::Prune));
    vault.create_record(ANY, &slot, &due).await.unwrap();
    let names = |of: fn(&Name) -> bool| {
        let content = world.content.clone();
        async move { content.names().await.unwrap().iter().filter(|name| name.parse().is_ok_and(|name| of(&name))).count() }
    };
    let work = |name: &Name| matches!(name, Name::Plan(_) | Name::Marker(..));
    let ledgers = |name: &Name| matches!(name, Name::Ledger(..) | Name::Decision(_));
    let (worked, kept) = (names(work).await, names(ledgers).await);
    assert!(worked >= 4);
    collect(&world).await;
    assert_eq!(names(|name| matches!(name, Name::Tick(_))).await, 100, "the newest hundred");
    assert_eq!(names(work).await, worked, "these jobs ended lately");
    assert_eq!(names(|name| matches!(name, Name::Slot(..))).await, 1);
    for day in 0..3 {
        pass_days(&world, 21);
        next_day(&world, &machine(), 30_450 + day).await;
    }
    collect(&world).await;
    assert_eq!(names(|name| matches!(name, Name::Slot(..))).await, 0);
    let left = names(work).await;
    assert!(left >= 2 && left < worked + 6, "the new ones: {left}");
    assert!(names(ledgers).await > kept);
    assert_eq!(committed(&world, &machine()).await[..2], ids[..]);
    assert_sound(&world, &[machine()], "swept").await;
}

#[tokio::test]
async fn the_mark_of_a_freed_point_goes_last_and_late() {
    let (world, ids) = world_with_points(30_500, 3).await;
    bury(&world, &machine(), &ids[..1]).await;
    pass_days(&world, UNDELETE_DAYS + 1);
    for _ in 0..3 {
        collect(&world).await;
    }
    let of_first = |world: &World| {
        let (content, id) = (world.content.clone(), ids[0].to_string());
        async move { content.names().await.unwrap().into_iter().filter(|name| name.contains(&id)).count() }
    };
    assert_eq!(of_first(&world).await, 1, "the mark alone");
    next_day(&world, &machine(), 30_549).await;
    for month in 0..14 {
        assert_eq!(of_first(&world).await, usize::from(month < 13), "month {month}");
        pass_days(&world, 30);
        next_day(&world, &machine(), 30_550 + month).await;
        collect(&world).await;
    }
    assert_eq!(of_first(&world).await, 0);
    assert_sound(&world, &[machine()], "after 400 days").await;
}

#[tokio::test]
async fn settled_records_are_kept_for_a_month_of_runs_and_their_waits_are_not() {
    let (world, _) = world_with_points(30_600, 2).await;
    let mut last = 0;
    for round in 0..40 {
        let id = next_day(&world, &machine(), 30_650 + round).await;
        bury(&world, &machine(), &[id]).await;
        if round % 10 == 9 {
            pass_days(&world, UNDELETE_DAYS + 1);
        }
        collect(&world).await;
        last = world.vault().collections().await.unwrap().len();
    }
    let names = world.vault().collect_names().await.unwrap();
    assert!(last <= 30 && names.waits.len() <= 2, "{last}, {:?}", names.waits);
    assert!(names.censuses.values().all(|seqs| seqs.len() <= 2), "{:?}", names.censuses);
}

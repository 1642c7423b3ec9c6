//! Snapshots that a policy keeps: given back when their time is over, taken also while a backup is slow, and no substitute for points.

use jiff::SignedDuration;
use stillpoint_events::Outgoing;
use stillpoint_jobs::{Job, Operation};
use stillpoint_model::{AlarmKey, AlarmKind, Extent, JobState};
use stillpoint_testkit::World;

use crate::fleet::{add_at, backups, machine, pass, world};

const KEEPING: &str = "[limits]\ninstant_restore_days = 2\n";

fn expired(events: &[Outgoing]) -> usize {
    events.iter().filter(|event| event.event_type == "io.stillpoint.snapshot.expired.v1").count()
}

fn is_snapshot_only(job: &Job) -> bool {
    matches!(job.request.what, Operation::Backup { snapshot_only: true, .. })
}

#[tokio::test]
async fn a_policy_keeps_snapshots_for_its_days_and_not_longer() {
    let world = world(101, 2, "every = \"6h\"", KEEPING).await;
    for _ in 0..4 * 24 {
        pass(&world, SignedDuration::from_mins(60));
        world.turn().await.unwrap();
        let now = stillpoint_ports::Clock::now(&*world.clock);
        for kept in world.engine.kept_snapshots().await.unwrap() {
            let kept = world.engine.read_kept(&kept).await.unwrap();
            let age = now.duration_since(kept.instant);
            assert!(age <= SignedDuration::from_hours(49), "{kept:?} at {now}");
        }
    }
    // Two days of them, each machine's apart: eight or nine, as the last hour may fall.
    let kept = world.engine.kept_snapshots().await.unwrap().len();
    assert!((16..=18).contains(&kept), "{kept}");
    assert_eq!(world.platform.held().len(), kept);
    assert_eq!(world.wrong_snapshots().await.unwrap(), [""; 0]);
    assert_eq!(world.leftovers().await.unwrap(), [""; 0]);
    for (_, job) in backups(&world).await {
        assert_eq!(job.state(), JobState::Completed, "{:?}", job.newest);
    }
    // The policy keeps none any more: what was promised stays, and goes in its time.
    world.vault().write_policy(&crate::fleet::policy("all", "daily = \"23:00\"", "")).await.unwrap();
    pass(&world, SignedDuration::from_hours(24));
    world.turn().await.unwrap();
    assert!(!world.engine.kept_snapshots().await.unwrap().is_empty());
    pass(&world, SignedDuration::from_hours(25));
    world.turn().await.unwrap();
    assert_eq!((world.engine.kept_snapshots().await.unwrap().len(), world.platform.held().len()), (0, 0));
    assert_eq!(world.leftovers().await.unwrap(), [""; 0]);
}

#[tokio::test]
async fn only_those_who_reach_it_are_asked_to_give_it_back_and_never_while_its_job_runs() {
    let world = world(102, 1, "every = \"6h\"", KEEPING).await;
    add_at(&world, 1, "all", "elsewhere").await;
    let kept = world.backup_keeping(&machine(0), 3_600).await.unwrap();
    assert_eq!(kept.state(), JobState::Completed);
    let other = world.restart().await.unwrap();
    other.store.fault(22, stillpoint_testkit::Fault::KillBefore);
    assert!(other.store.until_death(other.backup_keeping(&machine(1), 3_600)).await.is_none());
    let world = world.restart().await.unwrap();
    let (live, ended) = (world.engine.unfinished().await.unwrap(), kept.id);
    assert_eq!((live.len(), world.engine.kept_snapshots().await.unwrap().len()), (1, 2), "it came that far");
    pass(&world, SignedDuration::from_hours(2));
    let events = world.tick().await.unwrap();
    assert_eq!(expired(&events), 1);
    world.run(&[], events, Vec::new()).await.unwrap();
    assert_eq!(world.platform.held(), live, "the one of {ended} is gone");
    // A forged or late event does nothing to one whose job runs.
    let [kept] = &world.engine.kept_snapshots().await.unwrap()[..] else { panic!("one is left") };
    let forged = Outgoing::new(&stillpoint_events::SnapshotExpired { item: kept.item.clone(), job: kept.job });
    world.run(&[], vec![forged], Vec::new()).await.unwrap();
    assert_eq!(world.platform.held(), live);
    // Its end finds that the time is over.
    assert_eq!(world.take_on().await.unwrap()[0].state(), JobState::Completed);
    assert_eq!(world.platform.held(), []);
    assert_eq!(expired(&world.tick().await.unwrap()), 0);
    assert_eq!(world.leftovers().await.unwrap(), [""; 0]);
}

/// A backup that a process died on while it was transferred: slow, for all that the timer knows.
async fn slow_backup(world: &World) -> World {
    let slow = world.restart().await.unwrap();
    slow.store.fault(20, stillpoint_testkit::Fault::KillBefore);
    assert!(slow.store.until_death(slow.take_on()).await.is_none());
    world.restart().await.unwrap()
}

#[tokio::test]
async fn a_slot_during_a_slow_backup_makes_a_snapshot_only() {
    let world = world(103, 1, "every = \"1h\"", KEEPING).await;
    pass(&world, SignedDuration::from_mins(60));
    world.tick().await.unwrap();
    let world = slow_backup(&world).await;
    let [(_, slow)] = &backups(&world).await[..] else { panic!("one backup") };
    assert!(!slow.state().is_end() && world.engine.kept_snapshots().await.unwrap().len() == 1, "{slow:?}");
    world.platform.change("m-0000/os", |os| os.write_noise(Extent::new(0, 50_000), 5));
    pass(&world, SignedDuration::from_mins(60));
    let events = world.tick().await.unwrap();
    world
        .run(&[], events.into_iter().filter(|event| !event.data.to_string().contains(&slow.id.to_string())).collect(), Vec::new())
        .await
        .unwrap();
    let jobs = backups(&world).await;
    let [(_, first), (_, second)] = &jobs[..] else { panic!("{jobs:?}") };
    assert!(!first.state().is_end(), "the slow one goes on");
    assert_eq!((is_snapshot_only(second), second.state()), (true, JobState::CompletedWithWarnings), "{:?}", second.newest);
    let outcome = second.newest.outcome.clone().unwrap();
    assert!(outcome.point.is_none() && outcome.kept.is_some());
    assert!(outcome.warnings[0].contains("the transfer was skipped"), "{outcome:?}");
    // Within the same slot there is no second one.
    pass(&world, SignedDuration::from_mins(1));
    world.tick().await.unwrap();
    assert_eq!(backups(&world).await.len(), 2);
    // The slow one ends; the next slot is a backup as always.
    world.take_on().await.unwrap();
    assert_eq!(world.wrong_snapshots().await.unwrap(), [""; 0]);
    pass(&world, SignedDuration::from_mins(60));
    world.turn().await.unwrap();
    let jobs = backups(&world).await;
    assert_eq!(jobs.iter().map(|(_, job)| is_snapshot_only(job)).collect::<Vec<_>>(), [false, true, false]);
    assert_eq!(jobs[2].1.state(), JobState::Completed);
    assert_eq!(world.wrong_points(&machine(0)).await.unwrap(), [""; 0]);
    assert_eq!(world.leftovers().await.unwrap(), [""; 0]);
}

#[tokio::test]
async fn a_backup_whose_transfer_failed_raises_no_alarm_and_resolves_none() {
    let world = world(104, 1, "every = \"1h\"", KEEPING).await;
    let no_good_point = AlarmKey { kind: AlarmKind::NoGoodPoint, subject: stillpoint_model::Subject::Item(machine(0)) };
    let alarms = world.vault().alarms().await.unwrap();
    world.vault().set_alarm(&alarms, &no_good_point, true, stillpoint_vault::Occurrence::default()).await.unwrap();
    pass(&world, SignedDuration::from_mins(60));
    world.tick().await.unwrap();
    let world = slow_backup(&world).await;
    let [(_, slow)] = &backups(&world).await[..] else { panic!("one backup") };
    world.engine.stop(slow.id, JobState::Failed, "the store is full").await.unwrap();
    let job = world.take_on().await.unwrap().pop().unwrap();
    assert_eq!(job.state(), JobState::CompletedWithWarnings, "{:?}", job.newest);
    let open = || async {
        let alarms = world.vault().alarms().await.unwrap();
        alarms.open().map(|(alarm, _)| alarm.clone()).collect::<Vec<_>>()
    };
    world.tick().await.unwrap();
    assert_eq!(open().await, std::slice::from_ref(&no_good_point), "a snapshot is no point");
    pass(&world, SignedDuration::from_mins(60));
    world.turn().await.unwrap();
    world.tick().await.unwrap();
    assert_eq!(open().await, [], "a point is one");
}

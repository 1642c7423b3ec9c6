use futures_util::future::join_all;
use jiff::SignedDuration;
use stillpoint_jobs::Operation;
use stillpoint_model::{JobState, PolicyName};
use stillpoint_testkit::{SITE, World};

use crate::fleet::{add_at, backups, counts, machine, pass, policy, set, world};

#[tokio::test]
async fn each_machine_is_backed_up_once_a_slot_and_its_points_are_whole() {
    let world = world(1, 3, "every = \"1h\"", "").await;
    world.minutes(4 * 60).await.unwrap();
    let counts = counts(&world).await;
    // Shortly after 06:00 to shortly before 10:00.
    assert!(counts.len() == 3 && counts.values().all(|count| *count == 3), "{counts:?}");
    for (_, job) in backups(&world).await {
        assert_eq!(job.state(), JobState::Completed, "{:?}", job.newest.reason);
        let Operation::Backup { slot: Some(slot), keep_until: None, .. } = &job.request.what else { panic!("{job:?}") };
        assert_eq!(slot.policy, "all".parse::<PolicyName>().unwrap());
    }
    for number in 0..3 {
        assert_eq!(world.wrong_points(&machine(number)).await.unwrap(), [""; 0]);
        for listing in world.vault().points(&machine(number)).await.unwrap() {
            assert_eq!(listing.point.unwrap().keep_until, None, "its policy says");
        }
    }
}

#[tokio::test]
async fn ten_timers_at_once_make_one_job_a_slot() {
    let world = world(2, 8, "every = \"1h\"", "").await;
    for hour in 1..=5 {
        pass(&world, SignedDuration::from_mins(60));
        let workers: Vec<World> = join_all((0..10).map(|_| async { world.restart().await.unwrap() })).await;
        for _ in 0..2 {
            let ticks = join_all(workers.iter().map(World::tick)).await;
            assert!(ticks.iter().all(Result::is_ok), "{ticks:?}");
        }
        let counts = counts(&world).await;
        assert!(counts.len() == 8 && counts.values().all(|count| *count == hour), "hour {hour}: {counts:?}");
        // Nobody handled what was published: the jobs are found all the same.
        world.take_on().await.unwrap();
        let jobs = backups(&world).await;
        assert!(jobs.iter().all(|(_, job)| job.state() == JobState::Completed), "hour {hour}");
    }
}

#[tokio::test]
async fn a_hundred_machines_start_evenly_over_their_window() {
    let world = world(3, 100, "daily = \"02:00\"\nwindow = \"2h\"", "").await;
    set(&world, "2026-01-02T02:00:00Z");
    for _ in 0..8 {
        for _ in 0..15 {
            world.tick().await.unwrap();
            pass(&world, SignedDuration::from_mins(1));
        }
    }
    let begin = 1_767_319_200_000; // 02:00
    let mut quarters = [0; 8];
    for (_, job) in backups(&world).await {
        quarters[usize::try_from((job.id.timestamp_ms() - begin) / 900_000).unwrap()] += 1;
    }
    assert_eq!(quarters.iter().sum::<i32>(), 100, "{quarters:?}");
    // The last five minutes are left free of starts, so that none comes too late.
    assert!(quarters[..7].iter().all(|count| (12..=14).contains(count)), "{quarters:?}");
}

#[tokio::test]
async fn machines_of_another_site_are_left_to_its_timer() {
    let world = world(4, 1, "every = \"1h\"", "").await;
    add_at(&world, 1, "all", "elsewhere").await;
    pass(&world, SignedDuration::from_mins(60));
    world.tick().await.unwrap();
    assert_eq!(counts(&world).await.len(), 1);
    world.tick_at("elsewhere").await.unwrap();
    assert_eq!(counts(&world).await.len(), 2);
    assert_eq!(SITE, "here");
}

#[tokio::test]
async fn a_new_policy_neither_runs_nor_misses_what_it_would_have_planned_for_the_past() {
    let world = world(5, 2, "daily = \"05:00\"", "").await;
    world.turn().await.unwrap();
    assert!(counts(&world).await.is_empty());
    world.vault().write_policy(&policy("all", "every = \"1h\"", "")).await.unwrap();
    world.turn().await.unwrap();
    assert!(counts(&world).await.is_empty(), "06:00 was due before this version of the policy");
    assert!(world.vault().alarms().await.unwrap().0.is_empty());
    pass(&world, SignedDuration::from_mins(60));
    world.turn().await.unwrap();
    assert_eq!(counts(&world).await.len(), 2);
}

#[tokio::test]
async fn a_slow_predecessor_makes_the_next_slot_wait_and_not_double() {
    let world = world(6, 1, "every = \"1h\"\nwindow = \"30m\"", "").await;
    pass(&world, SignedDuration::from_mins(60));
    world.tick().await.unwrap();
    assert_eq!(backups(&world).await.len(), 1);
    pass(&world, SignedDuration::from_mins(60));
    world.tick().await.unwrap();
    assert_eq!(backups(&world).await.len(), 1, "the first has not ended");
    world.take_on().await.unwrap();
    world.tick().await.unwrap();
    assert_eq!(backups(&world).await.len(), 2);
}

use jiff::SignedDuration;
use stillpoint_model::Subject;
use stillpoint_testkit::World;

use crate::fleet::{add, counts, machine, pass, policy, world};

const YEAR: SignedDuration = SignedDuration::from_hours(365 * 24);

async fn total(world: &World) -> usize {
    counts(world).await.values().sum()
}

#[tokio::test]
async fn a_clock_a_year_ahead_and_back_costs_at_most_one_backup_too_many_and_none_of_those_due() {
    let world = world(31, 2, "every = \"1h\"", "").await;
    world.minutes(3 * 60).await.unwrap();
    let before = total(&world).await;
    pass(&world, YEAR);
    world.turn().await.unwrap();
    pass(&world, -YEAR);
    let ahead = total(&world).await;
    assert!(ahead <= before + 2, "{before} then {ahead}");
    // Back in time, every hour has its backup again.
    world.minutes(3 * 60).await.unwrap();
    assert!(total(&world).await >= ahead + 2 * 3, "{ahead} then {}", total(&world).await);
    for number in 0..2 {
        assert_eq!(world.wrong_points(&machine(number)).await.unwrap(), [""; 0]);
    }
}

#[tokio::test]
async fn a_machine_and_a_policy_that_were_written_by_a_clock_years_ahead_are_backed_up_now() {
    let world = world(33, 1, "every = \"1h\"", "").await;
    pass(&world, 10 * YEAR);
    add(&world, 1, "all").await;
    world.vault().write_policy(&policy("all", "every = \"2h\"", "")).await.unwrap();
    pass(&world, -10 * YEAR);
    world.minutes(5 * 60).await.unwrap();
    let counts = counts(&world).await;
    let is_backed_up = |number| counts.get(&Subject::Item(machine(number))).is_some_and(|count| *count >= 2);
    assert!((0..2).all(is_backed_up), "{counts:?}");
}

#[tokio::test]
async fn timers_whose_clocks_are_ten_minutes_apart_make_one_job_a_slot() {
    let world = world(32, 4, "every = \"1h\"", "").await;
    let mut expected = 0;
    for hour in 0..5 {
        pass(&world, SignedDuration::from_mins(50));
        for minutes in [0, 10, -10, 10, -10, 0, 10] {
            pass(&world, SignedDuration::from_mins(minutes));
            world.tick().await.unwrap();
        }
        world.take_on().await.unwrap();
        expected += 4;
        assert_eq!(total(&world).await, expected, "hour {hour}");
    }
}

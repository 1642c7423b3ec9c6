use std::time::Instant;

use jiff::SignedDuration;
use stillpoint_testkit::World;

use crate::fleet::{add, pass, policy};

/// Machines of a large installation.
const MACHINES: usize = 1_000;
const POLICIES: usize = 100;
/// What a tick may ask of the store when nothing is due.
const REQUESTS_MAX: u64 = 30;

fn requests(world: &World) -> u64 {
    let made = world.vault().store().requests();
    made.get + made.put + made.list + made.head + made.delete
}

#[tokio::test]
async fn an_idle_tick_over_a_thousand_machines_and_a_hundred_policies_costs_few_requests() {
    let world = World::new(61).await.unwrap();
    for number in 0..POLICIES {
        let schedule = format!("daily = \"{:02}:00\"\nwindow = \"2h\"", 8 + number % 12);
        world.vault().write_policy(&policy(&format!("p{number}"), &schedule, "")).await.unwrap();
    }
    for number in 0..MACHINES {
        add(&world, number, &format!("p{}", number % POLICIES)).await;
    }
    world.tick().await.unwrap();
    let cold = world.restart().await.unwrap();
    cold.tick().await.unwrap();
    let cold = world.restart().await.unwrap();
    let opened = requests(&cold);
    assert!(cold.tick().await.unwrap().is_empty());
    let made = requests(&cold) - opened;
    assert!(made <= REQUESTS_MAX, "of a process that has just started: {made} requests");
    println!("an idle tick of a process that has just started: {made} requests");
    for minute in 0..40 {
        let before = requests(&world);
        let begin = Instant::now();
        assert!(world.tick().await.unwrap().is_empty());
        let made = requests(&world) - before;
        assert!(made <= REQUESTS_MAX, "minute {minute}: {made} requests");
        if minute == 0 {
            println!("an idle tick: {made} requests, {:?}", begin.elapsed());
        }
        pass(&world, SignedDuration::from_mins(1));
    }
}

use jiff::SignedDuration;
use stillpoint_jobs::Operation;
use stillpoint_model::{Extent, JobState, MarkKind, PointId};
use stillpoint_ports::Clock;
use stillpoint_testkit::World;
use stillpoint_vault::Mark;

use crate::fleet::{machine, pass, world};

const POINTS: usize = 100;

/// Calls to the store that a restore takes.
async fn restore(world: &World, point: PointId, folder: &str) -> usize {
    let process = world.restart().await.unwrap();
    let job = process.restore(&machine(0), point, folder).await.unwrap();
    assert_eq!(job.state(), JobState::Completed);
    process.store.calls().len()
}

#[tokio::test]
async fn the_oldest_of_a_hundred_points_restores_like_the_newest_and_any_in_between_may_go() {
    let world = world(95, 1, "every = \"1h\"", "").await;
    let disk = format!("{}/os", machine(0));
    for number in 0..POINTS as u64 {
        world.platform.change(&disk, |os| os.write_noise(Extent::new((number * 3 % 16) * 65_536, 20_000), number));
        world.backup(&machine(0)).await.unwrap();
        pass(&world, SignedDuration::from_hours(1));
    }
    let points = world.vault().points(&machine(0)).await.unwrap();
    assert_eq!(points.len(), POINTS);
    let calls = [restore(&world, points[0].id, "oldest").await, restore(&world, points[POINTS - 1].id, "newest").await];
    // The newest may draw on a pack of each of its sixteen chunks' last writers; a chain would draw on all hundred.
    assert!(calls[1] <= calls[0] + 16 + 2, "the oldest takes {} calls, the newest {}", calls[0], calls[1]);
    for listing in &points[1..POINTS - 1] {
        let now = world.clock.now();
        let mark = Mark { until: Some(now), ..Mark::new(MarkKind::Deleted, now, "operator", "a test") };
        world.vault().mark(&machine(0), &listing.entry, &mark).await.unwrap();
    }
    for _ in 0..3 {
        pass(&world, SignedDuration::from_hours(24));
        assert_eq!(world.task(Operation::Collect).await.unwrap().state(), JobState::Completed);
    }
    let left: Vec<PointId> = world.vault().points(&machine(0)).await.unwrap().iter().map(|listing| listing.id).collect();
    assert_eq!(left, [points[0].id, points[POINTS - 1].id]);
    assert_eq!(world.wrong_points(&machine(0)).await.unwrap(), [""; 0]);
    assert_eq!(world.leftovers().await.unwrap(), [""; 0]);
}

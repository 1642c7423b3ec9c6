use std::collections::BTreeMap;

use stillpoint_jobs::Operation;
use stillpoint_model::JobState;

use crate::fleet::{set, world};

#[tokio::test]
async fn each_task_runs_once_a_day_and_verify_reads_another_part_each_day() {
    let world = world(51, 1, "daily = \"02:00\"", "").await;
    for day in 2..=5 {
        for hour in [0, 2, 4, 6, 9] {
            set(&world, &format!("2026-01-{day:02}T{hour:02}:10:00Z"));
            world.turn().await.unwrap();
            world.turn().await.unwrap();
        }
    }
    let mut runs = BTreeMap::<&str, usize>::new();
    let mut parts = Vec::new();
    for listing in world.engine.jobs().await.unwrap() {
        let job = world.engine.job(listing.id).await.unwrap();
        *runs.entry(job.request.what.as_str()).or_default() += 1;
        assert!(matches!(job.state(), JobState::Completed), "{}: {:?}", job.request.what.as_str(), job.newest);
        if let Operation::Verify { read: Some(read), .. } = job.request.what {
            parts.push((read.part, read.of));
        }
    }
    assert_eq!(runs, BTreeMap::from([("backup", 4), ("prune", 4), ("collect", 4), ("verify", 4)]));
    assert!(parts.windows(2).all(|pair| (pair[0].0 + 1) % 30 == pair[1].0 && pair[0].1 == 30), "{parts:?}");
}

//! Prune beside everything else: it blocks no backup and hurts no point.

use serde_json::json;
use stillpoint_jobs::Operation;
use stillpoint_model::{Extent, JobState, MarkKind};
use stillpoint_testkit::Fault;

use crate::estate::{DAY_MS, Estate, name};

#[tokio::test]
async fn a_backup_and_a_prune_at_once_do_not_hinder_each_other_also_with_kills() {
    for (seed, kill) in (600..).zip([None, Some(3), Some(9), Some(15), Some(20)]) {
        let estate = Estate::new(seed, 1, json!({ "daily": 3 }), json!([])).await;
        estate.commit_each(DAY_MS, 8).await;
        let expected = estate.preview().await;
        let (backs_up, prunes) = (estate.restart().await, estate.restart().await);
        if let Some(number) = kill {
            prunes.world.store.fault(number, Fault::KillAfter);
        }
        let donor = name("donor");
        estate.world.platform.change("donor/os", |disk| disk.write_noise(Extent::new(65_536, 70_000), seed));
        let (job, pruned) =
            tokio::join!(backs_up.world.backup(&donor), prunes.world.store.until_death(prunes.world.task(Operation::Prune)));
        assert_eq!(job.unwrap().state(), JobState::Completed, "seed {seed}");
        assert_eq!(pruned.is_none(), kill.is_some(), "seed {seed}");
        let next = estate.restart().await;
        next.world.take_on().await.unwrap();
        next.prune().await;
        assert_eq!(next.deleted().await, expected, "seed {seed}");
        // The first point was taken before this process; the second is compared with what its snapshot showed.
        assert_eq!(next.world.wrong_points(&donor).await.unwrap(), [""; 0], "seed {seed}");
    }
}

/// Every point is a full: what is deleted takes nothing from the others.
#[tokio::test]
async fn a_deleted_point_in_the_middle_leaves_its_neighbours_whole() {
    let estate = Estate::new(610, 1, json!({ "daily": 3 }), json!([])).await;
    let donor = name("donor");
    for round in 0..4 {
        estate.pass(DAY_MS);
        estate.world.platform.change("donor/os", |disk| disk.write_noise(Extent::new(round * 65_536, 70_000), round));
        assert_eq!(estate.world.backup(&donor).await.unwrap().state(), JobState::Completed);
    }
    let ids = estate.world.vault().point_ids(&donor).await.unwrap();
    estate.mark(&donor, ids[2], MarkKind::Deleted).await;
    estate.prune().await;
    assert_eq!(estate.world.wrong_points(&donor).await.unwrap(), [""; 0]);
}

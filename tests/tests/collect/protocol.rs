//! What is freed, when, and what is not.

use stillpoint_jobs::Operation;
use stillpoint_model::JobState;
use stillpoint_testkit::Fault;
use stillpoint_vault::Name;

use crate::vaults::*;

#[tokio::test]
async fn a_point_is_freed_after_its_window_by_the_second_run_and_what_others_share_stays() {
    let (world, ids) = world_with_points(100, 4).await;
    let all = packs(&world).await;
    bury(&world, &machine(), &ids[..3]).await;
    pass_days(&world, UNDELETE_DAYS - 1);
    assert_eq!(collect(&world).await["points_condemned"], 0, "it can still be undeleted");
    pass_days(&world, 2);
    let first = collect(&world).await;
    assert_eq!((first["points_condemned"], first["points_freed"], first["objects_deleted"]), (3, 0, 0), "condemned first");
    assert!(first["objects_condemned"] > 0, "what it alone needs is condemned with it");
    assert_eq!(committed(&world, &machine()).await, ids);
    let second = collect(&world).await;
    assert_eq!((second["points_condemned"], second["points_freed"]), (0, 3));
    assert!(second["pack_bytes_deleted"] > 0);
    assert_eq!(committed(&world, &machine()).await, ids[3..]);
    let left = packs(&world).await;
    assert!(left.len() < all.len() && !left.is_empty());
    let of_first = needed(&world).await.iter().filter(|name| name.starts_with("packs/")).min().cloned().unwrap();
    assert_eq!(Some(&of_first), all.first(), "the first point's pack is needed by the last");
    assert_clean(&world, "after two runs").await;
    assert_sound(&world, &[machine()], "after two runs").await;
    let third = collect(&world).await;
    assert!(["points_condemned", "points_freed", "objects_deleted", "objects_condemned"].iter().all(|count| third[*count] == 0));
}

#[tokio::test]
async fn a_job_that_was_left_months_ago_is_waited_for_and_named() {
    let (world, ids) = world_with_points(200, 3).await;
    world.store.fault(15, Fault::KillAfter);
    assert!(world.store.until_death(world.backup(&machine())).await.is_none());
    let world = world.restart().await.unwrap();
    let left = world.engine.unfinished().await.unwrap()[0];
    // Many days with jobs pass: commands do not look that far back any more.
    for _ in 0..16 {
        pass_days(&world, 1);
        world.task(Operation::Prune).await.unwrap();
    }
    let world = world.restart().await.unwrap();
    assert_eq!(world.engine.unfinished().await.unwrap(), []);
    bury(&world, &machine(), &ids[..2]).await;
    pass_days(&world, UNDELETE_DAYS + 1);
    for _ in 0..3 {
        let outcome = collect_job(&world).await.newest.outcome.unwrap();
        assert_eq!(outcome.counts["objects_deleted"], 0);
        if outcome.counts["jobs_waited_for"] > 0 {
            assert!(outcome.warnings.iter().any(|line| line.contains(&left.to_string()) && line.contains("jobs cancel")));
        }
    }
    let event = world.engine.stop(left, JobState::Cancelled, "the test gives it up").await.unwrap();
    world.run(&[left], vec![event], Vec::new()).await.unwrap();
    for _ in 0..3 {
        collect(&world).await;
    }
    assert_eq!(committed(&world, &machine()).await, ids[2..]);
    assert_clean(&world, "given up").await;
}

#[tokio::test]
async fn what_another_machine_borrowed_stays_when_its_owner_s_points_go() {
    let (world, ids) = world_with_points(300, 2).await;
    let twin = add_machine(&world, "web-02", 300).await;
    let os = world.platform.taken(world.vault().point(&machine(), ids[1]).await.unwrap().job).unwrap().1.remove(0).1;
    world.platform.put("web-02/os", os);
    let borrower = world.backup(&twin).await.unwrap().newest.outcome.unwrap();
    assert!(borrower.stored_bytes < 1 << 16, "it is all there already: {}", borrower.stored_bytes);
    bury(&world, &machine(), &ids).await;
    pass_days(&world, UNDELETE_DAYS + 1);
    for _ in 0..3 {
        collect(&world).await;
    }
    assert!(committed(&world, &machine()).await.is_empty());
    assert!(packs(&world).await.iter().any(|name| name.starts_with("packs/web-01/")));
    assert_clean(&world, "borrowed").await;
    assert_sound(&world, &[twin], "borrowed").await;
}

#[tokio::test]
async fn a_preview_says_what_the_next_run_does_and_writes_nothing() {
    let (world, ids) = world_with_points(400, 4).await;
    bury(&world, &machine(), &ids[..2]).await;
    pass_days(&world, UNDELETE_DAYS + 1);
    for _ in 0..2 {
        let before = world.content.names().await.unwrap();
        let preview =
            stillpoint_collect::preview(&world.engine, &world.regions, &stillpoint_collect::Margins::DEFAULT).await.unwrap();
        assert_eq!(world.content.names().await.unwrap(), before);
        let mut counts = collect(&world).await;
        counts.remove("objects_swept");
        assert_eq!(preview.counts, counts);
        assert_eq!((preview.freed.len() + preview.condemned.len()) as u64, counts["points_freed"] + counts["points_condemned"]);
    }
}

#[tokio::test]
async fn a_run_condemns_as_much_as_jobs_can_read_and_the_next_one_the_rest() {
    let (world, ids) = world_with_points(500, 1).await;
    let job = world.vault().point(&machine(), ids[0]).await.unwrap().job;
    let attempt = "01ARZ3NDEKTSV4RRFFQ69G5FB0".parse().unwrap();
    for segment in 0..50_100 {
        let name = Name::Pack { item: machine(), job, segment, attempt, number: 0 };
        world.content.replace(&name.to_string(), Vec::new()).await.unwrap();
    }
    assert_eq!(collect(&world).await["objects_condemned"], 50_000);
    let second = collect(&world).await;
    assert_eq!((second["objects_deleted"], second["objects_condemned"]), (50_000, 100));
    assert_eq!(collect(&world).await["objects_deleted"], 100);
    assert_clean(&world, "all gone").await;
    assert_sound(&world, &[machine()], "all gone").await;
}

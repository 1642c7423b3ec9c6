//! What is wanted again stays, and what is not known is needed.

use stillpoint_model::{ItemName, JobState, MarkKind, PointId};
use stillpoint_testkit::World;
use stillpoint_vault::{Mark, Name, Protection};

use crate::vaults::*;

/// A world with four points, the oldest two of which are condemned.
async fn condemned(seed: u64) -> (World, Vec<PointId>) {
    let (world, ids) = world_with_points(seed, 4).await;
    bury(&world, &machine(), &ids[..2]).await;
    pass_days(&world, UNDELETE_DAYS + 1);
    assert_eq!(collect(&world).await["points_condemned"], 2);
    (world, ids)
}

async fn run_thrice(world: &World) {
    for _ in 0..3 {
        collect(world).await;
    }
}

#[tokio::test]
async fn a_condemned_point_that_is_held_or_undeleted_stays_and_restores() {
    let (world, ids) = condemned(20_000).await;
    mark(&world, &machine(), ids[0], MarkKind::Held).await;
    mark(&world, &machine(), ids[1], MarkKind::Undeleted).await;
    assert_eq!(collect(&world).await["points_reprieved"], 2);
    run_thrice(&world).await;
    assert_eq!(committed(&world, &machine()).await, ids);
    assert_clean(&world, "reprieved").await;
    assert_sound(&world, &[machine()], "reprieved").await;
    let record = Name::Point(machine(), ids[0]).to_string();
    let hurt = world.fork().await.unwrap();
    hurt.content.flip(&record, 40).await.unwrap();
    let found = hurt.vault().audit().await.unwrap().findings;
    assert!(found.len() == 1 && found[0].object == record, "it is looked after as others are: {found:?}");
    // When the hold is over, so is the point.
    mark(&world, &machine(), ids[0], MarkKind::Released).await;
    collect(&world).await;
    assert_eq!(committed(&world, &machine()).await, ids[1..]);
    run_thrice(&world).await;
    assert_clean(&world, "released").await;
    assert_sound(&world, &[machine()], "released").await;
}

#[tokio::test]
async fn a_point_that_is_held_before_its_time_is_over_is_not_condemned() {
    let (world, ids) = world_with_points(20_100, 3).await;
    bury(&world, &machine(), &ids[..1]).await;
    mark(&world, &machine(), ids[0], MarkKind::Held).await;
    pass_days(&world, UNDELETE_DAYS + 1);
    assert_eq!(collect(&world).await["points_condemned"], 0);
    run_thrice(&world).await;
    assert_eq!(committed(&world, &machine()).await, ids);
}

#[tokio::test]
async fn a_backup_beside_a_reprieved_point_refers_to_nothing_that_only_this_point_needs() {
    let (world, ids) = world_with_points(20_200, 2).await;
    bury(&world, &machine(), &ids).await;
    pass_days(&world, UNDELETE_DAYS + 1);
    assert_eq!(collect(&world).await["points_condemned"], 2);
    mark(&world, &machine(), ids[1], MarkKind::Held).await;
    run_thrice(&world).await;
    let new = next_day(&world, &machine(), 20_299).await;
    let vault = world.vault();
    let point = vault.point(&machine(), new).await.unwrap();
    assert_eq!(point.parent, None, "the only other point may go any day");
    // So the hold may end, and the point go, whenever it likes.
    mark(&world, &machine(), ids[1], MarkKind::Released).await;
    run_thrice(&world).await;
    assert_eq!(committed(&world, &machine()).await, [new]);
    assert_clean(&world, "released").await;
    assert_sound(&world, &[machine()], "released").await;
}

async fn protect(world: &World, item: &ItemName, protection: Protection) {
    let mut record = world.vault().item(item).await.unwrap();
    record.protection = protection;
    world.vault().write_item(&record, true).await.unwrap();
}

#[tokio::test]
async fn points_of_a_deleted_machine_go_and_those_of_a_revived_one_stay() {
    let (world, ids) = world_with_points(20_300, 2).await;
    let other = add_machine(&world, "web-02", 20_350).await;
    let kept = next_day(&world, &other, 20_360).await;
    let since = world.vault().clock().now();
    for item in [machine(), other.clone()] {
        let until = since.checked_add(days(UNDELETE_DAYS)).unwrap();
        protect(&world, &item, Protection::Deleted { since, until }).await;
    }
    assert_eq!(collect(&world).await["points_condemned"], 0, "it can still be taken back");
    pass_days(&world, UNDELETE_DAYS + 1);
    assert_eq!(collect(&world).await["points_condemned"], 3);
    protect(&world, &other, Protection::Active).await;
    let second = collect(&world).await;
    assert_eq!((second["points_freed"], second["points_reprieved"]), (2, 1));
    run_thrice(&world).await;
    assert!(committed(&world, &machine()).await.is_empty() && ids.len() == 2);
    assert_eq!(committed(&world, &other).await, [kept]);
    assert_clean(&world, "revived").await;
    assert_sound(&world, &[other], "revived").await;
}

fn days(days: i64) -> std::time::Duration {
    std::time::Duration::from_secs(days as u64 * 86_400)
}

/// Runs that complain, with what they say.
async fn complaints(world: &World) -> Vec<String> {
    let job = collect_job(world).await;
    assert_eq!(job.state(), JobState::CompletedWithWarnings, "{:?}", job.newest);
    job.newest.outcome.unwrap().warnings
}

#[tokio::test]
async fn while_a_point_cannot_be_read_no_pack_goes() {
    for damage in ["point.json", "manifest", "lost"] {
        let (world, ids) = world_with_points(20_400, 4).await;
        // Once known, what a point needs is not read again: damage that comes later leaves nothing in doubt.
        bury(&world, &machine(), &ids[..3]).await;
        if damage == "lost" {
            collect(&world).await;
        }
        let point = world.vault().point(&machine(), ids[3]).await.unwrap();
        let record = Name::Point(machine(), ids[3]).to_string();
        let kept = world.content.bytes(&record).await.unwrap();
        match damage {
            "point.json" => world.content.flip(&record, 40).await.unwrap(),
            "manifest" => world.content.flip(&point.manifest.name, point.manifest.sections.packs.offset + 5).await.unwrap(),
            _ => world.content.remove(&record).await.unwrap(),
        }
        let world = world.restart().await.unwrap();
        pass_days(&world, UNDELETE_DAYS + 1);
        let before = packs(&world).await;
        for _ in 0..3 {
            let said = complaints(&world).await;
            assert!(said.iter().any(|line| line.contains(&ids[3].to_string()) && line.contains("no pack")), "{damage}: {said:?}");
        }
        assert_eq!(packs(&world).await, before, "{damage}");
        let manifest = &point.manifest.name;
        assert!(world.content.names().await.unwrap().contains(manifest), "{damage}: what a lost record names stays");
        // Mended, it goes on.
        if damage == "lost" {
            world.content.replace(&record, kept.to_vec()).await.unwrap();
            run_thrice(&world).await;
            assert_eq!(committed(&world, &machine()).await, ids[3..]);
            assert_clean(&world, damage).await;
            assert_sound(&world, &[machine()], damage).await;
        } else {
            // Or given up.
            bury(&world, &machine(), &ids[3..]).await;
            pass_days(&world, UNDELETE_DAYS + 1);
            complaints(&world).await;
            run_thrice(&world).await;
            assert_clean(&world, damage).await;
            assert_eq!(packs(&world).await.len(), 0, "{damage}");
        }
    }
}

#[tokio::test]
async fn damage_to_a_point_whose_needs_are_known_keeps_nothing_from_going() {
    let (world, ids) = world_with_points(20_500, 4).await;
    collect(&world).await;
    bury(&world, &machine(), &ids[..3]).await;
    world.content.flip(&Name::Point(machine(), ids[3]).to_string(), 40).await.unwrap();
    let world = world.restart().await.unwrap();
    pass_days(&world, UNDELETE_DAYS + 1);
    let before = packs(&world).await;
    run_thrice(&world).await;
    let after = packs(&world).await;
    assert!(after.len() < before.len() && !after.is_empty());
}

#[tokio::test]
async fn a_mark_that_is_not_authentic_frees_nothing() {
    let (world, ids) = world_with_points(20_600, 2).await;
    let forged = Name::Mark(machine(), ids[1], 1, MarkKind::Freed).to_string();
    world.content.replace(&forged, b"{}".to_vec()).await.unwrap();
    let before = present(&world).await;
    for _ in 0..3 {
        assert!(complaints(&world).await[0].contains("not authentic"));
    }
    assert_eq!(present(&world).await, before);
}

#[tokio::test]
async fn a_commit_that_thaws_after_its_point_was_freed_makes_no_point() {
    let (world, ids) = condemned(20_700).await;
    let point = world.vault().point(&machine(), ids[1]).await.unwrap();
    let names = [point.manifest.name.clone(), Name::Point(machine(), ids[1]).to_string()];
    let mut frozen = Vec::new();
    for name in &names {
        frozen.push(world.content.bytes(name).await.unwrap().to_vec());
    }
    run_thrice(&world).await;
    for (name, bytes) in names.iter().zip(frozen) {
        world.content.replace(name, bytes).await.unwrap();
    }
    let world = world.restart().await.unwrap();
    assert_eq!(committed(&world, &machine()).await, ids[2..], "nobody sees it");
    let restored = world.restore(&machine(), ids[1], "there").await.unwrap();
    assert!(restored.newest.reason.unwrap().contains("was deleted"));
    run_thrice(&world).await;
    assert_clean(&world, "thawed").await;
    assert_sound(&world, &[machine()], "thawed").await;
}

#[tokio::test]
async fn a_tombstone_that_is_not_authentic_is_never_over() {
    let (world, ids) = world_with_points(20_800, 2).await;
    let entry = world.vault().point_entry(&machine(), ids[0]).await.unwrap();
    let mut body = Mark::new(MarkKind::Deleted, world.vault().clock().now(), "prune", "");
    body.until = Some(world.vault().clock().now());
    world.vault().mark(&machine(), &entry, &body).await.unwrap();
    world.content.flip(&Name::Mark(machine(), ids[0], 1, MarkKind::Deleted).to_string(), 60).await.unwrap();
    let world = world.restart().await.unwrap();
    pass_days(&world, UNDELETE_DAYS);
    run_thrice(&world).await;
    assert_eq!(committed(&world, &machine()).await, ids);
}

//! Each of the two keeps what it keeps.

use serde_json::json;
use stillpoint_jobs::Operation;
use stillpoint_model::{JobState, MarkKind, PointId};
use stillpoint_ports::Clock as _;
use stillpoint_testkit::World;
use stillpoint_vault::{Mark, Role, Wanted};

use crate::{
    machine::{assert_sound, machine},
    pairs::*,
};

const UNDELETE_DAYS: i64 = 14;

/// Deletes a point, as its operator does, and lets it be freed.
async fn delete_for_good(world: &World, point: PointId) {
    let now = world.clock.now();
    let until = now.checked_add(jiff::SignedDuration::from_hours(24 * UNDELETE_DAYS)).unwrap();
    let mark = Mark { until: Some(until), ..Mark::new(MarkKind::Deleted, now, "operator", "not wanted") };
    world.vault().mark(&machine(), &entry(world, point).await, &mark).await.unwrap();
    for _ in 0..=UNDELETE_DAYS {
        world.clock.jump(DAY_MS);
        // A clock is believed that the vault's own points bear out.
        if !world.vault().pairing().await.unwrap().is_some_and(|pairing| pairing.role == Role::Replica) {
            next_day(world, 53_900).await;
        }
    }
}

/// Runs `collect` until it has settled everything.
async fn collect(world: &World) -> Vec<String> {
    let mut warnings = Vec::new();
    for _ in 0..4 {
        let job = world.task(Operation::Collect).await.unwrap();
        assert!(job.newest.outcome.is_some(), "{:?}", job.newest);
        warnings.extend(job.newest.outcome.unwrap().warnings);
    }
    warnings
}

#[tokio::test]
async fn what_the_primary_deletes_stays_in_the_replica() {
    let (primary, replica) = pair(53_000, 3).await;
    replicate_all(&replica).await;
    let all = points(&replica).await;
    delete_for_good(&primary, all[0]).await;
    collect(&primary).await;
    assert!(!points(&primary).await.contains(&all[0]));
    replicate_all(&replica).await;
    collect(&replica).await;
    let kept = points(&replica).await;
    assert!(all.iter().all(|point| kept.contains(point)), "{kept:?}");
    assert_sound(&replica, "after the primary deleted").await;
}

#[tokio::test]
async fn what_the_replica_lets_go_is_not_copied_again_and_nothing_of_it_goes_that_a_point_to_come_may_need() {
    let (primary, replica) = pair(53_100, 3).await;
    replicate_all(&replica).await;
    let all = points(&replica).await;
    let packs = names(&replica, "packs/").await;
    // All but the newest: packs that only they need are still the primary's.
    let now = replica.clock.now();
    for point in &all[..2] {
        let until = now.checked_add(jiff::SignedDuration::from_hours(24 * UNDELETE_DAYS)).unwrap();
        let mark = Mark { until: Some(until), ..Mark::new(MarkKind::Deleted, now, "operator", "not wanted") };
        replica.vault().mark(&machine(), &entry(&replica, *point).await, &mark).await.unwrap();
    }
    for day in 0..=UNDELETE_DAYS.unsigned_abs() {
        next_day(&primary, 53_200 + 10 * day).await;
        assert_eq!(count(&replicate_all(&replica).await, "points"), 1);
    }
    collect(&replica).await;
    let kept = points(&replica).await;
    assert!(!kept.contains(&all[0]) && !kept.contains(&all[1]), "{kept:?}");
    let left = names(&replica, "packs/").await;
    assert!(packs.iter().all(|pack| left.contains(pack)), "the primary may refer to any of them");
    assert_eq!(count(&replicate_all(&replica).await, "points"), 0, "what was let go does not come again");
    assert_sound(&replica, "after its own deletions").await;

    // The same at the primary: now nobody can come to need what it does not have any more.
    primary.platform.change("web-01/data", |data| data.write_noise(stillpoint_model::Extent::new(1 << 20, 1 << 20), 53_800));
    next_day(&primary, 53_801).await;
    for point in points(&primary).await.split_last().unwrap().1 {
        delete_for_good(&primary, *point).await;
    }
    collect(&primary).await;
    replicate_all(&replica).await;
    delete_for_good(&replica, all[2]).await;
    collect(&replica).await;
    let there = names(&primary, "packs/").await;
    let gone: Vec<&String> = packs.iter().filter(|pack| !there.contains(pack)).collect();
    let left = names(&replica, "packs/").await;
    assert!(
        !gone.is_empty() && gone.iter().any(|pack| !left.contains(pack)),
        "{gone:?} are gone at the primary, here there are {left:?}"
    );
    assert_sound(&replica, "after both deleted").await;
}

#[tokio::test]
async fn without_the_primary_nothing_is_condemned_and_the_job_says_so() {
    let (primary, replica) = pair(53_300, 2).await;
    replicate_all(&replica).await;
    let lone = "packs/web-01/01NDQ13JGN3KVCQR8QW6XSGCMP/0000/000000-01NDQ13XERPD4FQ9H4AE5911RS-0000";
    replica.content.replace(lone, vec![0; 10]).await.unwrap();
    replica.lose(&primary);
    let warnings = collect(&replica).await;
    assert!(warnings.iter().all(|warning| warning.contains("the primary cannot be looked at")), "{warnings:?}");
    assert!(!warnings.is_empty() && names(&replica, "packs/").await.contains(&lone.to_owned()));
    replica.vault().promote().await.unwrap();
    assert!(collect(&replica).await.is_empty());
    assert!(!names(&replica, "packs/").await.contains(&lone.to_owned()), "litter of nobody's");
    assert_sound(&replica, "after the promotion").await;
}

#[tokio::test]
async fn a_job_that_copies_is_waited_for() {
    let (primary, replica) = pair(53_400, 2).await;
    // The plan is there and nothing is copied: the process dies.
    replica.store.reset();
    replica.store.fault(20, stillpoint_testkit::Fault::KillBefore);
    assert!(replica.store.until_death(replicate(&replica)).await.is_none());
    let next = replica.restart().await.unwrap();
    collect(&next).await;
    for job in next.take_on().await.unwrap() {
        assert_eq!(job.state(), JobState::Completed, "{:?}", job.newest);
    }
    assert_eq!(points(&next).await, points(&primary).await);
    assert_sound(&next, "collected in between").await;
}

#[tokio::test]
async fn a_replica_with_a_retention_of_its_own_keeps_by_that() {
    let (primary, replica) = pair(53_500, 4).await;
    let policy = |name: &str, machines: &[&str], keep_last: u32| {
        let policy = json!({
            "name": name, "applies_to": { "names": machines }, "retention": { "keep_last": keep_last },
            "schedule": [{ "every": "12h" }],
        });
        serde_json::from_value(policy).unwrap()
    };
    for policy in [policy("daily", &["web-01"], 4), policy("brief", &[], 2)] {
        primary.vault().write_policy(&policy).await.unwrap();
    }
    let wanted = Wanted { retention: Some("brief".parse().unwrap()), ..within_an_hour() };
    let store = replica.vault().store().clone();
    primary.vault().pair(store, "memory:///replica", "memory:///", wanted).await.unwrap();
    replicate_all(&replica).await;
    for (world, kept) in [(&primary, 4), (&replica.restart().await.unwrap(), 2)] {
        let job = world.task(Operation::Prune).await.unwrap();
        assert_eq!(job.state(), JobState::Completed, "{:?}", job.newest);
        let entries = world.vault().point_entries(&machine()).await.unwrap();
        assert_eq!(entries.iter().filter(|entry| entry.deleted().is_none()).count(), kept);
    }
    assert_sound(&replica, "kept by a policy of its own").await;
}

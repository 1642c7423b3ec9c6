//! What is kept and what goes when policies, marks and machines change.

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use stillpoint_model::{JobState, MarkKind, policy::Rule};
use stillpoint_testkit::CallKind;
use stillpoint_vault::Protection;

use crate::estate::{DAY_MS, Estate, HOUR_MS, Ids, count, warnings};

/// Two machines with ten daily points each.
async fn ten_days(seed: u64, daily: u32) -> Estate {
    let estate = Estate::new(seed, 2, json!({ "daily": daily }), json!([])).await;
    estate.commit_each(DAY_MS, 10).await;
    // Not to stand where a day's time is just up.
    estate.pass(-HOUR_MS);
    estate
}

#[tokio::test]
async fn a_tombstone_says_who_why_and_until_when_it_can_be_taken_back() {
    let estate = ten_days(200, 4).await;
    let job = estate.prune().await;
    assert_eq!((job.state(), count(&job, "tombstoned"), count(&job, "points")), (JobState::Completed, 12, 21));
    for (machine, id) in estate.deleted().await {
        let tombstone = estate.tombstone(&machine, id).await;
        assert_eq!(tombstone.by, "prune");
        assert!(tombstone.why.starts_with("daily: over since 2026-01-"), "{}", tombstone.why);
        assert_eq!(tombstone.reasons[0].rule, Rule::Daily);
        let window = tombstone.until.unwrap().duration_since(tombstone.at);
        assert_eq!(window, SignedDuration::from_hours(14 * 24));
    }
}

#[tokio::test]
async fn prune_reads_no_data_and_deletes_nothing() {
    let estate = ten_days(201, 4).await;
    let process = estate.restart().await;
    assert_eq!(count(&process.prune().await, "tombstoned"), 12);
    for call in process.world.store.calls() {
        assert_ne!(call.kind, CallKind::Delete, "{call:?}");
        let is_data = call.name.starts_with("packs/") || call.name.contains("/manifest-");
        assert!(!is_data, "{call:?}");
    }
}

#[tokio::test]
async fn the_newest_good_point_stays_whatever_the_policy() {
    let estate = ten_days(202, 1).await;
    estate.pass(20 * DAY_MS);
    estate.prune().await;
    for machine in &estate.machines {
        let keeping = estate.keeping(machine).await;
        let live: Vec<_> = keeping.points.iter().filter(|kept| kept.entry.deleted().is_none()).collect();
        assert_eq!(live.len(), 1, "{machine}");
        assert_eq!(live[0].point.id, keeping.points.last().unwrap().point.id);
    }
    let machine = estate.machines[0].clone();
    let newest = estate.keeping(&machine).await.points.last().unwrap().point.id;
    estate.mark(&machine, newest, MarkKind::Damaged).await;
    estate.commit(&machine, None).await;
    estate.pass(3 * DAY_MS);
    estate.prune().await;
    assert!(estate.deleted().await.contains(&(machine, newest)), "damaged, and its time is up");
}

#[tokio::test]
async fn a_point_on_demand_keeps_its_time_whatever_becomes_of_the_policy() {
    let estate = ten_days(203, 30).await;
    let machine = estate.machines[0].clone();
    let now = estate.world.vault().clock().now();
    let short = estate.commit(&machine, Some(now + SignedDuration::from_hours(48))).await;
    let long = estate.commit(&machine, Some(now + SignedDuration::from_hours(20 * 24))).await;
    estate.commit(&machine, None).await;
    estate.apply(json!({ "daily": 1 }), json!([])).await;
    estate.pass(DAY_MS);
    estate.prune().await;
    let has = |deleted: &Ids, id| deleted.contains(&(machine.clone(), id));
    let deleted = estate.deleted().await;
    assert!(!has(&deleted, short) && !has(&deleted, long), "a shorter policy shortens no promise");
    estate.apply(json!({ "daily": 365 }), json!([])).await;
    estate.pass(2 * DAY_MS);
    estate.prune().await;
    let deleted = estate.deleted().await;
    assert!(has(&deleted, short), "a longer policy lengthens none");
    assert_eq!(estate.tombstone(&machine, short).await.reasons[0].rule, Rule::OnDemand);
    assert!(!has(&deleted, long));
}

#[tokio::test]
async fn a_longer_policy_keeps_old_points_longer_and_a_shorter_one_tombstones_them() {
    let estate = ten_days(204, 6).await;
    assert_eq!(estate.preview().await.len(), 8);
    estate.apply(json!({ "daily": 30 }), json!([])).await;
    assert_eq!(count(&estate.prune().await, "tombstoned"), 0);
    estate.apply(json!({ "daily": 3 }), json!([])).await;
    let preview = estate.preview().await;
    assert_eq!(preview.len(), 14);
    estate.prune().await;
    assert_eq!(estate.deleted().await, preview);
    let (machine, id) = preview.first().unwrap();
    estate.mark(machine, *id, MarkKind::Undeleted).await;
    assert!(!estate.deleted().await.contains(&(machine.clone(), *id)));
    estate.apply(json!({ "daily": 30 }), json!([])).await;
    assert_eq!(count(&estate.prune().await, "tombstoned"), 0, "undeleted, and the policy keeps it again");
    assert_eq!(estate.deleted().await.len(), 13, "what a policy deleted it does not bring back by itself");
}

#[tokio::test]
async fn what_is_held_stays_until_it_is_released() {
    let estate = ten_days(205, 4).await;
    let machine = estate.machines[0].clone();
    let oldest = estate.keeping(&machine).await.points[0].point.id;
    estate.mark(&machine, oldest, MarkKind::Held).await;
    assert_eq!(count(&estate.prune().await, "tombstoned"), 11);
    assert!(!estate.deleted().await.contains(&(machine.clone(), oldest)));
    estate.mark(&machine, oldest, MarkKind::Released).await;
    assert_eq!(count(&estate.prune().await, "tombstoned"), 1);
    assert!(estate.deleted().await.contains(&(machine, oldest)));
}

#[tokio::test]
async fn nothing_is_written_on_the_points_of_a_stopped_machine() {
    let since = Timestamp::UNIX_EPOCH;
    let protections = [Protection::Retained { since }, Protection::Deleted { since, until: Timestamp::MAX }];
    for (seed, protection) in (206..).zip(protections) {
        let estate = ten_days(seed, 4).await;
        let machine = estate.machines[0].clone();
        estate.protection(&machine, protection).await;
        let job = estate.prune().await;
        assert_eq!((count(&job, "machines"), count(&job, "tombstoned")), (2, 6), "the other one and the donor");
        assert!(estate.deleted().await.iter().all(|(whose, _)| *whose != machine));
        estate.protection(&machine, Protection::Active).await;
        assert_eq!(count(&estate.prune().await, "tombstoned"), 6, "protected again, its policy counts again");
    }
}

#[tokio::test]
async fn a_point_that_cannot_be_read_is_a_warning_and_nothing_is_done_about_it() {
    let estate = ten_days(208, 4).await;
    let machine = estate.machines[0].clone();
    let oldest = estate.keeping(&machine).await.points[0].point.id;
    estate.world.content.flip(&format!("points/{machine}/{oldest}/point.json"), 300).await.unwrap();
    let process = estate.restart().await;
    let job = process.prune().await;
    assert_eq!(job.state(), JobState::CompletedWithWarnings);
    assert!(warnings(&job).iter().any(|warning| warning.contains(&oldest.to_string())), "{:?}", warnings(&job));
    let deleted = process.deleted().await;
    assert_eq!(deleted.len(), 11);
    assert!(!deleted.contains(&(machine, oldest)));
}

/// Its policy may be one that keeps more, and it may have been stopped with its points retained.
#[tokio::test]
async fn a_machine_whose_record_cannot_be_read_loses_nothing() {
    let estate = ten_days(209, 4).await;
    let machine = estate.machines[0].clone();
    let past = estate.world.vault().clock().now();
    estate.commit(&machine, Some(past)).await;
    estate.commit(&machine, None).await;
    estate.world.content.flip(&format!("items/{machine}/000001.json"), 100).await.unwrap();
    let process = estate.restart().await;
    let job = process.prune().await;
    assert!(warnings(&job).iter().any(|warning| warning.contains(machine.as_str())), "{:?}", warnings(&job));
    assert!(process.deleted().await.iter().all(|(whose, _)| *whose != machine));
    assert!(process.preview().await.is_empty(), "and no preview says otherwise");
}

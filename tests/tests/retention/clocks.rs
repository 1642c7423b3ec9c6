//! Clocks that are wrong.

use serde_json::json;
use stillpoint_model::{AlarmKind, JobState};

use crate::{
    alarms::open_alarms,
    estate::{DAY_MS, Estate, HOUR_MS, count, warnings},
};

const YEAR_MS: i64 = 365 * DAY_MS;

#[tokio::test]
async fn a_clock_set_a_year_ahead_and_back_loses_nothing() {
    let estate = Estate::new(300, 3, json!({ "daily": 14, "keep_last": 3 }), json!([{ "daily": "06:00" }])).await;
    estate.commit_each(DAY_MS, 14).await;
    estate.pass(-HOUR_MS);
    assert!(estate.preview().await.is_empty());

    estate.pass(YEAR_MS);
    let job = estate.prune().await;
    assert_eq!((job.state(), count(&job, "tombstoned")), (JobState::CompletedWithWarnings, 0));
    assert!(warnings(&job)[0].contains("the clock may be wrong"), "{:?}", warnings(&job));
    assert!(open_alarms(&estate).await.contains(&(AlarmKind::ClockInDoubt, "@prune".to_owned())));
    // Backups go on under the wrong clock, for some days, and nothing expires by them.
    estate.commit_each(DAY_MS, 5).await;
    assert_eq!(count(&estate.prune().await, "tombstoned"), 0);

    estate.pass(-YEAR_MS - 5 * DAY_MS);
    let job = estate.prune().await;
    assert_eq!(count(&job, "tombstoned"), 0);
    assert_eq!(estate.deleted().await.len(), 0, "nothing is lost");
    assert!(!open_alarms(&estate).await.contains(&(AlarmKind::ClockInDoubt, "@prune".to_owned())), "it is over");

    // Life goes on, and what is over goes: but neither points from the future nor, for their sake, the newest of today.
    estate.commit_each(DAY_MS, 20).await;
    estate.pass(-HOUR_MS);
    estate.prune().await;
    for machine in &estate.machines {
        let keeping = estate.keeping(machine).await;
        let live = keeping.points.iter().filter(|kept| kept.entry.deleted().is_none()).count();
        assert_eq!(live, 14 + 5, "{machine}: the last fourteen days, and five days of next year");
    }
}

#[tokio::test]
async fn a_clock_that_was_ahead_shortens_no_window_for_taking_back() {
    let estate = Estate::new(301, 1, json!({ "daily": 4 }), json!([])).await;
    estate.commit_each(DAY_MS, 10).await;
    let preview = estate.preview().await;
    // Below what is noticed.
    estate.pass(20 * DAY_MS);
    estate.prune().await;
    estate.pass(-20 * DAY_MS);
    let now = estate.world.vault().clock().now();
    for (machine, id) in estate.deleted().await {
        let tombstone = estate.tombstone(&machine, id).await;
        assert!(tombstone.until.unwrap() > now + jiff::SignedDuration::from_hours(14 * 24), "{tombstone:?}");
    }
    assert!(estate.deleted().await.is_superset(&preview));
}

#[tokio::test]
async fn an_operator_who_confirms_the_clock_is_believed() {
    let estate = Estate::new(302, 1, json!({ "daily": 4 }), json!([])).await;
    estate.commit_each(DAY_MS, 10).await;
    estate.pass(60 * DAY_MS);
    assert_eq!(count(&estate.prune().await, "tombstoned"), 0, "nobody knows yet");
    let now = estate.world.vault().clock().now();
    estate.world.vault().change_settings(|settings| settings.clock_confirmed = Some(now)).await.unwrap();
    assert_eq!(count(&estate.prune().await, "tombstoned"), 9);
    assert!(open_alarms(&estate).await.is_empty());
}

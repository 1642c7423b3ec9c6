//! A year of hourly points, pruned each week.

use std::{collections::BTreeSet, time::Instant};

use serde_json::json;
use stillpoint_model::policy::{Act, Rule};

use crate::estate::{Estate, HOUR_MS, Ids, count};

/// `tests/bench/retention_year.rs` prunes the 438,000 points of fifty machines at once.
const MACHINES: usize = 3;

#[tokio::test]
async fn every_week_of_a_year_prune_does_what_the_preview_says_point_by_point() {
    let started = Instant::now();
    let retention = json!({ "daily": 14, "weekly": 8, "monthly": 12, "yearly": 3, "keep_last": 24 });
    let estate = Estate::new(100, MACHINES, retention, json!([{ "every": "1h" }])).await;
    let (mut committed, mut tombstoned) = (0, 0);
    for week in 0..52 {
        estate.commit_each(HOUR_MS, 24 * 7).await;
        committed += 24 * 7 * MACHINES as u64;
        let (before, preview) = (estate.deleted().await, estate.judged(Act::Prune).await);
        let job = estate.prune().await;
        let after = estate.deleted().await;
        let done: Ids = after.difference(&before).cloned().collect();
        assert_eq!(done, preview.keys().cloned().collect::<Ids>(), "week {week}");
        assert_eq!(count(&job, "tombstoned"), done.len() as u64, "week {week}");
        for ((machine, id), why) in preview.iter().take(20) {
            assert_eq!(estate.tombstone(machine, *id).await.why, *why, "week {week}");
        }
        tombstoned += done.len() as u64;
        assert!(estate.preview().await.is_empty(), "week {week}: a second prune has nothing to do");
        estate.free().await;
    }
    for machine in &estate.machines {
        let kept = estate.keeping(machine).await;
        let live = kept.points.iter().filter(|kept| kept.verdict.act == Act::Keep);
        let by = |rule: Rule| live.clone().filter(|kept| kept.verdict.reasons.iter().any(|reason| reason.rule == rule)).count();
        // A rule also stands where its end has passed, as long as another keeps the point.
        let rules = [Rule::Daily, Rule::Weekly, Rule::Monthly, Rule::Yearly, Rule::KeepLast].map(by);
        assert!(rules[0] >= 14 && rules[1] >= 8 && rules[2] == 12 && rules[3] == 1 && rules[4] == 24, "{machine}: {rules:?}");
        let days: BTreeSet<_> = live.clone().map(|kept| kept.point.instant.to_string()[..10].to_owned()).collect();
        assert!(live.count() <= 24 + days.len(), "{machine}: one a day, and the last ones");
    }
    let left = estate.world.vault().all_point_entries().await.unwrap();
    let live = left.values().flatten().filter(|entry| entry.deleted().is_none()).count() as u64;
    assert_eq!(committed - tombstoned, live - 1, "every point is kept or has had its tombstone; one is the donor's");
    eprintln!(
        "{committed} points, {tombstoned} tombstoned, 52 prunes with their previews in {:.1} s",
        started.elapsed().as_secs_f64()
    );
}

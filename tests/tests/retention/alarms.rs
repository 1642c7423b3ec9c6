//! Alarms that `prune` raises and resolves, each once.

use std::collections::BTreeSet;

use serde_json::json;
use stillpoint_model::{AlarmKind, AlarmState, MarkKind};
use stillpoint_vault::Protection;

use crate::estate::{DAY_MS, Estate, HOUR_MS};

/// The open alarms: kind and subject.
pub async fn open_alarms(estate: &Estate) -> BTreeSet<(AlarmKind, String)> {
    let alarms = estate.world.vault().alarms().await.unwrap();
    alarms.open().map(|(key, _)| (key.kind, key.subject.to_string())).collect()
}

/// How often alarms of a kind were raised and resolved.
pub async fn rung(estate: &Estate, kind: AlarmKind) -> (usize, usize) {
    let names = estate.world.content.names().await.unwrap();
    let of = |state: AlarmState| {
        let (folder, end) = (format!("alarms/{kind}/"), format!("-{state}.json"));
        names.iter().filter(|name| name.starts_with(&folder) && name.ends_with(&end)).count()
    };
    (of(AlarmState::Raised), of(AlarmState::Resolved))
}

#[tokio::test]
async fn a_machine_without_a_point_for_two_slots_is_an_alarm_until_it_has_one() {
    // The clock stands at 06:00; slots close at 23:00.
    let estate = Estate::new(400, 2, json!({ "daily": 30 }), json!([{ "daily": "22:00" }])).await;
    let silent = (AlarmKind::NoGoodPoint, estate.machines[1].to_string());
    estate.pass(16 * HOUR_MS + HOUR_MS / 2);
    for day in 0..4 {
        estate.commit(&estate.machines[0], None).await;
        if day == 3 {
            estate.commit(&estate.machines[1], None).await;
        }
        estate.pass(HOUR_MS);
        for _ in 0..2 {
            estate.prune().await;
        }
        assert_eq!(open_alarms(&estate).await.contains(&silent), day == 1 || day == 2, "day {day}");
        assert_eq!(open_alarms(&estate).await.len(), usize::from(day == 1 || day == 2), "the other one is well");
        estate.pass(23 * HOUR_MS);
    }
    assert_eq!(rung(&estate, AlarmKind::NoGoodPoint).await, (1, 1), "each is said once");
}

#[tokio::test]
async fn damaged_and_deleted_points_are_no_good_ones() {
    let estate = Estate::new(401, 2, json!({ "daily": 30 }), json!([{ "daily": "06:00" }])).await;
    estate.commit_each(DAY_MS, 5).await;
    estate.prune().await;
    assert!(open_alarms(&estate).await.is_empty());
    for (machine, mark) in estate.machines.iter().zip([MarkKind::Damaged, MarkKind::Deleted]) {
        for kept in &estate.keeping(machine).await.points[2..] {
            estate.mark(machine, kept.point.id, mark).await;
        }
    }
    estate.prune().await;
    let expected = estate.machines.iter().map(|machine| (AlarmKind::NoGoodPoint, machine.to_string())).collect();
    assert_eq!(open_alarms(&estate).await, expected);
    estate.protection(&estate.machines[0], Protection::Retained { since: jiff::Timestamp::UNIX_EPOCH }).await;
    estate.apply(json!({ "daily": 30 }), json!([])).await;
    estate.prune().await;
    assert!(open_alarms(&estate).await.is_empty(), "who promises nothing owes nothing");
}

#[tokio::test]
async fn a_machine_that_two_policies_choose_loses_nothing_and_is_an_alarm() {
    let estate = Estate::new(402, 1, json!({ "daily": 4 }), json!([])).await;
    estate.commit_each(DAY_MS, 10).await;
    estate.pass(-HOUR_MS);
    let machine = estate.machines[0].clone();
    let second = |names: &[&str]| {
        serde_json::from_value(json!({ "name": "second", "applies_to": { "names": names }, "retention": { "daily": 1 } }))
            .unwrap()
    };
    estate.world.vault().write_policy(&second(&[machine.as_str()])).await.unwrap();
    estate.prune().await;
    estate.prune().await;
    assert!(estate.deleted().await.is_empty());
    assert_eq!(open_alarms(&estate).await, BTreeSet::from([(AlarmKind::PolicyUnclear, machine.to_string())]));
    estate.world.vault().write_policy(&second(&["another"])).await.unwrap();
    estate.prune().await;
    assert_eq!(rung(&estate, AlarmKind::PolicyUnclear).await, (1, 1));
    assert_eq!(estate.deleted().await.len(), 6, "and its policy counts again");
}

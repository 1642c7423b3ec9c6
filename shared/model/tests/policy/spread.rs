//! Starts are spread over the window by a stable order.

use std::collections::BTreeMap;

use serde_json::json;
use stillpoint_model::{
    ItemName,
    policy::{Share, Slot},
};

use crate::examples::{at, timetable};

fn names(count: usize) -> Vec<ItemName> {
    (0..count).map(|n| format!("web-{n:03}").parse().expect("a name")).collect()
}

fn slots(shares: &[Share]) -> Vec<Slot> {
    let table = timetable(&json!([{ "daily": "22:00", "window": "2h" }]));
    let first = |share: &Share| table.next_runs(*share, at("2026-06-01T00:00:00Z")).next().expect("it has slots");
    shares.iter().map(first).collect()
}

fn most_in_a_minute(slots: &[Slot]) -> usize {
    let mut minutes = BTreeMap::new();
    for slot in slots {
        *minutes.entry(slot.start.as_second() / 60).or_insert(0) += 1;
    }
    minutes.into_values().max().unwrap_or(0)
}

#[test]
fn a_hundred_machines_in_two_hours_never_start_two_in_a_minute() {
    let slots = slots(&Share::among(&names(100)));
    assert_eq!(most_in_a_minute(&slots), 1);
    let (first, last) = (slots.iter().map(|slot| slot.start).min().unwrap(), slots.iter().map(|slot| slot.start).max().unwrap());
    assert_eq!(first, slots[0].due);
    assert!(last.duration_since(first).as_mins() >= 113, "all of the window is used: {first} to {last}");
}

#[test]
fn the_order_of_the_list_does_not_matter() {
    let forwards = names(50);
    let backwards: Vec<ItemName> = forwards.iter().rev().cloned().collect();
    let mut shares = Share::among(&backwards);
    shares.reverse();
    assert_eq!(Share::among(&forwards), shares);
}

#[test]
fn one_more_machine_moves_the_others_a_little_and_none_past_another() {
    let before = slots(&Share::among(&names(100)));
    let after = slots(&Share::among(&names(101)))[..100].to_vec();
    let order = |slots: &[Slot]| {
        let mut places: Vec<usize> = (0..slots.len()).collect();
        places.sort_by_key(|place| slots[*place].start);
        places
    };
    assert_eq!(order(&before), order(&after));
    for (before, after) in before.iter().zip(&after) {
        let moved = after.start.duration_since(before.start).abs();
        assert!(moved.as_secs() <= 115 * 60 / 100 + 1, "moved by {moved}");
        assert_eq!(before.due, after.due, "the slot stays the same one");
    }
}

#[test]
fn without_a_window_all_start_at_once() {
    let table = timetable(&json!([{ "daily": "22:00" }]));
    for share in Share::among(&names(10)) {
        let slot = table.next_runs(share, at("2026-06-01T00:00:00Z")).next().unwrap();
        assert_eq!(slot.start, slot.due);
    }
}

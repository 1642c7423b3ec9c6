//! Each slot is judged once, whatever the ticks.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};
use stillpoint_model::{
    ItemName,
    policy::{Judgement, Share, Slot, Timetable, judge},
};

use crate::examples::{at, timetable};

fn slot() -> Slot {
    Slot { due: at("2026-06-01T22:00:00Z"), start: at("2026-06-01T22:30:00Z"), closes: at("2026-06-02T00:00:00Z") }
}

#[test]
fn a_slot_runs_at_its_start_is_caught_up_in_its_window_and_is_missed_after_it() {
    for (now, expected) in [
        ("2026-06-01T22:00:00Z", Judgement::NotYet),
        ("2026-06-01T22:29:59Z", Judgement::NotYet),
        ("2026-06-01T22:30:00Z", Judgement::Run),
        ("2026-06-01T22:34:59Z", Judgement::Run),
        ("2026-06-01T22:35:00Z", Judgement::CatchUp),
        ("2026-06-01T23:59:59Z", Judgement::CatchUp),
        ("2026-06-02T00:00:00Z", Judgement::Missed),
        ("2027-06-02T00:00:00Z", Judgement::Missed),
        ("1970-01-01T00:00:00Z", Judgement::NotYet),
    ] {
        assert_eq!(judge(&slot(), at(now), false), expected, "{now}");
        assert_eq!(judge(&slot(), at(now), true), Judgement::Settled, "{now}");
    }
}

#[test]
fn a_policy_has_no_slots_before_it_applied() {
    let table = timetable(&json!([{ "daily": "22:00", "window": "2h" }]));
    let due = |applies_from: &str| {
        let slots = table.due(Share::FIRST, at(applies_from), at("2026-06-01T00:00:00Z"), at("2026-06-04T23:00:00Z"));
        slots.map(|slot| slot.due.strftime("%d %H:%M").to_string()).collect::<Vec<_>>()
    };
    assert_eq!(due("2020-01-01T00:00:00Z"), ["01 22:00", "02 22:00", "03 22:00", "04 22:00"]);
    assert_eq!(due("2026-06-02T22:00:00Z"), ["02 22:00", "03 22:00", "04 22:00"], "from the instant on");
    assert_eq!(due("2026-06-02T22:10:00Z"), ["03 22:00", "04 22:00"], "its window was open, but not for this policy");
    assert_eq!(due("2027-01-01T00:00:00Z"), [""; 0]);
}

#[test]
fn a_slot_is_there_from_the_instant_at_which_it_is_due() {
    let table = timetable(&json!([{ "daily": "22:00" }]));
    let due = |now: &str| table.due(Share::FIRST, Timestamp::MIN, at("2026-06-01T12:00:00Z"), at(now)).count();
    assert_eq!(["2026-06-01T21:59:59Z", "2026-06-01T22:00:00Z", "2026-06-01T22:00:01Z"].map(due), [0, 1, 1]);
}

#[test]
fn a_clock_set_back_finds_nothing_due() {
    let table = timetable(&json!([{ "every": "1h" }]));
    assert_eq!(table.due(Share::FIRST, Timestamp::MIN, at("2026-06-02T00:30:00Z"), at("2026-06-01T00:00:00Z")).next(), None);
}

/// Schedules with and without windows and blackouts, around moved clocks.
fn any_schedules() -> impl Strategy<Value = Value> {
    let berlin = |mut schedule: Value| {
        schedule["time_zone"] = "Europe/Berlin".into();
        schedule
    };
    let choices = [
        json!([berlin(json!({ "every": "4h", "window": "2h", "not_between": ["08:00-18:00"] }))]),
        json!([berlin(json!({ "every": "1h" })), berlin(json!({ "daily": "02:30", "window": "90m" }))]),
        json!([berlin(json!({ "daily": "02:30", "window": "10h", "not_between": ["02:15-03:30", "05:00-07:00"] }))]),
        json!([berlin(json!({ "weekly": { "days": ["sun", "mon"], "at": "02:00" }, "window": "20h" }))]),
        json!([{ "every": "30m", "time_zone": "Australia/Lord_Howe", "window": "20m", "not_between": ["23:10-01:40"] }]),
    ];
    proptest::sample::select(choices.to_vec())
}

/// The Friday before clocks are moved: in Berlin on a Sunday in March and in October, on Lord Howe Island in April.
fn any_start() -> impl Strategy<Value = Timestamp> {
    let starts = ["2026-03-27T00:00:00Z", "2026-10-23T00:00:00Z", "2026-04-03T00:00:00Z"];
    (proptest::sample::select(starts.to_vec()), 0..86_400_i64)
        .prop_map(|(start, seconds)| at(start) + SignedDuration::from_secs(seconds))
}

/// Runs the timer at the given instants; returns what became of each slot, and when.
fn tick(table: &Timetable, share: Share, ticks: &[Timestamp]) -> BTreeMap<Slot, (Judgement, Timestamp)> {
    let mut settled = BTreeMap::new();
    let applies_from = ticks[0];
    let mut since = applies_from;
    for now in ticks {
        for slot in table.due(share, applies_from, since, *now) {
            match judge(&slot, *now, settled.contains_key(&slot)) {
                Judgement::NotYet | Judgement::Settled => {}
                judgement => assert_eq!(settled.insert(slot, (judgement, *now)), None, "judged twice"),
            }
        }
        since = *now;
    }
    settled
}

/// The share of one of forty machines.
fn share(place: usize) -> Share {
    let names: Vec<ItemName> = (0..40).map(|number| format!("m-{number}").parse().expect("a name")).collect();
    Share::among(&names)[place]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_slot_is_settled_exactly_once_whatever_the_ticks(
        schedules in any_schedules(),
        start in any_start(),
        pauses in prop::collection::vec(prop_oneof![10 => 0..120_i64, 3 => 600..7_200_i64, 1 => 40_000..200_000_i64], 1..300),
        place in 0..40_usize,
    ) {
        let table = timetable(&schedules);
        let share = share(place);
        let ticks: Vec<Timestamp> = std::iter::once(0).chain(pauses).scan(start, |now, pause| {
            *now += SignedDuration::from_secs(pause);
            Some(*now)
        }).collect();
        let settled = tick(&table, share, &ticks);
        let last = *ticks.last().unwrap();
        let before = start - SignedDuration::from_secs(1);
        let all: Vec<Slot> = table.next_runs(share, before).take_while(|slot| slot.due <= last).filter(|slot| slot.start <= last).collect();
        prop_assert!(settled.keys().eq(all.iter()), "{:?} are settled, of {:?}", settled, all);
        for (slot, (judgement, now)) in &settled {
            let could_start = ticks.iter().any(|tick| slot.start <= *tick && *tick < slot.closes);
            prop_assert_eq!(*judgement != Judgement::Missed, could_start, "{:?}", slot);
            prop_assert!(could_start && *now < slot.closes || !could_start && *now >= slot.closes, "{:?} at {}", slot, now);
        }
    }

    #[test]
    fn slots_are_the_same_from_wherever_they_are_counted(schedules in any_schedules(), start in any_start(), skipped in 0..40_usize) {
        let table = timetable(&schedules);
        let all: Vec<Slot> = table.next_runs(Share::FIRST, start).take(60).collect();
        prop_assert!(all.windows(2).all(|pair| pair[0].due < pair[1].due), "they rise");
        let rest: Vec<Slot> = table.next_runs(Share::FIRST, all[skipped].due).take(60 - skipped - 1).collect();
        prop_assert_eq!(&all[skipped + 1..], &rest[..]);
    }

    #[test]
    fn nothing_starts_or_stays_open_in_a_blackout(start in any_start(), place in 0..40_usize) {
        let berlin = jiff::tz::TimeZone::get("Europe/Berlin").unwrap();
        let table = timetable(&json!([{ "every": "15m", "time_zone": "Europe/Berlin", "not_between": ["01:10-02:20", "08:00-18:00"],
            "window": "14m" }]));
        for slot in table.next_runs(share(place), start).take(200) {
            let last = slot.closes - SignedDuration::from_secs(1);
            for instant in [slot.due, slot.start, last] {
                let shown = instant.to_zoned(berlin.clone()).strftime("%H:%M").to_string();
                let dark = |from: &str, to: &str| from <= shown.as_str() && shown.as_str() < to;
                prop_assert!(!dark("01:10", "02:20") && !dark("08:00", "18:00"), "{:?} at {}", slot, shown);
            }
        }
    }
}

#[test]
fn what_was_missed_is_owed_once_and_not_in_a_blackout() {
    let table = timetable(&json!([{ "daily": "03:00", "not_between": ["08:00-18:00"] }]));
    let owes = |since: &str, now: &str| table.owes(at(since), at(now));
    assert!(!owes("2026-06-01T03:00:00Z", "2026-06-02T02:59:59Z"), "what it was looked at for is none of it");
    assert!(owes("2026-06-01T03:00:00Z", "2026-06-02T03:00:00Z"), "when it is due");
    assert!(owes("2026-06-01T03:00:00Z", "2026-06-09T07:59:00Z"), "later, too");
    assert!(!owes("2026-06-01T03:00:00Z", "2026-06-09T08:00:00Z"), "but not in the blackout");
    assert!(owes("2026-06-01T03:00:00Z", "2026-06-09T18:00:00Z"), "after it");
    assert!(!owes("2026-06-09T18:00:00Z", "2026-06-09T19:00:00Z"), "eight of them are one");
    assert!(!timetable(&json!([])).owes(at("2026-06-01T03:00:00Z"), at("2027-06-01T03:00:00Z")));
}

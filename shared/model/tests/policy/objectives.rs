//! How old the newest good point may be: two slots in a row without a point are one too many.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::examples::{at, timetable};

/// The objective at each of these times.
fn objectives(schedules: &Value, applies_from: Timestamp, times: &[&str]) -> Vec<Option<String>> {
    let table = timetable(schedules);
    let shown = |time: &&str| table.objective(applies_from, at(time)).map(|due| due.strftime("%d %H:%M").to_string());
    times.iter().map(shown).collect()
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn a_daily_slot_may_go_without_a_point_and_two_in_a_row_may_not() {
    let found = objectives(
        &json!([{ "daily": "22:00" }]),
        Timestamp::MIN,
        // The last slot closes an hour after it was due.
        &["2026-06-03T22:59:59Z", "2026-06-03T23:00:00Z", "2026-06-04T22:59:59Z"],
    );
    assert_eq!(found, [some("01 22:00"), some("02 22:00"), some("02 22:00")]);
}

#[test]
fn slots_of_a_quarter_hour_close_with_the_next_one() {
    let times = ["2026-06-03T10:14:59Z", "2026-06-03T10:15:00Z", "2026-06-03T10:29:59Z", "2026-06-03T10:30:00Z"];
    let found = objectives(&json!([{ "every": "15m" }]), Timestamp::MIN, &times);
    assert_eq!(found, [some("03 09:30"), some("03 09:45"), some("03 09:45"), some("03 10:00")]);
}

#[test]
fn a_slot_is_not_held_against_a_machine_before_its_window_is_over() {
    let schedules = json!([{ "daily": "22:00", "window": "6h" }]);
    let found = objectives(&schedules, Timestamp::MIN, &["2026-06-04T03:59:59Z", "2026-06-04T04:00:00Z"]);
    assert_eq!(found, [some("01 22:00"), some("02 22:00")]);
}

#[test]
fn a_week_is_not_too_long_and_a_night_is_no_gap() {
    let weekly = json!([{ "weekly": { "days": ["sun"], "at": "02:00" } }]);
    assert_eq!(objectives(&weekly, Timestamp::MIN, &["2026-06-13T12:00:00Z"]), [some("31 02:00")]);
    let by_day = json!([{ "every": "1h", "not_between": ["00:00-08:00", "18:00-24:00"] }]);
    assert_eq!(objectives(&by_day, Timestamp::MIN, &["2026-06-03T07:59:00Z"]), [some("02 16:00")]);
}

#[test]
fn several_schedules_are_one_sequence_of_slots() {
    let both = json!([{ "daily": "02:00" }, { "daily": "14:00" }]);
    assert_eq!(objectives(&both, Timestamp::MIN, &["2026-06-03T12:00:00Z"]), [some("02 14:00")]);
}

#[test]
fn a_machine_that_came_under_the_policy_lately_is_given_two_slots() {
    let daily = json!([{ "daily": "22:00" }]);
    let times = ["2026-06-02T12:00:00Z", "2026-06-02T23:00:00Z", "2026-06-03T22:59:59Z", "2026-06-03T23:00:00Z"];
    let found = objectives(&daily, at("2026-06-02T22:00:00Z"), &times);
    assert_eq!(found, [None, None, None, some("02 22:00")]);
    assert_eq!(objectives(&daily, at("2027-01-01T00:00:00Z"), &times[3..]), [None], "a policy of the future");
}

#[test]
fn a_policy_without_schedules_promises_nothing() {
    assert_eq!(objectives(&json!([]), Timestamp::MIN, &["2026-06-03T12:00:00Z"]), [None]);
}

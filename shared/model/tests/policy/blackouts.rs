//! Windows and the spans in which nothing starts.

use jiff::SignedDuration;
use serde_json::{Value, json};
use stillpoint_model::policy::Share;

use crate::examples::{at, dues, shown, timetable};

/// Due and closing time of the first slots of several schedules, in UTC.
fn windows(schedules: &Value, after: &str, count: usize) -> Vec<(String, String)> {
    let slots: Vec<_> = timetable(schedules).next_runs(Share::FIRST, at(after)).take(count).collect();
    slots.iter().map(|slot| (shown(slot.due, "UTC"), shown(slot.closes, "UTC"))).collect()
}

fn times(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(due, closes)| (format!("2026-06-{due}+00:00"), format!("2026-06-{closes}+00:00"))).collect()
}

#[test]
fn a_slot_in_a_blackout_is_put_off_to_its_end_and_several_become_one() {
    assert_eq!(
        dues("Europe/Berlin", json!({ "every": "4h", "not_between": ["08:00-18:00"] }), "2026-06-01T00:00:00Z", 4),
        ["2026-06-01T04:00+02:00", "2026-06-01T18:00+02:00", "2026-06-01T20:00+02:00", "2026-06-02T00:00+02:00"]
    );
    assert_eq!(
        dues("Europe/Berlin", json!({ "daily": "23:00", "not_between": ["22:00-06:00"] }), "2026-06-01T00:00:00Z", 2),
        ["2026-06-01T06:00+02:00", "2026-06-02T06:00+02:00"],
        "over midnight"
    );
    assert_eq!(
        dues("UTC", json!({ "daily": "09:00", "not_between": ["08:00-12:00", "11:00-13:00"] }), "2026-06-01T00:00:00Z", 1),
        ["2026-06-01T13:00+00:00"],
        "from one into the next"
    );
}

#[test]
fn a_blackout_is_read_from_the_local_clock_where_it_is_moved() {
    assert_eq!(
        dues("Europe/Berlin", json!({ "daily": "01:30", "not_between": ["01:00-02:30"] }), "2026-03-28T12:00:00Z", 1),
        ["2026-03-29T03:00+02:00"],
        "it ends in the missing hour"
    );
    assert_eq!(
        dues("Europe/Berlin", json!({ "every": "30m", "not_between": ["02:00-02:45"] }), "2026-10-24T23:00:00Z", 5),
        [
            "2026-10-25T01:30+02:00",
            "2026-10-25T02:45+02:00",
            "2026-10-25T02:45+01:00",
            "2026-10-25T03:00+01:00",
            "2026-10-25T03:30+01:00",
        ],
        "it comes twice in the doubled hour"
    );
}

#[test]
fn the_only_free_time_may_be_missing_for_a_day() {
    assert_eq!(
        dues("Europe/Berlin", json!({ "daily": "12:00", "not_between": ["03:00-02:00"] }), "2026-03-27T12:00:00Z", 2),
        ["2026-03-28T02:00+01:00", "2026-03-30T02:00+02:00"]
    );
    let weekly = || json!({ "weekly": { "days": ["sat"], "at": "12:00" }, "not_between": ["03:00-02:00"] });
    for after in ["2026-03-27T12:00:00Z", "2026-03-29T23:30:00Z"] {
        assert_eq!(dues("Europe/Berlin", weekly(), after, 1), ["2026-03-30T02:00+02:00"], "from Saturday to Monday");
    }
}

#[test]
fn a_window_ends_after_its_length_or_at_the_next_slot_or_blackout() {
    let daily = json!([{ "daily": "06:00", "window": "3h", "not_between": ["08:00-18:00"] }]);
    assert_eq!(windows(&daily, "2026-06-01T00:00:00Z", 1), times(&[("01T06:00", "01T08:00")]));
    let put_off = json!([{ "every": "4h", "window": "3h", "not_between": ["08:00-18:00"] }]);
    assert_eq!(
        windows(&put_off, "2026-06-01T08:00:00Z", 3),
        times(&[("01T18:00", "01T20:00"), ("01T20:00", "01T23:00"), ("02T00:00", "02T03:00")])
    );
}

#[test]
fn a_slot_without_a_window_can_be_caught_up_for_an_hour_or_until_the_next() {
    assert_eq!(windows(&json!([{ "daily": "06:00" }]), "2026-06-01T00:00:00Z", 1), times(&[("01T06:00", "01T07:00")]));
    assert_eq!(windows(&json!([{ "every": "15m" }]), "2026-06-01T00:00:00Z", 1), times(&[("01T00:15", "01T00:30")]));
}

#[test]
fn several_schedules_share_a_slot_and_the_first_written_gives_its_window() {
    let both = json!([{ "daily": "12:00", "window": "30m" }, { "every": "6h", "window": "5h" }]);
    assert_eq!(
        windows(&both, "2026-06-01T00:00:00Z", 3),
        times(&[("01T06:00", "01T11:00"), ("01T12:00", "01T12:30"), ("01T18:00", "01T23:00")])
    );
}

#[test]
fn a_policy_without_schedules_has_no_slots() {
    assert_eq!(timetable(&json!([])).next_runs(Share::FIRST, at("2026-06-01T00:00:00Z")).next(), None);
}

#[test]
fn the_end_of_the_window_is_left_to_late_ticks() {
    let table = timetable(&json!([{ "daily": "22:00", "window": "2h" }]));
    let names: Vec<_> = (0..1_000).map(|n| format!("vm-{n}").parse().unwrap()).collect();
    for share in Share::among(&names) {
        let slot = table.next_runs(share, at("2026-06-01T00:00:00Z")).next().unwrap();
        assert!(slot.start >= slot.due && slot.closes.duration_since(slot.start) >= SignedDuration::from_mins(5), "{slot:?}");
    }
}

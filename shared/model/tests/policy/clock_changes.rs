//! Slots where clocks are moved, and where the calendar is odd.

use serde_json::json;

use crate::examples::dues;

#[test]
fn a_daily_run_in_the_missing_hour_runs_once_at_the_first_instant_after_it() {
    assert_eq!(
        dues("Europe/Berlin", json!({ "daily": "02:30" }), "2026-03-27T12:00:00Z", 3),
        ["2026-03-28T02:30+01:00", "2026-03-29T03:00+02:00", "2026-03-30T02:30+02:00"]
    );
    assert_eq!(
        dues("America/New_York", json!({ "daily": "02:15" }), "2026-03-07T12:00:00Z", 2),
        ["2026-03-08T03:00-04:00", "2026-03-09T02:15-04:00"]
    );
    assert_eq!(
        dues("Australia/Lord_Howe", json!({ "daily": "02:10" }), "2026-10-02T20:00:00Z", 2),
        ["2026-10-04T02:30+11:00", "2026-10-05T02:10+11:00"],
        "half an hour is missing"
    );
}

#[test]
fn a_daily_run_in_the_doubled_hour_runs_once_in_the_first() {
    assert_eq!(
        dues("Europe/Berlin", json!({ "daily": "02:30" }), "2026-10-23T12:00:00Z", 3),
        ["2026-10-24T02:30+02:00", "2026-10-25T02:30+02:00", "2026-10-26T02:30+01:00"]
    );
    assert_eq!(
        dues("America/New_York", json!({ "daily": "01:30" }), "2026-10-31T12:00:00Z", 2),
        ["2026-11-01T01:30-04:00", "2026-11-02T01:30-05:00"]
    );
    assert_eq!(
        dues("Australia/Lord_Howe", json!({ "daily": "01:45" }), "2026-04-04T00:00:00Z", 2),
        ["2026-04-05T01:45+11:00", "2026-04-06T01:45+10:30"],
        "half an hour is doubled"
    );
}

#[test]
fn a_weekly_run_in_the_missing_and_in_the_doubled_hour_runs_once() {
    let weekly = || json!({ "weekly": { "days": ["sun"], "at": "02:30" } });
    assert_eq!(dues("Europe/Berlin", weekly(), "2026-03-23T00:00:00Z", 2), ["2026-03-29T03:00+02:00", "2026-04-05T02:30+02:00"]);
    assert_eq!(dues("Europe/Berlin", weekly(), "2026-10-19T00:00:00Z", 2), ["2026-10-25T02:30+02:00", "2026-11-01T02:30+01:00"]);
}

#[test]
fn an_interval_counts_from_local_midnight() {
    assert_eq!(
        dues("Europe/Berlin", json!({ "every": "4h" }), "2026-06-01T10:00:00Z", 10),
        [
            "2026-06-01T16:00+02:00",
            "2026-06-01T20:00+02:00",
            "2026-06-02T00:00+02:00",
            "2026-06-02T04:00+02:00",
            "2026-06-02T08:00+02:00",
            "2026-06-02T12:00+02:00",
            "2026-06-02T16:00+02:00",
            "2026-06-02T20:00+02:00",
            "2026-06-03T00:00+02:00",
            "2026-06-03T04:00+02:00",
        ]
    );
    assert_eq!(
        dues("Asia/Kolkata", json!({ "every": "12h" }), "2026-06-01T00:00:00Z", 2),
        ["2026-06-01T12:00+05:30", "2026-06-02T00:00+05:30"],
        "an offset of half an hour"
    );
}

#[test]
fn an_interval_has_no_run_twice_where_an_hour_is_missing() {
    assert_eq!(
        dues("Europe/Berlin", json!({ "every": "1h" }), "2026-03-28T23:30:00Z", 3),
        ["2026-03-29T01:00+01:00", "2026-03-29T03:00+02:00", "2026-03-29T04:00+02:00"]
    );
    assert_eq!(
        dues("Europe/Berlin", json!({ "every": "2h" }), "2026-03-28T22:30:00Z", 3),
        ["2026-03-29T00:00+01:00", "2026-03-29T03:00+02:00", "2026-03-29T04:00+02:00"]
    );
}

#[test]
fn an_interval_runs_in_both_of_the_doubled_hours_as_both_pass() {
    assert_eq!(
        dues("Europe/Berlin", json!({ "every": "30m" }), "2026-10-24T23:30:00Z", 6),
        [
            "2026-10-25T02:00+02:00",
            "2026-10-25T02:30+02:00",
            "2026-10-25T02:00+01:00",
            "2026-10-25T02:30+01:00",
            "2026-10-25T03:00+01:00",
            "2026-10-25T03:30+01:00",
        ]
    );
    assert_eq!(
        dues("Australia/Lord_Howe", json!({ "every": "30m" }), "2026-04-04T14:00:00Z", 3),
        ["2026-04-05T01:30+11:00", "2026-04-05T01:30+10:30", "2026-04-05T02:00+10:30"]
    );
    assert_eq!(
        dues("Europe/Berlin", json!({ "every": "4h" }), "2026-10-24T20:00:00Z", 3),
        ["2026-10-25T00:00+02:00", "2026-10-25T04:00+01:00", "2026-10-25T08:00+01:00"]
    );
}

#[test]
fn a_run_on_a_day_that_a_zone_skipped_runs_once_when_the_next_day_begins() {
    assert_eq!(
        dues("Pacific/Apia", json!({ "daily": "22:00" }), "2011-12-29T12:00:00Z", 3),
        ["2011-12-29T22:00-10:00", "2011-12-31T00:00+14:00", "2011-12-31T22:00+14:00"]
    );
    assert_eq!(
        dues("Pacific/Apia", json!({ "weekly": { "days": ["fri"], "at": "22:00" } }), "2011-12-20T00:00:00Z", 3),
        ["2011-12-23T22:00-10:00", "2011-12-31T00:00+14:00", "2012-01-06T22:00+14:00"],
        "a week without its backup would be worse"
    );
}

#[test]
fn leap_years_have_their_day() {
    assert_eq!(
        dues("UTC", json!({ "daily": "23:00" }), "2028-02-28T00:00:00Z", 3),
        ["2028-02-28T23:00+00:00", "2028-02-29T23:00+00:00", "2028-03-01T23:00+00:00"]
    );
    assert_eq!(
        dues("UTC", json!({ "daily": "23:00" }), "2027-02-28T00:00:00Z", 2),
        ["2027-02-28T23:00+00:00", "2027-03-01T23:00+00:00"]
    );
    assert_eq!(
        dues("UTC", json!({ "weekly": { "days": ["tue"], "at": "12:00" } }), "2028-02-23T00:00:00Z", 2),
        ["2028-02-29T12:00+00:00", "2028-03-07T12:00+00:00"]
    );
}

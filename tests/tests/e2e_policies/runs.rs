use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::Value;
use stillpoint_tests::{Lab, text};

use crate::{NIGHTLY, apply, imported};

fn next(host: &stillpoint_tests::Host, count: &str, from: &str) -> Vec<Value> {
    let shown = host.json(&["policy", "show", "nightly", "--next", count, "--from", from]);
    shown["runs"].as_array().expect("there are runs").clone()
}

/// Ten runs from a time on, as UTC.
fn ten(daily: &str, from: &str) -> Vec<String> {
    let lab = Lab::new();
    let host = lab.host_with_vault();
    apply(&lab, &host, &NIGHTLY.replacen("02:00", daily, 1));
    next(&host, "10", from).iter().map(|run| text(run, "/due").to_owned()).collect()
}

#[test]
fn a_run_in_the_missing_hour_runs_once() {
    let expected = (23..=27).map(|day| format!("2027-03-{day}T01:30:00Z")).chain(["2027-03-28T01:00:00Z".to_owned()]);
    let expected = expected.chain((29..=31).map(|day| format!("2027-03-{day}T00:30:00Z")));
    let expected: Vec<String> = expected.chain(["2027-04-01T00:30:00Z".to_owned()]).collect();
    assert_eq!(ten("02:30", "2027-03-23T00:00:00Z"), expected);
}

#[test]
fn a_run_in_the_doubled_hour_runs_once() {
    let before = (20..=25).map(|day| format!("2026-10-{day}T00:30:00Z"));
    let expected: Vec<String> = before.chain((26..=29).map(|day| format!("2026-10-{day}T01:30:00Z"))).collect();
    assert_eq!(ten("02:30", "2026-10-20T00:00:00Z"), expected);
}

#[test]
fn runs_are_shown_by_the_clock_of_the_policy_and_utc() {
    let lab = Lab::new();
    let host = lab.host_with_vault();
    apply(&lab, &host, &NIGHTLY.replacen("02:00", "02:30", 1));
    let shown = host.run(&["policy", "show", "nightly", "--next", "2", "--from", "2027-03-27T12:00:00Z"]).ok();
    let shown = String::from_utf8(shown.stdout).expect("a table is text");
    assert!(shown.contains("Sun 2027-03-28 03:00:00 CEST") && shown.contains("2027-03-28T01:00:00Z"), "{shown}");
    let run = &next(&host, "1", "2027-03-27T12:00:00Z")[0];
    assert_eq!(text(run, "/due_local"), "2027-03-28T03:00:00+02:00[Europe/Berlin]");
    assert!(run["machine"].is_null(), "no machine follows it");
    host.fails(&["policy", "show", "nightly", "--next", "1", "--from", "tomorrow"]);
    host.fails(&["policy", "show", "nightly", "--from", "2027-03-27T12:00:00Z"]);
}

#[test]
fn a_hundred_machines_are_spread_evenly_over_two_hours() {
    let lab = Lab::new();
    let host = lab.host_with_vault();
    imported(&lab, &host, 100, "env = \"prod\"");
    apply(&lab, &host, NIGHTLY);
    let runs = next(&host, "1", "2027-01-10T12:00:00Z");
    let machines: BTreeSet<&str> = runs.iter().map(|run| text(run, "/machine")).collect();
    assert_eq!((runs.len(), machines.len()), (100, 100));
    let mut starts: Vec<i64> =
        runs.iter().map(|run| text(run, "/start").parse::<Timestamp>().expect("a time").as_second()).collect();
    starts.sort_unstable();
    let opens: Timestamp = "2027-01-11T01:00:00Z".parse().expect("a time");
    assert_eq!(starts[0], opens.as_second());
    // The last five minutes of the window are left free.
    let pause = (120 - 5) * 60 / 100;
    assert!(starts.windows(2).all(|pair| (pause - 1..=pause + 1).contains(&(pair[1] - pair[0]))), "{starts:?}");

    let one = text(&runs[42], "/machine");
    let shown = host.json(&["policy", "show", "nightly", "--next", "2", "--from", "2027-01-10T12:00:00Z", "--item", one]);
    assert_eq!(shown["runs"][0], runs[42], "its place does not depend on who asks");
    assert_eq!(shown["runs"].as_array().map(Vec::len), Some(2));
}

#[test]
fn a_run_whose_window_is_open_is_still_to_come() {
    let lab = Lab::new();
    let host = lab.host_with_vault();
    imported(&lab, &host, 10, "env = \"prod\"");
    apply(&lab, &host, NIGHTLY);
    let all = next(&host, "1", "2027-01-10T12:00:00Z");
    let later = next(&host, "1", "2027-01-11T02:00:00Z");
    let still = later.iter().filter(|run| all.contains(run)).count();
    assert_eq!(still, 4, "of ten starts over 115 minutes those after the first hour: {later:?}");
}

//! When the clock is believed.

use jiff::{SignedDuration, Timestamp};
use stillpoint_model::policy::{Clock, ClockMargins};

use crate::examples::at;

fn days(count: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * count)
}

/// A job each day, from the first day on.
fn daily(from: &str, count: i64) -> Vec<Timestamp> {
    (0..count).map(|day| at(from) + days(day)).collect()
}

fn is_believed(now: Timestamp, witnesses: &[Timestamp]) -> bool {
    Clock::judged(now, witnesses.iter().copied(), ClockMargins::DEFAULT).doubt().is_none()
}

#[test]
fn a_clock_that_goes_on_is_believed() {
    let jobs = daily("2026-01-01T00:00:00Z", 30);
    assert!(is_believed(at("2026-01-30T12:00:00Z"), &jobs));
    assert!(is_believed(at("2026-03-05T00:00:00Z"), &jobs), "35 days after the last job");
    assert!(is_believed(at("2026-03-05T00:00:00Z"), &[]), "an empty vault has nothing to lose");
}

#[test]
fn a_vault_that_is_used_once_a_month_is_believed() {
    let jobs: Vec<Timestamp> = (0..12).map(|month| at("2026-01-01T00:00:00Z") + days(31 * month)).collect();
    assert!(is_believed(at("2027-01-01T00:00:00Z"), &jobs));
}

#[test]
fn a_clock_set_a_year_ahead_is_not_believed_until_work_has_gone_on_for_two_weeks() {
    let mut jobs = daily("2026-01-01T00:00:00Z", 60);
    let jumped = at("2027-03-01T00:00:00Z");
    let doubt = Clock::judged(jumped, jobs.iter().copied(), ClockMargins::DEFAULT).doubt().unwrap();
    assert_eq!((doubt.from, doubt.to, doubt.until), (jobs[59], jumped, jumped + days(14)));
    assert!(doubt.to_string().contains("nothing expires before 2027-03-15T00:00:00Z"), "{doubt}");
    jobs.extend(daily("2027-03-01T00:00:00Z", 14));
    assert!(!is_believed(jumped + days(13), &jobs), "new jobs alone do not make it true");
    assert!(is_believed(jumped + days(14), &jobs), "a machine that was off for a year works again in the end");
}

#[test]
fn time_alone_does_not_settle_a_doubt() {
    let jobs = daily("2026-01-01T00:00:00Z", 60);
    assert!(!is_believed(at("2027-03-01T00:00:00Z"), &jobs));
    assert!(!is_believed(at("2028-03-01T00:00:00Z"), &jobs));
}

#[test]
fn a_clock_set_back_is_believed_and_what_was_made_ahead_of_it_is_no_witness() {
    let mut jobs = daily("2026-01-01T00:00:00Z", 60);
    jobs.extend(daily("2027-03-01T00:00:00Z", 3));
    jobs.extend(daily("2026-03-02T00:00:00Z", 10));
    assert!(is_believed(at("2026-03-12T00:00:00Z"), &jobs));
    assert!(is_believed(at("1970-01-01T00:00:00Z"), &jobs));
}

#[test]
fn the_latest_pause_counts() {
    let jobs = [daily("2020-01-01T00:00:00Z", 30), daily("2026-01-01T00:00:00Z", 60)].concat();
    assert!(is_believed(jobs[89], &jobs), "an old pause is settled");
    assert!(!is_believed(at("2027-03-01T00:00:00Z"), &jobs), "and does not hide a new one");
}

#[test]
fn an_operator_can_confirm_a_clock() {
    assert_eq!(Clock::confirmed(at("2036-01-01T00:00:00Z")).doubt(), None);
}

//! Policies and times, written short.

use jiff::{Timestamp, tz::TimeZone};
use serde_json::{Value, json};
use stillpoint_model::policy::{Policy, Share, Timetable};

/// A checked policy with these schedules.
pub fn policy(schedules: &Value) -> Policy {
    let policy: Policy = serde_json::from_value(json!({
        "name": "p", "schedule": schedules, "retention": { "keep_last": 1 }
    }))
    .expect("the policy parses");
    policy.check().expect("the policy is sound");
    policy
}

pub fn timetable(schedules: &Value) -> Timetable {
    Timetable::new(&policy(schedules)).expect("its zone exists")
}

pub fn at(text: &str) -> Timestamp {
    text.parse().expect("a time stamp")
}

/// An instant as the clock in `zone` shows it.
pub fn shown(instant: Timestamp, zone: &str) -> String {
    instant.to_zoned(TimeZone::get(zone).expect("a zone")).strftime("%FT%H:%M%:z").to_string()
}

/// When the next slots of one schedule are due, by the clock of its zone.
pub fn dues(zone: &str, mut schedule: Value, after: &str, count: usize) -> Vec<String> {
    schedule["time_zone"] = zone.into();
    let table = timetable(&json!([schedule]));
    table.next_runs(Share::FIRST, at(after)).take(count).map(|slot| shown(slot.due, zone)).collect()
}

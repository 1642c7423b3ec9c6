//! Policy files as operators write them, right and wrong.

use stillpoint_model::{
    Consistency, Error, ErrorKind,
    policy::{ByteCount, Interval, Policy, Weekday},
};
use stillpoint_policy_file::{FILE_BYTES_MAX, from_toml, to_toml};

const FULL: &str = r#"name = "critical"
[applies_to]        # names, or tags
tags = { env = "prod" }
[schedule]          # several may be given
every = "4h"
time_zone = "Europe/Berlin"
window = "2h"
not_between = ["08:00-18:00"]
[retention]
daily = 30
weekly = 12
monthly = 60
yearly = 10
keep_last = 3
[consistency]
wanted = "application"
fallback = true
[limits]
concurrent = 10
bytes_per_second = "200MiB"
instant_restore_days = 2
"#;

#[test]
fn a_full_file_is_read_field_by_field() {
    let policy = from_toml(FULL).unwrap();
    assert_eq!(policy.name.as_str(), "critical");
    assert_eq!(policy.applies_to.tags["env"], "prod");
    let [schedule] = &policy.schedules[..] else { panic!("one schedule") };
    assert_eq!(schedule.every, Some(Interval::from_minutes(240)));
    assert_eq!(schedule.window, Some(Interval::from_minutes(120)));
    assert_eq!(schedule.not_between[0].to_string(), "08:00-18:00");
    let kept = policy.retention;
    assert_eq!([kept.daily, kept.weekly, kept.monthly, kept.yearly, kept.keep_last], [30, 12, 60, 10, 3].map(Some));
    assert_eq!((policy.consistency.wanted, policy.consistency.fallback), (Consistency::Application, true));
    assert_eq!(policy.limits.bytes_per_second, Some(ByteCount(200 << 20)));
    assert_eq!((policy.limits.concurrent, policy.limits.instant_restore_days), (Some(10), Some(2)));
}

#[test]
fn the_shortest_file_names_the_policy_and_what_it_keeps() {
    let policy = from_toml("name = \"p\"\nretention.keep_last = 1\n").unwrap();
    assert!(policy.schedules.is_empty() && policy.applies_to.names.is_empty());
    assert_eq!((policy.consistency.wanted, policy.limits.concurrent), (Consistency::Crash, None));
}

#[test]
fn several_schedules_are_several_tables() {
    let text = "name = \"p\"\nretention = { keep_last = 1 }\n[[schedule]]\ndaily = \"22:00\"\n[[schedule]]\n\
                weekly = { days = [\"sat\", \"sun\"], at = \"12:00\" }\n";
    let policy = from_toml(text).unwrap();
    assert_eq!(policy.schedules.len(), 2);
    assert_eq!(policy.schedules[1].weekly.as_ref().unwrap().days, [Weekday::Sat, Weekday::Sun]);
}

#[test]
fn what_is_written_is_read_back() {
    let weekly = FULL.replacen("every = \"4h\"", "weekly = { days = [\"sat\", \"sun\"], at = \"12:00\" }", 1);
    let names = FULL.replacen("tags =", "names = [\"web-01\"]\ntags =", 1);
    let short = "name = \"p\"\nretention.keep_last = 1\n";
    for text in [FULL, &weekly, &names, short] {
        let policy = from_toml(text).unwrap();
        let written = to_toml(&policy).unwrap();
        assert_eq!(from_toml(&written).unwrap(), policy, "{written}");
    }
}

#[test]
fn a_file_with_two_policies_is_refused_and_says_so() {
    let listed = format!("[[policy]]\n{FULL}");
    let error = from_toml(&listed).unwrap_err();
    assert_eq!((error.line, error.field.as_str()), (1, "policy"));
    assert!(error.reason.contains("one policy to a file"), "{error}");
    let joined = from_toml(&format!("{FULL}{}", FULL.replacen("critical", "other", 1))).unwrap_err();
    assert!(joined.reason.contains("one policy to a file"), "{joined}");
}

/// What is written into the full file in place of what, and the error: line, field, and words of the reason.
const WRONG: [(&str, &str, usize, &str, &str); 36] = [
    ("name = \"critical\"", "name = \"Critical\"", 1, "name", "may hold only a-z"),
    ("name = \"critical\"", "", 1, "name", "missing field `name`"),
    ("name = \"critical\"", "name = 7", 1, "name", "expected a string"),
    ("name = \"critical\"", "name = \"critical", 1, "name", "invalid basic string"),
    ("name = \"critical\"", "name = \"critical\"\nname = \"b\"", 2, "name", "duplicate key"),
    ("[applies_to]", "[applies-to]", 2, "applies-to", "unknown field `applies-to`"),
    ("tags = { env = \"prod\" }", "names = [\"ok\", \"not ok\"]", 3, "applies_to.names", "may hold only"),
    ("tags = { env = \"prod\" }", "tags = { \"e v\" = \"prod\" }", 3, "applies_to.tags.e v", "the key of a tag"),
    ("tags = { env = \"prod\" }", "tags = { env = 1 }", 3, "applies_to.tags.env", "expected a string"),
    ("every = \"4h\"", "evry = \"4h\"", 5, "schedule.evry", "unknown field `evry`"),
    ("every = \"4h\"", "every = \"4 hours\"", 5, "schedule.every", "'4 hours' is not a duration"),
    ("every = \"4h\"", "every = \"5h\"", 5, "schedule.every", "5h does not divide a day evenly"),
    ("every = \"4h\"", "every = \"0s\"", 5, "schedule.every", "does not divide a day evenly"),
    ("every = \"4h\"", "every = \"90s\"", 5, "schedule.every", "whole minutes"),
    ("every = \"4h\"", "every = \"2d\"", 5, "schedule.every", "does not divide a day evenly"),
    ("every = \"4h\"", "every = \"4h\"\ndaily = \"22:00\"", 4, "schedule", "give one of every, daily and weekly"),
    ("every = \"4h\"", "", 4, "schedule", "give one of every, daily and weekly"),
    ("every = \"4h\"", "daily = \"24:00\"", 5, "schedule.daily", "'24:00' is not a time of day"),
    ("every = \"4h\"", "weekly = { days = [], at = \"01:00\" }", 5, "schedule.weekly.days", "at least one day"),
    ("every = \"4h\"", "weekly = { days = [\"sat\", \"sat\"], at = \"01:00\" }", 5, "schedule.weekly.days", "named twice"),
    ("every = \"4h\"", "weekly = { days = [\"saturday\"], at = \"01:00\" }", 5, "schedule.weekly.days[0]", "unknown variant"),
    ("every = \"4h\"", "weekly = { days = [\"sat\"] }", 5, "schedule.weekly.at", "missing field `at`"),
    ("Europe/Berlin", "Europe/Bärlin", 6, "schedule.time_zone", "not in the time zone database"),
    ("window = \"2h\"", "window = \"4h\"", 7, "schedule.window", "4h is not shorter than the 4h from one slot"),
    ("window = \"2h\"", "window = \"9m\"", 7, "schedule.window", "9m is shorter than 10m"),
    ("08:00-18:00", "08:00", 8, "schedule.not_between", "'08:00' is not a span of the day"),
    ("\"08:00-18:00\"", "\"08:00-18:00\", \"18:00-08:00\"", 8, "schedule.not_between", "cover the whole day"),
    ("daily = 30", "daily = 0", 10, "retention.daily", "must be 1 to 36525, not 0"),
    ("daily = 30", "daily = -1", 10, "retention.daily", "-1"),
    ("keep_last = 3", "keep_last = 0", 14, "retention.keep_last", "must be 1 to"),
    ("wanted = \"application\"", "wanted = \"best\"", 16, "consistency.wanted", "unknown variant `best`"),
    ("concurrent = 10", "concurrent = 0", 19, "limits.concurrent", "no backup could ever run"),
    ("200MiB", "200", 20, "limits.bytes_per_second", "'200' is not a size"),
    ("200MiB", "64kB", 20, "limits.bytes_per_second", "less than 64KiB"),
    ("\"200MiB\"", "209715200", 20, "limits.bytes_per_second", "expected a string"),
    ("instant_restore_days = 2", "instant_restore_days = 31", 21, "limits.instant_restore_days", "must be 0 to 30"),
];

#[test]
fn what_is_wrong_is_named_by_line_field_and_reason() {
    for (right, wrong, line, field, reason) in WRONG {
        let text = FULL.replacen(right, wrong, 1);
        assert_ne!(text, FULL, "{right} is in the file");
        let error = from_toml(&text).expect_err(wrong);
        assert_eq!((error.line, error.field.as_str()), (line, field), "{wrong}: {error}");
        assert!(error.reason.contains(reason), "{wrong}: {error}");
        assert!(!error.to_string().contains(['\n', '\r']), "one line: {error}");
        assert_eq!(Error::from(error).kind(), ErrorKind::Invalid);
    }
}

#[test]
fn a_policy_that_keeps_nothing_is_refused() {
    let error = from_toml("name = \"p\"\n\n[retention]\n").unwrap_err();
    assert_eq!((error.line, error.field.as_str()), (3, "retention"), "{error}");
    assert!(from_toml("name = \"p\"\n").unwrap_err().reason.contains("missing field `retention`"));
    let error = from_toml("[retention]\ndaily = 1\n").unwrap_err();
    assert_eq!(error.to_string(), "line 1: name: missing field `name`", "of the file, not of the table it begins with");
}

#[test]
fn the_second_schedule_is_named_as_such() {
    let head = "name = \"p\"\nretention.daily = 3\n[[schedule]]\ndaily = \"22:00\"\ntime_zone = \"Europe/Berlin\"\n";
    let error = from_toml(&format!("{head}[[schedule]]\ndaily = \"23:00\"\nwindow = \"24h\"\n")).unwrap_err();
    assert_eq!((error.line, error.field.as_str()), (8, "schedule[1].window"), "{error}");
    let error = from_toml(&format!("{head}[[schedule]]\ndaily = \"23:00\"\ntime_zone = \"UTC\"\n")).unwrap_err();
    assert_eq!((error.line, error.field.as_str()), (8, "schedule[1].time_zone"), "{error}");
}

#[test]
fn a_file_without_end_or_bottom_is_refused() {
    let long = format!("name = \"{}\"\n", "x".repeat(FILE_BYTES_MAX));
    assert!(from_toml(&long).unwrap_err().reason.contains("more than the 262144"), "too long");
    let deep = format!("name = {}1{}\n", "[".repeat(50_000), "]".repeat(50_000));
    assert_eq!(from_toml(&deep).unwrap_err().line, 1);
}

#[test]
fn the_record_of_a_file_is_read_back_as_the_same_policy() {
    let policy = from_toml(FULL).unwrap();
    let record = serde_json::to_string(&policy).unwrap();
    assert_eq!(serde_json::from_str::<Policy>(&record).unwrap(), policy);
    for section in ["\"retention\":{", "\"limits\":{", "\"schedule\":[{", "\"applies_to\":{", "\"consistency\":{"] {
        let strange = record.replacen(section, &format!("{section}\"more\":1,"), 1);
        assert_ne!(strange, record, "{section} is in the record");
        assert!(serde_json::from_str::<Policy>(&strange).unwrap_err().to_string().contains("unknown field"), "{section}");
    }
}

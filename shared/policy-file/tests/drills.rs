//! Plans of drills as operators write them, and what is refused.

use stillpoint_model::policy::Interval;
use stillpoint_policy_file::{BootSign, DrillCheck, drills_from_toml};

const PLAN: &str = r#"
[[drill]]
name = "quarterly"
machines = ["web-01", "db-01"]
one_in = 2
from = "paired"
checks = ["script", "manifest"]
script = "check.sh"
objective = "1h"

[[drill]]
name = "all-of-shop"
tags = { app = "shop" }
schedule = { weekly = { days = ["sat"], at = "03:00" }, time_zone = "Europe/Berlin" }

[[drill]]
name = "twice"
machines = ["web-01"]
[[drill.schedule]]
daily = "01:00"
[[drill.schedule]]
every = "12h"
not_between = ["08:00-18:00"]

[[drill]]
name = "boots"
machines = ["web-01"]
script = "check.sh"
boot = { serial_pattern = "login: *$", timeout = "90s", arguments = ["-m", "2G"] }
"#;

#[test]
fn a_plan_is_read_with_what_it_leaves_out() {
    let drills = drills_from_toml(PLAN).unwrap();
    assert_eq!(drills.len(), 4);
    let first = &drills[0];
    assert_eq!((first.name.as_str(), first.machines.len(), first.one_in), ("quarterly", 2, 2));
    assert_eq!((first.from.as_str(), first.point.as_str()), ("paired", "latest"));
    assert_eq!(first.checks, [DrillCheck::Manifest, DrillCheck::Script], "the script comes last, wherever it is written");
    assert_eq!(first.objective, Some(Interval::from_minutes(60)));
    assert_eq!(first.script_timeout, Interval::from_minutes(10));
    let second = &drills[1];
    assert_eq!((second.from.as_str(), second.one_in, second.tags["app"].as_str()), ("primary", 1, "shop"));
    assert_eq!(second.checks, DrillCheck::USUAL);
    assert_eq!(drills.iter().map(|drill| drill.schedules.len()).collect::<Vec<_>>(), [0, 1, 2, 0]);
    let boots = &drills[3];
    assert_eq!(
        boots.checks.iter().map(|check| check.as_str()).collect::<Vec<_>>(),
        ["manifest", "partitions", "fsck", "boot", "script"]
    );
    let boot = boots.boot.as_ref().unwrap();
    assert_eq!((&boot.sign, boot.timeout.seconds()), (&BootSign::Pattern("login: *$".to_owned()), 90));
    assert_eq!(second.schedules[0].time_zone, "Europe/Berlin");
}

#[test]
fn faults_are_named_with_line_drill_and_field() {
    let head = "[[drill]]\nname = \"d\"\n";
    let of_web = format!("{head}machines = [\"web\"]\n");
    let cases = [
        (head.to_owned(), 1, "drill d: machines", "name machines, or the tags of some"),
        (format!("{of_web}tags = {{ a = \"b\" }}\n"), 4, "drill d: tags", "not both"),
        (format!("{of_web}one_in = 0\n"), 4, "drill d: one_in", "one in 1 to 366"),
        (format!("{of_web}from = \"nowhere\"\n"), 4, "drill d: from", "primary, paired or the URL"),
        (format!("{of_web}checks = []\n"), 4, "drill d: checks", "checks something"),
        (format!("{of_web}checks = [\"fsck\", \"fsck\"]\n"), 4, "drill d: checks", "twice"),
        (format!("{of_web}checks = [\"smell\"]\n"), 4, "drill d: checks[0]", "unknown variant"),
        (format!("{of_web}checks = [\"boot\"]\n"), 4, "drill d: checks", "needs the field boot"),
        (format!("{of_web}boot = {{ agent = true }}\nchecks = [\"fsck\"]\n"), 4, "drill d: boot", "not among the checks"),
        (format!("{of_web}boot = {{ agent = true, serial_text = \"a\" }}\n"), 4, "drill d: boot", "one of agent = true"),
        (format!("{of_web}boot = {{ disk = \"os\" }}\n"), 4, "drill d: boot", "one of agent = true"),
        (format!("{of_web}boot = {{ serial_text = \"\" }}\n"), 4, "drill d: boot.serial_text", "empty"),
        (format!("{of_web}boot = {{ serial_pattern = \"(\" }}\n"), 4, "drill d: boot.serial_pattern", ""),
        (format!("{of_web}boot = {{ serial_pattern = \"a*\" }}\n"), 4, "drill d: boot.serial_pattern", "matches nothing"),
        (format!("{of_web}boot = {{ agent = true, timeout = \"0s\" }}\n"), 4, "drill d: boot.timeout", "nothing"),
        (format!("{of_web}boot = {{ agent = true, speed = 1 }}\n"), 4, "drill d: boot.speed", "unknown field"),
        (format!("{of_web}checks = [\"script\"]\n"), 4, "drill d: checks", "needs the field script"),
        (format!("{of_web}checks = [\"fsck\"]\nscript = \"a\"\n"), 5, "drill d: script", "not among the checks"),
        (format!("{of_web}script_timeout = \"1m\"\n"), 4, "drill d: script_timeout", "no script"),
        (format!("{of_web}objective = \"0s\"\n"), 4, "drill d: objective", "nothing"),
        (format!("{of_web}objective = \"soon\"\n"), 4, "drill d: objective", "is not a duration"),
        (format!("{of_web}schedule = {{ daily = \"3\" }}\n"), 4, "drill d: schedule.daily", "is not a time of day"),
        (format!("{of_web}[drill.schedule]\nevery = \"7h\"\n"), 5, "drill d: schedule.every", "does not divide a day"),
        (
            format!("{of_web}[[drill.schedule]]\ndaily = \"03:00\"\n[[drill.schedule]]\n"),
            6,
            "drill d: schedule[1]",
            "one of every",
        ),
        (format!("{of_web}schedule = {{ daily = \"03:00\", window = \"1h\" }}\n"), 4, "drill d: schedule.window", "leave it out"),
        (format!("{of_web}colour = \"red\"\n"), 4, "drill d: colour", "unknown field"),
        (format!("{of_web}{of_web}"), 5, "drill d: name", "in line 1 already"),
        ("name = \"d\"\n".to_owned(), 1, "name", "unknown field"),
        ("[[drill]]\nmachines = [\"web\"]\n".to_owned(), 1, "drill.name", "missing field"),
    ];
    for (text, line, field, reason) in cases {
        let error = drills_from_toml(&text).unwrap_err();
        assert_eq!((error.line, error.field.as_str()), (line, field), "{text}{error}");
        assert!(error.reason.contains(reason), "{text}{error}");
    }
}

#[test]
fn the_examples_are_plans() {
    let readme = include_str!("../../../README.md").split("## Drills").nth(1).unwrap();
    let shown = readme.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    assert_eq!(drills_from_toml(shown).unwrap().len(), 1);
    let example = drills_from_toml(include_str!("../../../infra/examples/drills.toml")).unwrap();
    assert_eq!(example.iter().filter(|drill| !drill.schedules.is_empty()).count(), 2);
    assert_eq!(example.iter().filter(|drill| drill.boot.is_some()).count(), 2);
}

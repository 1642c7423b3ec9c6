use std::fs;

use stillpoint_tests::{
    Lab,
    disk::{self, MIB},
    repository, text,
    vault_files::objects,
};

use crate::{NIGHTLY, apply, file};

/// What is written into the file in place of what, and what the command says: line, field and reason.
const WRONG: [(&str, &str, &str); 20] = [
    ("name = \"nightly\"", "name = \"Nightly\"", "line 1: name: policy name 'Nightly' may hold only a-z, 0-9"),
    ("name = \"nightly\"\n", "", "line 1: name: missing field `name`"),
    ("name = \"nightly\"", "name = \"nightly", "line 1: name: invalid basic string"),
    ("[applies_to]", "[apply_to]", "line 2: apply_to: unknown field `apply_to`, expected one of `name`, `applies_to`"),
    ("env = \"prod\"", "\"e v\" = \"prod\"", "line 3: applies_to.tags.e v: the key of a tag has 1 to 63 of a-z"),
    ("daily = \"02:00\"", "dayly = \"02:00\"", "line 5: schedule.dayly: unknown field `dayly`"),
    ("daily = \"02:00\"", "daily = \"2:00\"", "line 5: schedule.daily: '2:00' is not a time of day"),
    ("daily = \"02:00\"", "every = \"5h\"", "line 5: schedule.every: 5h does not divide a day evenly"),
    ("daily = \"02:00\"", "daily = \"02:00\"\nevery = \"4h\"", "line 4: schedule: give one of every, daily and weekly"),
    ("daily = \"02:00\"", "weekly = { days = [\"sunday\"], at = \"02:00\" }", "line 5: schedule.weekly.days[0]: unknown variant"),
    ("Europe/Berlin", "Europe/Bonn", "line 6: schedule.time_zone: 'Europe/Bonn' is not in the time zone database"),
    ("\"2h\"", "\"2 hours\"", "line 7: schedule.window: '2 hours' is not a duration"),
    ("\"2h\"", "\"24h\"", "line 7: schedule.window: 1d is not shorter than the 1d from one slot to the next"),
    ("\"2h\"", "\"2h\"\nnot_between = [\"08:00\"]", "line 8: schedule.not_between: '08:00' is not a span of the day"),
    (
        "\"2h\"",
        "\"2h\"\nnot_between = [\"06:00-18:00\", \"18:00-06:00\"]",
        "line 8: schedule.not_between: together the spans cover",
    ),
    ("daily = 30", "daily = 0", "line 9: retention.daily: must be 1 to 36525, not 0"),
    ("daily = 30\nkeep_last = 3\n", "", "line 8: retention: give at least one of daily, weekly, monthly, yearly and keep_last"),
    (
        "keep_last = 3\n",
        "keep_last = 3\n[limits]\nbytes_per_second = \"200\"\n",
        "line 12: limits.bytes_per_second: '200' is not a size",
    ),
    (
        "keep_last = 3\n",
        "keep_last = 3\n[consistency]\nwanted = \"best\"\n",
        "line 12: consistency.wanted: unknown variant `best`",
    ),
    ("keep_last = 3\n", "keep_last = 3\n[[policy]]\nname = \"b\"\n", "line 11: policy: unknown field `policy`"),
];

#[test]
fn a_wrong_file_is_refused_with_its_line_its_field_and_the_reason() {
    let lab = Lab::new();
    let host = lab.host_with_vault();
    let before = objects(host.vault());
    for (right, wrong, said) in WRONG {
        let changed = NIGHTLY.replacen(right, wrong, 1);
        assert_ne!(changed, NIGHTLY, "{right} is in the file");
        let path = file(&lab, "wrong.toml", &changed);
        for command in ["apply", "preview"] {
            let line = host.fails(&["policy", command, &path]);
            assert!(line.starts_with(&format!("stillpoint: {path}: {said}")), "{wrong}: {line}");
        }
    }
    assert_eq!(objects(host.vault()), before, "nothing is written");
}

/// The TOML in the README's section on policies.
fn of_the_readme() -> String {
    let readme = fs::read_to_string(repository().join("README.md")).expect("there is a README");
    let section = readme.split("## Policies").nth(1).expect("it says what policies are");
    section.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("it shows one").to_owned()
}

#[test]
fn the_examples_can_be_applied_as_they_are() {
    let lab = Lab::new();
    let host = lab.host_with_vault();
    let folder = repository().join("infra/examples");
    let policies = ["archive", "critical", "nightly"].map(|name| folder.join(format!("{name}.toml")));
    for path in &policies {
        host.json(&["policy", "apply", path.to_str().expect("the repository's path is text")]);
    }
    let listed = host.json(&["policy", "list"]);
    let names: Vec<&str> = listed["policies"].as_array().into_iter().flatten().map(|policy| text(policy, "/name")).collect();
    assert_eq!(names, ["archive", "critical", "nightly"]);
    apply(&lab, &host, &of_the_readme());
    for path in ["os.raw", "data.raw"].map(|name| lab.path(name)) {
        disk::full(&path, MIB, path.as_os_str().len() as u64);
    }
    let machines = fs::read_to_string(folder.join("machines.toml")).expect("there is an example");
    let machines = machines
        .replace("/var/lib/vm/web-01-os.raw", &lab.arg("os.raw"))
        .replace("/dev/vg0/web-01-data", &lab.arg("data.raw"))
        .replace("/var/lib/vm/build-01.raw", &lab.arg("os.raw"));
    let report = host.json(&["machine", "import", &file(&lab, "machines.toml", &machines)]);
    assert_eq!((report["added"].as_u64(), report["warnings"].as_array().map(Vec::len)), (Some(2), Some(0)), "{report}");
    assert_eq!(text(&host.json(&["machine", "show", "build-01"]), "/follows"), "nightly");
}

#[test]
fn a_file_that_is_none_is_refused() {
    let lab = Lab::new();
    let host = lab.host_with_vault();
    let two = format!("{NIGHTLY}{}", NIGHTLY.replacen("nightly", "weekly", 1));
    assert!(host.fails(&["policy", "apply", &file(&lab, "two.toml", &two)]).contains("one policy to a file"));
    assert!(host.fails(&["policy", "apply", &lab.arg("nowhere.toml")]).contains("cannot read"));
    let large = "#".repeat(300 * 1024);
    assert!(host.fails(&["policy", "apply", &file(&lab, "large.toml", &large)]).contains("more than 262144 bytes"));
    fs::write(lab.path("binary.toml"), [0xff, 0xfe, 0]).expect("a file can be written");
    assert!(host.fails(&["policy", "apply", &lab.arg("binary.toml")]).contains("is not UTF-8 text"));
}

#[test]
fn a_policy_is_shown_as_a_file_that_says_the_same() {
    let lab = Lab::new();
    let host = lab.host_with_vault();
    apply(&lab, &host, NIGHTLY);
    let shown = host.run(&["policy", "show", "nightly"]).ok();
    let shown = String::from_utf8(shown.stdout).expect("a policy is text");
    assert!(shown.starts_with("# version 1 of 1"), "{shown}");
    let again = apply(&lab, &host, &shown);
    assert_eq!((again["changed"].as_bool(), again["version"].as_u64()), (Some(false), Some(1)), "{again}");
}

#[test]
fn versions_are_kept_and_the_newest_counts() {
    let lab = Lab::new();
    let host = lab.host_with_vault();
    for (days, version) in [(30, 1), (20, 2), (20, 2), (10, 3)] {
        let applied = apply(&lab, &host, &NIGHTLY.replacen("daily = 30", &format!("daily = {days}"), 1));
        assert_eq!(applied["version"].as_u64(), Some(version), "an unchanged file makes no version: {applied}");
    }
    let days =
        |args: &[&str]| host.json(&[&["policy", "show", "nightly"], args].concat())["policy"]["retention"]["daily"].as_u64();
    assert_eq!([days(&[]), days(&["--version", "1"]), days(&["--version", "2"])], [10, 30, 20].map(Some));
    assert!(host.fails(&["policy", "show", "nightly", "--version", "4"]).contains("has versions 1 to 3, not 4"));
    assert!(host.fails(&["policy", "show", "daily"]).contains("there is no policy daily in this vault"));
    let listed = host.json(&["policy", "list"]);
    assert_eq!((text(&listed, "/policies/0/name"), listed["policies"][0]["version"].as_u64()), ("nightly", Some(3)));
}

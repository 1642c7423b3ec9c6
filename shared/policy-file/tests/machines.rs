//! Files of machines as operators write them, right and wrong.

use stillpoint_policy_file::{MACHINES_BYTES_MAX, machines_from_toml};

const TWO: &str = r#"[[machine]]
name = "web-01"
disks = { os = "/vm/web-01.raw", data = "/vm/web-01-data.raw" }
tags = { env = "prod", "tier/x" = "1" }
policy = "critical"

[[machine]]
name = "web-02"
platform = "qemu"
[machine.disks]
os = "web-02.raw"
"#;

#[test]
fn machines_are_read_with_the_line_they_begin_in() {
    let machines = machines_from_toml(TWO).unwrap();
    let [first, second] = &machines[..] else { panic!("two machines: {machines:?}") };
    assert_eq!((first.line, first.name.as_str(), first.platform.as_str()), (1, "web-01", "image"));
    let disks: Vec<(&str, &str)> = first.disks.iter().map(|(name, path)| (name.as_str(), path.as_str())).collect();
    assert_eq!(disks, [("data", "/vm/web-01-data.raw"), ("os", "/vm/web-01.raw")]);
    assert_eq!((first.tags["env"].as_str(), first.tags["tier/x"].as_str()), ("prod", "1"));
    assert_eq!(first.policy.as_ref().unwrap().as_str(), "critical");
    assert_eq!((second.line, second.name.as_str(), second.platform.as_str()), (7, "web-02", "qemu"));
    assert!(second.tags.is_empty() && second.policy.is_none());
}

/// What is written in place of what, and the error: line, field, and words of the reason.
const WRONG: [(&str, &str, usize, &str, &str); 13] = [
    ("\"web-02\"", "\"web-01\"", 8, "machine web-01: name", "in line 1 already"),
    ("\"web-02\"", "\"Web-02\"", 8, "machine[1].name", "may hold only a-z"),
    ("name = \"web-02\"\n", "", 7, "machine[1].name", "missing field `name`"),
    ("\"critical\"", "\"cri tical\"", 5, "machine web-01: policy", "policy name 'cri tical'"),
    ("policy = ", "polcy = ", 5, "machine web-01: polcy", "unknown field `polcy`"),
    ("os = \"web-02.raw\"", "os = \"\"", 10, "machine web-02: disks", "disk os has no path"),
    ("os = \"web-02.raw\"", "os = 7", 11, "machine web-02: disks.os", "expected a string"),
    ("os = \"web-02.raw\"", "", 10, "machine web-02: disks", "a machine has 1 to 64 disks, not 0"),
    ("os = \"web-02.raw\"", "os = \"a\"\nos = \"b\"", 12, "os", "duplicate key"),
    ("env = \"prod\"", "\"e v\" = \"prod\"", 4, "machine web-01: tags", "'e v': the key of a tag"),
    ("env = \"prod\"", "env = true", 4, "machine web-01: tags.env", "expected a string"),
    ("[[machine]]\nname = \"web-01\"", "[[machin]]\nname = \"web-01\"", 1, "machin", "unknown field `machin`"),
    ("disks = { os", "disks = { \"o s\"", 3, "machine web-01: disks.o s", "disk name 'o s'"),
];

#[test]
fn what_is_wrong_is_named_by_line_machine_field_and_reason() {
    for (right, wrong, line, field, reason) in WRONG {
        let text = TWO.replacen(right, wrong, 1);
        assert_ne!(text, TWO, "{right} is in the file");
        let error = machines_from_toml(&text).expect_err(wrong);
        assert_eq!((error.line, error.field.as_str()), (line, field), "{wrong}: {error}");
        assert!(error.reason.contains(reason), "{wrong}: {error}");
        assert!(!error.to_string().contains(['\n', '\r']), "one line: {error}");
    }
}

#[test]
fn a_file_without_machines_or_too_large_is_refused() {
    assert!(machines_from_toml("").unwrap_err().reason.contains("missing field `machine`"));
    let large = "#".repeat(MACHINES_BYTES_MAX + 1);
    assert!(machines_from_toml(&large).unwrap_err().reason.contains("more than the 16777216 of a file of machines"));
}

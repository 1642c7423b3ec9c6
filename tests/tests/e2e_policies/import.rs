use serde_json::Value;
use stillpoint_tests::{Lab, number, text, vault_files::objects};

use crate::{NIGHTLY, apply, file, imported, machines_file};

/// What an import may ask beyond one create for each machine.
const REQUESTS_BESIDE: u64 = 20;

fn requests(report: &Value) -> u64 {
    report["requests"].as_object().into_iter().flatten().filter_map(|(_, count)| count.as_u64()).sum()
}

#[test]
fn a_thousand_machines_from_one_file_take_ten_times_what_a_hundred_take() {
    let mut reports = Vec::new();
    for count in [100, 1000] {
        let lab = Lab::new();
        let host = lab.host_with_vault();
        apply(&lab, &host, NIGHTLY);
        let report = imported(&lab, &host, count, "env = \"prod\"");
        assert_eq!((number(&report, "/added"), number(&report, "/requests/put")), (count as u64, count as u64), "{report}");
        assert!(requests(&report) <= count as u64 + REQUESTS_BESIDE, "{report}");
        let again = imported(&lab, &host, count, "env = \"prod\"");
        assert_eq!((number(&again, "/unchanged"), number(&again, "/requests/put")), (count as u64, 0), "{again}");
        assert!(requests(&again) <= count as u64 + REQUESTS_BESIDE, "each is read once: {again}");
        let listed = host.json(&["policy", "list"]);
        assert_eq!(number(&listed, "/policies/0/machines"), count as u64);
        reports.push(report);
    }
    let [small, large] = [0, 1].map(|place| number(&reports[place], "/duration_ms").max(100));
    assert!(large < 40 * small, "ten times as many take {large} ms instead of {small} ms: a square would be a hundred times");
}

#[test]
fn everything_is_checked_before_anything_is_written() {
    let lab = Lab::new();
    let host = lab.host_with_vault();
    let right = machines_file(&lab, 3, "env = \"prod\"");
    let missing = lab.arg("missing.raw");
    let disk = lab.arg("disk.raw");
    let third = format!("name = \"vm-0002\"\ndisks = {{ os = \"{disk}\" }}");
    let before = objects(host.vault());
    let cases = [
        (format!("name = \"vm-0002\"\ndisks = {{ os = \"{missing}\" }}"), "line 11: machine vm-0002: "),
        (format!("{third}\npolicy = \"nosuch\""), "line 11: machine vm-0002: there is no policy nosuch"),
        (format!("{third}\nplatform = \"abacus\""), "line 11: machine vm-0002: "),
        (format!("{third}\nsize = 5"), "line 14: machine vm-0002: size: unknown field `size`"),
        (third.replacen("vm-0002", "vm-0000", 1), "line 12: machine vm-0000: name: the machine is in line 1 already"),
        ("name = \"vm-0002\"".to_owned(), "line 11: machine vm-0002: disks: a machine has 1 to 64 disks, not 0"),
    ];
    for (wrong, said) in cases {
        let text = right.replacen(&third, &wrong, 1);
        assert_ne!(text, right);
        let path = file(&lab, "wrong.toml", &text);
        let line = host.fails(&["machine", "import", &path]);
        assert!(line.starts_with(&format!("stillpoint: {path}: {said}")), "{wrong}: {line}");
    }
    let all = right.replace("disk.raw", "missing.raw");
    let line = host.fails(&["machine", "import", &file(&lab, "wrong.toml", &all)]);
    assert!(line.contains("line 1: machine vm-0000: ") && line.contains("faults in 2 more machines (lines 6, 11)"), "{line}");
    assert_eq!(objects(host.vault()), before, "nothing is written");
}

#[test]
fn machines_that_exist_are_changed_only_when_told() {
    let lab = Lab::new();
    let host = lab.host_with_vault();
    imported(&lab, &host, 3, "env = \"test\"");
    let path = file(&lab, "changed.toml", &machines_file(&lab, 4, "env = \"test\"").replacen("\"test\"", "\"prod\"", 1));
    let line = host.fails(&["machine", "import", &path]);
    assert!(line.contains("line 1: machine vm-0000: ") && line.contains("--replace"), "{line}");
    assert_eq!(host.json(&["machine", "list"])["machines"].as_array().map(Vec::len), Some(3));
    let report = host.json(&["machine", "import", &path, "--replace"]);
    let counts = ["/added", "/changed", "/unchanged"].map(|count| number(&report, count));
    assert_eq!(counts, [1, 1, 2], "{report}");
    assert_eq!(text(&host.json(&["machine", "show", "vm-0000"]), "/tags/env"), "prod");
}

#[test]
fn conflicts_of_imported_machines_are_said() {
    let lab = Lab::new();
    let host = lab.host_with_vault();
    apply(&lab, &host, NIGHTLY);
    apply(&lab, &host, &NIGHTLY.replacen("nightly", "second", 1).replacen("env = \"prod\"", "tier = \"web\"", 1));
    let report = imported(&lab, &host, 2, "env = \"prod\", tier = \"web\"");
    assert_eq!((number(&report, "/added"), report["warnings"].as_array().map(Vec::len)), (2, Some(2)), "{report}");
    assert!(text(&report, "/warnings/0").contains("vm-0000 is chosen by several policies (nightly, second)"));
}

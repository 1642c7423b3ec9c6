use serde_json::Value;
use stillpoint_tests::{
    Lab,
    disk::{self, MIB},
    number, text,
};

use crate::{NIGHTLY, apply, file, imported, texts};

#[test]
fn two_hundred_machines_follow_one_edit() {
    let lab = Lab::new();
    let host = lab.host_with_vault();
    imported(&lab, &host, 200, "env = \"prod\"");
    let applied = apply(&lab, &host, NIGHTLY);
    assert_eq!((texts(&applied, "/machines").len(), texts(&applied, "/gains").len()), (200, 200));

    let edited = NIGHTLY.replacen("daily = \"02:00\"", "daily = \"23:00\"", 1);
    let applied = apply(&lab, &host, &edited);
    assert_eq!((number(&applied, "/version"), texts(&applied, "/machines").len()), (2, 200));
    assert!(texts(&applied, "/gains").is_empty() && texts(&applied, "/loses").is_empty(), "{applied}");
    let shown = host.json(&["policy", "show", "nightly", "--next", "1", "--from", "2027-01-10T12:00:00Z"]);
    let dues: Vec<&str> = shown["runs"].as_array().into_iter().flatten().map(|run| text(run, "/due_local")).collect();
    assert_eq!(dues, ["2027-01-10T23:00:00+01:00[Europe/Berlin]"; 200]);

    let fewer = edited.replacen("tags = { env = \"prod\" }", "names = [\"vm-0007\", \"vm-9999\"]", 1);
    let applied = apply(&lab, &host, &fewer);
    assert_eq!((texts(&applied, "/machines"), texts(&applied, "/loses").len()), (vec!["vm-0007"], 199));
    assert_eq!(texts(&applied, "/unknown_names"), ["vm-9999"]);
}

#[test]
fn two_policies_that_choose_one_machine_are_named() {
    let lab = Lab::new();
    let host = lab.host_with_vault();
    imported(&lab, &host, 3, "env = \"prod\"");
    apply(&lab, &host, NIGHTLY);
    let by_name = NIGHTLY.replacen("nightly", "precious", 1).replacen("tags = { env = \"prod\" }", "names = [\"vm-0001\"]", 1);
    let path = file(&lab, "precious.toml", &by_name);
    let previewed = host.json(&["policy", "preview", &path]);
    assert_eq!(previewed["conflicts"][0]["machine"], "vm-0001", "said before it is applied: {previewed}");

    let done = host.run(&["policy", "apply", &path]);
    assert_eq!(done.code, Some(3), "{done}");
    assert!(done.stderr.contains("machine vm-0001 is chosen by several policies (nightly, precious)"), "{done}");
    let listed = host.json(&["policy", "list"]);
    assert_eq!(texts(&listed, "/conflicts/0/policies"), ["nightly", "precious"]);
    assert_eq!(listed["conflicts"].as_array().map(Vec::len), Some(1));
    let machines: Vec<u64> = (0..2).map(|place| number(&listed, &format!("/policies/{place}/machines"))).collect();
    assert_eq!(machines, [2, 0], "whose it is is open until one is left");
    for args in [&["machine", "show", "vm-0001"][..], &["machine", "list"], &["policy", "show", "precious"]] {
        let done = host.run(args);
        assert!(done.code == Some(3) && done.stderr.contains("(nightly, precious)"), "{done}");
    }
    let shown = host.json(&["machine", "show", "vm-0001"]);
    assert_eq!((texts(&shown, "/in_conflict"), &shown["next_run"]), (vec!["nightly", "precious"], &Value::Null));

    host.json(&["machine", "tag", "vm-0001", "--remove", "env"]);
    let shown = host.json(&["machine", "show", "vm-0001"]);
    assert_eq!((text(&shown, "/follows"), texts(&shown, "/in_conflict").len()), ("precious", 0));
}

#[test]
fn a_first_point_takes_five_commands() {
    let lab = Lab::new();
    let host = lab.host("first");
    let path = lab.path("disk.raw");
    disk::full(&path, MIB, 1);
    let (policy, disk) = (file(&lab, "nightly.toml", NIGHTLY), format!("os={}", path.display()));
    let commands: [&[&str]; 5] = [
        &["vault", "create", "--recovery-key-file", &lab.arg("recovery-key")],
        &["policy", "apply", &policy],
        &["machine", "add", "web-01", "--disk", &disk, "--tag", "env=prod"],
        &["backup", "web-01"],
        &["points", "web-01"],
    ];
    for command in commands {
        assert_eq!(host.run(command).code, Some(0));
    }
    assert_eq!(host.points("web-01").len(), 1);
}

use stillpoint_tests::{
    Lab,
    disk::MIB,
    live::{Agent, Disk, Format, Guest, Leftovers, pair_number},
};

use super::estate::{MACHINE, add_guest, assert_clean, backup, restored};

fn disks(lab: &Lab) -> [Disk; 3] {
    [
        Disk::ext4(&lab.path(""), "files", Format::Qcow2, 64 * MIB),
        Disk::empty(&lab.path(""), "left", Format::Qcow2, 8 * MIB),
        Disk::empty(&lab.path(""), "right", Format::Raw, 8 * MIB),
    ]
}

#[test]
fn a_running_guest_goes_on_while_a_database_and_a_pair_of_disks_are_cut_at_one_instant() {
    let lab = Lab::new();
    let host = lab.host_with_vault();
    let disks = disks(&lab);
    let guest = Guest::start(Agent::Hooks, &disks);
    add_guest(&host, &guest, &[]);
    guest.write_pairs("left", "right");
    guest.write_rows("files");
    guest.wait_past(0, Guest::rows_acknowledged);
    for _ in 0..3 {
        let (pairs, rows) = (guest.pairs_written(), guest.rows_acknowledged());
        let point = backup(&host, "application");
        assert_eq!(point["consistency"]["obtained"], "application", "{point}");
        assert!(point["frozen_ms"].as_u64().is_some_and(|frozen| frozen > 0), "{point}");
        let acknowledged = guest.rows_acknowledged_at_freeze();
        assert!(!guest.is_frozen());
        assert_eq!(guest.machine.status(), "running");
        assert_clean(&guest.machine);
        guest.wait_past(pairs, Guest::pairs_written);
        guest.wait_past(rows, Guest::rows_acknowledged);

        let folder = restored(&lab, &host, point["id"].as_str().expect("an id"));
        let image = |name: &str| folder.join(format!("disk-{name}.raw"));
        let (left, right) = (pair_number(&image("left")), pair_number(&image("right")));
        assert!(left == right || left == right + 1, "cut at one instant: {left}, {right}");
        let copy = Disk::with_bytes_of(&image("files"), &lab.path(""), &format!("copy{rows}"), Format::Qcow2);
        let reader = Guest::start(Agent::None, std::slice::from_ref(&copy));
        let database = reader.database(&copy.name);
        assert!(!database.had_journal && database.integrity == "ok", "{database:?}");
        assert!(database.rows == database.last && database.rows >= acknowledged, "{database:?} of {acknowledged}");
    }
}

#[test]
fn what_was_reached_is_said_with_the_reason() {
    let lab = Lab::new();
    let host = lab.host_with_vault();
    let disks = disks(&lab);
    let guest = Guest::start(Agent::Plain, &disks);
    add_guest(&host, &guest, &[]);
    let reached = |wanted: &str| {
        let point = backup(&host, wanted);
        let warnings = point["warnings"].to_string();
        (point["consistency"]["obtained"].as_str().map(str::to_owned), warnings)
    };
    assert_eq!(reached("crash").0.as_deref(), Some("crash"));
    assert_eq!(reached("file-system").0.as_deref(), Some("file-system"));
    let (obtained, warnings) = reached("application");
    assert_eq!(obtained.as_deref(), Some("file-system"), "{warnings}");
    assert!(warnings.contains("no freeze hook"), "{warnings}");
    drop(guest);

    let guest = Guest::start(Agent::None, &disks);
    host.json(&[
        "machine",
        "add",
        MACHINE,
        "--replace",
        "--platform",
        "qemu",
        "--qmp",
        &super::estate::socket(&guest.machine.qmp()),
    ]);
    let (obtained, warnings) = reached("file-system");
    assert_eq!(obtained.as_deref(), Some("crash"));
    assert!(warnings.contains("no setting agent"), "{warnings}");
    assert_eq!(guest.machine.leftovers().but_bitmaps(), Leftovers::default());
}

#[test]
fn a_hook_that_fails_or_is_slow_lowers_the_point_and_leaves_the_guest_going() {
    let lab = Lab::new();
    let host = lab.host_with_vault();
    let guest = Guest::start(Agent::Hooks, &disks(&lab));
    add_guest(&host, &guest, &[]);
    for (trouble, reason) in
        [("touch /run/hook-must-fail", "hook"), ("rm -f /run/hook-must-fail; echo 12 >/run/hook-slow", "does not answer")]
    {
        guest.run(trouble);
        let point = backup(&host, "application");
        assert_eq!(point["consistency"]["obtained"], "crash", "{point}");
        assert!(point["warnings"].to_string().contains(reason), "{point}");
        assert_clean(&guest.machine);
        guest.run("while [ -e /run/agent/qga.state.isfrozen ]; do sleep 0.1; done; echo on >/mnt/files/on; sync");
    }
    guest.run("rm -f /run/hook-slow");
    assert_eq!(backup(&host, "application")["consistency"]["obtained"], "application");
}

#[test]
fn scripts_run_around_the_freeze_and_decide_when_they_fail() {
    let lab = Lab::new();
    let host = lab.host_with_vault();
    let guest = Guest::start(Agent::Plain, &disks(&lab));
    guest.run("printf '#!/bin/sh\\necho \"$0 $*\" >>/run/ran; [ ! -e /run/fail ]\\n' >/run/pre; cp /run/pre /run/post; chmod 755 /run/pre /run/post");
    let scripts = |keep: bool| {
        let text = format!(
            r#"{{"preScriptLocation":"/run/pre","preScriptParams":["a"],"postScriptLocation":"/run/post","preScriptNoOfRetries":1,
                "continueBackupOnFailure":{keep}}}"#
        );
        std::fs::write(lab.path("scripts.json"), text).expect("a file can be written");
    };
    scripts(true);
    add_guest(&host, &guest, &["--scripts", &lab.arg("scripts.json")]);
    assert_eq!(backup(&host, "application")["consistency"]["obtained"], "application");
    assert_eq!(guest.run("cat /run/ran"), "/run/pre a\n/run/post \n");
    guest.run("touch /run/fail");
    let point = backup(&host, "application");
    assert_eq!(point["consistency"]["obtained"], "file-system", "{point}");
    assert!(point["warnings"].to_string().contains("/run/pre ended with 1"), "{point}");
    assert_eq!(guest.run("sed -n '3,$p' /run/ran"), "/run/pre a\n/run/pre a\n/run/post \n");
    scripts(false);
    add_guest(&host, &guest, &["--replace", "--scripts", &lab.arg("scripts.json")]);
    let line = host.fails(&["backup", MACHINE, "--consistency", "application"]);
    assert!(line.contains("/run/pre ended with 1"), "{line}");
    assert_clean(&guest.machine);
    assert!(!guest.is_frozen());
}

//! Machines that are stopped, and protected again.

use stillpoint_tests::{number, text, vault_files::objects};

use crate::place::{Place, doomed};

#[test]
fn a_machine_that_is_retained_is_neither_backed_up_nor_pruned() {
    let (place, ids) = Place::with_two_over();
    let host = &place.host;
    let stopped = host.json(&["machine", "stop", "web-01", "--retain"]);
    assert_eq!((text(&stopped, "/protection"), &stopped["changed"]), ("retained", &true.into()));
    assert_eq!(host.json(&["machine", "stop", "web-01", "--retain"])["changed"], false);
    let line = host.fails(&["backup", "web-01"]);
    assert!(line.contains("stopped") && line.contains("machine undelete web-01"), "{line}");
    assert!(doomed(host).is_empty());
    assert_eq!(number(&host.json(&["prune"]), "/tombstoned"), 0);
    assert!(place.rules(&ids[0]).contains(&"retained".to_owned()));
    let disk = place.lab.path("disk.raw");
    host.restores("web-01", &ids[0], &place.lab.path("then"), &[("os", &disk)]);

    assert_eq!(text(&host.json(&["machine", "undelete", "web-01"]), "/protection"), "active");
    assert_eq!(number(&host.json(&["prune"]), "/tombstoned"), 2);
    host.backup("web-01");
}

#[test]
fn a_machine_that_is_deleted_can_be_brought_back_with_all_its_points() {
    let place = Place::new();
    let host = &place.host;
    let ids = ["20d", "30d"].map(|keep| place.backup(keep));
    let before = objects(host.vault());
    let deleted = host.json(&["machine", "stop", "web-01", "--delete", "--days", "40"]);
    assert_eq!(text(&deleted, "/protection"), "deleted");
    let until = text(&deleted, "/deleted_until").to_owned();
    assert_eq!(text(&host.json(&["machine", "stop", "web-01", "--delete"]), "/deleted_until"), until, "once");
    assert!(place.live().is_empty());
    assert_eq!(text(&place.point(&ids[0]), "/deleted_until"), until);
    for command in [
        ["restore", "web-01", "--to", &place.lab.arg("no")].as_slice(),
        &["backup", "web-01"],
        &["restore", "web-01", "--point", &ids[0], "--to", &place.lab.arg("no")],
        &["point", "undelete", "web-01", &ids[0]],
    ] {
        let line = host.fails(command);
        assert!(line.contains("machine undelete web-01"), "{line}");
    }
    assert_eq!(number(&host.json(&["prune"]), "/tombstoned"), 0);

    host.json(&["machine", "undelete", "web-01"]);
    assert_eq!(host.json(&["machine", "undelete", "web-01"])["changed"], false);
    assert_eq!(place.live(), ids);
    let after = objects(host.vault());
    assert!(before.iter().all(|name| after.contains(name)), "nothing was removed");
    let disk = place.lab.path("disk.raw");
    host.restores("web-01", "latest", &place.lab.path("latest"), &[("os", &disk)]);
    host.backup("web-01");
}

#[test]
fn the_days_of_a_deletion_are_the_vault_s_and_bounded() {
    let place = Place::new();
    let host = &place.host;
    place.backup("30d");
    let usage: [&[&str]; 6] = [
        &["machine", "stop", "web-01"],
        &["machine", "stop", "web-01", "--retain", "--delete"],
        &["machine", "stop", "web-01", "--retain", "--days", "20"],
        &["machine", "stop", "web-01", "--delete", "--days", "13"],
        &["machine", "stop", "web-01", "--delete", "--days", "181"],
        &["machine", "stop", "--delete"],
    ];
    for args in usage {
        let done = host.run(args);
        assert_eq!(done.code, Some(2), "{done}");
        done.error();
    }
    host.fails(&["machine", "stop", "web-02", "--retain"]);
    host.fails(&["machine", "undelete", "web-02"]);
    host.json(&["vault", "set", "--undelete-days", "90"]);
    let deleted = host.json(&["machine", "stop", "web-01", "--delete"]);
    let until: jiff::Timestamp = text(&deleted, "/deleted_until").parse().expect("a time");
    let days = until.duration_since(jiff::Timestamp::now()).as_hours() / 24;
    assert!((89..=90).contains(&days), "{days}");
}

//! What operators see and do about single points.

use std::fs;

use serde_json::Value;
use stillpoint_model::{MarkKind, PointId};
use stillpoint_tests::{
    disk::{self, MIB},
    number, text,
    vault_files::objects,
};
use stillpoint_vault::{Collection, Mark};

use crate::place::{Place, doomed, web};

#[test]
fn points_say_until_when_and_why_they_are_kept() {
    let place = Place::new();
    let (first, second) = (place.backup("20d"), place.backup("30d"));
    let point = place.point(&first);
    assert_eq!(point["keep_until"], point["on_demand_until"]);
    assert!(text(&point, "/keep_until") > text(&point, "/time"));
    assert_eq!((text(&point, "/tier"), text(&point, "/state")), ("vault", "committed"));
    assert_eq!((&point["held"], &point["damaged"]), (&false.into(), &false.into()));
    assert_eq!(place.rules(&first), ["on-demand"]);
    assert_eq!(place.rules(&second), ["on-demand", "newest-good"]);
    assert_eq!(place.point(&second)["keep_until"], Value::Null, "as long as it is the newest");

    let table = place.host.run(&["points", "web-01"]).ok();
    let table = String::from_utf8(table.stdout).expect("text");
    for word in ["KEPT UNTIL", "WHY", "TIER", "on-demand, newest-good", "open", "on demand"] {
        assert!(table.contains(word), "{word} in {table}");
    }
}

#[test]
fn a_dry_run_names_the_points_that_the_prune_then_deletes_softly() {
    let (place, [first, second, newest]) = Place::with_two_over();
    let before = objects(place.host.vault());
    let preview = doomed(&place.host);
    assert_eq!(preview.iter().map(|(id, _)| id).collect::<Vec<_>>(), [&first, &second]);
    assert!(preview.iter().all(|(_, why)| why.starts_with("on-demand: over since ")), "{preview:?}");
    assert_eq!(objects(place.host.vault()), before, "a dry run writes nothing");

    let report = place.host.json(&["prune"]);
    assert_eq!((number(&report, "/tombstoned"), number(&report, "/points")), (2, 3), "{report}");
    assert_eq!(text(&report, "/state"), "completed");
    assert_eq!(place.live(), std::slice::from_ref(&newest));
    let hidden = place.host.json(&["points", "web-01"]);
    assert_eq!(number(&hidden, "/deleted_points_not_shown"), 2);
    let point = place.point(&first);
    assert_eq!(text(&point, "/state"), "deleted");
    assert!(text(&point, "/deleted_until") > text(&point, "/time"));
    assert_eq!((text(&point, "/deleted_by"), text(&point, "/deleted_why")), ("prune", preview[0].1.as_str()));
    assert!(doomed(&place.host).is_empty());
    assert_eq!(number(&place.host.json(&["prune"]), "/tombstoned"), 0);
    let after = objects(place.host.vault());
    assert!(before.iter().all(|name| after.contains(name)), "nothing is removed");

    let table = place.host.run(&["points", "web-01", "--all"]).ok();
    for words in ["deleted until 20", "deleted by prune: on-demand: over since 20"] {
        assert!(String::from_utf8_lossy(&table.stdout).contains(words), "{table}");
    }
}

#[test]
fn a_dry_run_says_how_much_is_freed_at_most() {
    let place = Place::new();
    let first = place.backup("1s");
    disk::full(&place.lab.path("disk.raw"), 2 * MIB, 41);
    place.backup("30d");
    std::thread::sleep(std::time::Duration::from_millis(1200));
    let alone = number(&place.point(&first), "/alone_bytes");
    assert!(alone > MIB, "nothing of it is in the second: {alone}");
    let document = place.host.json(&["prune", "--dry-run"]);
    assert_eq!(number(&document, "/machines/0/freed_bytes_at_most"), alone, "{document}");
    let table = place.host.run(&["prune", "--dry-run"]).ok();
    assert!(String::from_utf8_lossy(&table.stdout).contains("1 of 2 points would be deleted softly; at most"), "{table}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prune_that_is_killed_is_ended_by_the_next_command() {
    let mut cut = 0;
    for after in [0, 5, 60, 110] {
        let place = Place::new();
        place.backup("30d");
        place.more_that_are_over(120).await;
        let tombstones = || objects(place.host.vault()).iter().filter(|name| name.ends_with("-deleted.json")).count();
        let mut prune = place.host.spawn(&["prune"]);
        prune.reaches(|| tombstones() > after);
        drop(prune.kill());
        let left = doomed(&place.host).len();
        assert_eq!(tombstones() + left, 120, "nothing else was done");
        cut += usize::from(left > 0);
        let report = place.host.json(&["prune"]);
        assert!(doomed(&place.host).is_empty(), "{report}");
        assert_eq!(tombstones(), 120, "each has one");
        let jobs = place.host.jobs("prune", "@prune");
        assert!(jobs.iter().all(|job| text(job, "/state") == "completed"), "{jobs:?}");
        assert_eq!(place.live().len(), 1);
    }
    assert!(cut > 0, "no kill came in time");
}

#[test]
fn a_point_whose_record_is_damaged_can_be_held_and_is_never_deleted() {
    let place = Place::new();
    let [first, _] = ["20d", "30d"].map(|keep| place.backup(keep));
    let record = place.host.vault().join(format!("points/web-01/{first}/point.json"));
    let mut bytes = fs::read(&record).expect("the record is there");
    bytes[200] ^= 1;
    fs::write(&record, bytes).expect("a test may write");
    let line = place.host.fails(&["point", "delete", "web-01", &first]);
    assert!(line.contains("cannot be read"), "{line}");
    assert_eq!(place.host.json(&["point", "hold", "web-01", &first])["changed"], true);
    let done = place.host.run(&["--json", "points", "web-01"]);
    assert_eq!(done.code, Some(3), "{done}");
    assert_eq!(done.json()["points"][1]["damaged"], true, "{done}");
    let report = place.host.run(&["--json", "prune"]);
    assert_eq!((report.code, number(&report.json(), "/tombstoned")), (Some(3), 0), "{report}");
    assert!(text(&report.json(), "/warnings/0").contains(&first), "{report}");
}

#[test]
fn what_prune_deleted_comes_back_and_restores_byte_for_byte() {
    let (place, [first, _, newest]) = Place::with_two_over();
    place.host.json(&["prune"]);
    for command in [
        ["restore", "web-01", "--point", &first, "--to", &place.lab.arg("no")].as_slice(),
        &["read", "web-01", "--point", &first, "--disk", "os"],
    ] {
        let line = place.host.fails(command);
        assert!(line.contains(&format!("stillpoint point undelete web-01 {first}")), "{line}");
    }
    let disk = place.lab.path("disk.raw");
    let report = place.host.restores("web-01", "latest", &place.lab.path("latest"), &[("os", &disk)]);
    assert_eq!(text(&report, "/point"), newest);

    let undeleted = place.host.json(&["point", "undelete", "web-01", &first]);
    let warning = text(&undeleted, "/warnings/0");
    assert!(warning.contains("the next prune deletes it") && warning.contains("point hold"), "{warning}");
    place.host.restores("web-01", &first, &place.lab.path("first"), &[("os", &disk)]);
    assert_eq!(doomed(&place.host).len(), 1, "its time is still up");
    place.host.json(&["point", "hold", "web-01", &first, "--why", "the auditors want it"]);
    assert_eq!(place.rules(&first), ["on-demand", "hold"]);
    assert_eq!(text(&place.point(&first), "/held_why"), "the auditors want it");
    assert_eq!(number(&place.host.json(&["prune"]), "/tombstoned"), 0);
    place.host.json(&["point", "release", "web-01", &first]);
    assert_eq!(number(&place.host.json(&["prune"]), "/tombstoned"), 1);
}

#[test]
fn an_operator_deletes_and_undeletes_points_but_not_the_newest_good_one() {
    let place = Place::new();
    let [first, second, third] = ["20d", "20d", "20d"].map(|keep| place.backup(keep));
    let line = place.host.fails(&["point", "delete", "web-01", &third]);
    assert!(line.contains("newest good point") && line.contains("machine stop web-01 --delete"), "{line}");
    place.host.json(&["point", "hold", "web-01", &first]);
    let line = place.host.fails(&["point", "delete", "web-01", &first]);
    assert!(line.contains("it is held") && line.contains("point release"), "{line}");

    let deleted = place.host.json(&["point", "delete", "web-01", &second, "--why", "half a migration"]);
    assert_eq!((text(&deleted, "/mark"), &deleted["changed"]), ("deleted", &true.into()));
    assert!(text(&deleted, "/deleted_until") > text(&place.point(&second), "/time"));
    assert_eq!(place.live(), [first.clone(), third.clone()]);
    let again = place.host.json(&["point", "delete", "web-01", &second]);
    assert_eq!(again["changed"], false);

    // What is not held, and not the newest any more, may go; then the one before is the newest.
    let back = place.host.json(&["point", "undelete", "web-01", &second]);
    assert_eq!((&back["changed"], text(&back, "/state")), (&true.into(), "committed"));
    assert_eq!(place.host.json(&["point", "undelete", "web-01", &second])["changed"], false);
    assert_eq!(place.live(), [first, second, third]);
}

#[test]
fn a_time_means_the_newest_point_that_is_not_deleted() {
    let place = Place::new();
    let [first, second, _] = ["20d", "20d", "20d"].map(|keep| place.backup(keep));
    let time = text(&place.point(&second), "/time").to_owned();
    place.host.json(&["point", "delete", "web-01", &second]);
    let disk = place.lab.path("disk.raw");
    let report = place.host.restores("web-01", &time, &place.lab.path("then"), &[("os", &disk)]);
    assert_eq!(text(&report, "/point"), first);
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_points_are_passed_over_and_taken_only_by_name() {
    let place = Place::new();
    let [first, second] = ["20d", "20d"].map(|keep| place.backup(keep));
    let damage = async |id: &str| {
        let vault = place.vault().await;
        let entry = vault.point_entry(&web(), id.parse().expect("an id")).await.expect("an entry");
        let mark = Mark::new(MarkKind::Damaged, vault.clock().now(), "verify", "a pack is missing");
        vault.mark(&web(), &entry, &mark).await.expect("a mark");
    };
    damage(&second).await;
    assert_eq!(place.point(&second)["damaged"], true);
    let disk = place.lab.path("disk.raw");
    let report = place.host.restores("web-01", "latest", &place.lab.path("one"), &[("os", &disk)]);
    assert_eq!(text(&report, "/point"), first);
    damage(&first).await;
    let line = place.host.fails(&["restore", "web-01", "--to", &place.lab.arg("none")]);
    assert!(line.contains("damaged recovery points only") && line.contains(&second), "{line}");
    place.host.restores("web-01", &second, &place.lab.path("two"), &[("os", &disk)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn bringing_back_what_is_being_freed_says_that_it_may_be_too_late() {
    let (place, [first, second, _]) = Place::with_two_over();
    place.host.json(&["prune"]);
    let vault = place.vault().await;
    let condemned: PointId = first.parse().expect("an id");
    let job = text(&place.host.json(&["jobs"]), "/jobs/0/id").parse().expect("an id");
    let record =
        Collection { at: vault.clock().now(), job, open: Vec::new(), points: vec![(web(), condemned)], objects: Vec::new() };
    vault.create_collection(1, &record).await.expect("a record of collect");
    for mark in ["undelete", "hold"] {
        let line = place.host.fails(&["point", mark, "web-01", &first]);
        assert!(line.contains("too late") && line.contains("after the next collect"), "{line}");
        let point = place.point(&first);
        assert!(point["state"] == "committed", "the mark is there all the same: {point}");
    }
    place.host.json(&["point", "hold", "web-01", &second]);
}

#[test]
fn points_that_are_not_there_are_one_line() {
    let place = Place::new();
    let id = place.backup("20d");
    let other = format!("{}0", &id[..id.len() - 1]);
    for mark in ["hold", "release", "delete", "undelete"] {
        let line = place.host.fails(&["point", mark, "web-01", &other]);
        assert!(line.contains("no recovery point"), "{line}");
        place.host.fails(&["point", mark, "web-02", &id]);
        place.host.fails(&["point", mark, "web-01", "latest"]);
        place.host.fails(&["point", mark, "web-01", &id, "--why", ""]);
        place.host.fails(&["point", mark, "web-01", &id, "--why", "two\nlines"]);
    }
    place.host.fails(&["points", "web-02", "--all"]);
}

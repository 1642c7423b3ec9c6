//! Every way to delete, or to keep for less long, under immutability off, on and locked.

use stillpoint_tests::{Host, vault_files::objects};

use crate::place::Place;

/// The settings, one stricter than the other.
const LEVELS: [&[&str]; 3] = [&[], &["--immutability", "on"], &["--immutability", "locked", "--yes"]];

/// A vault at this level with points: over, held, kept for long, and the newest.
fn place(level: &[&str]) -> (Place, [String; 4]) {
    let (place, [over, held, kept]) = Place::with_two_over();
    let newest = place.backup("30d");
    place.host.json(&["point", "hold", "web-01", &held]);
    if !level.is_empty() {
        place.host.json(&[&["vault", "set"], level].concat());
    }
    (place, [over, held, kept, newest])
}

fn allowed(host: &Host, args: &[&str], what: &str) {
    let done = host.run(args);
    assert!(matches!(done.code, Some(0 | 3)), "{what}: {done}");
}

fn denied(host: &Host, args: &[&str], what: &str) -> String {
    let before = objects(host.vault());
    let line = host.run(args).error();
    assert_eq!(objects(host.vault()), before, "{what} wrote something");
    line
}

#[test]
fn every_deletion_is_allowed_or_denied_as_its_level_says() {
    for (strictness, level) in LEVELS.into_iter().enumerate() {
        let (place, [over, held, kept, newest]) = place(level);
        let host = &place.host;
        // What is to be deleted, and whether off, on and locked allow it.
        let cases: [(&str, &[&str], [bool; 3]); 9] = [
            ("the newest good point", &["point", "delete", "web-01", &newest], [false; 3]),
            ("a point that is held", &["point", "delete", "web-01", &held], [false; 3]),
            ("the machine", &["machine", "stop", "web-01", "--delete"], [true, false, false]),
            ("the machine's return", &["machine", "undelete", "web-01"], [true; 3]),
            ("a point before its time", &["point", "delete", "web-01", &kept], [true, false, false]),
            ("a point after its time", &["point", "delete", "web-01", &over], [true; 3]),
            ("longer windows", &["vault", "set", "--undelete-days", "30"], [true; 3]),
            ("shorter windows", &["vault", "set", "--undelete-days", "20"], [true, false, false]),
            ("a prune", &["prune"], [true; 3]),
        ];
        for (what, args, expected) in cases {
            let what = format!("{what} under {level:?}");
            if expected[strictness] {
                allowed(host, args, &what);
            } else {
                let line = denied(host, args, &what);
                assert!(strictness == 0 || !args.contains(&"--delete") || line.contains("immutable"), "{line}");
            }
        }
        assert_eq!(place.point(&newest)["state"], "committed", "{level:?}");
        assert_eq!(place.point(&held)["state"], "committed", "{level:?}");
        assert_eq!(place.point(&kept)["state"] == "committed", strictness > 0, "{level:?}");
        assert_eq!(place.point(&over)["state"], "deleted", "{level:?}");
    }
}

#[test]
fn protection_that_retains_is_not_loosened_in_an_immutable_vault() {
    for (strictness, level) in LEVELS.into_iter().enumerate() {
        let (place, _) = place(level);
        let host = &place.host;
        allowed(host, &["machine", "stop", "web-01", "--retain"], "retaining keeps all for longer");
        let back: &[&str] = &["machine", "undelete", "web-01"];
        if strictness == 0 {
            allowed(host, back, "off");
        } else {
            let line = denied(host, back, "what is retained without end would get an end");
            assert!(line.contains("kept for less long"), "{line}");
            denied(host, &["machine", "stop", "web-01", "--delete"], "retained points have no end");
        }
    }
}

#[test]
fn a_machine_whose_points_are_all_over_may_go_under_a_lock() {
    let place = Place::new();
    place.backup("1s");
    std::thread::sleep(std::time::Duration::from_millis(1200));
    place.host.json(&["vault", "set", "--immutability", "locked", "--yes"]);
    allowed(&place.host, &["machine", "stop", "web-01", "--delete"], "its newest point was asked for until a second ago");
    assert!(place.live().is_empty());
    allowed(&place.host, &["machine", "undelete", "web-01"], "and it comes back");
    assert_eq!(place.live().len(), 1);
}

#[test]
fn on_can_be_switched_off_and_locked_cannot() {
    let place = Place::new();
    let host = &place.host;
    let level = |host: &Host| host.json(&["vault", "info"])["settings"]["immutability"].clone();
    host.json(&["vault", "set", "--immutability", "on"]);
    host.json(&["vault", "set", "--immutability", "off"]);
    assert_eq!(level(host), "off");
    let done = host.run(&["vault", "set", "--immutability", "locked"]);
    assert_eq!(done.code, Some(2), "{done}");
    assert!(done.error().contains("for good"), "{done}");
    assert_eq!(level(host), "off", "nothing is locked by mistake");
    host.json(&["vault", "set", "--immutability", "locked", "--yes"]);
    for level in ["off", "on"] {
        let line = denied(host, &["vault", "set", "--immutability", level], level);
        assert!(line.contains("locked for good"), "{line}");
    }
    assert_eq!(level(host), "locked");
}

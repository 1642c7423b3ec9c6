//! What holds for the whole vault.

use serde_json::Value;
use stillpoint_tests::number;

use crate::place::Place;

#[test]
fn settings_are_shown_set_and_stay_where_they_are_not_named() {
    let place = Place::new();
    let host = &place.host;
    let settings = host.json(&["vault", "info"])["settings"].clone();
    assert_eq!((number(&settings, "/undelete_days"), number(&settings, "/verify_days")), (14, 30));
    host.json(&["vault", "set", "--undelete-days", "60", "--concurrent", "8", "--site-concurrent", "host-a=2"]);
    host.json(&["vault", "set", "--verify-days", "10", "--site-concurrent", "host-b=1", "--confirm-clock"]);
    let settings = host.json(&["vault", "set", "--site-concurrent", "host-a=none"]);
    assert_eq!(settings, host.json(&["vault", "info"])["settings"]);
    assert_eq!((number(&settings, "/undelete_days"), number(&settings, "/verify_days")), (60, 10));
    assert_eq!(number(&settings, "/concurrent"), 8);
    assert_eq!(settings["sites"], serde_json::json!({ "host-b": 1 }));
    assert!(settings["clock_confirmed"].is_string());
    assert_eq!(host.json(&["vault", "set", "--concurrent", "none"])["concurrent"], Value::Null);
    let shown = host.run(&["vault", "info"]).ok();
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    for words in ["immutable off", "undelete", "60 days", "1 at host-b", "confirmed"] {
        let words: Vec<&str> = words.split_whitespace().collect();
        let is_shown = shown.lines().any(|line| words.iter().all(|word| line.contains(word)));
        assert!(is_shown, "{words:?} in {shown}");
    }
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let place = Place::new();
    let cases: [&[&str]; 9] = [
        &[],
        &["--yes"],
        &["--immutability", "maybe"],
        &["--undelete-days", "13"],
        &["--undelete-days", "181"],
        &["--verify-days", "0"],
        &["--concurrent", "0"],
        &["--site-concurrent", "host-a"],
        &["--site-concurrent", "host-a=0"],
    ];
    for args in cases {
        place.host.fails(&[&["vault", "set"], args].concat());
    }
}

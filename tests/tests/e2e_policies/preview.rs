use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use stillpoint_tests::{Host, Lab, number, text, vault_files::objects};

use crate::{NIGHTLY, apply, file, history};

/// The points of the one machine in a preview, by id.
fn points(previewed: &Value) -> BTreeMap<&str, &Value> {
    let points = previewed["machines"][0]["points"].as_array().unwrap_or_else(|| panic!("no points in {previewed}"));
    points.iter().map(|point| (text(point, "/id"), point)).collect()
}

fn going<'a>(points: &BTreeMap<&'a str, &Value>) -> BTreeSet<&'a str> {
    points.iter().filter(|(_, point)| point["fate"] == "goes").map(|(id, _)| *id).collect()
}

/// Points of the machine that are deleted.
fn deleted(host: &Host) -> BTreeSet<String> {
    let listed = host.json(&["points", "web-01", "--all"]);
    let points = listed["points"].as_array().expect("there are points").iter();
    points.filter(|point| point["state"] == "deleted").map(|point| text(point, "/id").to_owned()).collect()
}

#[test]
fn what_is_previewed_is_what_prune_does() {
    let lab = Lab::new();
    let host = history::of_days(&lab, 100);
    let before = objects(host.vault());
    let path = file(&lab, "nightly.toml", NIGHTLY);
    let first = host.json(&["policy", "preview", &path]);
    assert_eq!(objects(host.vault()), before, "a preview writes nothing");
    let previewed = points(&first);
    assert_eq!(previewed.len(), 101);
    let goes = going(&previewed);
    assert_eq!(number(&first, "/totals/goes"), goes.len() as u64);
    for (id, point) in &previewed {
        let age = history::days_old(text(point, "/time"));
        assert!(point["before"]["act"] == "keep", "as long as no policy says otherwise: {point}");
        assert!(age == 30 || goes.contains(id) == (age > 30), "30 days are kept: {age} days, {point}");
        assert!(point["after"]["reasons"].is_array() && !text(point, "/after/why").is_empty(), "{point}");
    }

    apply(&lab, &host, NIGHTLY);
    let second = host.json(&["policy", "preview", &path]);
    for (id, point) in points(&second) {
        assert_eq!(point["before"], previewed[id]["after"], "what was to be is now");
        assert_eq!(point["before"], point["after"], "the same policy again changes nothing");
    }
    assert_eq!(number(&second, "/totals/goes_anyway"), goes.len() as u64);
    let dry = host.json(&["prune", "--dry-run"]);
    let doomed = dry["machines"][0]["points"].as_array().expect("there are points").iter();
    assert_eq!(doomed.map(|point| text(point, "/id")).collect::<BTreeSet<_>>(), goes);
    host.json(&["prune"]);
    assert_eq!(deleted(&host).iter().map(String::as_str).collect::<BTreeSet<_>>(), goes);
}

#[test]
fn a_longer_retention_spares_what_would_have_gone() {
    let lab = Lab::new();
    let host = history::of_days(&lab, 60);
    apply(&lab, &host, NIGHTLY);
    let longer = NIGHTLY.replacen("daily = 30", "daily = 50", 1);
    let path = file(&lab, "longer.toml", &longer);
    let previewed = host.json(&["policy", "preview", &path, "--item", "web-01"]);
    let totals = &previewed["totals"];
    let [goes, spared, longer, shorter] = ["goes", "spared", "longer", "shorter"].map(|fate| totals[fate].as_u64());
    assert!((10..=11).contains(&goes.expect("a number")) && (19..=21).contains(&spared.expect("a number")), "{totals}");
    assert!(longer > Some(20) && shorter == Some(0), "{totals}");
    let said = host.run(&["policy", "preview", &path]).ok();
    let said = String::from_utf8_lossy(&said.stdout);
    assert!(said.contains("would go at the next prune") && said.contains("spared") && said.contains("nothing was written"));
    assert!(host.fails(&["policy", "preview", &path, "--item", "nosuch"]).contains("there is no machine nosuch"));
}

#[test]
fn an_immutable_vault_refuses_policies_and_tags_that_shorten() {
    let lab = Lab::new();
    let host = history::of_days(&lab, 20);
    apply(&lab, &host, NIGHTLY);
    let short = NIGHTLY.replacen("daily = 30", "daily = 10", 1);
    let elsewhere = short.replacen("nightly", "short", 1).replacen("env = \"prod\"", "env = \"test\"", 1);
    apply(&lab, &host, &elsewhere);
    host.json(&["vault", "set", "--immutability", "on"]);
    let path = file(&lab, "short.toml", &short);
    let previewed = host.json(&["policy", "preview", &path]);
    assert!(text(&previewed, "/warnings/0").contains("would be refused"), "{previewed}");
    assert!(host.fails(&["policy", "apply", &path]).contains("the vault is immutable"));
    assert!(host.fails(&["machine", "tag", "web-01", "env=test"]).contains("the vault is immutable"));
    assert_eq!(number(&host.json(&["policy", "show", "nightly"]), "/version"), 1);
    let applied = apply(&lab, &host, &NIGHTLY.replacen("daily = 30", "daily = 60", 1));
    assert_eq!(number(&applied, "/version"), 2, "longer is always possible");
}

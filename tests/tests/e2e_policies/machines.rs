use std::fs;

use serde_json::json;
use stillpoint_model::{ErrorKind, ItemName};
use stillpoint_testkit::World;
use stillpoint_tests::{
    Host, Lab,
    disk::{self, MIB},
    text,
};
use stillpoint_vault::{Item, Protection};

use crate::{NIGHTLY, apply, texts};

/// A vault with the policy, and a machine's disk as an argument.
fn outset() -> (Lab, Host, String) {
    let lab = Lab::new();
    let host = lab.host_with_vault();
    apply(&lab, &host, NIGHTLY);
    let path = lab.path("disk.raw");
    disk::full(&path, MIB, 1);
    let disk = format!("os={}", path.display());
    (lab, host, disk)
}

#[test]
fn a_machine_under_a_policy_is_told_when_it_runs_next() {
    let (_lab, host, disk) = outset();
    let added = host.json(&["machine", "add", "web-01", "--disk", &disk, "--tag", "env=prod"]);
    assert_eq!(text(&added, "/follows"), "nightly");
    assert!(text(&added, "/next_run/due_local").contains("T02:00:00+"), "{added}");
    let shown = host.json(&["machine", "show", "web-01"]);
    assert_eq!(shown["next_run"]["start"], shown["next_run"]["due"], "the only machine has the window to itself: {shown}");
    let said = host.run(&["machine", "show", "web-01"]).ok();
    assert!(String::from_utf8_lossy(&said.stdout).contains("next backup: "), "{said}");
    let alone = host.json(&["machine", "add", "web-02", "--disk", &disk]);
    assert!(alone["follows"].is_null() && alone["next_run"].is_null(), "{alone}");
}

#[test]
fn replacing_keeps_tags_and_policy_unless_others_are_given() {
    let (lab, host, disk) = outset();
    let other = NIGHTLY.replacen("nightly", "other", 1).replacen("tags = { env = \"prod\" }", "", 1);
    apply(&lab, &host, &other);
    host.json(&["machine", "add", "web-01", "--disk", &disk, "--tag", "env=test", "--tag", "tier=web", "--policy", "other"]);
    disk::full(&lab.path("data.raw"), MIB, 2);
    let second = format!("data={}", lab.arg("data.raw"));
    let kept = host.json(&["machine", "add", "web-01", "--replace", "--disk", &disk, "--disk", &second]);
    assert_eq!((&kept["tags"], text(&kept, "/policy")), (&json!({ "env": "test", "tier": "web" }), "other"));
    assert_eq!(kept["disks"].as_array().map(Vec::len), Some(2));
    let given = host.json(&["machine", "add", "web-01", "--replace", "--disk", &disk, "--tag", "env=lab"]);
    assert_eq!((&given["tags"], text(&given, "/policy")), (&json!({ "env": "lab" }), "other"));

    let tagged = host.json(&["machine", "tag", "web-01", "tier=db", "--remove", "env"]);
    assert_eq!(tagged["tags"], json!({ "tier": "db" }));
    let freed = host.json(&["machine", "policy", "web-01", "--none"]);
    assert!(freed["policy"].is_null() && freed["follows"].is_null(), "{freed}");
    assert_eq!(text(&host.json(&["machine", "policy", "web-01", "nightly"]), "/follows"), "nightly");
    let listed = host.json(&["machine", "list"]);
    assert_eq!((text(&listed, "/machines/0/follows"), text(&listed, "/machines/0/protection/state")), ("nightly", "active"));
}

#[test]
fn a_policy_that_does_not_exist_is_refused_and_a_conflict_said_at_once() {
    let (lab, host, disk) = outset();
    let line = host.fails(&["machine", "add", "web-01", "--disk", &disk, "--policy", "nosuch"]);
    assert!(line.contains("there is no policy nosuch"), "{line}");
    assert_eq!(host.json(&["machine", "list"])["machines"].as_array().map(Vec::len), Some(0));
    host.json(&["machine", "add", "web-01", "--disk", &disk]);
    assert!(host.fails(&["machine", "policy", "web-01", "nosuch"]).contains("there is no policy nosuch"));
    for wrong in ["env", "=prod", "e v=prod"] {
        host.fails(&["machine", "tag", "web-01", wrong]);
    }
    host.fails(&["machine", "tag", "web-01", "env=a", "env=b"]);
    assert_eq!(host.json(&["machine", "show", "web-01"])["tags"], json!({}));

    let second = NIGHTLY.replacen("nightly", "second", 1).replacen("env = \"prod\"", "tier = \"web\"", 1);
    apply(&lab, &host, &second);
    host.json(&["machine", "tag", "web-01", "env=prod"]);
    let tagged = host.json(&["machine", "tag", "web-01", "tier=web"]);
    assert_eq!(texts(&tagged, "/in_conflict"), ["nightly", "second"]);
    assert!(text(&tagged, "/warnings/0").contains("(nightly, second)"));
}

#[test]
fn a_damaged_record_can_be_replaced_and_that_is_said() {
    let (_lab, host, disk) = outset();
    host.json(&["machine", "add", "web-01", "--disk", &disk, "--tag", "env=prod"]);
    let record = host.vault().join("items/web-01/000001.json");
    let damaged = fs::read_to_string(&record).expect("the record is there").replacen("prod", "test", 1);
    fs::write(&record, damaged).expect("the record can be damaged");
    let listed = host.json(&["machine", "list"]);
    assert!(text(&listed, "/warnings/0").starts_with("machine web-01 cannot be read: "), "{listed}");
    host.fails(&["machine", "tag", "web-01", "env=prod"]);
    let mended = host.json(&["machine", "add", "web-01", "--replace", "--disk", &disk]);
    assert!(text(&mended, "/warnings/0").contains("cannot be read, with tags and policy"), "{mended}");
    assert_eq!(host.json(&["machine", "show", "web-01"])["tags"], json!({}));
}

/// Two operators at once: who read the machine before the other changed it is told so, and takes nothing back unseen.
#[tokio::test]
async fn a_change_that_did_not_see_the_newest_record_is_refused() {
    let world = World::new(51_000).await.expect("a world can be made");
    let (vault, name): (_, ItemName) = (world.vault(), "web-01".parse().expect("a name"));
    world.protect(&name, &["os".parse().expect("a name")]).await.expect("a machine can be protected");
    let (newest, item) = vault.newest_item(&name).await.expect("it is listed").expect("it is there");
    let item = item.expect("it is whole");
    let stopped = Item { protection: Protection::Retained { since: item.written }, ..item.clone() };
    vault.write_item_after(&stopped, newest).await.expect("nothing came between");
    let tagged = Item { tags: [("env".to_owned(), "prod".to_owned())].into(), ..item };
    let error = vault.write_item_after(&tagged, newest).await.expect_err("it was stopped meanwhile");
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    let many = vault.write_items_after(&[(tagged.clone(), newest)]).await.expect_err("likewise");
    assert_eq!(many.kind(), ErrorKind::Conflict, "{many}");
    assert_eq!(vault.item(&name).await.expect("it is there"), stopped);
}

//! The paired region through the binary: pair, copy, lose the primary, restore, promote, go on.

use std::{fs, path::Path, thread, time::Duration};

use serde_json::Value;
use stillpoint_tests::{
    Host, Lab, PATIENCE,
    disk::{self, MIB},
    number,
    servers::{azurite, seaweedfs},
    text,
    vault_files::{objects, objects_of},
};

/// Two points of a machine, with the disks as they were.
struct Scene {
    lab: Lab,
    host: Host,
    points: [String; 2],
}

impl Scene {
    fn new() -> Self {
        let lab = Lab::new();
        let host = lab.host_with_vault();
        let points = back_up_twice(&lab, &host);
        Self { lab, host, points }
    }

    /// The host, whose vault is now what lies in this folder.
    fn at(&self, folder: &str) -> Host {
        self.host.at_vault(&self.lab.path(folder))
    }

    fn pair(&self) -> Host {
        self.host.json(&["vault", "pair", "--with", &self.lab.arg("replica")]);
        self.at("replica")
    }

    /// Both points come back, from whatever vault the host looks at.
    fn restores_both(&self, host: &Host, into: &str) {
        for (number, (point, disk)) in self.points.iter().zip(["before.raw", "now.raw"]).enumerate() {
            let folder = self.lab.path(&format!("{into}-{number}"));
            host.restores("web-01", point, &folder, &[("os", &self.lab.path(disk))]);
        }
    }
}

fn back_up_twice(lab: &Lab, host: &Host) -> [String; 2] {
    let (now, before) = (lab.path("now.raw"), lab.path("before.raw"));
    disk::sparse(&now, 200 * MIB, 1, &[(0, 4096), (MIB + 512, 20 * MIB), (80 * MIB, 16 * MIB), (150 * MIB, 20 * MIB)]);
    host.add("web-01", &[("os", &now)]);
    let first = host.backup("web-01");
    disk::copy(&now, &before);
    disk::overwrite(&now, 40 * MIB + 512, &disk::noise(2, 3_000_000));
    let second = host.backup("web-01");
    [first, second].map(|report| text(&report, "/point").to_owned())
}

fn replication(host: &Host) -> Vec<String> {
    host.points("web-01").iter().map(|point| text(point, "/replication").to_owned()).collect()
}

fn packs(vault: &Path) -> Vec<String> {
    objects_of(vault, |name| name.starts_with("packs/"))
}

#[test]
fn the_second_region_holds_everything_and_takes_over() {
    let scene = Scene::new();
    let replica = scene.pair();
    assert_eq!(replication(&scene.host), ["pending", "pending"]);
    let behind = |host: &Host| host.json(&["vault", "info"])["replica"]["items"][0].clone();
    assert_eq!((number(&behind(&scene.host), "/behind"), &behind(&scene.host)["lag_seconds"]), (2, &Value::Null));
    let copied = scene.host.json(&["replicate"]);
    assert_eq!((number(&copied, "/points"), number(&copied, "/points_left")), (2, 0), "{copied}");
    assert_eq!(replication(&scene.host), ["replicated", "replicated"]);
    assert_eq!((number(&behind(&scene.host), "/behind"), text(&behind(&scene.host), "/newest")), (0, &*scene.points[1]));
    assert!(behind(&scene.host)["lag_seconds"].as_u64().is_some());
    assert_eq!(packs(scene.host.vault()), packs(replica.vault()));
    // The same command from the other side, which has nothing left to do.
    assert_eq!(number(&replica.json(&["replicate", "web-01"]), "/points"), 0);
    let from = scene.lab.path("from-paired");
    scene.host.json(&["restore", "web-01", "--from", "paired", "--to", from.to_str().unwrap()]);
    disk::assert_same(&scene.lab.path("now.raw"), &from.join("os.raw"));

    fs::rename(scene.host.vault(), scene.lab.path("lost")).unwrap();
    let lost = scene.host.fails(&["restore", "web-01", "--from", "paired", "--to", &scene.lab.arg("nothing")]);
    assert!(lost.contains("give --from URL"), "{lost}");
    scene.restores_both(&replica, "alone");
    replica.run(&["vault", "check"]).ok();

    replica.json(&["vault", "promote"]);
    disk::overwrite(&scene.lab.path("now.raw"), 50 * MIB, &disk::noise(3, 100_000));
    let next = replica.backup("web-01");
    assert!(number(&next, "/changed_bytes") < MIB, "an increment of what the primary had: {next}");
    replica.restores("web-01", text(&next, "/point"), &scene.lab.path("went-on"), &[("os", &scene.lab.path("now.raw"))]);
    replica.json(&["vault", "pair", "--with", &scene.lab.arg("second")]);
    assert_eq!(number(&replica.json(&["replicate"]), "/points"), 3);
    let second = scene.at("second");
    second.run(&["vault", "check"]).ok();
}

#[test]
fn a_replica_takes_nothing_but_copies() {
    let scene = Scene::new();
    let none = scene.host.fails(&["replicate"]);
    assert!(none.contains("vault pair --with"), "{none}");
    let own = scene.host.fails(&["vault", "pair", "--with", scene.host.vault().to_str().unwrap()]);
    assert!(own.contains("is this vault itself"), "{own}");
    let policy = scene.host.fails(&["vault", "pair", "--with", &scene.lab.arg("replica"), "--retention", "none-such"]);
    assert!(policy.contains("none-such") && !scene.lab.path("replica").exists(), "{policy}");
    let replica = scene.pair();
    scene.host.json(&["replicate"]);
    for args in [
        &["backup", "web-01"][..],
        &["machine", "add", "new", "--disk", "os=/dev/null"],
        &["machine", "stop", "web-01", "--delete"],
        &["vault", "pair", "--with", "/tmp/elsewhere"],
    ] {
        let refused = replica.fails(args);
        assert!(refused.contains("is the replica of file://"), "{args:?}: {refused}");
    }
    let not_yet = replica.run(&["vault", "promote"]);
    assert_eq!(not_yet.code, Some(2), "{not_yet}");
    assert!(not_yet.stderr.contains("answers"), "{not_yet}");
    let primary = scene.host.fails(&["vault", "promote"]);
    assert!(primary.contains("is no replica"), "{primary}");
    let unknown = replica.fails(&["replicate", "none-such"]);
    assert!(unknown.contains("none-such"), "{unknown}");
    replica.json(&["vault", "promote", "--yes"]);
    let over = scene.host.fails(&["replicate"]);
    assert!(over.contains("was promoted"), "{over}");
}

#[test]
fn a_point_that_cannot_be_copied_is_shown_as_failed() {
    let scene = Scene::new();
    let first = packs(scene.host.vault());
    disk::overwrite(&scene.lab.path("now.raw"), 50 * MIB, &disk::noise(3, 3_000_000));
    scene.host.backup("web-01");
    let lost = packs(scene.host.vault()).into_iter().find(|pack| !first.contains(pack)).expect("a backup made a pack");
    fs::remove_file(scene.host.vault().join(lost)).unwrap();
    scene.pair();
    let copied = scene.host.run(&["--json", "replicate"]);
    assert_eq!(copied.code, Some(3), "{copied}");
    assert_eq!(replication(&scene.host), ["replicated", "replicated", "failed"]);
    let said = scene.host.run(&["vault", "info"]).ok();
    assert!(String::from_utf8_lossy(&said.stdout).contains("1 machines, 1 behind, most of all web-01"), "{said}");
}

#[test]
fn a_killed_replication_goes_on_and_repeats_nothing() {
    let scene = Scene::new();
    let replica = scene.pair();
    let all = packs(scene.host.vault());
    // Slow enough that there is something to kill.
    let slow = scene.host.set("STILLPOINT_VAULT", &format!("{}?bytes_per_second=12MiB", scene.host.url()));
    slow.run(&["vault", "pair", "--with", &format!("file://{}", replica.vault().display())]).ok();
    let running = slow.spawn(&["replicate", "--in-flight", "1"]);
    while packs(replica.vault()).is_empty() {
        thread::sleep(Duration::from_millis(20));
    }
    assert!(running.kill().signal.is_some());
    let at_death = packs(replica.vault());
    assert!(at_death.len() < all.len(), "killed in between: {at_death:?}");
    assert!(objects_of(replica.vault(), |name| name.ends_with("point.json")).is_empty());
    scene.host.json(&["vault", "pair", "--with", &scene.lab.arg("replica")]);
    scene.host.json(&["replicate"]);
    assert_eq!(packs(replica.vault()), all);
    scene.restores_both(&replica, "after-the-kill");
}

#[test]
fn a_primary_that_goes_away_in_between_leaves_a_clear_state() {
    let scene = Scene::new();
    // Several packs more, so that some are still to be read when the first is there.
    let large = scene.lab.path("large.raw");
    disk::full(&large, 256 * MIB, 7);
    scene.host.add("db-01", &[("os", &large)]);
    scene.host.backup("db-01");
    let replica = scene.pair();
    let slow = scene.host.set("STILLPOINT_VAULT", &format!("{}?bytes_per_second=40MiB", scene.host.url()));
    slow.run(&["vault", "pair", "--with", &format!("file://{}", replica.vault().display())]).ok();
    let running = slow.spawn(&["replicate", "--in-flight", "1"]);
    while packs(replica.vault()).is_empty() {
        thread::sleep(Duration::from_millis(20));
    }
    fs::rename(scene.host.vault(), scene.lab.path("away")).unwrap();
    let ended = running.finish();
    assert_eq!(ended.code, Some(1), "{ended}");
    let said = ended.error();
    assert!(said.contains("vault"), "{said}");
    replica.run(&["vault", "check"]).ok();
    assert!(objects_of(replica.vault(), |name| name.ends_with("point.json")).is_empty());
    fs::rename(scene.lab.path("away"), scene.host.vault()).unwrap();
    scene.host.json(&["vault", "pair", "--with", &scene.lab.arg("replica")]);
    assert_eq!(number(&scene.host.json(&["replicate"]), "/points"), 3);
    scene.restores_both(&replica, "after-the-cut");
}

#[test]
fn one_process_serves_both_and_copies_points_as_they_are_made() {
    let scene = Scene::new();
    let replica = scene.pair();
    let serving = scene.host.bound_to_us().spawn(&["serve", "--tick", "1s"]);
    let begin = std::time::Instant::now();
    while replication(&scene.host) != ["replicated", "replicated"] {
        assert!(begin.elapsed() < PATIENCE, "{:?}", replication(&scene.host));
        thread::sleep(Duration::from_millis(500));
    }
    assert!(serving.kill().signal.is_some());
    scene.restores_both(&replica, "served");
}

/// The timer of the replica looks at the primary once an hour here.
#[test]
fn points_that_serve_makes_are_copied_before_the_timer_looks() {
    let scene = Scene::new();
    let replica = scene.at("replica");
    scene.host.json(&["vault", "pair", "--with", &scene.lab.arg("replica"), "--target", "12h"]);
    scene.host.json(&["replicate"]);
    let serving = scene.host.bound_to_us().spawn(&["serve", "--tick", "1s"]);
    let until = |what: &str, holds: &dyn Fn() -> bool| {
        let begin = std::time::Instant::now();
        while !holds() {
            assert!(begin.elapsed() < PATIENCE, "{what}: {:?}", replication(&scene.host));
            thread::sleep(Duration::from_millis(200));
        }
    };
    until("the replica's timer has looked", &|| !objects_of(replica.vault(), |name| name.starts_with("ticks/")).is_empty());
    let policy =
        "name = \"each-minute\"\n[applies_to]\nnames = [\"web-01\"]\n[schedule]\nevery = \"1m\"\n[retention]\nkeep_last = 9\n";
    fs::write(scene.lab.path("policy.toml"), policy).unwrap();
    scene.host.run(&["policy", "apply", &scene.lab.arg("policy.toml")]).ok();
    until("a scheduled point is copied", &|| {
        let replication = replication(&scene.host);
        replication.len() > 2 && replication.iter().all(|state| state == "replicated")
    });
    assert!(serving.kill().signal.is_some());
    let newest = text(scene.host.points("web-01").last().unwrap(), "/id").to_owned();
    replica.restores("web-01", &newest, &scene.lab.path("followed"), &[("os", &scene.lab.path("now.raw"))]);
}

/// Hosts that open the one or the other by the recovery key give each a key slot of its own; none gets in the way of the copies.
#[test]
fn key_slots_of_both_sides_open_the_replica() {
    let lab = Lab::new();
    let host = lab.host("first");
    host.json(&["vault", "create", "--recovery-key-file", &lab.arg("recovery-key")]);
    let points = back_up_twice(&lab, &host);
    host.json(&["vault", "pair", "--with", &lab.arg("replica")]);
    let replica = lab.path("replica");
    let open = ["vault", "open", "--recovery-key-file", &lab.arg("recovery-key")];
    let (of_replica, of_primary) = (lab.host("far").at_vault(&replica), lab.host("near"));
    of_replica.json(&open);
    of_primary.json(&open);
    assert_eq!(number(&host.json(&["replicate"]), "/points"), 2);
    assert_eq!(number(&host.json(&["replicate"]), "/records"), 0, "no slot is copied twice");
    fs::rename(host.vault(), lab.path("lost")).unwrap();
    for (number, host) in [of_replica, of_primary.at_vault(&replica)].iter().enumerate() {
        let into = lab.path(&format!("opened-{number}"));
        host.restores("web-01", &points[1], &into, &[("os", &lab.path("now.raw"))]);
    }
}

/// From S3 to Azure; the credentials of the first are called by name, and stand in none of the cloud's own variables.
#[test]
fn between_two_clouds() {
    let (lab, s3, azure) = (Lab::new(), seaweedfs(), azurite());
    s3.make_bucket("primary", &[]);
    azure.make_container("paired");
    let named = s3.variables().into_iter().map(|(name, value)| (format!("FIRST_{name}"), value.to_owned()));
    let own = azure.variables().into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
    let variables: Vec<(String, String)> = named.chain(own).collect();
    let with = |url: &str| {
        let host = lab.host("first").set("STILLPOINT_VAULT", url);
        variables.iter().fold(host, |host, (name, value)| host.set(name, value))
    };
    let of_s3 = format!("{}&credentials=FIRST", s3.url("primary/vault"));
    let (primary, replica) = (with(&of_s3), with(&azure.url("paired/vault")));
    primary.json(&["vault", "create"]);
    let points = back_up_twice(&lab, &primary);
    primary.json(&["vault", "pair", "--with", &azure.url("paired/vault"), "--target", "10m"]);
    let copied: Value = primary.json(&["replicate"]);
    assert_eq!(number(&copied, "/points"), 2);
    drop(s3);
    for (number, (point, disk)) in points.iter().zip(["before.raw", "now.raw"]).enumerate() {
        replica.restores("web-01", point, &lab.path(&format!("azure-{number}")), &[("os", &lab.path(disk))]);
    }
    assert!(objects(&lab.path("vault")).is_empty());
}

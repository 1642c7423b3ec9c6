//! Instant restore: snapshots that are kept, on a real file system with reflinks, by the real binary.

use std::{fs, path::PathBuf, thread, time::Duration};

use serde_json::Value;
use stillpoint_tests::{
    Host, Lab, Mounted,
    disk::{self, MIB},
    text,
    vault_files::{is_commit, objects, objects_of},
};

/// A machine on XFS and a vault elsewhere.
struct Place {
    lab: Lab,
    space: Mounted,
    host: Host,
}

impl Place {
    fn new() -> Self {
        let lab = Lab::new();
        let space = Mounted::xfs(&lab.path("xfs"), &lab.path("xfs.image"));
        let host = lab.host_with_vault().within(&space);
        let place = Self { lab, space, host };
        disk::full(&place.disk(), 96 * MIB, 91);
        place.host.add("web-01", &[("os", &place.lab.path("xfs/disk.raw"))]);
        place
    }

    /// The machine's disk, seen from outside.
    fn disk(&self) -> PathBuf {
        self.space.from_outside(&self.lab.path("xfs/disk.raw"))
    }

    /// Puts the disk as it is now aside.
    fn aside(&self, name: &str) -> PathBuf {
        let path = self.lab.path(name);
        disk::copy(&self.disk(), &path);
        path
    }

    /// Names beside the disk: itself, and snapshots.
    fn beside(&self) -> Vec<String> {
        disk::names(&self.space.from_outside(&self.lab.path("xfs")))
    }

    /// The store takes no packs of the machine from here on, until the file is gone that stands in their way.
    fn break_store(&self) -> PathBuf {
        let folder = self.host.vault().join("packs/web-01");
        fs::create_dir_all(folder.parent().expect("it has one")).expect("a folder can be made");
        fs::write(&folder, "no folder").expect("a file can be made");
        folder
    }

    fn phases(&self, job: &str) -> [String; 3] {
        // Its document may repeat a job's warnings; showing them is no warning.
        let shown = self.host.run(&["--json", "jobs", "show", job]).ok().json();
        ["snapshot", "transfer", "validate"].map(|phase| text(&shown, &format!("/phases/{phase}")).to_owned())
    }

    fn tiers(&self) -> Vec<String> {
        self.host.points("web-01").iter().map(|point| text(point, "/tier").to_owned()).collect()
    }
}

fn kept_records(host: &Host) -> usize {
    objects(host.vault()).iter().filter(|name| name.starts_with("snapshots/") && name.contains("/kept-")).count()
}

#[test]
fn a_transfer_that_fails_leaves_a_snapshot_that_restores_byte_for_byte() {
    let place = Place::new();
    let original = place.aside("original.raw");
    let broken = place.break_store();
    let report = place.host.json(&["backup", "web-01", "--instant", "1d"]);
    assert_eq!((text(&report, "/state"), &report["point"]), ("completed-with-warnings", &Value::Null), "{report}");
    let warning = text(&report, "/warnings/0");
    let (id, until) = (text(&report, "/kept/point").to_owned(), text(&report, "/kept/until").to_owned());
    for word in ["the transfer failed", "packs/web-01", &id, &until, text(&report, "/kept/host")] {
        assert!(warning.contains(word), "{word} in {warning}");
    }
    assert_eq!(objects_of(place.host.vault(), is_commit), [""; 0], "no point in the vault");
    assert_eq!(place.phases(text(&report, "/job")), ["completed", "failed", "skipped"]);
    let point = &place.host.points("web-01")[0];
    assert_eq!((text(point, "/tier"), text(point, "/id"), text(point, "/snapshot_until")), ("snapshot", &*id, &*until));
    let table = place.host.run(&["points", "web-01"]).ok();
    let table = String::from_utf8(table.stdout).expect("text");
    for word in ["SNAPSHOT UNTIL", "snapshot", &id, "not in the vault"] {
        assert!(table.contains(word), "{word} in {table}");
    }

    // The machine goes on, and the store comes back.
    disk::overwrite(&place.disk(), 0, &disk::noise(92, 40 * MIB));
    fs::remove_file(broken).expect("a file can be removed");
    for (folder, wanted) in [("by-id", &*id), ("latest", "latest")] {
        let restored = place.host.restores("web-01", wanted, &place.lab.path(folder), &[("os", &original)]);
        assert_eq!((text(&restored, "/tier"), text(&restored, "/point")), ("snapshot", &*id));
    }
    let said = place.host.run(&["restore", "web-01", "--to", &place.lab.arg("said")]).ok();
    assert!(String::from_utf8_lossy(&said.stdout).contains("restored from its kept snapshot"), "{said}");

    // The next backup is one as always, and is the newest point.
    let next = place.host.backup("web-01");
    assert_eq!(text(&next, "/state"), "completed");
    assert_eq!(place.tiers(), ["snapshot", "vault"]);
    let now = place.aside("now.raw");
    let restored = place.host.restores("web-01", "latest", &place.lab.path("from-vault"), &[("os", &now)]);
    assert_eq!(text(&restored, "/tier"), "vault");
    place.host.restores("web-01", &id, &place.lab.path("still"), &[("os", &original)]);
    assert_eq!(place.beside().len(), 2, "the disk and one snapshot");
    place.host.json(&["vault", "check"]);
}

#[test]
fn a_point_is_restorable_while_it_is_transferred() {
    let place = Place::new();
    let original = place.aside("original.raw");
    let slow = place.host.set("STILLPOINT_BYTES_PER_SECOND", "300000");
    let mut running = slow.spawn(&["--json", "backup", "web-01", "--instant", "1d"]);
    let in_transfer = || objects(place.host.vault()).iter().any(|name| name.ends_with("-transfer.json"));
    assert!(running.reaches(in_transfer), "the snapshot is there long before all is transferred");
    disk::overwrite(&place.disk(), 50 * MIB, &disk::noise(93, MIB));
    let job = text(&place.host.jobs("backup", "web-01")[0], "/id").to_owned();
    assert_eq!(place.phases(&job), ["completed", "under-way", "pending"]);
    assert_eq!(place.tiers(), ["snapshot"]);
    let restored = place.host.restores("web-01", "latest", &place.lab.path("restored"), &[("os", &original)]);
    assert_eq!(text(&restored, "/tier"), "snapshot");
    assert_eq!(place.phases(&job), ["completed", "under-way", "pending"], "the transfer is not disturbed");
    // Whoever cancels wants nothing of it.
    drop(running.kill());
    assert_eq!(text(&place.host.json(&["jobs", "cancel", &job]), "/state"), "cancelled");
    assert_eq!(place.beside(), ["disk.raw"]);
    assert!(place.tiers().is_empty());
}

#[test]
fn a_snapshot_goes_when_its_time_is_over_and_its_point_stays() {
    let place = Place::new();
    let original = place.aside("original.raw");
    let report = place.host.json(&["backup", "web-01", "--instant", "2h"]);
    assert_eq!(text(&report, "/state"), "completed", "{report}");
    assert_eq!((place.tiers(), place.beside().len()), (vec!["snapshot+vault".to_owned()], 2));
    let restored = place.host.restores("web-01", "latest", &place.lab.path("restored"), &[("os", &original)]);
    assert_eq!(text(&restored, "/tier"), "vault", "what is in the vault is restored from there");
    place.host.json(&["backup", "web-01", "--instant", "1s"]);
    for _ in 0..600 {
        place.host.json(&["prune"]);
        if place.beside().len() == 2 {
            break;
        }
        thread::sleep(Duration::from_millis(100));
    }
    assert_eq!((place.tiers(), place.beside().len()), (vec!["snapshot+vault".to_owned(), "vault".to_owned()], 2));
    assert_eq!(kept_records(&place.host), 2, "its record stays for a while");
    place.host.json(&["vault", "check"]);
}

#[test]
fn a_restore_from_a_snapshot_that_is_killed_is_taken_on() {
    let place = Place::new();
    let original = place.aside("original.raw");
    let broken = place.break_store();
    place.host.json(&["backup", "web-01", "--instant", "1d"]);
    fs::remove_file(broken).expect("a file can be removed");
    let folder = place.lab.path("restored");
    let mut running = place.host.spawn(&["restore", "web-01", "--to", folder.to_str().expect("text")]);
    let partial = || fs::read_dir(&folder).is_ok_and(|mut files| files.next().is_some());
    if running.reaches(partial) {
        drop(running.kill());
        assert!(!folder.join("os.raw").exists() || fs::metadata(folder.join("os.raw")).is_ok_and(|file| file.len() == 96 * MIB));
    }
    place.host.json(&["prune"]);
    assert_eq!(disk::names(&folder), ["os.raw"]);
    disk::assert_same(&original, &folder.join("os.raw"));
}

#[test]
fn only_the_host_that_has_the_snapshot_restores_it() {
    let place = Place::new();
    let broken = place.break_store();
    let report = place.host.json(&["backup", "web-01", "--instant", "1d"]);
    fs::remove_file(broken).expect("a file can be removed");
    let elsewhere = place.host.elsewhere("another-host");
    assert_eq!(text(&elsewhere.points("web-01")[0], "/tier"), "snapshot");
    let booted = ["restore", "web-01", "--to", &place.lab.arg("booted"), "--as", "web-02", "--instant"];
    let line = place.host.fails(&booted);
    assert!(line.contains("only in a snapshot") && !place.lab.path("booted").exists(), "{line}");
    let line = elsewhere.fails(&["restore", "web-01", "--to", &place.lab.arg("restored")]);
    for word in ["not in the vault", text(&report, "/kept/host"), text(&report, "/kept/until")] {
        assert!(line.contains(word), "{word} in {line}");
    }
}

#[test]
fn what_is_read_in_place_is_not_kept_and_says_so() {
    let lab = Lab::new();
    let space = Mounted::tmpfs(&lab.path("memory"), "32m");
    let host = lab.host_with_vault().within(&space);
    let inside = lab.path("memory/disk.raw");
    disk::full(&space.from_outside(&inside), 4 * MIB, 94);
    host.add("web-01", &[("os", &inside)]);
    let report = host.json(&["backup", "web-01", "--instant", "1d"]);
    assert!(text(&report, "/warnings/0").contains("not kept for instant restore"), "{report}");
    assert!(report["point"].is_string() && report["kept"].is_null(), "{report}");
    let none = host.json(&["backup", "web-01", "--instant", "0"]);
    assert_eq!(text(&none, "/state"), "completed");
    assert_eq!(kept_records(&host), 0);
    for wrong in ["31d", "-1d", "soon", "0d"] {
        assert_eq!(host.run(&["backup", "web-01", "--instant", wrong]).code, Some(2), "{wrong}");
    }
}

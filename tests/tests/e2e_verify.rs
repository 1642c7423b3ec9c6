//! `stillpoint verify`, as an operator tries it: damage is found, named with the points it hurts, and repaired for new points by the
//! next backup.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use serde_json::Value;
use stillpoint_tests::{
    Host, Lab,
    disk::{self, MIB},
    text,
    vault_files::{self, is_pack, objects_of},
};

/// A vault with two points of `web` and one of `mail`.
struct Scene {
    lab: Lab,
    host: Host,
    points: [String; 2],
    older: PathBuf,
    disk: PathBuf,
}

impl Scene {
    fn new() -> Self {
        let lab = Lab::new();
        let host = lab.host_with_vault();
        let [disk, older, mail] = ["disk.raw", "older.raw", "mail.raw"].map(|name| lab.path(name));
        disk::sparse(&disk, 36 * MIB, 70, &[(0, 2 * MIB), (34 * MIB, MIB)]);
        disk::full(&mail, MIB, 71);
        host.add("web", &[("os", &disk)]);
        host.add("mail", &[("os", &mail)]);
        host.backup("mail");
        let first = host.backup("web");
        disk::copy(&disk, &older);
        disk::overwrite(&disk, 10 * MIB, &disk::noise(72, MIB));
        let second = host.backup("web");
        let points = [&first, &second].map(|report| text(report, "/point").to_owned());
        Self { lab, host, points, older, disk }
    }

    /// The pack of `web`'s first backup, which both of its points need.
    fn shared_pack(&self) -> String {
        objects_of(self.host.vault(), |name| is_pack(name) && name.starts_with("packs/web/")).remove(0)
    }

    /// The same in a copy of the vault.
    fn at_vault(&self, vault: &Path) -> Self {
        let Self { host, points, older, disk, .. } = self;
        Self { lab: Lab::new(), host: host.at_vault(vault), points: points.clone(), older: older.clone(), disk: disk.clone() }
    }

    /// Runs a verification that finds something, and returns its document.
    fn finds(&self, args: &[&str]) -> Value {
        let done = self.host.run(&[&["--json", "verify"], args].concat());
        assert_eq!(done.code, Some(3), "{done}");
        done.json()
    }
}

fn line(report: &Value) -> String {
    let lines = report["warnings"].as_array().expect("a report has warnings");
    assert_eq!(lines.len(), 1, "{report}");
    lines[0].as_str().expect("a warning is text").to_owned()
}

#[test]
fn a_sound_vault_is_read_to_the_last_byte() {
    let scene = Scene::new();
    let report = scene.host.json(&["verify", "--read", "all"]);
    let packs = objects_of(scene.host.vault(), is_pack);
    let sizes = packs.iter().map(|pack| fs::metadata(scene.host.vault().join(pack)).expect("a pack is a file").len());
    assert_eq!((&report["points"], &report["packs_read"]), (&Value::from(3), &Value::from(packs.len())));
    assert_eq!(report["read_bytes"], sizes.sum::<u64>());
    assert_eq!((&report["findings"], &report["points_damaged"]), (&Value::from(0), &Value::from(0)));
    let audit = scene.host.json(&["verify"]);
    assert_eq!((&audit["points"], &audit["packs_read"]), (&Value::from(3), &Value::from(0)), "without --read nothing is read");
}

#[test]
fn the_parts_of_a_rotation_are_everything_and_each_pack_once() {
    let scene = Scene::new();
    let of = 4;
    let read =
        |part: u64| scene.host.json(&["verify", "--read", &format!("{part}/{of}")])["packs_read"].as_u64().expect("a count");
    assert_eq!((1..=of).map(read).sum::<u64>(), objects_of(scene.host.vault(), is_pack).len() as u64);
}

/// Acceptance: any byte of any pack.
#[test]
fn a_flipped_byte_is_found_named_and_repaired_for_new_points() {
    let scene = Scene::new();
    let pack = scene.shared_pack();
    let length = fs::metadata(scene.host.vault().join(&pack)).expect("a pack is a file").len() as usize;
    for (number, at) in
        [0, 8, 13, 17, 25, 40, length / 3, length / 2, length - 40, length - 10, length - 1].into_iter().enumerate()
    {
        let copy = scene.lab.path(&format!("copy-{number}"));
        vault_files::copy(scene.host.vault(), &copy);
        let scene = scene.at_vault(&copy);
        let path = copy.join(&pack);
        let before = fs::read(&path).expect("a pack can be read");
        let mut bytes = before.clone();
        bytes[at] ^= 1;
        fs::write(&path, &bytes).expect("a pack can be damaged");
        assert_eq!(scene.host.run(&["verify"]).code, Some(0), "a listing does not show it");
        let report = scene.finds(&["--read", "all"]);
        let said = line(&report);
        assert!(said.starts_with(&format!("{pack}: corrupt: ")), "byte {at}: {said}");
        assert!(scene.points.iter().all(|point| said.contains(&format!("web {point}"))) && !said.contains("mail"), "{said}");
        assert_eq!(report["points_damaged"], 2);
        repaired(&scene);
        fs::write(&path, &before).expect("a pack can be brought back");
        scene.host.json(&["verify"]);
        scene.host.restores("web", &scene.points[0], &scene.lab.path("back"), &[("os", &scene.older)]);
        fs::remove_dir_all(&copy).expect("the copy can be removed");
    }
}

/// The next backup is whole, needs no damaged pack, and is not found to be damaged.
fn repaired(scene: &Scene) {
    let backup = scene.host.run(&["--json", "backup", "web"]);
    assert_eq!(backup.code, Some(3), "it says that the point compared with is damaged: {backup}");
    let new = text(&backup.json(), "/point").to_owned();
    scene.host.restores("web", &new, &scene.lab.path("new"), &[("os", &scene.disk)]);
    let report = scene.finds(&["web", "--read", "all"]);
    assert!(!line(&report).contains(&new), "{report}");
    assert_eq!(report["points_damaged"], 2, "{report}");
}

#[test]
fn a_deleted_pack_is_found_by_the_daily_look_and_its_points_fail_clearly() {
    let scene = Scene::new();
    let pack = scene.shared_pack();
    fs::remove_file(scene.host.vault().join(&pack)).expect("a pack can be deleted");
    let report = scene.finds(&[]);
    let said = line(&report);
    assert!(said.starts_with(&format!("{pack}: missing; hurts ")), "{said}");
    assert!(scene.points.iter().all(|point| said.contains(point.as_str())), "{said}");
    assert_eq!(report["packs_read"], 0);
    let alarms = scene.host.run(&["--json", "alarms"]);
    assert_eq!(alarms.code, Some(3), "{alarms}");
    let open = alarms.json()["open"].to_string();
    assert!(open.contains("damaged") && scene.points.iter().all(|point| open.contains(point.as_str())), "{open}");
    repaired(&scene);
    let failed = scene.host.fails(&["restore", "web", "--point", &scene.points[1], "--to", &scene.lab.arg("failed")]);
    assert!(failed.contains(&pack), "{failed}");
    let plain = scene.host.run(&["verify"]);
    assert_eq!(plain.code, Some(3), "{plain}");
    let said = String::from_utf8_lossy(&plain.stdout).into_owned();
    assert!(said.contains("1 findings, 2 points damaged") && plain.stderr.contains(&pack), "{plain}");
}

/// As of a disk with a bad sector: the store answers, but not for this object.
#[test]
fn a_pack_that_cannot_be_read_is_a_finding_and_the_others_are_read() {
    let scene = Scene::new();
    let pack = scene.shared_pack();
    let path = scene.host.vault().join(&pack);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).expect("a pack can be locked away");
    let host = scene.host.without_privileges();
    let done = host.run(&["--json", "verify", "--read", "all"]);
    assert_eq!(done.code, Some(3), "{done}");
    let report = done.json();
    assert!(line(&report).starts_with(&format!("{pack}: ")), "{report}");
    assert_eq!(report["packs_read"].as_u64().map(|read| read + 1), report["packs"].as_u64(), "{report}");
    let next_day = host.run(&["--json", "verify"]);
    assert_eq!(line(&next_day.json()), line(&report), "it stays a finding when it alone is read: {next_day}");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("a pack can be given back");
    assert_eq!(host.run(&["verify"]).code, Some(0), "it is read again, and sound");
}

#[test]
fn a_deleted_record_or_manifest_is_found_by_the_daily_look() {
    for kind in [vault_files::is_commit, vault_files::is_manifest] {
        let scene = Scene::new();
        let object = objects_of(scene.host.vault(), |name| kind(name) && name.contains(&scene.points[1])).remove(0);
        fs::remove_file(scene.host.vault().join(&object)).expect("an object can be deleted");
        let said = line(&scene.finds(&[]));
        assert!(said.starts_with(&format!("{object}: ")) && said.ends_with(&format!("hurts web {}", scene.points[1])), "{said}");
    }
}

#[test]
fn what_is_asked_for_wrongly_is_refused() {
    let scene = Scene::new();
    for part in ["0/3", "4/3", "x", "1/0"] {
        assert_eq!(scene.host.run(&["verify", "--read", part]).code, Some(2), "{part}");
    }
    assert!(scene.host.fails(&["verify", "wbe"]).contains("there is no machine wbe"));
}

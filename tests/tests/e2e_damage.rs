//! Damage: one object of each kind is hurt in a copy of a vault. What needs it fails with one line before a byte reaches the
//! target, or comes back right all the same; it never comes back wrong. What does not need it comes back.

use std::{
    fs,
    path::{Path, PathBuf},
};

use stillpoint_tests::{
    Host, Lab,
    disk::{self, MIB},
    text,
    vault_files::{
        self, PackName, is_commit, is_decision, is_ledger, is_manifest, is_marker, is_pack, is_plan, objects, objects_of,
    },
};

/// What a restore must do.
#[derive(Clone, Copy, PartialEq)]
enum Expect {
    Restores,
    Fails,
    /// Either, but never wrong bytes and never a part.
    Right,
}
use Expect::{Fails, Restores, Right};

/// One object to hurt, another of the same kind to swap it with, and what is expected of the damaged machine's newer and older
/// point and of the other machine.
struct Victim {
    what: &'static str,
    object: String,
    twin: String,
    newer: Expect,
    older: Expect,
    other: Expect,
}

/// A vault with two points of `hurt` and one of `whole`.
struct Scene {
    lab: Lab,
    host: Host,
    jobs: [String; 2],
    points: [String; 2],
    disks: [PathBuf; 2],
    whole: PathBuf,
}

impl Scene {
    fn new() -> Self {
        let lab = Lab::new();
        let host = lab.host_with_vault();
        let [disk, older, whole] = ["disk.raw", "older.raw", "whole.raw"].map(|name| lab.path(name));
        disk::sparse(&disk, 36 * MIB, 60, &[(0, 2 * MIB), (34 * MIB, MIB)]);
        disk::full(&whole, MIB, 61);
        host.add("hurt", &[("os", &disk)]);
        host.add("whole", &[("os", &whole)]);
        host.backup("whole");
        let first = host.backup("hurt");
        disk::copy(&disk, &older);
        disk::overwrite(&disk, 10 * MIB, &disk::noise(62, MIB));
        let second = host.backup("hurt");
        let both = |field| [&first, &second].map(|report| text(report, field).to_owned());
        Self { jobs: both("/job"), points: both("/point"), disks: [older, disk], lab, host, whole }
    }

    /// The object of one backup of `hurt` that `kind` names; the last where there are several.
    fn object(&self, backup: usize, kind: impl Fn(&str) -> bool) -> String {
        let (job, point) = (format!("/{}/", self.jobs[backup]), format!("/{}/", self.points[backup]));
        let mut found = objects_of(self.host.vault(), |name| (name.contains(&job) || name.contains(&point)) && kind(name));
        found.pop().unwrap_or_else(|| panic!("no such object among {:#?}", objects(self.host.vault())))
    }

    fn victims(&self) -> Vec<Victim> {
        let of_both = |kind: &dyn Fn(&str) -> bool| (self.object(1, kind), self.object(0, kind));
        let of_backup = |what, kind: &dyn Fn(&str) -> bool, newer| {
            let (object, twin) = of_both(kind);
            Victim { what, object, twin, newer, older: Restores, other: Restores }
        };
        let keys = objects_of(self.host.vault(), |name| name.starts_with("keys/"));
        let item = |name: &str| objects_of(self.host.vault(), |object| object.starts_with(&format!("items/{name}/"))).remove(0);
        let shared = |what, object: &str, twin: &str, expect| Victim {
            what,
            object: object.to_owned(),
            twin: twin.to_owned(),
            newer: expect,
            older: expect,
            other: expect,
        };
        vec![
            shared("vault.json", "vault.json", &keys[0], Fails),
            shared("the first key slot", &keys[0], &keys[1], Right),
            shared("the second key slot", &keys[1], &keys[0], Right),
            Victim { other: Restores, ..shared("the item", &item("hurt"), &item("whole"), Right) },
            of_backup("the plan", &is_plan, Restores),
            of_backup("a marker", &is_marker, Restores),
            of_backup("the decision", &is_decision, Restores),
            of_backup("the last record of the ledger", &is_ledger, Restores),
            of_backup("a pack", &is_pack, Fails),
            of_backup("the manifest", &is_manifest, Fails),
            of_backup("the commit", &is_commit, Fails),
        ]
    }

    /// Hurts a copy of the vault for each victim, and asserts what restores of all three points do.
    fn assert_safe(&self, damage: impl Fn(&Path, &Victim), adjust: impl Fn(&Victim, Expect) -> Expect, swapped: bool) {
        for (number, victim) in self.victims().iter().enumerate() {
            let copy = self.lab.path(&format!("copy-{number}"));
            vault_files::copy(self.host.vault(), &copy);
            damage(&copy, victim);
            let host = self.host.at_vault(&copy);
            let softer = |expect| if swapped && expect == Restores { Right } else { expect };
            let is_item = victim.object.starts_with("items/");
            let other = if is_item { softer(victim.other) } else { victim.other };
            let older = if is_pack(&victim.object) || is_manifest(&victim.object) || is_commit(&victim.object) {
                softer(victim.older)
            } else {
                victim.older
            };
            self.assert_restore(&host, victim, "hurt", &self.points[1], &self.disks[1], adjust(victim, victim.newer));
            self.assert_restore(&host, victim, "hurt", &self.points[0], &self.disks[0], adjust(victim, older));
            self.assert_restore(&host, victim, "whole", "latest", &self.whole, adjust(victim, other));
            fs::remove_dir_all(&copy).expect("the copy can be removed");
        }
    }

    fn assert_restore(&self, host: &Host, victim: &Victim, machine: &str, point: &str, original: &Path, expect: Expect) {
        let folder = self.lab.path("restored");
        let done = host.run(&["--json", "restore", machine, "--point", point, "--to", &self.lab.arg("restored")]);
        let worked = matches!(done.code, Some(0 | 3));
        let told = format!("{} ({}), {machine} at {point}: {done}", victim.what, victim.object);
        assert!(!worked || expect != Fails, "should have failed: {told}");
        assert!(worked || expect != Restores, "should have worked: {told}");
        if worked {
            assert_eq!(disk::names(&folder), ["os.raw"], "{told}");
            disk::assert_same(original, &folder.join("os.raw"));
            fs::remove_dir_all(&folder).expect("what was restored can be removed");
        } else {
            done.error();
            assert!(disk::names(&folder).is_empty(), "a failed restore leaves {:?}: {told}", disk::names(&folder));
        }
    }
}

/// Turns one bit of a file over.
fn flip(path: &Path, place: impl Fn(usize) -> usize) {
    let mut bytes = fs::read(path).expect("the object can be read");
    let at = place(bytes.len());
    bytes[at] ^= 1;
    fs::write(path, bytes).expect("the object can be written");
}

fn shorten(path: &Path, place: impl Fn(usize) -> usize) {
    let bytes = fs::read(path).expect("the object can be read");
    fs::write(path, &bytes[..place(bytes.len())]).expect("the object can be written");
}

fn as_told(_: &Victim, expect: Expect) -> Expect {
    expect
}

#[test]
fn a_bit_turned_in_the_middle() {
    Scene::new().assert_safe(|vault, victim| flip(&vault.join(&victim.object), |length| length / 2), as_told, false);
}

/// The ends of an object may be of use to other readers only, so a restore need not look at them.
#[test]
fn a_bit_turned_at_the_beginning_or_the_end() {
    let scene = Scene::new();
    let soften = |_: &Victim, expect: Expect| if expect == Fails { Right } else { expect };
    scene.assert_safe(|vault, victim| flip(&vault.join(&victim.object), |_| 0), soften, false);
    scene.assert_safe(|vault, victim| flip(&vault.join(&victim.object), |length| length - 1), soften, false);
}

#[test]
fn an_object_cut_short() {
    let scene = Scene::new();
    scene.assert_safe(|vault, victim| shorten(&vault.join(&victim.object), |length| length / 2), as_told, false);
    scene.assert_safe(|vault, victim| shorten(&vault.join(&victim.object), |_| 0), as_told, false);
}

#[test]
fn an_object_deleted() {
    let scene = Scene::new();
    scene.assert_safe(
        |vault, victim| fs::remove_file(vault.join(&victim.object)).expect("the object can be removed"),
        as_told,
        false,
    );
}

#[test]
fn two_objects_swapped() {
    let swap = |vault: &Path, victim: &Victim| {
        let (one, two, aside) = (vault.join(&victim.object), vault.join(&victim.twin), vault.join("aside"));
        for (from, to) in [(&one, &aside), (&two, &one), (&aside, &two)] {
            fs::rename(from, to).expect("objects can be swapped");
        }
    };
    Scene::new().assert_safe(swap, as_told, true);
}

#[test]
fn an_object_replaced_by_one_of_another_vault() {
    let scene = Scene::new();
    let stranger = Scene::new();
    let theirs = stranger.victims();
    let replace = |vault: &Path, victim: &Victim| {
        let same_kind = theirs.iter().find(|other| other.what == victim.what).expect("both vaults have each kind");
        fs::copy(stranger.host.vault().join(&same_kind.object), vault.join(&victim.object)).expect("an object can be copied");
    };
    scene.assert_safe(replace, as_told, false);
}

#[test]
fn a_backup_after_damage_works_or_says_why_and_the_check_names_what_is_gone() {
    let scene = Scene::new();
    let pack = scene.object(0, is_pack);
    fs::remove_file(scene.host.vault().join(&pack)).expect("the pack can be removed");
    let check = scene.host.run(&["--json", "vault", "check"]);
    assert_eq!(check.code, Some(1), "{check}");
    let document = check.json();
    let findings = document["findings"].as_array().unwrap_or_else(|| panic!("no findings in {document}"));
    let hurt: Vec<&str> =
        findings.iter().filter(|finding| text(finding, "/object") == pack).map(|finding| text(finding, "/point")).collect();
    for point in &scene.points {
        assert!(hurt.contains(&point.as_str()), "{point} needs the pack: {document}");
    }
    assert!(findings.iter().all(|finding| text(finding, "/item") == "hurt"), "{document}");
    assert!(PackName::parse(&pack).job == scene.jobs[0]);

    // Where the store lost a parent's pack, the next backup repairs what it can still read, or it does not pretend.
    let done = scene.host.run(&["--json", "backup", "hurt"]);
    if matches!(done.code, Some(0 | 3)) {
        scene.host.restores("hurt", "latest", &scene.lab.path("repaired"), &[("os", &scene.disks[1])]);
    } else {
        done.error();
    }
    scene.host.restores("whole", "latest", &scene.lab.path("whole-restored"), &[("os", &scene.whole)]);
}

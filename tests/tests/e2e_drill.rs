//! Drills through the binary: a restore that proves itself, a report that proves the drill, and what each kind of damage does to both.

#[path = "e2e_drill/boot.rs"]
mod boot;
#[path = "e2e_drill/schedule.rs"]
mod schedule;

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::{FileExt, PermissionsExt},
    path::{Path, PathBuf},
};

use serde_json::Value;
use stillpoint_tests::{
    Done, Host, Lab,
    disk::{self, MIB},
    number, partitioned, text, tool,
    vault_files::{is_pack, objects_of},
};

/// Where the second partition of the disk begins, behind a FAT of 8 MiB.
const ROOT_AT: u64 = 9 * MIB;

/// A machine with a FAT and an ext4 partition on one disk and an XFS on another.
struct Scene {
    lab: Lab,
    host: Host,
}

impl Scene {
    fn new() -> Self {
        Self::with(|_| {})
    }

    /// `change` is done to the disk `os.raw` before it is backed up.
    fn with(change: impl Fn(&Path)) -> Self {
        let lab = Lab::new();
        let host = lab.host_with_vault();
        let [boot, root, os, data] = ["boot.img", "root.img", "os.raw", "data.raw"].map(|name| lab.path(name));
        for (path, size) in [(&boot, 8 * MIB), (&data, 320 * MIB)] {
            fs::File::create(path).and_then(|file| file.set_len(size)).expect("an image can be made");
        }
        tool("mkfs.vfat", &[&lab.arg("boot.img")]);
        tool("mkfs.xfs", &["-q", &lab.arg("data.raw")]);
        disk::ext4(&root);
        partitioned(&os, "gpt", &[&boot, &root]);
        change(&os);
        host.add("web-01", &[("os", &os), ("data", &data)]);
        host.backup("web-01");
        fs::create_dir_all(lab.path("into")).expect("a folder can be made");
        Self { lab, host }
    }

    fn drill(&self, more: &[&str]) -> Done {
        self.host.run(&[&self.words("web-01"), more].concat())
    }

    fn words<'a>(&self, what: &'a str) -> Vec<&'a str> {
        let folders = [self.lab.arg("into"), self.lab.arg("reports")].map(|folder| &*folder.leak());
        vec!["--json", "drill", "run", what, "--into", folders[0], "--reports", folders[1]]
    }

    /// What a drill leaves where it restores.
    fn left(&self) -> Vec<String> {
        disk::names(&self.lab.path("into"))
    }

    fn script(&self, content: &str) -> String {
        let path = self.lab.path("check.sh");
        fs::write(&path, format!("#!/bin/sh\n{content}\n")).expect("a file can be written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it can be run");
        self.lab.arg("check.sh")
    }
}

/// The one drill of a command that ended with `code`.
fn only(done: &Done, code: i32) -> Value {
    assert_eq!(done.code, Some(code), "{done}");
    let document = done.json();
    let drills = document["drills"].as_array().expect("a list");
    assert_eq!(drills.len(), 1, "{document}");
    drills[0].clone()
}

fn check<'a>(drill: &'a Value, name: &str) -> &'a Value {
    let found = drill["checks"].as_array().into_iter().flatten().find(|check| check["check"] == name);
    found.unwrap_or_else(|| panic!("no check {name} in {drill}"))
}

fn outcomes(drill: &Value) -> Vec<(&str, &str)> {
    let checks = drill["checks"].as_array().expect("a list");
    checks.iter().map(|check| (text(check, "/check"), text(check, "/outcome"))).collect()
}

/// Without the vault, with nothing but the report and the key file.
fn verified(scene: &Scene, report: &str) -> Value {
    let vault = scene.lab.path("vault");
    let aside = scene.lab.path("aside");
    fs::rename(&vault, &aside).expect("the vault can be moved away");
    let verified = scene.host.json(&["drill", "verify", report]);
    fs::rename(&aside, &vault).expect("and back");
    verified
}

#[test]
fn a_good_drill_proves_itself_and_leaves_nothing_but_its_report() {
    let scene = Scene::new();
    let script = scene.script(
        r#"test "$STILLPOINT_DRILL_MACHINE" = web-01 && test -n "$STILLPOINT_DRILL_POINT" || exit 1
test -z "$STILLPOINT_VAULT" || exit 2
cmp "$STILLPOINT_DRILL_DISK_OS" ../../os.raw && cmp "$STILLPOINT_DRILL_DISK_DATA" ../../data.raw && echo 'same <b>bytes</b>'"#,
    );
    let drill = only(&scene.drill(&["--script", &script, "--objective", "1h"]), 0);
    assert_eq!(
        outcomes(&drill),
        [("manifest", "passed"), ("partitions", "passed"), ("fsck", "passed"), ("script", "passed")],
        "{drill:#}"
    );
    assert_eq!(text(check(&drill, "script"), "/details/0"), "same <b>bytes</b>");
    assert_eq!(text(check(&drill, "fsck"), "/summary"), "3 file systems are sound, 0 are not, 0 were not checked", "{drill:#}");
    assert_eq!((text(&drill, "/verdict"), drill["objective"]["met"].as_bool()), ("passed", Some(true)));
    assert!(number(&drill, "/restore/written_bytes") > 60 * MIB, "{drill}");
    assert_eq!(scene.left(), [""; 0], "it cleans up");
    let jobs = scene.host.jobs("restore", "web-01");
    assert_eq!((jobs.len(), text(&jobs[0], "/state")), (1, "completed"));

    let (report, page) = (text(&drill, "/report"), text(&drill, "/page"));
    let verified = verified(&scene, report);
    assert_eq!((verified["authentic"].as_bool(), text(&verified, "/verdict")), (Some(true), "passed"));
    assert_eq!(verified["point"], drill["point"]);
    let page = fs::read_to_string(page).expect("the page is there");
    assert!(page.contains("same &lt;b&gt;bytes&lt;/b&gt;") && !page.contains("<b>bytes"), "what others wrote is text");
}

#[test]
fn a_report_or_page_that_was_changed_is_refused() {
    let scene = Scene::new();
    let drill = only(&scene.drill(&[]), 0);
    let (report, page) = (text(&drill, "/report"), text(&drill, "/page"));
    let sealed = fs::read(report).expect("the report is there");
    for at in (0..sealed.len()).step_by(97) {
        let mut changed = sealed.clone();
        changed[at] ^= 1;
        fs::write(report, &changed).expect("it can be written");
        scene.host.fails(&["drill", "verify", report]);
    }
    let forged = String::from_utf8_lossy(&sealed).replacen("\"verdict\":\"passed\"", "\"verdict\":\"failed\"", 1);
    fs::write(report, forged).expect("it can be written");
    let refused = scene.host.fails(&["drill", "verify", report]);
    assert!(refused.contains("authenti"), "{refused}");
    fs::write(report, &sealed).expect("it can be written");
    scene.host.json(&["drill", "verify", report]);

    let mut words = fs::read_to_string(page).expect("the page is there");
    words = words.replacen("passed", "golden", 1);
    fs::write(page, words).expect("it can be written");
    assert!(scene.host.fails(&["drill", "verify", report]).contains("is not the page of this report"));
    fs::remove_file(page).expect("it can be removed");
    assert_eq!(scene.host.json(&["drill", "verify", report])["has_page"], false);

    let other = scene.lab.host("other").at_vault(&scene.lab.path("other-vault"));
    other.create();
    let key = find_key(other.home());
    let refused = scene.host.fails(&["drill", "verify", report, "--key-file", key.to_str().expect("text")]);
    assert!(refused.contains("is for vault"), "{refused}");
}

fn find_key(home: &Path) -> PathBuf {
    let folder = home.join(".config/stillpoint");
    folder.join(disk::names(&folder).first().expect("a key file"))
}

fn flip(path: &Path, at: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).expect("the file opens");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("it can be read");
    file.write_all_at(&[byte[0] ^ 1], at).expect("it can be written");
}

#[test]
fn a_damaged_vault_fails_the_drill_and_has_a_report() {
    let scene = Scene::new();
    for pack in objects_of(scene.host.vault(), is_pack) {
        let path = scene.host.vault().join(&pack);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("it can be made writable");
        flip(&path, 1000);
    }
    let done = scene.drill(&[]);
    let drill = only(&done, 1);
    assert!(done.stderr.starts_with("stillpoint: drill of web-01 failed: "), "{done}");
    assert_eq!((text(&drill, "/verdict"), text(&drill, "/restore/outcome")), ("failed", "failed"));
    assert_eq!(outcomes(&drill), [("manifest", "skipped"), ("partitions", "skipped"), ("fsck", "skipped")]);
    assert_eq!(text(&verified(&scene, text(&drill, "/report")), "/verdict"), "failed");
    assert_eq!(scene.left(), [""; 0]);
}

#[test]
fn a_file_system_that_was_damaged_before_the_backup_is_found() {
    // The table of inodes: the bytes are restored as they were, and were wrong.
    let scene = Scene::with(|os| disk::overwrite(os, ROOT_AT + 300 * 1024, &disk::noise(5, 64 * 1024)));
    let drill = only(&scene.drill(&[]), 1);
    assert_eq!(outcomes(&drill), [("manifest", "passed"), ("partitions", "passed"), ("fsck", "failed")], "{drill:#}");
    let details = check(&drill, "fsck")["details"].to_string();
    assert!(
        details.contains("disk os, partition 2 (ext4): failed") && details.contains("Filesystem still has errors"),
        "{details}"
    );
    assert!(details.contains("disk os, partition 1 (FAT): passed"), "{details}");
}

#[test]
fn what_a_crash_leaves_is_forgiven_as_at_a_boot() {
    let scene = Scene::with(|os| {
        // A journal to replay, and a FAT that is in use: its mark is bit 0 of byte 0x25.
        tool("debugfs", &["-w", "-R", "feature needs_recovery", &format!("{}?offset={ROOT_AT}", os.display())]);
        disk::overwrite(os, MIB + 0x25, &[1]);
    });
    let drill = only(&scene.drill(&[]), 0);
    let details = check(&drill, "fsck")["details"].to_string();
    assert!(details.contains("its journal was replayed on a copy first"), "{details}");
    assert!(details.contains("it was in use, which was forgiven"), "{details}");
    assert_eq!(scene.left(), [""; 0]);
}

#[test]
fn a_script_that_says_no_or_never_ends_fails_the_drill() {
    let scene = Scene::new();
    let script = scene.script("echo the table is empty >&2; exit 9");
    let drill = only(&scene.drill(&["--script", &script]), 1);
    assert!(text(check(&drill, "script"), "/summary").ends_with("exit code 9"), "{drill}");
    assert_eq!(check(&drill, "script")["details"], serde_json::json!(["the table is empty"]));
    let script = scene.script("sleep 600");
    let drill = only(&scene.drill(&["--script", &script, "--script-timeout", "10ms"]), 1);
    assert!(text(check(&drill, "script"), "/summary").contains("took too long"), "{drill}");
    // Nothing is restored for a script that is not there.
    assert!(scene.drill(&["--script", "/nowhere/check"]).error().contains("cannot use script"));
    assert_eq!(scene.left(), [""; 0]);
}

#[test]
fn an_objective_that_is_missed_has_an_exit_code_of_its_own() {
    let scene = Scene::new();
    let drill = only(&scene.drill(&["--objective", "1ms"]), 3);
    assert_eq!((text(&drill, "/verdict"), drill["objective"]["met"].as_bool()), ("objective-missed", Some(false)));
}

#[test]
fn what_a_killed_drill_leaves_goes_with_the_next() {
    let scene = Scene::new();
    let script = scene.script("touch ../../reached; sleep 600");
    let words = [&*scene.words("web-01"), &["--script", &script]].concat();
    let begun = scene.lab.path("reached");

    let mut running = scene.host.spawn(&words);
    assert!(running.reaches(|| begun.exists()), "it comes to the script");
    let beside = only(&scene.drill(&[]), 0);
    assert_eq!(text(&beside, "/verdict"), "passed");
    assert_eq!(scene.left().len(), 1, "a drill that lives keeps its folder");
    assert_eq!(running.kill().code, None);
    assert_eq!(scene.left().len(), 1);
    only(&scene.drill(&[]), 0);
    assert_eq!(scene.left(), [""; 0]);

    let mut running = scene.host.spawn(&scene.words("web-01"));
    assert!(running.reaches(|| scene.left().iter().any(|name| scene.lab.path("into").join(name).join("disks").exists())));
    drop(running.kill());
    only(&scene.drill(&[]), 0);
    assert_eq!(scene.left(), [""; 0], "killed while it restores");
    let jobs = scene.host.jobs("restore", "web-01");
    assert!(jobs.iter().all(|job| ["completed", "cancelled"].contains(&text(job, "/state"))), "{jobs:?}");

    fs::remove_file(&begun).expect("it can be removed");
    let mut running = scene.host.spawn(&words);
    assert!(running.reaches(|| begun.exists()), "it comes to the script");
    let reports = disk::names(&scene.lab.path("reports"));
    assert!(running.interrupt().error().contains("interrupted by the operator"));
    assert_eq!(scene.left(), [""; 0], "Ctrl-C cleans up");
    assert_eq!(disk::names(&scene.lab.path("reports")), reports, "what was not carried through has no report");
}

#[test]
fn a_plan_drills_the_paired_region() {
    let scene = Scene::new();
    scene.host.json(&["vault", "pair", "--with", &scene.lab.arg("replica")]);
    scene.host.json(&["replicate"]);
    scene.host.run(&["machine", "tag", "web-01", "app=shop"]).ok();
    scene.host.json(&["replicate"]);
    let plan = scene.lab.path("plan.toml");
    scene.script("exit 0");
    let entry = "[[drill]]\nname = \"far\"\ntags = { app = \"shop\" }\nfrom = \"paired\"\nchecks = [\"script\", \"manifest\"]\nscript = \"check.sh\"\nobjective = \"1h\"\n";
    fs::write(&plan, entry).expect("a plan can be written");
    let run = |more: &[&str]| {
        let (plan, into, reports) = (scene.lab.arg("plan.toml"), scene.lab.arg("into"), scene.lab.arg("reports"));
        let words = ["--json", "drill", "run", "--plan", &plan, "--into", &into, "--reports", &reports];
        scene.host.run(&[&words, more].concat())
    };
    let drill = only(&run(&[]), 0);
    assert_eq!((text(&drill, "/from"), text(&drill, "/plan")), ("paired", "far"));
    assert!(text(&drill, "/url").ends_with("/replica"), "{drill}");
    assert_eq!(outcomes(&drill), [("manifest", "passed"), ("script", "passed")]);
    verified(&scene, text(&drill, "/report"));

    fs::write(&plan, entry.replace("shop", "none")).expect("a plan can be written");
    assert_eq!(run(&[]).ok().json()["drills"], serde_json::json!([]), "nothing has this tag");
    for (from, to, said) in [
        ("name = \"far\"", "name = \"far\"\ncolour = 1", "line 3: drill far: colour: unknown field"),
        ("manifest", "smell", "unknown variant"),
        ("check.sh", "no.sh", "cannot use script"),
        ("tags = { app = \"shop\" }", "machines = [\"typo\"]", "there is no machine typo"),
    ] {
        fs::write(&plan, entry.replace(from, to)).expect("a plan can be written");
        let refused = run(&[]).error();
        assert!(refused.contains(said), "{refused}");
    }
    assert!(run(&["--objective", "1h"]).error().contains("cannot be used with"));
    assert!(scene.drill(&["--point", "2001-01-01T00:00:00Z"]).code == Some(1), "no point is so old");
}

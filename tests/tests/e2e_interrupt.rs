//! Interruptions: kill -9 and Ctrl-C in every phase of a backup and of a restore, and two commands at once. What was done stays
//! done, what was begun is finished or given up, and nothing is shown as complete that is not.

use std::path::{Path, PathBuf};

use serde_json::Value;
use stillpoint_tests::{
    Host, Lab, Running,
    disk::{self, MIB},
    text,
    vault_files::{PackName, is_commit, is_ledger, is_manifest, is_marker, is_pack, is_plan, objects, objects_of, says},
};

/// A moment of a job: that many more objects of one kind than there were before.
struct Moment {
    name: &'static str,
    kind: fn(&str) -> bool,
    more: usize,
}

const fn moment(name: &'static str, kind: fn(&str) -> bool, more: usize) -> Moment {
    Moment { name, kind, more }
}

const BEGINNING: [Moment; 3] = [
    moment("the job exists", |name| says(name, "requested"), 1),
    moment("the plan exists", is_plan, 1),
    moment("the first pack is stored", is_pack, 1),
];
const MIDDLE: [Moment; 3] = [
    moment("the first segment is done", is_marker, 1),
    moment("the second segment is done", is_marker, 2),
    moment("the third pack is stored", is_pack, 3),
];
const END: [Moment; 3] = [
    moment("the result is validated", |name| says(name, "validate"), 1),
    moment("the manifest is stored", is_manifest, 1),
    moment("the point is committed", is_commit, 1),
];
/// A process may end before its last moments are seen; then the same is tried again on a new vault.
const TRIES: usize = 8;

impl Moment {
    /// Waits for this moment; false where the command ended first.
    fn comes(&self, running: &mut Running, vault: &Path, before: &[String]) -> bool {
        let count = |names: &[String]| names.iter().filter(|name| (self.kind)(name)).count();
        let wanted = count(before) + self.more;
        running.reaches(|| count(&objects(vault)) >= wanted)
    }
}

/// The disks of the machine that is interrupted: noise, so that every page is stored.
struct Disks {
    paths: [PathBuf; 2],
    small: PathBuf,
}

impl Disks {
    fn new(lab: &Lab) -> Self {
        let disks = Self { paths: ["os", "data"].map(|name| lab.path(&format!("{name}.raw"))), small: lab.path("small.raw") };
        disk::full(&disks.paths[0], 72 * MIB, 70);
        disk::full(&disks.paths[1], 40 * MIB, 71);
        disk::full(&disks.small, MIB, 72);
        disks
    }

    fn named(&self) -> [(&'static str, &Path); 2] {
        [("os", &self.paths[0]), ("data", &self.paths[1])]
    }

    /// A new vault with the machine to interrupt, `big`, and another, `small`.
    fn vault(&self, lab: &Lab, number: usize) -> Host {
        let host = lab.host(&format!("host-{number}")).at_vault(&lab.path(&format!("vault-{number}")));
        host.create();
        host.add("big", &self.named());
        host.add("small", &[("os", &self.small)]);
        host
    }
}

/// Runs `attempt` on new vaults until it says that the moment was met.
fn until_met(name: &str, mut attempt: impl FnMut(usize) -> bool) {
    assert!((0..TRIES).any(&mut attempt), "in {TRIES} tries no command was interrupted when {name}");
}

fn state_of(host: &Host, operation: &str, id: &str) -> String {
    let jobs = host.jobs(operation, "big");
    let job = jobs.iter().find(|job| text(job, "/id") == id).unwrap_or_else(|| panic!("job {id} is not in {jobs:?}"));
    text(job, "/state").to_owned()
}

/// The newest job of an operation on `big`.
fn newest(host: &Host, operation: &str) -> Option<String> {
    host.jobs(operation, "big").iter().map(|job: &Value| text(job, "/id").to_owned()).max()
}

/// Asserts that nothing was stored again of segments that were done.
fn nothing_done_was_repeated(killed: &[String], after: &[String], job: &str) {
    for name in after.iter().filter(|name| is_pack(name)) {
        let pack = PackName::parse(name);
        if pack.job == job && pack.is_done(killed) {
            assert!(killed.contains(name), "{name} was stored again");
        }
    }
}

/// Kills a backup at a moment; the next command finishes it.
fn backup_survives_kill(lab: &Lab, disks: &Disks, moments: &[Moment]) {
    for (index, moment) in moments.iter().enumerate() {
        until_met(moment.name, |attempt| {
            let host = disks.vault(lab, index * TRIES + attempt);
            let before = objects(host.vault());
            let mut running = host.spawn(&["--json", "backup", "big"]);
            let met = moment.comes(&mut running, host.vault(), &before);
            let done = running.kill();
            let at_kill = objects(host.vault());
            host.backup("small");
            let job = newest(&host, "backup").expect("the job was accepted before it was killed");
            assert_eq!(state_of(&host, "backup", &job), "completed", "killed when {}", moment.name);
            assert_eq!(host.points("big").len(), 1, "killed when {}", moment.name);
            nothing_done_was_repeated(&at_kill, &objects(host.vault()), &job);
            let folder = lab.path(&format!("restored-{index}-{attempt}"));
            host.restores("big", "latest", &folder, &disks.named());
            clean(&[&folder, host.vault()]);
            met && done.signal == Some(9)
        });
    }
}

fn clean(folders: &[&Path]) {
    for folder in folders {
        std::fs::remove_dir_all(folder).expect("a folder of the lab can be removed");
    }
}

#[test]
fn a_backup_killed_at_its_beginning_is_finished() {
    let lab = Lab::new();
    backup_survives_kill(&lab, &Disks::new(&lab), &BEGINNING);
}

#[test]
fn a_backup_killed_in_its_middle_is_finished_and_repeats_nothing() {
    let lab = Lab::new();
    backup_survives_kill(&lab, &Disks::new(&lab), &MIDDLE);
}

#[test]
fn a_backup_killed_at_its_end_is_finished() {
    let lab = Lab::new();
    backup_survives_kill(&lab, &Disks::new(&lab), &END);
}

#[test]
fn a_backup_killed_twice_is_finished() {
    let lab = Lab::new();
    let disks = Disks::new(&lab);
    let host = disks.vault(&lab, 0);
    let mut seen = objects(host.vault());
    for args in [["backup", "big"], ["backup", "small"]] {
        let mut running = host.spawn(&args);
        MIDDLE[0].comes(&mut running, host.vault(), &seen);
        let _done = running.kill();
        seen = objects(host.vault());
    }
    host.backup("small");
    let job = newest(&host, "backup").expect("the job was accepted before it was killed");
    assert_eq!(state_of(&host, "backup", &job), "completed");
    nothing_done_was_repeated(&seen, &objects(host.vault()), &job);
    host.restores("big", "latest", &lab.path("restored"), &disks.named());
}

/// A vault with a point of `big`.
fn vault_with_a_point(lab: &Lab, disks: &Disks) -> Host {
    let host = disks.vault(lab, 0);
    host.backup("big");
    host
}

/// The moments of a restore: of its job in the vault, and of its files.
fn restore_moments() -> [Moment; 4] {
    [
        moment("the job exists", |name| says(name, "requested"), 1),
        moment("the plan exists", is_plan, 1),
        moment("the first segment is done", is_marker, 1),
        moment("the second segment is done", is_marker, 2),
    ]
}

#[test]
fn a_killed_restore_is_finished() {
    let lab = Lab::new();
    let disks = Disks::new(&lab);
    let host = vault_with_a_point(&lab, &disks);
    for (index, moment) in restore_moments().iter().enumerate() {
        until_met(moment.name, |attempt| {
            let (name, before) = (format!("restored-{index}-{attempt}"), objects(host.vault()));
            let mut running = host.spawn(&["--json", "restore", "big", "--to", &lab.arg(&name)]);
            let met = moment.comes(&mut running, host.vault(), &before);
            let done = running.kill();
            let folder = lab.path(&name);
            let shown: Vec<String> = disk::names(&folder).into_iter().filter(|file| file.ends_with(".raw")).collect();
            for complete in &shown {
                disk::assert_same(&lab.path(complete), &folder.join(complete));
            }
            host.backup("small");
            let job = newest(&host, "restore").expect("the job was accepted before it was killed");
            assert_eq!(state_of(&host, "restore", &job), "completed", "killed when {}", moment.name);
            assert_eq!(disk::names(&folder), ["data.raw", "os.raw"], "killed when {}", moment.name);
            for (disk, original) in disks.named() {
                disk::assert_same(original, &folder.join(format!("{disk}.raw")));
            }
            clean(&[&folder]);
            met && done.signal == Some(9)
        });
    }
}

#[test]
fn a_restore_killed_while_it_writes_leaves_no_file_that_looks_complete() {
    let lab = Lab::new();
    let disks = Disks::new(&lab);
    let host = vault_with_a_point(&lab, &disks);
    until_met("the target has its first file", |attempt| {
        let folder = lab.path(&format!("restored-{attempt}"));
        let mut running = host.spawn(&["restore", "big", "--to", &lab.arg(&format!("restored-{attempt}"))]);
        let met = running.reaches(|| !disk::names(&folder).is_empty());
        let done = running.kill();
        for file in disk::names(&folder).iter().filter(|file| file.ends_with(".raw")) {
            disk::assert_same(&lab.path(file), &folder.join(file));
        }
        met && done.signal == Some(9)
    });
}

/// Asserts how a command ends that Ctrl-C was pressed on: given up, or done where it was too late.
fn given_up(host: &Host, operation: &str, running: Running) -> bool {
    let done = running.interrupt();
    let job = newest(host, operation).expect("the job was accepted before the interruption");
    if matches!(done.code, Some(0 | 3)) {
        assert!(state_of(host, operation, &job).starts_with("completed"), "{done}");
        return false;
    }
    assert!(matches!(done.code, Some(1 | 130)), "an interrupted command ends with 1 or 130: {done}");
    let line = done.stderr.lines().last().unwrap_or_default();
    assert!(line.starts_with("stillpoint: "), "it says what happened: {done}");
    assert_eq!(state_of(host, operation, &job), "cancelled", "{done}");
    true
}

#[test]
fn ctrl_c_gives_a_backup_up_and_the_next_one_is_fine() {
    let lab = Lab::new();
    let disks = Disks::new(&lab);
    for (index, moment) in BEGINNING.iter().chain(&MIDDLE[..1]).enumerate() {
        until_met(moment.name, |attempt| {
            let host = disks.vault(&lab, index * TRIES + attempt);
            let before = objects(host.vault());
            let mut running = host.spawn(&["--json", "backup", "big"]);
            let met = moment.comes(&mut running, host.vault(), &before);
            let stopped = given_up(&host, "backup", running);
            if stopped {
                assert_eq!(objects_of(host.vault(), is_commit), [] as [String; 0]);
            }
            host.backup("big");
            assert_eq!(host.points("big").len(), if stopped { 1 } else { 2 });
            let folder = lab.path(&format!("restored-{index}-{attempt}"));
            host.restores("big", "latest", &folder, &disks.named());
            clean(&[&folder, host.vault()]);
            met && stopped
        });
    }
}

#[test]
fn ctrl_c_gives_a_restore_up_and_leaves_nothing_in_the_target() {
    let lab = Lab::new();
    let disks = Disks::new(&lab);
    let host = vault_with_a_point(&lab, &disks);
    for moment in &restore_moments()[..3] {
        until_met(moment.name, |_| {
            let (folder, before) = (lab.path("restored"), objects(host.vault()));
            let mut running = host.spawn(&["--json", "restore", "big", "--to", &lab.arg("restored")]);
            let met = moment.comes(&mut running, host.vault(), &before);
            let stopped = given_up(&host, "restore", running);
            if stopped {
                assert!(disk::names(&folder).is_empty(), "{:?} is left", disk::names(&folder));
                host.restores("big", "latest", &folder, &disks.named());
            }
            clean(&[&folder]);
            met && stopped
        });
    }
}

/// Kills a backup of `big` when it has stored its first pack; returns its job.
fn dead_backup(host: &Host) -> String {
    let before = objects(host.vault());
    let mut running = host.spawn(&["--json", "backup", "big"]);
    assert!(BEGINNING[2].comes(&mut running, host.vault(), &before), "it still runs when its first pack is stored");
    let done = running.kill();
    assert_eq!(done.signal, Some(9), "{done}");
    newest(host, "backup").expect("the job was accepted before it was killed")
}

#[test]
fn ctrl_c_while_an_older_job_is_taken_on_ends_the_command_too() {
    let lab = Lab::new();
    let disks = Disks::new(&lab);
    until_met("the older job is taken on", |attempt| {
        let host = disks.vault(&lab, attempt);
        let job = dead_backup(&host);
        let before = objects(host.vault());
        let mut running = host.spawn(&["--json", "backup", "small"]);
        let met = moment("the job is taken on", is_ledger, 1).comes(&mut running, host.vault(), &before);
        let done = running.interrupt();
        if !met || matches!(done.code, Some(0 | 3)) {
            return false;
        }
        done.error();
        assert_eq!(done.code, Some(1), "{done}");
        let state = state_of(&host, "backup", &job);
        if state != "cancelled" {
            return false;
        }
        assert!(host.jobs("backup", "small").is_empty() && host.points("small").is_empty(), "the command itself did not begin");
        host.backup("big");
        host.restores("big", "latest", &lab.path("restored"), &disks.named());
        true
    });
}

#[test]
fn a_job_whose_process_died_can_be_cancelled() {
    let lab = Lab::new();
    let disks = Disks::new(&lab);
    let host = disks.vault(&lab, 0);
    let job = dead_backup(&host);
    host.run(&["jobs", "cancel", &job]).ok();
    assert_eq!(state_of(&host, "backup", &job), "cancelled");
    host.fails(&["jobs", "cancel", &job]);
    host.backup("small");
    assert_eq!(state_of(&host, "backup", &job), "cancelled", "nobody takes it on");
    assert!(host.points("big").is_empty());
}

#[test]
fn a_job_cancelled_from_elsewhere_ends() {
    let lab = Lab::new();
    let disks = Disks::new(&lab);
    until_met("the first pack is stored", |attempt| {
        let host = disks.vault(&lab, attempt);
        let before = objects(host.vault());
        let mut running = host.spawn(&["--json", "backup", "big"]);
        let met = BEGINNING[2].comes(&mut running, host.vault(), &before);
        let job = newest(&host, "backup").expect("the job is listed");
        let cancelled = host.run(&["jobs", "cancel", &job]);
        let done = running.finish();
        if cancelled.code != Some(0) {
            cancelled.error();
            done.ok();
            return false;
        }
        assert_eq!(done.code, Some(1), "a cancelled backup is no success: {done}");
        done.error();
        assert_eq!(state_of(&host, "backup", &job), "cancelled");
        assert!(host.points("big").is_empty());
        host.backup("big");
        assert_eq!(host.points("big").len(), 1);
        met
    });
}

#[test]
fn two_backups_of_one_machine_at_once() {
    let lab = Lab::new();
    let disks = Disks::new(&lab);
    let host = disks.vault(&lab, 0);
    for (round, at_once) in [(0, true), (1, true), (2, true), (3, false)] {
        disk::overwrite(&disks.paths[0], 3 * MIB, &disk::noise(73 + round, MIB));
        let before = objects(host.vault());
        let mut first = host.spawn(&["--json", "backup", "big"]);
        if !at_once {
            BEGINNING[1].comes(&mut first, host.vault(), &before);
        }
        let second = host.spawn(&["--json", "backup", "big"]);
        let ended = [first.finish(), second.finish()];
        let worked = ended.iter().filter(|done| matches!(done.code, Some(0 | 3))).count();
        assert!(worked >= 1, "one of them works: {} {}", ended[0], ended[1]);
        for done in ended.iter().filter(|done| !matches!(done.code, Some(0 | 3))) {
            done.error();
        }
    }
    let points = host.points("big");
    assert!((4..=8).contains(&points.len()));
    host.restores("big", "latest", &lab.path("restored"), &disks.named());
    let check = host.json(&["vault", "check"]);
    assert_eq!(check["findings"], Value::Array(Vec::new()));
}

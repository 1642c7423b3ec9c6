//! Restores to what a hypervisor takes: qcow2 images, NBD exports, a machine under a new name, and disks in place of the old ones.

#[path = "e2e_targets/firmware.rs"]
mod firmware;
#[path = "e2e_targets/machine.rs"]
mod machine;

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Command,
};

use machine::Machine;
use stillpoint_tests::{
    Host, Lab,
    disk::{self, MIB},
    text,
    vault_files::{is_marker, is_plan, objects},
};

/// Kills may come too late; then the same is tried again.
const TRIES: usize = 8;

/// Runs a program of QEMU's that must work.
fn qemu(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().expect("QEMU's tools are installed (tests/run does it)");
    let said = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
    assert!(output.status.success(), "{program} {args:?}: {said}");
    said
}

fn as_text(path: &Path) -> &str {
    path.to_str().expect("temporary paths are text")
}

/// Asserts that an image is sound and holds the bytes of a raw disk.
fn assert_image(raw: &Path, image: &Path) {
    qemu("qemu-img", &["check", "-f", "qcow2", as_text(image)]);
    let said = qemu("qemu-img", &["compare", "-f", "raw", "-F", "qcow2", as_text(raw), as_text(image)]);
    assert!(!said.contains("Warning"), "{said}");
}

/// Storage daemons that have something open below a folder.
fn daemons(folder: &Path) -> Vec<i32> {
    let processes = fs::read_dir("/proc").expect("/proc is mounted").flatten();
    let is_ours =
        |line: &[u8]| line.starts_with(b"qemu-storage-daemon") && String::from_utf8_lossy(line).contains(as_text(folder));
    let process = |entry: fs::DirEntry| {
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        entry.file_name().to_str()?.parse().ok().filter(|_| is_ours(&line))
    };
    processes.filter_map(process).collect()
}

/// A vault with a machine of two disks, `os` (an ext4 file system) and `data`, and a point of it.
fn backed_up(lab: &Lab) -> (Host, [(&'static str, PathBuf); 2]) {
    let host = lab.host_with_vault();
    let disks = ["os", "data"].map(|name| (name, lab.path(&format!("{name}.raw"))));
    disk::ext4(&disks[0].1);
    disk::full(&disks[1].1, 40 * MIB, 5);
    host.add("web-01", &disks.each_ref().map(|(name, path)| (*name, path.as_path())));
    host.backup("web-01");
    (host, disks)
}

#[test]
fn images_hold_the_point_and_are_as_sparse_as_its_disks() {
    let lab = Lab::new();
    let (host, disks) = backed_up(&lab);
    let folder = lab.path("restored");
    let report = host.json(&["restore", "web-01", "--to", as_text(&folder), "--format", "qcow2"]);
    assert_eq!(disk::names(&folder), ["data.qcow2", "os.qcow2"], "{report}");
    for (name, raw) in &disks {
        let image = folder.join(format!("{name}.qcow2"));
        assert_image(raw, &image);
        assert!(disk::allocated(&image) < disk::allocated(raw) + 4 * MIB);
    }
    assert!(daemons(&folder).is_empty());
    let line = host.fails(&["restore", "web-01", "--to", as_text(&folder), "--format", "qcow2"]);
    assert!(line.contains("--overwrite"), "{line}");
}

/// Kills a restore into images when the vault holds `more` markers, and its daemons where `daemons_too`; the next command finishes it.
fn killed(host: &Host, disks: &[(&str, PathBuf); 2], folder: &Path, more: usize, daemons_too: bool) -> bool {
    let count = || objects(host.vault()).iter().filter(|name| if more == 0 { is_plan(name) } else { is_marker(name) }).count();
    let wanted = count() + more.max(1);
    let mut running = host.spawn(&["restore", "web-01", "--to", as_text(folder), "--format", "qcow2"]);
    let met = running.reaches(|| count() >= wanted);
    let done = running.kill();
    if daemons_too {
        for daemon in daemons(folder) {
            qemu("kill", &["-KILL", &daemon.to_string()]);
        }
    }
    let met = met && done.signal == Some(9) && disk::names(folder).iter().any(|name| name.ends_with(".partial"));
    host.backup("web-01");
    assert_eq!(disk::names(folder), ["data.qcow2", "os.qcow2"]);
    assert!(daemons(folder).is_empty());
    disks.iter().for_each(|(name, raw)| assert_image(raw, &folder.join(format!("{name}.qcow2"))));
    fs::remove_dir_all(folder).expect("the folder can be removed");
    met
}

#[test]
fn a_killed_restore_into_images_is_finished_whoever_else_died() {
    let lab = Lab::new();
    let (host, disks) = backed_up(&lab);
    for (more, daemons_too) in [(0, false), (1, false), (1, true), (2, true)] {
        let met = (0..TRIES).any(|attempt| {
            let folder = lab.path(&format!("restored-{more}-{daemons_too}-{attempt}"));
            killed(&host, &disks, &folder, more, daemons_too)
        });
        assert!(met, "in {TRIES} tries no restore was killed after {more} segments");
    }
}

#[test]
fn a_restore_that_is_given_up_leaves_no_image_and_no_daemon() {
    let lab = Lab::new();
    let (host, _disks) = backed_up(&lab);
    let met = (0..TRIES).any(|attempt| {
        let folder = lab.path(&format!("restored-{attempt}"));
        let mut running = host.spawn(&["restore", "web-01", "--to", as_text(&folder), "--format", "qcow2"]);
        let met = running.reaches(|| !daemons(&folder).is_empty());
        let done = running.interrupt();
        let given_up = met && !matches!(done.code, Some(0 | 3));
        assert!(daemons(&folder).is_empty(), "{done}");
        assert!(!given_up || disk::names(&folder).is_empty(), "{:?} is left", disk::names(&folder));
        given_up
    });
    assert!(met, "in {TRIES} tries no restore was interrupted");
}

#[test]
fn an_export_gets_a_disk() {
    let lab = Lab::new();
    let (host, disks) = backed_up(&lab);
    let (image, socket) = (lab.path("export.qcow2"), lab.path("export.sock"));
    qemu("qemu-img", &["create", "-q", "-f", "qcow2", as_text(&image), "200M"]);
    let server = Machine::export(&image, &socket);
    let place = format!("os=nbd+unix:///disk?socket={}", socket.display());
    host.run(&["restore", "web-01", "--disk", &place]).ok();
    let line = host.fails(&["restore", "web-01", "--disk", &place]);
    assert!(line.contains("holds data"), "{line}");
    host.run(&["restore", "web-01", "--disk", &place, "--overwrite"]).ok();
    server.end();
    // The export is larger than the disk.
    let whole = lab.path("whole.raw");
    disk::copy(&disks[0].1, &whole);
    disk::grow(&whole, 200 * MIB);
    assert_image(&whole, &image);
    let line = host.fails(&["restore", "web-01", "--disk", &place]);
    assert!(line.contains("cannot connect"), "{line}");
}

/// A machine of QEMU's that is protected, with one point.
fn machine(lab: &Lab) -> (Host, Machine) {
    let (host, machine) = machine_with(lab, &[]);
    host.run(&["backup", "db-01"]).ok();
    (host, machine)
}

/// The same, with more words on its command line, and no point yet.
fn machine_with(lab: &Lab, words: &[&str]) -> (Host, Machine) {
    let host = lab.host_with_vault();
    let (os, data) = (lab.path("os.qcow2"), lab.path("data.raw"));
    let source = lab.path("source.raw");
    disk::ext4(&source);
    qemu("qemu-img", &["convert", "-f", "raw", "-O", "qcow2", as_text(&source), as_text(&os)]);
    disk::full(&data, 8 * MIB, 9);
    let machine = Machine::start_with(lab, &os, &data, words);
    host.run(&["machine", "add", "db-01", "--platform", "qemu", "--qmp", &format!("unix:{}", machine.qmp().display())]).ok();
    (host, machine)
}

#[test]
fn a_machine_is_made_anew_from_its_point_and_starts() {
    let lab = Lab::new();
    let (host, old) = machine(&lab);
    let folder = lab.path("db-02");
    let report = host.json(&["restore", "db-01", "--to", as_text(&folder), "--format", "qcow2", "--as", "db-02"]);
    let script = folder.join("start.sh");
    assert_eq!(text(&report, "/script"), as_text(&script));
    assert_eq!(fs::metadata(&script).expect("the script is there").permissions().mode() & 0o777, 0o700);
    let written = fs::read_to_string(&script).expect("a script is text");
    assert!(written.contains("-name db-02") && !written.contains("52:54:00:aa:bb:cc"), "{written}");
    assert!(written.contains(&format!("#   -cdrom {}", lab.path("tools.iso").display())), "{written}");
    // Beside the old machine, which runs on.
    let new = Machine::from_script(&script, &folder.join("db-01.qmp"));
    assert_eq!(new.ask("query-name")["name"], "db-02");
    let mut files = new.files();
    files.sort();
    assert_eq!(files, ["data.qcow2", "os.qcow2"].map(|name| folder.join(name)));
    assert_eq!(old.ask("query-name")["name"], "db-01");
    new.end();
    old.end();
}

#[test]
fn disks_are_replaced_when_the_machine_is_off_and_the_old_ones_stay() {
    let lab = Lab::new();
    let (host, running) = machine(&lab);
    let point = text(&host.points("db-01")[0], "/id").to_owned();
    let [os, data] = ["os.qcow2", "data.raw"].map(|name| lab.path(name));
    let line = host.fails(&["restore", "db-01", "--replace"]);
    assert!(line.contains("is on") && line.contains("--stop"), "{line}");
    host.run(&["restore", "db-01", "--replace", "--stop=force"]).ok();
    running.end();
    let old = |path: &Path| -> Vec<PathBuf> {
        let begins = format!("{}.before-", path.file_name().expect("a file").to_str().expect("text"));
        disk::names(&lab.path("")).into_iter().filter(|name| name.starts_with(&begins)).map(|name| lab.path(&name)).collect()
    };
    assert_eq!((old(&os).len(), old(&data).len()), (1, 1));
    assert_ne!(fs::metadata(&os).expect("new").ino(), fs::metadata(&old(&os)[0]).expect("old").ino());
    assert_image(&lab.path("source.raw"), &os);
    disk::assert_same(&data, &old(&data)[0]);

    // What is there is not lost by a second time.
    disk::overwrite(&data, 4096, &disk::noise(1, 4096));
    let line = host.fails(&["restore", "db-01", "--replace"]);
    assert!(line.contains("--discard-old"), "{line}");
    host.run(&["restore", "db-01", "--replace", "--point", &point, "--discard-old"]).ok();
    assert_eq!((old(&os).len(), old(&data).len()), (1, 1));
    assert_eq!(disk::range(&old(&data)[0], 4096, 4096), disk::noise(1, 4096));
    host.run(&["restore", "db-01", "--discard-old"]).ok();
    assert_eq!((old(&os).len(), old(&data).len()), (0, 0));

    // The new disks have no bitmaps: all is read once, and the point says so.
    let again = Machine::start(&lab, &os, &data);
    host.json(&["backup", "db-01"]);
    let points = host.points("db-01");
    let resets = points[1]["tracking_resets"].as_array().expect("resets");
    assert!(resets.iter().any(|reset| reset["disk"] == "os"), "{points:?}");
    again.end();
}

#[test]
fn a_replacement_that_is_killed_leaves_the_old_disk_or_the_new_one() {
    let lab = Lab::new();
    let (host, disks) = backed_up(&lab);
    let (data, first, later) = (&disks[1].1, lab.path("first.raw"), lab.path("later.raw"));
    disk::copy(data, &first);
    let point = text(&host.points("web-01")[0], "/id").to_owned();
    let markers = || objects(host.vault()).iter().filter(|name| is_marker(name)).count();
    let met = (0..TRIES).any(|attempt| {
        disk::full(&later, 40 * MIB, 50 + attempt as u64);
        disk::copy(&later, data);
        let wanted = markers() + 1;
        let mut running = host.spawn(&["restore", "web-01", "--point", &point, "--replace", "--discard-old"]);
        let met = running.reaches(|| markers() >= wanted);
        let done = running.kill();
        let found = fs::read(data).expect("there is a disk at any time");
        let [is_first, is_later] = [&first, &later].map(|path| fs::read(path).expect("a copy") == found);
        assert!(is_first || is_later);
        // The next command takes the job on.
        host.backup("web-01");
        disk::assert_same(&first, data);
        met && done.signal == Some(9) && is_later
    });
    assert!(met, "in {TRIES} tries no replacement was killed before it was done");
}

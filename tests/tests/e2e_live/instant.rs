//! A machine that is started from the vault before its disks are there.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};
use stillpoint_tests::{
    Host, Lab, Running,
    disk::{MIB, names, noise},
    live::{Agent, Disk, Format, Guest, Started},
    number, text,
};

use super::estate::{MACHINE, Site, add_guest, backup, newest, restored};

const NEW: &str = "db-02";
const VARIABLES_BYTES: u64 = 128 << 10;

fn arg(path: &Path) -> &str {
    path.to_str().expect("a path is text")
}

fn command<'a>(folder: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    [&["restore", MACHINE, "--as", NEW, "--instant", "--to", arg(folder)], more].concat()
}

/// Begins, with so many bytes a second that there is time to look at it.
fn slowly(host: &Host, folder: &Path, rate: &str) -> Running {
    host.spawn(&command(folder, &["--fill-rate", rate, "--json"]))
}

/// Whether the machine reads from the vault.
fn is_over_its_point(started: &Started) -> bool {
    let nodes = started.monitor().execute("query-named-block-nodes", json!({ "flat": true }));
    nodes.as_array().expect("a list").iter().any(|node| node["drv"] == "nbd")
}

/// Bytes that an overlay takes on disk.
fn held(folder: &Path) -> u64 {
    names(folder)
        .iter()
        .filter(|name| name.ends_with(".qcow2"))
        .map(|name| stillpoint_tests::disk::allocated(&folder.join(name)))
        .sum()
}

/// Waits until disks are being filled.
fn is_filling(running: &mut Running, started: &Started, folder: &Path) {
    assert!(running.reaches(|| folder.join("monitor").exists()), "it starts");
    let is_begun = || started.monitor().execute("query-jobs", json!({})).as_array().is_some_and(|jobs| !jobs.is_empty());
    assert!(running.reaches(is_begun), "it fills disks");
}

/// A guest with a file on its disk, the file's sum, and a point of it. The guest is off then.
fn backed_up(lab: &Lab) -> (Host, String) {
    let host = lab.host_with_vault();
    let disks =
        [Disk::ext4(&lab.path(""), "files", Format::Qcow2, 64 * MIB), Disk::empty(&lab.path(""), "plain", Format::Raw, 8 * MIB)];
    let variables = lab.path("vars.fd");
    fs::write(&variables, noise(7, VARIABLES_BYTES)).expect("a file can be written");
    let guest = Guest::with_variables(Agent::Hooks, &disks, &variables);
    add_guest(&host, &guest, &[]);
    guest
        .run("dd if=/dev/urandom of=/mnt/files/before bs=1M count=24; dd if=/dev/urandom of=/dev/disk/plain bs=1M count=2; sync");
    let sum = guest.run("md5sum </mnt/files/before");
    backup(&host, "application");
    drop(guest);
    // From here on nobody has the old ones.
    fs::write(&variables, noise(8, VARIABLES_BYTES)).expect("a file can be written");
    (host, sum)
}

/// That the machine needs nothing but its own folder any more, now and when it is started again.
fn assert_local(started: &Started, folder: &Path) {
    assert!(!is_over_its_point(started));
    started.kill();
    let left = names(folder);
    assert!(!left.iter().any(|name| name == "instant.json" || name == "point.nbd"), "{left:?}");
    for disk in ["disk-files", "disk-plain"] {
        let image = folder.join(format!("{disk}.qcow2"));
        let said = Command::new("qemu-img").args(["info", "--output=json", arg(&image)]).output().expect("qemu-img is installed");
        let info: Value = serde_json::from_slice(&said.stdout).unwrap_or_else(|_| panic!("{said:?}"));
        assert_eq!(info.get("backing-filename"), None, "{info}");
        assert!(Command::new("qemu-img").args(["check", "-q", arg(&image)]).status().expect("it runs").success());
    }
    let variables = fs::read(folder.join("firmware-variables.fd")).expect("they are there");
    assert!(variables == noise(7, VARIABLES_BYTES), "they are the point's");
}

#[test]
fn a_guest_works_on_its_data_before_its_disks_are_there_and_is_whole_afterwards() {
    let lab = Lab::new();
    let (host, sum) = backed_up(&lab);
    let folder = lab.path("vm");
    let started = Started::at(&folder);
    let mut running = slowly(&host, &folder, "2MiB");
    is_filling(&mut running, &started, &folder);
    assert_eq!(started.run("md5sum </mnt/files/before"), sum);
    assert!(is_over_its_point(&started));
    let written = started.run("dd if=/dev/urandom of=/mnt/files/after bs=1M count=8 2>/dev/null; sync; md5sum </mnt/files/after");
    let busy = host.fails(&command(&folder, &[]));
    assert!(busy.contains("cannot listen at"), "{busy}");
    let report = running.finish().ok().json();
    assert_eq!(report["warnings"], json!([]), "{report}");
    assert_eq!(text(&report, "/point"), text(&newest(&host), "/id"));
    assert!(number(&report, "/running_ms") <= number(&report, "/first_read_ms"));
    assert!(number(&report, "/first_read_ms") <= number(&report, "/local_ms"));
    assert_local(&started, &folder);

    // By its script, with nobody serving.
    let script = text(&report, "/script").to_owned();
    let log = fs::File::create(lab.path("log")).expect("a file can be made");
    drop(Command::new(script).stdout(log).spawn().expect("the script runs"));
    drop(started.monitor());
    assert_eq!(started.run("md5sum </mnt/files/before; md5sum </mnt/files/after"), format!("{sum}{written}"));
}

#[test]
fn whatever_is_killed_the_same_command_goes_on_and_nothing_written_is_lost() {
    let lab = Lab::new();
    let (host, sum) = backed_up(&lab);
    let folder = lab.path("vm");
    let started = Started::at(&folder);
    let mut running = slowly(&host, &folder, "1MiB");
    is_filling(&mut running, &started, &folder);
    started.run("echo first >/mnt/files/written; sync");
    drop(running.kill());
    let (qemu, before) = (started.pid(), held(&folder));
    assert!(qemu.is_some(), "the machine outlives the command");

    // Its reads wait for the next.
    let mut running = slowly(&host, &folder, "1MiB");
    assert_eq!(started.run("md5sum </mnt/files/before; cat /mnt/files/written"), format!("{sum}first\n"));
    assert_eq!(started.pid(), qemu);
    assert!(held(&folder) >= before);
    is_filling(&mut running, &started, &folder);

    // QEMU is killed, and started by the next.
    started.run("echo second >/mnt/files/written; sync");
    started.kill();
    let line = running.finish().error();
    assert!(line.contains("run this again"), "{line}");
    let mut running = slowly(&host, &folder, "1MiB");
    assert_eq!(started.run("cat /mnt/files/written"), "second\n");

    // Ctrl-C pauses the machine, and it goes on.
    is_filling(&mut running, &started, &folder);
    let line = running.interrupt().error();
    assert!(line.contains("is paused"), "{line}");
    assert_eq!(started.status(), "paused");
    let other = host.fails(&["restore", MACHINE, "--as", "db-03", "--instant", "--to", arg(&folder)]);
    assert!(other.contains("begun from point"), "{other}");
    let report = host.json(&command(&folder, &[]));
    assert_eq!((started.status().as_str(), &report["warnings"]), ("running", &json!([])));
    assert_eq!(started.run("md5sum </mnt/files/before; cat /mnt/files/written"), format!("{sum}second\n"));
    assert_local(&started, &folder);
}

/// A machine that never starts its processor writes nothing.
fn idle() -> Site {
    let mut site = Site::new(|lab| {
        let folder = lab.path("");
        vec![Disk::empty(&folder, "a", Format::Qcow2, 64 * MIB), Disk::empty(&folder, "b", Format::Raw, 16 * MIB)]
    });
    site.write("a", MIB, 20 * MIB, 1);
    site.write("b", 0, 5 * MIB, 2);
    site.point();
    site
}

fn assert_image(raw: &Path, image: &Path) {
    let said = Command::new("qemu-img").args(["compare", "-U", "-f", "raw", "-F", "qcow2", arg(raw), arg(image)]).output();
    assert!(said.as_ref().is_ok_and(|said| said.status.success()), "{said:?}");
}

#[test]
fn disks_that_nobody_wrote_to_are_the_point_byte_for_byte() {
    let site = idle();
    let folder = site.lab.path("vm");
    let started = Started::at(&folder);
    let report = site.host.json(&command(&folder, &["--no-network"]));
    // They were plugged in by hand.
    assert_eq!(report["warnings"].as_array().map(Vec::len), Some(2), "{report}");
    assert!(fs::read_to_string(folder.join("start.sh")).expect("a script").contains("-nic none"));
    assert!(!is_over_its_point(&started));
    let copies = restored(&site.lab, &site.host, "latest");
    for disk in site.machine.disks() {
        let name = disk.device();
        assert_image(&copies.join(format!("{name}.raw")), &folder.join(format!("{name}.qcow2")));
    }
    started.kill();
    let line = site.host.fails(&command(&folder, &[]));
    assert!(line.contains("holds other things"), "{line}");
}

#[test]
fn a_point_of_a_machine_that_was_off_is_started_as_it_was_when_it_was_on() {
    let mut site = Site::new(|lab| vec![Disk::empty(&lab.path(""), "a", Format::Qcow2, 64 * MIB)]);
    site.write("a", 0, 4 * MIB, 1);
    site.machine.power_off();
    let first = site.point();
    let folder = site.lab.path("vm");
    let line = site.host.fails(&command(&folder, &[]));
    assert!(line.contains("tells how to boot it"), "{line}");
    site.machine.power_on();
    let on = site.point();
    site.write("a", MIB, MIB, 2);
    site.machine.power_off();
    let last = site.point();
    for point in [first, last] {
        let id = text(&point, "/id");
        let folder = site.lab.path(&format!("vm-{id}"));
        let started = Started::at(&folder);
        let report = site.host.json(&command(&folder, &["--point", id]));
        let said = format!("made anew as at point {}", text(&on, "/id"));
        assert!(report["warnings"].to_string().contains(&said), "{report}");
        let copies = restored(&site.lab, &site.host, id);
        assert_image(&copies.join("disk-a.raw"), &folder.join("disk-a.qcow2"));
        started.kill();
    }
}

#[test]
fn a_vault_that_is_away_for_a_while_is_waited_for_and_said() {
    let mut site = Site::new(|lab| vec![Disk::empty(&lab.path(""), "a", Format::Qcow2, 64 * MIB)]);
    site.write("a", 0, 60 * MIB, 1);
    site.point();
    let folder = site.lab.path("vm");
    let started = Started::at(&folder);
    let mut running = site.host.spawn(&command(&folder, &["--fill-rate", "8MiB", "--json"]));
    is_filling(&mut running, &started, &folder);
    let (packs, away) = (site.host.vault().join("packs"), site.lab.path("away"));
    fs::rename(&packs, &away).expect("a folder can be renamed");
    let is_over = || started.monitor().execute("query-jobs", json!({})).as_array().is_some_and(Vec::is_empty);
    assert!(running.reaches(is_over), "it cannot go on");
    fs::rename(&away, &packs).expect("a folder can be renamed");
    let done = running.finish();
    let report = done.json();
    let warnings = report["warnings"].as_array().expect("a list");
    assert!(warnings.iter().any(|warning| warning.as_str().is_some_and(|line| line.contains("not filled at the first try"))));
    assert_eq!(done.code, Some(3));
    let copies = restored(&site.lab, &site.host, "latest");
    assert_image(&copies.join("disk-a.raw"), &folder.join("disk-a.qcow2"));
}

#[test]
fn what_cannot_be_started_is_refused_before_anything_is_made() {
    let site = idle();
    let (host, lab) = (&site.host, &site.lab);
    let folder = lab.path("vm");
    let refuse = |host: &Host, folder: &Path, more: &[&str], reason: &str| {
        let line = host.fails(&command(folder, more));
        assert!(line.contains(reason), "{line}");
    };
    refuse(host, &folder, &["--format", "raw"], "qcow2");
    refuse(host, &folder, &["--point", "2020-01-01T00:00:00Z"], "no good recovery point");
    let tools = lab.path("empty");
    fs::create_dir(&tools).expect("a folder can be made");
    refuse(&host.set("PATH", arg(&tools)), &folder, &[], "is not installed");
    let long: PathBuf = lab.path(&"l".repeat(100));
    refuse(host, &long, &[], "sockets have at most");
    assert!(!folder.exists() && !long.exists());

    let others = lab.path("others");
    fs::create_dir(&others).expect("a folder can be made");
    fs::write(others.join("mine"), "mine").expect("a file can be written");
    refuse(host, &others, &[], "holds other things");
    assert_eq!(names(&others), ["mine"]);

    stillpoint_tests::disk::full(&lab.path("image.raw"), MIB, 3);
    host.add("web-01", &[("os", &lab.path("image.raw"))]);
    host.backup("web-01");
    let line = host.fails(&["restore", "web-01", "--as", "web-02", "--instant", "--to", arg(&folder)]);
    assert!(line.contains("platform image") && line.contains("serve-point web-01"), "{line}");
    assert_eq!(host.run(&["restore", MACHINE, "--instant", "--to", arg(&folder)]).code, Some(2), "--as is needed");
    assert!(!folder.exists());
}

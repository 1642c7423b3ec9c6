use std::{
    fs,
    io::Write,
    os::unix::{
        fs::PermissionsExt,
        net::{UnixListener, UnixStream},
    },
    path::Path,
};

use serde_json::json;
use stillpoint_tests::{
    Mounted,
    disk::{MIB, noise},
    live::{Disk, Format, Leftovers},
};

use super::estate::{MACHINE, Site, add, assert_clean, backup, resets, socket};

fn one_disk(lab: &stillpoint_tests::Lab) -> Vec<Disk> {
    vec![Disk::empty(&lab.path(""), "a", Format::Qcow2, 64 * MIB)]
}

/// What it says when a machine is added with these settings.
fn refusal(host: &stillpoint_tests::Host, qmp: &Path, more: &[&str]) -> String {
    let qmp = socket(qmp);
    host.fails(&[&["machine", "add", "other", "--platform", "qemu", "--qmp", &qmp], more].concat())
}

#[test]
fn a_monitor_that_cannot_be_used_is_refused_with_the_reason() {
    let site = Site::new(one_disk);
    let line = refusal(&site.host, &site.lab.path("nobody"), &[]);
    assert!(line.contains("nothing listens at") && line.contains("/nobody"), "{line}");

    for greeting in ["hello\n", "{\"hello\": 1}\n"] {
        let path = site.lab.path("stranger");
        let listener = UnixListener::bind(&path).expect("a socket can be made");
        let stranger = std::thread::spawn(move || {
            let (mut client, _) = listener.accept().expect("somebody comes");
            client.write_all(greeting.as_bytes()).expect("a greeting can be sent");
        });
        let line = refusal(&site.host, &path, &[]);
        assert!(line.contains("does not speak QMP"), "{line}");
        stranger.join().expect("the stranger ends");
        fs::remove_file(path).expect("a socket can be removed");
    }

    let qmp = site.machine.qmp();
    fs::set_permissions(&qmp, fs::Permissions::from_mode(0o000)).expect("permissions can be set");
    let line = refusal(&site.host.without_privileges(), &qmp, &[]);
    assert!(line.contains("cannot connect to the QMP socket") && line.contains("ermission denied"), "{line}");
    fs::set_permissions(&qmp, fs::Permissions::from_mode(0o700)).expect("permissions can be set");

    let other = UnixStream::connect(&qmp).expect("QEMU listens");
    let line = refusal(&site.host, &qmp, &[]);
    assert!(line.contains("another client connected"), "{line}");
    let line = site.host.fails(&["backup", MACHINE]);
    assert!(line.contains("another client connected"), "{line}");
    drop(other);
    backup(&site.host, "crash");
    assert_clean(&site.machine);
}

#[test]
fn settings_that_do_not_fit_the_machine_are_refused_by_name() {
    let site = Site::new(one_disk);
    let line = refusal(&site.host, &site.machine.qmp(), &["--exclude", "swap"]);
    assert!(line.contains("disk swap is to be left out") && line.contains("it has disk-a"), "{line}");
    fs::create_dir(site.lab.path("closed")).expect("a folder can be made");
    fs::set_permissions(site.lab.path("closed"), fs::Permissions::from_mode(0o500)).expect("permissions can be set");
    let qmp = socket(&site.machine.qmp());
    for (folder, reason) in [(site.lab.path("missing"), "o such file"), (site.lab.path("closed"), "ermission denied")] {
        let scratch = folder.to_str().expect("a path is text");
        site.host.json(&["machine", "add", MACHINE, "--replace", "--platform", "qemu", "--qmp", &qmp, "--scratch", scratch]);
        let line = site.host.without_privileges().fails(&["backup", MACHINE]);
        assert!(line.contains("scratch file") && line.contains(scratch) && line.contains(reason), "{line}");
        assert_eq!(site.machine.leftovers(), Leftovers::default());
    }
    for folder in ["/dev", "/dev/shm"] {
        let line = refusal(&site.host, &site.machine.qmp(), &["--scratch", folder]);
        assert!(line.contains("scratch") && line.contains(folder), "{line}");
    }
    add(&site.host, &site.machine.qmp());
    backup(&site.host, "crash");
    assert_clean(&site.machine);
}

#[test]
fn a_machine_busy_with_somebody_elses_work_is_left_to_it() {
    let mut site = Site::new(one_disk);
    site.write("a", 0, 8 * MIB, 1);
    site.point();
    let target = Disk::empty(&site.lab.path(""), "target", Format::Qcow2, 64 * MIB);
    let execute = |command: &str, arguments| site.machine.monitor().execute(command, arguments);
    for (command, more) in [("blockdev-mirror", json!({})), ("blockdev-backup", json!({ "speed": 1 }))] {
        let file = json!({ "driver": "file", "filename": target.path });
        execute("blockdev-add", json!({ "driver": "qcow2", "node-name": "target", "file": file }));
        let mut arguments = json!({ "job-id": "theirs", "device": "a", "target": "target", "sync": "full" });
        arguments.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        execute(command, arguments);
        let line = site.host.fails(&["backup", MACHINE]);
        assert!(line.contains("busy with a block job") && line.contains("theirs"), "{line}");
        assert!(site.machine.leftovers().jobs.contains("theirs"));
        execute("block-job-cancel", json!({ "device": "theirs", "force": true }));
        site.machine.monitor().event("BLOCK_JOB_CANCELLED");
        execute("blockdev-del", json!({ "node-name": "target" }));
    }
    let nbd = site.lab.path("theirs");
    execute("nbd-server-start", json!({ "addr": { "type": "unix", "data": { "path": nbd } } }));
    let line = site.host.fails(&["backup", MACHINE]);
    assert!(line.contains("QEMU serves NBD for somebody else"), "{line}");
    assert!(UnixStream::connect(&nbd).is_ok(), "it goes on");
    execute("nbd-server-stop", json!({}));
    assert_clean(&site.machine);
    assert_eq!(resets(&site.point()), vec![]);
    assert_clean(&site.machine);
}

#[test]
fn a_scratch_place_that_fills_up_ends_the_backup_and_not_the_guest() {
    let mut site = Site::new(one_disk);
    site.write("a", 0, 32 * MIB, 1);
    let tmpfs = Mounted::tmpfs(&site.lab.path("scratch"), "4m");
    // QEMU runs outside, and reaches it through the process that holds it.
    let scratch = tmpfs.from_outside(&site.lab.path("scratch"));
    let (qmp, folder) = (socket(&site.machine.qmp()), scratch.to_str().expect("a path is text"));
    site.host.json(&["machine", "add", MACHINE, "--replace", "--platform", "qemu", "--qmp", &qmp, "--scratch", folder]);
    let mut running = site.host.set("STILLPOINT_BYTES_PER_SECOND", "1MiB").spawn(&["--json", "backup", MACHINE]);
    let held = || site.machine.leftovers().exports.len() == 1;
    assert!(running.reaches(held));
    let file = site.lab.path("bytes");
    fs::write(&file, noise(2, 16 * MIB)).expect("a file can be written");
    site.machine.write("a", 4 * MIB, &file);
    let status = site.machine.status();
    assert_eq!(status, "prelaunch");
    let line = running.finish().error();
    assert!(line.contains("the snapshot of disk disk-a broke") && line.contains("scratch"), "{line}");
    assert_clean(&site.machine);
    assert_eq!(stillpoint_tests::disk::names(&scratch), Vec::<String>::new());
    tmpfs.remount("size=64m");
    let point = site.point();
    assert_eq!(point["consistency"]["obtained"], "crash", "{point}");
    assert_clean(&site.machine);
}

//! Where disks live: files that others use or change, file systems that share extents, block devices.

use std::{
    fs,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use stillpoint_tests::{
    Host, Lab, LoopDevice, Mounted,
    disk::{self, MIB},
    vault_files::{is_commit, is_pack, objects, objects_of},
};

/// Starts a backup of `web-01`, changes its disk once the first pack is stored, and waits for the end.
fn backup_while_the_disk_changes(host: &Host, path: &Path) -> stillpoint_tests::Done {
    let before = objects(host.vault()).len();
    let mut running = host.spawn(&["--json", "backup", "web-01"]);
    let met = running.reaches(|| objects(host.vault()).len() > before && !objects_of(host.vault(), is_pack).is_empty());
    assert!(met, "the backup still runs when its first pack is stored");
    disk::overwrite(path, 0, &disk::noise(82, 4096));
    running.finish()
}

#[test]
fn a_file_that_changes_while_it_is_read_fails_the_job() {
    let lab = Lab::new();
    let host = lab.host_with_vault();
    let (path, original) = (lab.path("disk.raw"), lab.path("original.raw"));
    disk::full(&path, 128 * MIB, 80);
    disk::copy(&path, &original);
    host.add("web-01", &[("os", &path)]);
    let done = backup_while_the_disk_changes(&host, &path);
    if disk::reflinks(&lab.path("")) {
        done.ok();
        host.restores("web-01", "latest", &lab.path("restored"), &[("os", &original)]);
        return;
    }
    assert!(done.error().contains("chang"), "it says that the disk changed: {done}");
    assert_eq!(objects_of(host.vault(), is_commit), [] as [String; 0], "no point of two instants");
    host.backup("web-01");
    host.restores("web-01", "latest", &lab.path("restored"), &[("os", &path)]);
}

#[test]
fn a_disk_that_qemu_writes_is_refused() {
    let lab = Lab::new();
    let host = lab.host_with_vault();
    let (path, socket) = (lab.path("disk.raw"), lab.path("nbd"));
    disk::full(&path, 4 * MIB, 81);
    host.add("web-01", &[("os", &path)]);
    let mut server = Command::new("qemu-nbd")
        .args(["--persistent", "--format=raw", "--socket"])
        .arg(&socket)
        .arg(&path)
        .spawn()
        .expect("qemu-nbd is installed");
    for _ in 0..200 {
        if socket.exists() {
            break;
        }
        thread::sleep(Duration::from_millis(50));
    }
    let done = host.run(&["--json", "backup", "web-01"]);
    server.kill().expect("the server can be killed");
    server.wait().expect("the server can be waited for");
    if disk::reflinks(&lab.path("")) {
        done.ok();
    } else {
        assert!(done.error().contains("lock") || done.stderr.contains("use"), "it says who is in the way: {done}");
        assert_eq!(objects_of(host.vault(), is_commit), [] as [String; 0]);
    }
    host.backup("web-01");
    host.restores("web-01", "latest", &lab.path("restored"), &[("os", &path)]);
}

/// Names in the folder of the disks, seen from outside.
fn files_in(space: &Mounted, folder: &Path) -> Vec<String> {
    disk::names(&space.from_outside(folder))
}

#[test]
fn a_reflink_holds_the_instant_and_is_removed() {
    let lab = Lab::new();
    let space = Mounted::xfs(&lab.path("xfs"), &lab.path("xfs.image"));
    let host = lab.host_with_vault().within(&space);
    let (inside, original) = (lab.path("xfs/disk.raw"), lab.path("original.raw"));
    let path = space.from_outside(&inside);
    disk::full(&path, 128 * MIB, 83);
    disk::copy(&path, &original);
    host.add("web-01", &[("os", &inside)]);
    backup_while_the_disk_changes(&host, &path).ok();
    assert_eq!(files_in(&space, &lab.path("xfs")), ["disk.raw"], "the copy is gone");
    host.restores("web-01", "latest", &lab.path("restored"), &[("os", &original)]);
}

#[test]
fn a_reflink_is_removed_after_a_crash() {
    let lab = Lab::new();
    let space = Mounted::xfs(&lab.path("xfs"), &lab.path("xfs.image"));
    let host = lab.host_with_vault().within(&space);
    let (inside, small) = (lab.path("xfs/disk.raw"), lab.path("small.raw"));
    let path = space.from_outside(&inside);
    disk::full(&path, 64 * MIB, 84);
    disk::full(&small, MIB, 85);
    host.add("web-01", &[("os", &inside)]);
    host.add("small", &[("os", &small)]);
    let original = lab.path("original.raw");
    disk::copy(&path, &original);
    let mut running = host.spawn(&["--json", "backup", "web-01"]);
    assert!(running.reaches(|| !objects_of(host.vault(), is_pack).is_empty()));
    let _done = running.kill();
    disk::overwrite(&path, 5 * MIB, &disk::noise(86, MIB));
    host.backup("small");
    assert_eq!(files_in(&space, &lab.path("xfs")), ["disk.raw"], "the copy is gone");
    assert_eq!(host.points("web-01").len(), 1, "the job went on from its snapshot");
    host.restores("web-01", "latest", &lab.path("restored"), &[("os", &original)]);
}

#[test]
fn block_devices_are_sources_and_targets() {
    let lab = Lab::new();
    let host = lab.host_with_vault();
    let (source, target, short) = (lab.path("source.img"), lab.path("target.img"), lab.path("short.img"));
    disk::full(&source, 16 * MIB, 87);
    disk::full(&target, 16 * MIB, 88);
    disk::full(&short, 8 * MIB, 89);
    disk::overwrite(&source, 4 * MIB, &vec![0; 2 * MIB as usize]);
    let device = LoopDevice::over(&source);
    host.add("web-01", &[("os", device.path())]);
    host.backup("web-01");
    device.detach();
    host.restores("web-01", "latest", &lab.path("restored"), &[("os", &source)]);

    let device = LoopDevice::over(&short);
    host.fails(&["restore", "web-01", "--disk", &format!("os={}", device.path().display()), "--overwrite"]);
    device.detach();
    assert!(
        fs::read(&short).expect("the device's file can be read") == disk::noise(89_000, 8 * MIB),
        "a device too small is not touched"
    );

    let device = LoopDevice::over(&target);
    let disk = format!("os={}", device.path().display());
    host.fails(&["restore", "web-01", "--disk", &disk]);
    host.json(&["restore", "web-01", "--disk", &disk, "--overwrite"]);
    device.detach();
    disk::assert_same(&source, &target);
}

#[test]
fn backups_of_two_processes_share_the_reads_of_their_host() {
    let lab = Lab::new();
    let host = lab.host_with_vault().set("STILLPOINT_READS_PER_SECOND", "40");
    for (name, seed) in [("web-01", 86), ("web-02", 87)] {
        let path = lab.path(&format!("{name}.raw"));
        disk::full(&path, 16 * MIB, seed);
        host.add(name, &[("os", &path)]);
    }
    let begun = Instant::now();
    let both = ["web-01", "web-02"].map(|name| host.spawn(&["backup", name]));
    for running in both {
        running.finish().ok();
    }
    // 128 reads of 256 KiB, of which the first waits for nothing and the last ones come as one of 2 MiB; each alone would take half of it.
    assert!(begun.elapsed() >= Duration::from_secs_f64(120.0 / 40.0), "{:?}", begun.elapsed());
    for name in ["web-01", "web-02"] {
        host.restores(name, "latest", &lab.path(&format!("restored-{name}")), &[("os", &lab.path(&format!("{name}.raw")))]);
    }
    assert_eq!(host.run(&["--reads-per-second", "0", "backup", "web-01"]).code, Some(2));
}

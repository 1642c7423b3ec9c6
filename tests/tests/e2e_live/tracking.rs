use std::{cell::Cell, fs};

use serde_json::json;
use stillpoint_tests::{
    disk::{MIB, allocated, names},
    live::{Disk, Format},
};

use super::estate::{MACHINE, Site, assert_clean, assert_point_is, bitmaps, newest, read, resets};

#[test]
fn an_increment_reads_what_was_written_and_no_more() {
    let mut site = Site::new(|lab| {
        vec![Disk::empty(&lab.path(""), "a", Format::Qcow2, 256 * MIB), Disk::empty(&lab.path(""), "b", Format::Raw, 64 * MIB)]
    });
    site.write("a", MIB, 40 * MIB, 1);
    site.write("b", 0, 5 * MIB, 2);
    let full = site.point();
    assert_eq!((resets(&full), read(&full)), (vec![], 45 * MIB));
    site.write("a", 100 * MIB, MIB, 3);
    site.write("a", 3 * MIB, 65536, 4);
    site.write("b", 60 * MIB, 4096, 5);
    let point = site.point();
    assert_eq!((resets(&point), read(&point)), (vec![], MIB + 2 * 65536));
    assert!(point["stored_bytes"].as_u64().is_some_and(|stored| stored < 2 * MIB), "{point}");
    let idle = site.point();
    assert_eq!((resets(&idle), read(&idle)), (vec![], 0));
    assert_eq!(bitmaps(&site.machine).len(), 2, "one a disk");
    assert_clean(&site.machine);
}

#[test]
fn what_an_increment_does_not_read_is_overwritten_without_being_copied() {
    let mut site = Site::new(|lab| vec![Disk::empty(&lab.path(""), "a", Format::Qcow2, 64 * MIB)]);
    site.write("a", 0, 40 * MIB, 1);
    site.point();
    site.write("a", 4 * MIB, 8 * MIB, 2);
    let copies = site.lab.path("copies");
    site.machine.independent_copy(&copies);
    let slow = site.host.set("STILLPOINT_BYTES_PER_SECOND", "1MiB");
    let mut running = slow.spawn(&["backup", MACHINE, "--consistency", "crash"]);
    let scratch = || {
        let files = names(&site.lab.path("")).into_iter().filter(|name| name.ends_with(".scratch"));
        files.map(|name| allocated(&site.lab.path(&name))).sum::<u64>()
    };
    assert!(running.reaches(|| site.machine.leftovers().exports.len() == 1), "it has begun");
    // Until it has been told what is read, QEMU copies everything.
    let place = Cell::new(20 * MIB);
    let copies_no_more = || {
        let before = scratch();
        place.set(place.get() + 65536);
        site.write("a", place.get(), 4096, 3);
        scratch() == before
    };
    assert!(running.reaches(copies_no_more), "what nobody reads is copied");
    let before = scratch();
    site.write("a", 30 * MIB, 8 * MIB, 4);
    assert_eq!(scratch(), before);
    site.write("a", 0, 12 * MIB, 5);
    assert!(scratch() >= before + 8 * MIB, "what is read is kept");
    let done = running.finish();
    assert!(matches!(done.code, Some(0 | 3)), "{done}");
    assert_point_is(&site.lab, &site.host, &site.machine, &newest(&site.host), &copies);
    assert_clean(&site.machine);
}

#[test]
fn tracking_outlives_a_power_cycle_and_says_when_it_did_not() {
    let mut site = Site::new(|lab| {
        vec![Disk::empty(&lab.path(""), "a", Format::Qcow2, 64 * MIB), Disk::empty(&lab.path(""), "b", Format::Raw, 16 * MIB)]
    });
    site.write("a", 0, 20 * MIB, 1);
    site.write("b", 0, 4 * MIB, 2);
    site.point();
    site.machine.power_off();
    site.machine.power_on();
    site.write("a", 0, 65536, 3);
    let point = site.point();
    let found = resets(&point);
    assert!(matches!(&found[..], [(disk, reason)] if disk == "disk-b" && reason.contains("format raw")), "{found:?}");
    assert_eq!(read(&point), 65536 + 4 * MIB);

    // A crash of the hypervisor: bitmaps that lie in the image were in use.
    site.machine.power_off();
    site.machine.power_on();
    site.write("a", 5 * MIB, 65536, 4);
    site.machine.kill();
    site.machine.power_on();
    let point = site.point();
    let found = resets(&point);
    assert!(found.iter().any(|(disk, reason)| disk == "disk-a" && reason.contains("crashed")), "{found:?}");
    assert_eq!((point["changed_bytes"].as_u64(), read(&point)), (Some(65536), 24 * MIB));
    assert_eq!(resets(&site.point()), vec![]);
    assert_clean(&site.machine);
}

#[test]
fn a_machine_that_is_off_is_read_through_a_daemon_by_its_changes() {
    let mut site = Site::new(|lab| vec![Disk::empty(&lab.path(""), "a", Format::Qcow2, 64 * MIB)]);
    site.write("a", 0, 20 * MIB, 1);
    site.point();
    site.write("a", MIB, 65536, 2);
    site.machine.power_off();
    let point = site.point();
    assert_eq!((resets(&point), read(&point)), (vec![], 65536));
    site.machine.power_on();
    site.write("a", 2 * MIB, 65536, 3);
    let point = site.point();
    assert_eq!((resets(&point), read(&point)), (vec![], 65536), "what the daemon began goes on in the machine");
    assert_clean(&site.machine);
}

#[test]
fn disks_that_grow_or_change_places_are_read_as_a_whole() {
    let mut site = Site::new(|lab| {
        vec![Disk::empty(&lab.path(""), "a", Format::Qcow2, 32 * MIB), Disk::empty(&lab.path(""), "b", Format::Qcow2, 32 * MIB)]
    });
    site.write("a", 0, 8 * MIB, 1);
    site.write("b", 0, 6 * MIB, 2);
    site.point();
    site.machine.monitor().execute("block_resize", json!({ "node-name": "a", "size": 40 * MIB }));
    let point = site.point();
    let found = resets(&point);
    assert!(matches!(&found[..], [(disk, reason)] if disk == "disk-a" && reason.contains("resized")), "{found:?}");
    assert_eq!(resets(&site.point()), vec![]);

    // Somebody puts each image where the other was.
    site.machine.power_off();
    let (a, b) = (site.lab.path("a.qcow2"), site.lab.path("b.qcow2"));
    assert!(a.exists() && b.exists(), "{:?}", names(&site.lab.path("")));
    fs::rename(&a, site.lab.path("c.qcow2"))
        .and_then(|()| fs::rename(&b, &a))
        .and_then(|()| fs::rename(site.lab.path("c.qcow2"), &b))
        .expect("files can be renamed");
    site.machine.power_on();
    let point = site.point();
    assert_eq!(resets(&point).len(), 2, "{point}");
    assert_clean(&site.machine);
}

#[test]
fn a_backup_that_is_stopped_leaves_the_parents_tracking_whole() {
    let mut site = Site::new(|lab| vec![Disk::empty(&lab.path(""), "a", Format::Qcow2, 64 * MIB)]);
    site.write("a", 0, 30 * MIB, 1);
    site.point();
    site.write("a", 0, MIB, 2);
    let vault = site.lab.path("vault/packs");
    // The vault cannot be written to: the job fails after its snapshot.
    fs::rename(&vault, site.lab.path("away")).and_then(|()| fs::write(&vault, "")).expect("a folder can be moved");
    site.host.fails(&["backup", MACHINE]);
    fs::remove_file(&vault).and_then(|()| fs::rename(site.lab.path("away"), &vault)).expect("a folder can be moved");
    assert_clean(&site.machine);
    assert_eq!(bitmaps(&site.machine).len(), 1, "the parent's");
    site.write("a", 2 * MIB, 65536, 3);
    let point = site.point();
    assert_eq!((resets(&point), read(&point)), (vec![], MIB + 65536), "changes of both intervals");
}

//! What operators do to a machine between two backups of it.

use std::process::Command;

use stillpoint_tests::{
    disk::MIB,
    live::{Disk, Format},
};

use super::estate::{MACHINE, Site, add, assert_clean, bitmaps, read, resets};

fn disk(lab: &stillpoint_tests::Lab, name: &str, format: Format) -> Disk {
    Disk::empty(&lab.path(""), name, format, 32 * MIB)
}

fn disks_reset(point: &serde_json::Value) -> Vec<String> {
    resets(point).into_iter().map(|(disk, _)| disk).collect()
}

#[test]
fn tracking_goes_along_with_a_live_migration_where_the_format_keeps_it() {
    let mut site = Site::new(|lab| vec![disk(lab, "a", Format::Qcow2), disk(lab, "b", Format::Raw)]);
    site.write("a", 0, 8 * MIB, 1);
    site.write("b", 0, 4 * MIB, 2);
    site.point();
    for round in 0..2 {
        site.write("a", round * MIB, 65536, 3 + round);
        site.machine.migrate();
        add(&site.host, &site.machine.qmp());
        site.write("b", round * MIB, 65536, 5 + round);
        let point = site.point();
        assert_eq!(disks_reset(&point), ["disk-b"]);
        assert_eq!(read(&point), 65536 + 4 * MIB);
        assert_clean(&site.machine);
    }
}

#[test]
fn disks_that_come_and_go_while_the_machine_runs_are_in_the_points_that_had_them() {
    let mut site = Site::new(|lab| vec![disk(lab, "a", Format::Qcow2), disk(lab, "b", Format::Qcow2)]);
    site.write("a", 0, 4 * MIB, 1);
    site.point();
    let fresh = disk(&site.lab, "c", Format::Qcow2);
    site.machine.plug_in(fresh);
    site.write("c", 0, 2 * MIB, 2);
    let point = site.point();
    assert_eq!(disks_reset(&point), ["disk-c"]);
    assert_eq!(read(&point), 2 * MIB);
    site.machine.unplug("b");
    site.write("a", 0, 65536, 3);
    let point = site.point();
    assert_eq!((resets(&point), read(&point)), (vec![], 65536));
    let names: Vec<_> = point["disks"].as_array().expect("a list").iter().map(|disk| disk["name"].clone()).collect();
    assert_eq!(names, ["disk-a", "disk-c"]);
    assert_clean(&site.machine);
}

#[test]
fn an_operators_snapshot_above_a_disk_has_it_read_as_a_whole_once() {
    let mut site = Site::new(|lab| vec![disk(lab, "a", Format::Qcow2)]);
    site.write("a", 0, 4 * MIB, 1);
    site.point();
    site.write("a", MIB, 65536, 2);
    let below = site.machine.disk("a").clone();
    let overlay = site.lab.path("overlay.qcow2");
    site.machine.snapshot_over("a", &overlay);
    site.write("a", 2 * MIB, 65536, 3);
    let point = site.point();
    assert_eq!(disks_reset(&point), ["disk-a"]);
    assert_eq!(point["warnings"].as_array().map(Vec::len), Some(1), "{point}");
    assert_clean(&site.machine);
    site.write("a", 3 * MIB, 65536, 4);
    let point = site.point();
    assert_eq!((resets(&point), read(&point)), (vec![], 65536));

    site.write("a", 3 * MIB, 65536, 5);
    site.machine.commit_down("a", below);
    site.write("a", 5 * MIB, 65536, 6);
    assert_eq!(disks_reset(&site.point()), ["disk-a"]);
    site.write("a", 6 * MIB, 65536, 7);
    let point = site.point();
    assert_eq!((resets(&point), read(&point)), (vec![], 65536));
    assert_eq!(bitmaps(&site.machine).len(), 1);
    assert_clean(&site.machine);
}

#[test]
fn tracking_is_taken_away_for_an_operators_own_revert_and_begins_anew() {
    let mut site = Site::new(|lab| vec![disk(lab, "a", Format::Qcow2), disk(lab, "b", Format::Raw)]);
    site.write("a", 0, 4 * MIB, 1);
    site.machine.power_off();
    let image = site.machine.disk("a").path.clone();
    let revert = |action: &str| {
        let done = Command::new("qemu-img").args(["snapshot", action, "before"]).arg(&image).output();
        done.expect("qemu-img is installed (tests/run does it)").status.success()
    };
    assert!(revert("-c"));
    site.machine.power_on();
    site.point();
    site.write("a", MIB, 65536, 2);
    site.point();
    site.machine.power_off();
    assert!(!revert("-a"), "QEMU does not go back to before a bitmap");
    site.host.json(&["machine", "untrack", MACHINE]);
    assert!(revert("-a"));
    site.machine.power_on();
    let point = site.point();
    assert_eq!(disks_reset(&point), ["disk-a", "disk-b"]);
    assert_eq!(resets(&site.point()), vec![]);

    assert_eq!(bitmaps(&site.machine).len(), 2);
    site.host.json(&["machine", "untrack", MACHINE]);
    assert_eq!(bitmaps(&site.machine), Vec::<String>::new());
    assert_clean(&site.machine);
    assert_eq!(resets(&site.point()).len(), 2);
}

//! The lab itself: what the end-to-end tests lean on sees differences, and leaves nothing behind.

use std::{fs, panic, path::Path};

use stillpoint_tests::{
    Lab, LoopDevice, Mounted,
    disk::{self, MIB},
    vault_files::{PackName, is_commit, is_ledger, is_marker, is_pack, is_plan, objects, says},
};

#[test]
fn a_difference_of_one_bit_or_one_byte_is_seen() {
    let lab = Lab::new();
    let (one, two) = (lab.path("one"), lab.path("two"));
    disk::full(&one, 2 * MIB, 1);
    disk::copy(&one, &two);
    disk::assert_same(&one, &two);
    let last = disk::range(&two, 2 * MIB - 1, 1)[0];
    disk::overwrite(&two, 2 * MIB - 1, &[last ^ 1]);
    assert!(panic::catch_unwind(|| disk::assert_same(&one, &two)).is_err());
    disk::copy(&one, &two);
    disk::grow(&two, 2 * MIB + 1);
    assert!(panic::catch_unwind(|| disk::assert_same(&one, &two)).is_err());
}

#[test]
fn an_ext4_disk_is_the_same_each_time_and_an_edit_changes_it() {
    let lab = Lab::new();
    let (one, two) = (lab.path("one"), lab.path("two"));
    disk::ext4(&one);
    disk::ext4(&two);
    disk::assert_same(&one, &two);
    assert_eq!(fs::metadata(&one).expect("the image exists").len(), disk::EXT4_BYTES);
    assert!(disk::allocated(&one) > 40 * MIB, "real files are on it");
    disk::edit_ext4(&two, 1);
    assert!(panic::catch_unwind(|| disk::assert_same(&one, &two)).is_err());
}

#[test]
fn noise_does_not_repeat_itself() {
    assert_eq!(disk::noise(1, 100), disk::noise(1, 100));
    assert_ne!(disk::noise(1, 100), disk::noise(2, 100));
    let bytes = disk::noise(3, MIB);
    assert_ne!(bytes[..4096], bytes[4096..8192]);
}

#[test]
fn a_small_file_system_is_full_soon_and_vanishes() {
    let lab = Lab::new();
    let at = lab.path("small");
    let space = Mounted::tmpfs(&at, "1m");
    let file = space.from_outside(&at.join("file"));
    assert!(fs::write(&file, disk::noise(4, 2 * MIB)).is_err());
    space.remount("size=4m");
    fs::write(&file, disk::noise(4, 2 * MIB)).expect("now there is room");
    assert!(disk::names(&at).is_empty(), "outside nothing is mounted");
    space.remount("ro");
    assert!(fs::write(&file, b"x").is_err());
    drop(space);
    assert!(!file.exists());
}

#[test]
fn an_xfs_shares_extents() {
    let lab = Lab::new();
    let space = Mounted::xfs(&lab.path("xfs"), &lab.path("xfs.image"));
    assert!(disk::reflinks(&space.from_outside(&lab.path("xfs"))));
}

#[test]
fn a_loop_device_shows_its_file() {
    let lab = Lab::new();
    let file = lab.path("file");
    disk::full(&file, MIB, 5);
    let device = LoopDevice::over(&file);
    let path = device.path().to_owned();
    assert!(disk::range(&path, 0, MIB) == disk::noise(5000, MIB));
    disk::overwrite(&path, 0, b"written");
    device.detach();
    assert_eq!(disk::range(&file, 0, 7), b"written");
}

#[test]
fn objects_are_told_apart_by_their_names() {
    let ledger = "jobs/2026-01-02/01J/000002-validate.json";
    assert!(is_ledger(ledger) && says(ledger, "validate") && !says(ledger, "completed"));
    assert!(is_marker("jobs/2026-01-02/01J/done/0/7") && !is_ledger("jobs/2026-01-02/01J/done/0/7"));
    assert!(is_plan("jobs/2026-01-02/01J/plan") && is_pack("packs/a/01J/0/7-01K-0") && is_commit("points/a/01P/point.json"));
    let pack = PackName::parse("packs/a/01J/0/7-01K-0");
    assert_eq!((pack.job.as_str(), pack.group.as_str(), pack.segment.as_str(), pack.attempt.as_str()), ("01J", "0", "7", "01K"));
    assert!(pack.is_done(&["jobs/2026-01-02/01J/done/0/7".to_owned()]));
    assert!(!pack.is_done(&["jobs/2026-01-02/01J/done/0/17".to_owned(), "jobs/2026-01-02/01L/done/0/7".to_owned()]));
    assert!(objects(Path::new("/nonexistent")).is_empty());
}

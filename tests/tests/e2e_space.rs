//! Stores and targets that are full or may not be written: an error, nothing half-made, and a way on once there is room.

use std::process::Command;

use stillpoint_tests::{
    Lab, Mounted,
    disk::{self, MIB},
    vault_files::{is_commit, objects, objects_of},
};

#[test]
fn a_full_vault_fails_the_backup_and_room_mends_it() {
    let lab = Lab::new();
    let space = Mounted::tmpfs(&lab.path("small"), "8m");
    let host = lab.host("first").at_vault(&lab.path("small/vault")).within(&space);
    host.create();
    let path = lab.path("disk.raw");
    disk::full(&path, 32 * MIB, 50);
    host.add("web-01", &[("os", &path)]);
    host.fails(&["backup", "web-01"]);
    assert_eq!(objects_of(&space.from_outside(host.vault()), is_commit), [] as [String; 0]);
    space.remount("size=96m");
    host.backup("web-01");
    host.restores("web-01", "latest", &lab.path("restored"), &[("os", &path)]);
}

#[test]
fn a_vault_is_made_whole_or_not_at_all() {
    let lab = Lab::new();
    let space = Mounted::tmpfs(&lab.path("tiny"), "8k");
    let host = lab.host("first").at_vault(&lab.path("tiny/vault")).within(&space);
    host.fails(&["vault", "create"]);
    assert!(!objects(&space.from_outside(host.vault())).contains(&"vault.json".to_owned()), "no vault without its keys");
    assert!(disk::names(&host.home().join(".config/stillpoint")).is_empty(), "no key without its vault");
    space.remount("size=1m");
    host.create();
}

#[test]
fn a_full_target_is_seen_before_the_first_byte() {
    let lab = Lab::new();
    let host = lab.host_with_vault();
    let path = lab.path("disk.raw");
    disk::full(&path, 32 * MIB, 51);
    host.add("web-01", &[("os", &path)]);
    host.backup("web-01");
    let space = Mounted::tmpfs(&lab.path("small"), "4m");
    let inside = host.within(&space);
    inside.fails(&["restore", "web-01", "--to", &lab.arg("small/restored")]);
    let target = space.from_outside(&lab.path("small/restored"));
    assert!(disk::names(&target).is_empty(), "nothing is left in the target: {:?}", disk::names(&target));
    inside.fails(&["restore", "web-01", "--to", &lab.arg("small/a/deep/folder")]);
    assert!(disk::names(&space.from_outside(&lab.path("small"))).is_empty(), "no folder is left either");
    let one = format!("os={}", lab.arg("small/os.img"));
    inside.fails(&["restore", "web-01", "--disk", &one]);
    assert_eq!(disk::names(&space.from_outside(&lab.path("small"))).iter().filter(|name| name.contains("os.img")).count(), 0);
    host.restores("web-01", "latest", &lab.path("restored"), &[("os", &path)]);
}

#[test]
fn a_sparse_disk_fits_where_its_data_fits() {
    let lab = Lab::new();
    let host = lab.host_with_vault();
    let path = lab.path("disk.raw");
    disk::sparse(&path, 64 * MIB, 52, &[(MIB, MIB), (40 * MIB, MIB)]);
    host.add("web-01", &[("os", &path)]);
    host.backup("web-01");
    let space = Mounted::tmpfs(&lab.path("small"), "8m");
    host.within(&space).json(&["restore", "web-01", "--to", &lab.arg("small/restored")]);
    disk::assert_same(&path, &space.from_outside(&lab.path("small/restored/os.raw")));
}

#[test]
fn a_read_only_vault_refuses_a_backup_and_says_why() {
    let lab = Lab::new();
    let space = Mounted::tmpfs(&lab.path("mounted"), "64m");
    let host = lab.host("first").at_vault(&lab.path("mounted/vault")).within(&space);
    host.create();
    let path = lab.path("disk.raw");
    disk::full(&path, 4 * MIB, 53);
    host.add("web-01", &[("os", &path)]);
    host.backup("web-01");
    let before = objects(&space.from_outside(host.vault()));
    space.remount("ro");
    host.fails(&["backup", "web-01"]);
    host.fails(&["machine", "add", "web-02", "--platform", "image", "--disk", &format!("os={}", path.display())]);
    assert_eq!(host.points("web-01").len(), 1, "reading still works");
    assert_eq!(objects(&space.from_outside(host.vault())), before);
    space.remount("rw");
    host.backup("web-01");
}

#[test]
fn a_vault_without_permission_refuses_a_backup() {
    let lab = Lab::new();
    let host = lab.host_with_vault();
    let path = lab.path("disk.raw");
    disk::full(&path, MIB, 54);
    host.add("web-01", &[("os", &path)]);
    host.backup("web-01");
    let before = objects(host.vault());
    let mode = |letters: &str| {
        let status = Command::new("chmod").args(["--recursive", letters]).arg(host.vault()).status();
        assert!(status.expect("chmod runs").success());
    };
    mode("a-w");
    host.without_privileges().fails(&["backup", "web-01"]);
    assert_eq!(objects(host.vault()), before, "nothing half-made");
    mode("u+w");
    host.backup("web-01");
}

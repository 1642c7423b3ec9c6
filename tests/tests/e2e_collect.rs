//! `stillpoint collect`.

use std::{
    fs::{self, File},
    time::{Duration, SystemTime},
};

use stillpoint_tests::{
    Lab, disk, number,
    vault_files::{is_pack, objects, objects_of},
};

#[test]
fn a_preview_says_what_a_run_then_does_and_the_second_run_deletes() {
    let lab = Lab::new();
    let host = lab.host_with_vault();
    let path = lab.path("disk.raw");
    disk::full(&path, 8 * disk::MIB, 77);
    host.add("web-01", &[("os", &path)]);
    host.backup("web-01");
    let kept = objects_of(host.vault(), is_pack);
    // What a killed attempt of the same job would have left.
    let orphan = kept[0].replace("-0000", "-0009");
    fs::copy(host.vault().join(&kept[0]), host.vault().join(&orphan)).unwrap();
    let size = fs::metadata(host.vault().join(&orphan)).unwrap().len();

    let before = objects(host.vault());
    let preview = host.json(&["collect", "--dry-run"]);
    assert_eq!((number(&preview, "/counts/objects_condemned"), number(&preview, "/counts/objects_deleted")), (1, 0));
    assert_eq!(objects(host.vault()), before, "a preview writes nothing");
    let first = host.json(&["collect"]);
    assert_eq!(first["counts"]["pack_bytes_condemned"], size);
    assert_eq!(objects_of(host.vault(), is_pack).len(), kept.len() + 1, "condemned, and still there");
    let preview = host.json(&["collect", "--dry-run"]);
    assert_eq!((number(&preview, "/counts/objects_deleted"), number(&preview, "/counts/pack_bytes_deleted")), (1, size));
    let said = String::from_utf8(host.run(&["collect"]).ok().stdout).unwrap();
    assert!(said.contains("1 objects with") && said.contains("deleted"), "{said}");
    assert_eq!(objects_of(host.vault(), is_pack), kept);
    host.json(&["vault", "check"]);
    host.restores("web-01", "latest", &lab.path("restored"), &[("os", &path)]);
}

#[test]
fn what_killed_writers_left_in_the_vaults_directory_is_removed_after_a_week() {
    let lab = Lab::new();
    let host = lab.host_with_vault();
    let path = lab.path("disk.raw");
    disk::full(&path, disk::MIB, 78);
    host.add("web-01", &[("os", &path)]);
    host.backup("web-01");
    let pack = objects_of(host.vault(), is_pack).remove(0);
    let put = |name: String, days: u64| {
        let path = host.vault().join(name);
        fs::write(&path, [7; 5000]).unwrap();
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_modified(SystemTime::now() - Duration::from_secs(days * 86_400))
            .unwrap();
        path
    };
    let old = [put(format!("{pack}#1"), 8), put("vault.json#3".to_owned(), 400)];
    let kept = [put(format!("{pack}#2"), 6), put("notes#1".to_owned(), 8), put(format!("{pack}#1.saved"), 8)];
    host.json(&["collect", "--dry-run"]);
    assert!(old.iter().chain(&kept).all(|path| path.exists()), "a preview removes nothing");
    let said = String::from_utf8(host.run(&["collect"]).ok().stdout).unwrap();
    assert!(said.contains("2 files that killed writers left unfinished removed"), "{said}");
    assert!(!old.iter().any(|path| path.exists()));
    assert!(kept.iter().all(|path| path.exists()));
    assert_eq!(host.json(&["collect"])["counts"].get("unfinished_files_removed"), None);
    host.json(&["vault", "check"]);
    host.restores("web-01", "latest", &lab.path("restored"), &[("os", &path)]);
}

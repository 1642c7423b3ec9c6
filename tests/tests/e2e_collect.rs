//! `stillpoint collect`.

use std::fs;

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

//! Work is proportional to change: what the second backup reads, stores and asks of the store.

use std::fs;

use serde_json::Value;
use stillpoint_tests::{
    Host, Lab,
    disk::{self, MIB},
    number, text,
    vault_files::stored_bytes,
};

const GIB: u64 = 1024 * MIB;

#[test]
fn an_unchanged_disk_stores_nothing_and_is_read_whole() {
    let lab = Lab::new();
    let host = lab.host_with_vault();
    let path = lab.path("os.raw");
    disk::ext4(&path);
    host.add("web-01", &[("os", &path)]);
    let first = host.backup("web-01");
    assert!(number(&first, "/read_bytes") >= 64 * MIB && number(&first, "/read_bytes") <= disk::EXT4_BYTES);
    let before = stored_bytes(host.vault());
    let second = host.backup("web-01");
    assert_eq!(number(&second, "/changed_bytes"), 0);
    assert_eq!(number(&second, "/read_bytes"), number(&first, "/read_bytes"), "the image platform compares");
    assert!(number(&second, "/stored_bytes") <= 4096, "{second}");
    assert!(stored_bytes(host.vault()) - before <= 64 * 1024, "records only");
    assert_eq!(number(&second, "/requests/delete"), 0, "only collect deletes");
    host.restores("web-01", "latest", &lab.path("restored"), &[("os", &path)]);
}

#[test]
fn a_changed_disk_stores_its_change() {
    let lab = Lab::new();
    let host = lab.host_with_vault();
    let path = lab.path("os.raw");
    disk::full(&path, 96 * MIB, 20);
    host.add("web-01", &[("os", &path)]);
    let first = host.backup("web-01");
    assert!((96 * MIB..97 * MIB).contains(&number(&first, "/stored_bytes")), "noise does not shrink: {first}");
    for place in 0..16 {
        disk::overwrite(&path, place * 6 * MIB + 64 * 1024, &disk::noise(21 + place, 64 * 1024));
    }
    let second = host.backup("web-01");
    assert_eq!(number(&second, "/changed_bytes"), MIB);
    assert!((MIB..MIB + MIB / 2).contains(&number(&second, "/stored_bytes")), "about the change: {second}");
    host.restores("web-01", "latest", &lab.path("restored"), &[("os", &path)]);
}

#[test]
fn zeros_and_holes_over_old_data_come_back_as_zeros() {
    let lab = Lab::new();
    let host = lab.host_with_vault();
    let path = lab.path("os.raw");
    disk::full(&path, 8 * MIB, 22);
    host.add("web-01", &[("os", &path)]);
    host.backup("web-01");
    disk::overwrite(&path, MIB, &vec![0; 2 * MIB as usize]);
    let punched = lab.path("punched.raw");
    disk::copy(&path, &punched);
    fs::rename(&punched, &path).expect("the disk can be replaced");
    let second = host.backup("web-01");
    assert!(number(&second, "/stored_bytes") < 256 * 1024, "zeros are not stored: {second}");
    host.restores("web-01", "latest", &lab.path("restored"), &[("os", &path)]);
}

#[test]
fn a_copy_of_a_machine_stores_little() {
    let lab = Lab::new();
    let host = lab.host_with_vault();
    let (path, clone) = (lab.path("os.raw"), lab.path("clone.raw"));
    disk::ext4(&path);
    host.add("web-01", &[("os", &path)]);
    let first = host.backup("web-01");
    disk::copy(&path, &clone);
    disk::overwrite(&clone, 64 * MIB, &disk::noise(23, 4096));
    host.add("web-02", &[("os", &clone)]);
    let second = host.backup("web-02");
    let (ours, theirs) = (number(&first, "/stored_bytes"), number(&second, "/stored_bytes"));
    assert!(theirs * 50 < ours, "the copy stores {theirs} bytes, the original {ours}");
    host.restores("web-02", "latest", &lab.path("restored"), &[("os", &clone)]);
}

#[test]
fn disks_come_go_and_grow() {
    let lab = Lab::new();
    let host = lab.host_with_vault();
    let [os, data, logs] = ["os", "data", "logs"].map(|name| lab.path(&format!("{name}.raw")));
    disk::full(&os, 4 * MIB, 30);
    disk::full(&data, 40 * MIB, 31);
    disk::full(&logs, 2 * MIB, 32);

    host.add("web-01", &[("os", &os)]);
    host.backup("web-01");
    host.add("web-01", &[("os", &os), ("data", &data)]);
    let joined = host.backup("web-01");
    assert_eq!(number(&joined, "/changed_bytes"), 40 * MIB, "the new disk is all change: {joined}");
    let old_data = lab.path("old-data.raw");
    disk::copy(&data, &old_data);

    disk::grow(&data, 70 * MIB + 512);
    disk::overwrite(&data, 70 * MIB, &disk::noise(33, 512));
    disk::overwrite(&data, 41 * MIB, &disk::noise(34, MIB));
    host.add("web-01", &[("data", &data), ("logs", &logs)]);
    let swapped = host.backup("web-01");
    assert!(number(&swapped, "/stored_bytes") < 5 * MIB, "what was there is not stored again: {swapped}");

    let points = host.points("web-01");
    let ids: Vec<&str> = points.iter().map(|point| text(point, "/id")).collect();
    let sizes: Vec<u64> = points.iter().map(|point| number(point, "/size_bytes")).collect();
    assert_eq!(sizes, [4 * MIB, 44 * MIB, 72 * MIB + 512]);
    host.restores("web-01", ids[0], &lab.path("one"), &[("os", &os)]);
    host.restores("web-01", ids[1], &lab.path("two"), &[("os", &os), ("data", &old_data)]);
    host.restores("web-01", ids[2], &lab.path("three"), &[("data", &data), ("logs", &logs)]);
}

#[test]
fn a_disk_that_shrank_is_backed_up_as_it_is() {
    let lab = Lab::new();
    let host = lab.host_with_vault();
    let path = lab.path("os.raw");
    disk::full(&path, 40 * MIB, 35);
    host.add("web-01", &[("os", &path)]);
    host.backup("web-01");
    disk::grow(&path, 33 * MIB);
    host.backup("web-01");
    host.restores("web-01", "latest", &lab.path("restored"), &[("os", &path)]);
}

/// The last page of the parent has fewer chunks than the same page now, and nothing in it changed.
#[test]
fn a_disk_that_grew_by_a_hole_is_backed_up_as_it_is() {
    let lab = Lab::new();
    let host = lab.host_with_vault();
    let path = lab.path("os.raw");
    disk::full(&path, 33 * MIB, 38);
    host.add("web-01", &[("os", &path)]);
    host.backup("web-01");
    for (size, folder) in [(40 * MIB, "one"), (100 * MIB + 512, "two")] {
        disk::grow(&path, size);
        let report = host.backup("web-01");
        assert_eq!(number(&report, "/changed_bytes"), 0, "a hole is no change: {report}");
        host.restores("web-01", "latest", &lab.path(folder), &[("os", &path)]);
    }
}

/// A sparse disk of `size` with 16 MiB of data spread over it, backed up; returns the report.
fn backed_up_sparse(lab: &Lab, host: &Host, name: &str, size: u64, seed: u64) -> Value {
    let path = lab.path(&format!("{name}.raw"));
    let data: Vec<(u64, u64)> = (0..16).map(|part| (size / 16 * part, MIB)).collect();
    disk::sparse(&path, size, seed, &data);
    host.add(name, &[("os", &path)]);
    let done = host.run(&["--json", "backup", name]).ok();
    assert!(done.peak_memory_bytes <= 512 * MIB, "{} MiB of memory", done.peak_memory_bytes / MIB);
    done.json()
}

#[test]
fn a_vast_sparse_disk_costs_what_a_small_one_with_the_same_data_costs() {
    let lab = Lab::new();
    let host = lab.host_with_vault();
    let small = backed_up_sparse(&lab, &host, "small", 64 * GIB, 36);
    let vast = backed_up_sparse(&lab, &host, "vast", 1024 * GIB, 37);
    let requests = |report: &Value| {
        ["put", "get", "list", "head"].map(|kind| number(report, &format!("/requests/{kind}"))).iter().sum::<u64>()
    };
    assert!(requests(&vast) * 2 <= requests(&small) * 3, "{} requests against {}", requests(&vast), requests(&small));
    assert_eq!(number(&vast, "/read_bytes"), number(&small, "/read_bytes"), "holes are not read");

    let restored = lab.path("restored");
    let folder = lab.arg("restored");
    let done = host.run(&["--json", "restore", "vast", "--to", &folder]).ok();
    assert!(done.peak_memory_bytes <= 512 * MIB, "{} MiB of memory", done.peak_memory_bytes / MIB);
    let (disk_path, original) = (restored.join("os.raw"), lab.path("vast.raw"));
    assert_eq!(fs::metadata(&disk_path).expect("the disk is restored").len(), 1024 * GIB);
    assert!(disk::allocated(&disk_path) <= 20 * MIB, "holes stay holes");
    for part in 0..16 {
        let offset = 64 * GIB * part;
        assert!(disk::range(&disk_path, offset, 2 * MIB) == disk::range(&original, offset, 2 * MIB), "part {part} differs");
    }
}

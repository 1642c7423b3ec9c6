//! The main job through the binary: disks go into a vault, incrementally, and come back, also on a machine that has nothing but
//! the vault and a key.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use serde_json::Value;
use stillpoint_tests::{
    Host, Lab,
    disk::{self, MIB},
    number, text,
    vault_files::objects_of,
};

/// Two disks: a real file system, and 64 MiB that are mostly holes.
fn two_disks(lab: &Lab) -> [(&'static str, std::path::PathBuf); 2] {
    let (os, data) = (lab.path("os.raw"), lab.path("data.raw"));
    disk::ext4(&os);
    disk::sparse(&data, 64 * MIB, 1, &[(0, 4096), (MIB + 512, 3 * MIB), (63 * MIB, MIB)]);
    [("os", os), ("data", data)]
}

fn borrowed<'a>(disks: &'a [(&'static str, std::path::PathBuf)]) -> Vec<(&'static str, &'a Path)> {
    disks.iter().map(|(name, path)| (*name, path.as_path())).collect()
}

#[test]
fn both_points_come_back_byte_for_byte_and_sparse() {
    let lab = Lab::new();
    let host = lab.host_with_vault();
    let disks = two_disks(&lab);
    host.add("web-01", &borrowed(&disks));
    let first = host.backup("web-01");
    let [old_os, old_data] = ["old-os.raw", "old-data.raw"].map(|name| lab.path(name));
    disk::copy(&disks[0].1, &old_os);
    disk::copy(&disks[1].1, &old_data);

    disk::edit_ext4(&disks[0].1, 1);
    disk::overwrite(&disks[1].1, 40 * MIB + 512, &disk::noise(2, 100_000));
    let second = host.backup("web-01");
    let points = host.points("web-01");
    let ids: Vec<&str> = points.iter().map(|point| text(point, "/id")).collect();
    assert_eq!(ids, [text(&first, "/point"), text(&second, "/point")], "oldest first");
    assert!(text(&points[0], "/time") < text(&points[1], "/time"));
    for point in &points {
        assert_eq!(number(point, "/size_bytes"), disk::EXT4_BYTES + 64 * MIB);
        assert!(point.pointer("/consistency/wanted").is_some_and(Value::is_string), "{point}");
        assert_eq!(text(point, "/consistency/obtained"), "crash");
        assert!(number(point, "/alone_bytes") <= number(point, "/stored_bytes").max(number(&first, "/stored_bytes")), "{point}");
    }

    host.restores("web-01", ids[0], &lab.path("one"), &[("os", &old_os), ("data", &old_data)]);
    let report = host.restores("web-01", "latest", &lab.path("two"), &borrowed(&disks));
    assert_eq!(report["disks"].as_array().map(Vec::len), Some(2));
    let restored = report["disks"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|disk| text(disk, "/name") == "data")
        .expect("the report names data");
    assert_eq!(number(restored, "/size_bytes"), 64 * MIB);
    assert!(number(restored, "/written_bytes") <= 6 * MIB, "holes are not written: {restored}");
    assert_eq!(text(restored, "/path"), lab.arg("two/data.raw"));
    assert!(disk::allocated(&lab.path("two/data.raw")) <= 6 * MIB, "holes stay holes");
    assert!(disk::allocated(&lab.path("two/os.raw")) <= disk::allocated(&disks[0].1) + 8 * MIB, "holes stay holes");
}

/// Everything but the vault and what `kept` names is gone.
fn only_the_vault_remains(lab: &Lab, kept: &str) {
    for path in fs::read_dir(lab.path("")).expect("the lab is a folder").flatten().map(|entry| entry.path()) {
        if path.ends_with("vault") || path.ends_with(kept) {
            continue;
        }
        if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.expect("a file of the lab can be removed");
    }
}

/// A vault with one small backup; returns the disk's bytes.
fn one_backup(lab: &Lab, host: &Host) -> Vec<u8> {
    let path = lab.path("disk.raw");
    disk::sparse(&path, 8 * MIB, 3, &[(0, 2 * MIB), (5 * MIB, MIB)]);
    host.add("web-01", &[("os", &path)]);
    host.backup("web-01");
    fs::read(&path).expect("the disk can be read")
}

fn restores_on(host: &Host, lab: &Lab, bytes: &[u8]) {
    let expected = lab.path("expected.raw");
    fs::write(&expected, bytes).expect("a file can be written");
    host.restores("web-01", "latest", &lab.path("restored"), &[("os", &expected)]);
}

#[test]
fn the_vault_and_a_key_file_are_enough() {
    let lab = Lab::new();
    let host = lab.host("first");
    let created = host.create();
    let bytes = one_backup(&lab, &host);
    let kept = lab.arg("kept.key");
    fs::copy(text(&created, "/key_file"), &kept).expect("the key file can be copied");
    only_the_vault_remains(&lab, "kept.key");

    let by_flag = lab.host("by-flag");
    let points = by_flag.json(&["--key-file", &kept, "points", "web-01"]);
    assert_eq!(points["points"].as_array().map(Vec::len), Some(1));
    let by_environment = lab.host("by-environment").set("STILLPOINT_KEY_FILE", &kept);
    assert_eq!(by_environment.points("web-01").len(), 1);

    let second = lab.host("second");
    second.fails(&["points", "web-01"]);
    second.json(&["vault", "open", "--key-file", &kept]);
    restores_on(&second, &lab, &bytes);
}

#[test]
fn the_vault_and_the_recovery_key_are_enough() {
    let lab = Lab::new();
    let host = lab.host("first");
    let created = host.create();
    let printed = text(&created, "/recovery_key").to_owned();
    let bytes = one_backup(&lab, &host);
    only_the_vault_remains(&lab, "");

    let second = lab.host("second");
    second.json(&["vault", "open", "--recovery-key", &printed]);
    restores_on(&second, &lab, &bytes);
    let info = second.json(&["vault", "info"]);
    assert!(info["key_slots"].as_array().is_some_and(|slots| slots.len() >= 2), "{info}");
}

#[test]
fn a_recovery_key_in_a_file_is_not_shown_and_opens_the_vault() {
    let lab = Lab::new();
    let host = lab.host("first");
    let file = lab.arg("recovery.txt");
    let done = host.run(&["--json", "vault", "create", "--recovery-key-file", &file]).ok();
    let key = fs::read_to_string(&file).expect("the recovery key is in the file");
    assert!(!String::from_utf8_lossy(&done.stdout).contains(key.trim()) && !done.stderr.contains(key.trim()), "kept secret");
    let created = done.json();
    for secret in [file.as_str(), text(&created, "/key_file")] {
        let mode = fs::metadata(secret).expect("the key exists").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{secret} is for its owner only");
    }
    let place = format!(".config/stillpoint/{}.key", text(&created, "/vault"));
    assert_eq!(Path::new(text(&created, "/key_file")), host.home().join(place), "the documented default");

    let bytes = one_backup(&lab, &host);
    let second = lab.host("second");
    second.json(&["vault", "open", "--recovery-key-file", &file]);
    restores_on(&second, &lab, &bytes);
}

#[test]
fn nothing_of_a_disk_is_readable_in_the_vault() {
    let lab = Lab::new();
    let host = lab.host_with_vault();
    let path = lab.path("disk.raw");
    disk::sparse(&path, 4 * MIB, 4, &[(0, MIB)]);
    let marker = b"a line of text that only the disk holds";
    disk::overwrite(&path, 2 * MIB, &marker.repeat(1000));
    host.add("web-01", &[("os", &path)]);
    host.backup("web-01");
    assert!(disk::contains(&path, marker), "the search works");
    for name in objects_of(host.vault(), |_| true) {
        assert!(!disk::contains(&host.vault().join(&name), marker), "{name} shows what the disk holds");
    }
}

#[test]
fn any_range_can_be_read_from_a_point() {
    let lab = Lab::new();
    let host = lab.host_with_vault();
    let path = lab.path("disk.raw");
    disk::sparse(&path, 80 * MIB, 5, &[(31 * MIB, 2 * MIB), (70 * MIB, 10 * MIB)]);
    host.add("web-01", &[("os", &path)]);
    let point = text(&host.backup("web-01"), "/point").to_owned();
    let original = lab.path("original.raw");
    disk::copy(&path, &original);
    disk::overwrite(&path, 32 * MIB, &disk::noise(6, MIB));
    host.backup("web-01");

    let ranges = [
        (0, 1),
        (32 * MIB - 1, 2),
        (32 * MIB - 70_000, 140_001),
        (40 * MIB, 5000),
        (80 * MIB - 513, 513),
        (70 * MIB + 7, 3 * MIB),
    ];
    for (offset, length) in ranges {
        for (at, expected) in [(point.as_str(), &original), ("latest", &path)] {
            let (offset_text, length_text) = (offset.to_string(), length.to_string());
            let range = ["read", "web-01", "--point", at, "--disk", "os", "--offset", &offset_text, "--length", &length_text];
            let done = host.run(&range).ok();
            assert!(done.stdout == disk::range(expected, offset, length), "{length} bytes at {offset} of point {at} differ");
        }
    }
}

#[test]
fn the_vault_describes_and_checks_itself() {
    let lab = Lab::new();
    let host = lab.host("first");
    let created = host.create();
    one_backup(&lab, &host);
    let info = host.json(&["vault", "info"]);
    assert_eq!(text(&info, "/vault"), text(&created, "/vault"));
    assert_eq!(text(&info, "/url"), host.url());
    assert!(info.get("format_version").is_some() && info.get("created").is_some() && info.get("machines").is_some(), "{info}");
    let kinds: Vec<&str> = info["key_slots"].as_array().into_iter().flatten().map(|slot| text(slot, "/kind")).collect();
    assert!(kinds.len() >= 2 && kinds[0] != kinds[1], "two ways to open it: {info}");

    let check = host.json(&["vault", "check"]);
    assert_eq!(number(&check, "/points"), 1);
    assert!(number(&check, "/objects") >= 2, "{check}");
    assert_eq!(check["findings"], Value::Array(Vec::new()));

    let pack = objects_of(host.vault(), stillpoint_tests::vault_files::is_pack).remove(0);
    fs::remove_file(host.vault().join(&pack)).expect("the pack can be removed");
    let done = host.run(&["--json", "vault", "check"]);
    assert_eq!(done.code, Some(1), "findings are a failure: {done}");
    let check = done.json();
    let finding = check.pointer("/findings/0").unwrap_or_else(|| panic!("the missing pack is found: {check}"));
    assert_eq!(text(finding, "/object"), pack);
    assert_eq!(text(finding, "/item"), "web-01");
    assert_eq!(text(finding, "/point"), text(&host.points("web-01")[0], "/id"));
}

#[test]
fn jobs_are_listed_and_shown() {
    let lab = Lab::new();
    let host = lab.host_with_vault();
    one_backup(&lab, &host);
    let jobs = host.jobs("backup", "web-01");
    assert_eq!(jobs.len(), 1);
    assert_eq!(text(&jobs[0], "/state"), "completed");
    assert!(text(&jobs[0], "/started") <= text(&jobs[0], "/ended"));
    let id = text(&jobs[0], "/id");
    let shown = host.json(&["jobs", "show", id]);
    assert_eq!(number(&shown, "/segments/done"), number(&shown, "/segments/total"));
    assert!(number(&shown, "/segments/total") >= 1);
    assert!(number(&shown, "/requests/put") >= 1, "{shown}");
    host.run(&["jobs", "watch", id]).ok();
    host.fails(&["jobs", "cancel", id]);
    assert_eq!(text(&host.jobs("backup", "web-01")[0], "/state"), "completed", "what has ended stays as it ended");
}

#[test]
fn several_machines_are_backed_up_by_one_command() {
    let lab = Lab::new();
    let host = lab.host_with_vault();
    for (name, seed) in [("web-01", 10), ("web-02", 11)] {
        let path = lab.path(&format!("{name}.raw"));
        disk::full(&path, 2 * MIB, seed);
        host.add(name, &[("os", &path)]);
    }
    let listed = host.run(&["machine", "list"]).ok();
    let shown = host.run(&["machine", "show", "web-02"]).ok();
    assert!(
        String::from_utf8_lossy(&listed.stdout).contains("web-01")
            && String::from_utf8_lossy(&shown.stdout).contains("web-02.raw")
    );
    let reports = host.json(&["backup", "web-01", "web-02"]);
    assert_eq!(reports.as_array().map(Vec::len), Some(2), "{reports}");
    for name in ["web-01", "web-02"] {
        host.restores(name, "latest", &lab.path(&format!("restored-{name}")), &[("os", &lab.path(&format!("{name}.raw")))]);
    }
}

#[test]
fn a_point_is_found_by_its_time() {
    let lab = Lab::new();
    let host = lab.host_with_vault();
    let path = lab.path("disk.raw");
    disk::full(&path, 2 * MIB, 12);
    host.add("web-01", &[("os", &path)]);
    host.backup("web-01");
    let original = lab.path("original.raw");
    disk::copy(&path, &original);
    disk::full(&path, 2 * MIB, 13);
    host.backup("web-01");
    let points = host.points("web-01");
    host.restores("web-01", text(&points[0], "/time"), &lab.path("then"), &[("os", &original)]);
    host.restores("web-01", text(&points[1], "/time"), &lab.path("now"), &[("os", &path)]);
}

#[test]
fn the_demo_tells_the_whole_story() {
    let lab = Lab::new();
    let host = lab.host("first");
    let image = lab.path("image.raw");
    disk::ext4(&image);
    let before = fs::read(&image).expect("the image can be read");
    let done = host.run(&["--json", "demo", &lab.arg("image.raw")]).ok();
    assert!(done.json().is_object());
    assert!(fs::read(&image).expect("the image can be read") == before, "the demo leaves the image alone");
    let table = host.run(&["demo", &lab.arg("image.raw")]).ok();
    assert!(String::from_utf8_lossy(&table.stdout).lines().count() >= 4, "a table: {table}");
}

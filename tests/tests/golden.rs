//! Vaults of earlier releases: every later program opens, checks, restores and continues them.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use serde_json::Value;
use stillpoint_format::digest;
use stillpoint_tests::{Host, Lab, disk, number, repository, text, vault_files};

const CHUNK: u64 = 64 * 1024;
/// Every golden vault, with a hash over the names and hashes of its files.
const GOLDEN: [(&str, &str); 1] = [("v1/two-machines", "7d089477149cbd7f5304d8c399c57c1ba2eda6451811f4c445e1f1c4f376d43a")];

/// A golden vault, copied into a lab of its own.
struct Golden {
    lab: Lab,
    folder: PathBuf,
    expected: Value,
}

fn testdata() -> PathBuf {
    repository().join("shared/format/testdata")
}

fn folders_in(folder: &Path) -> Vec<PathBuf> {
    disk::names(folder).iter().map(|name| folder.join(name)).filter(|path| path.is_dir()).collect()
}

fn list<'a>(document: &'a Value, member: &str) -> &'a [Value] {
    document[member].as_array().unwrap_or_else(|| panic!("no list {member} in {document}"))
}

/// All golden vaults of all versions.
fn golden_vaults() -> Vec<Golden> {
    let versions = folders_in(&testdata());
    let folders: Vec<PathBuf> = versions.iter().flat_map(|version| folders_in(version)).collect();
    assert!(!folders.is_empty(), "there are golden vaults");
    folders.into_iter().map(Golden::new).collect()
}

impl Golden {
    fn new(folder: PathBuf) -> Self {
        let expected = fs::read(folder.join("expected.json")).expect("a golden vault says what it holds");
        let expected = serde_json::from_slice(&expected).expect("expected.json is JSON");
        let lab = Lab::new();
        vault_files::copy(&folder.join("vault"), &lab.path("vault"));
        Self { lab, folder, expected }
    }

    /// A host that has the key file.
    fn host_with_key_file(&self) -> Host {
        let key_file = self.lab.path("key-file");
        fs::copy(self.folder.join("key-file"), &key_file).expect("the key file can be copied");
        // Git does not keep this.
        fs::set_permissions(&key_file, fs::Permissions::from_mode(0o600)).expect("permissions can be set");
        self.lab.host("with-key-file").set("STILLPOINT_KEY_FILE", &self.lab.arg("key-file"))
    }

    /// A host that opened the vault with the recovery key.
    fn host_with_recovery_key(&self) -> Host {
        let host = self.lab.host("with-recovery-key");
        let recovery_key = self.folder.join("recovery-key");
        host.json(&["vault", "open", "--recovery-key-file", recovery_key.to_str().expect("paths are text")]);
        host
    }

    fn items(&self) -> &[Value] {
        list(&self.expected, "items")
    }

    /// Asserts that an audit finds nothing, and nothing is left to be done.
    fn is_sound(&self, host: &Host) {
        let report = host.json(&["vault", "check"]);
        assert!(list(&report, "findings").is_empty() && list(&report, "unknown").is_empty(), "{report}");
        for job in list(&host.json(&["jobs"]), "jobs") {
            assert!(!job["ended"].is_null(), "all jobs have ended: {job}");
        }
    }

    /// Asserts that the points of each item begin with those expected, and hold what they held.
    fn holds_what_it_held(&self, host: &Host, label: &str) {
        for item in self.items() {
            let name = text(item, "/item");
            let ids: Vec<String> = host.points(name).iter().map(|point| text(point, "/id").to_owned()).collect();
            let points = list(item, "points");
            assert_eq!(ids[..points.len()], points.iter().map(|point| text(point, "/id")).collect::<Vec<_>>(), "oldest first");
            for point in points {
                let into = self.restored(host, name, text(point, "/id"), label);
                let disks = list(point, "disks");
                assert_eq!(disk::names(&into).len(), disks.len(), "all disks and no others");
                for held in disks {
                    let path = into.join(format!("{}.raw", text(held, "/name")));
                    let bytes = fs::read(&path).expect("the disk is restored");
                    assert_eq!(bytes.len() as u64, number(held, "/size_bytes"), "{}", path.display());
                    assert_eq!(digest(&bytes), text(held, "/blake3"), "{}", path.display());
                }
                fs::remove_dir_all(&into).expect("the disks can be removed");
            }
        }
    }

    fn restored(&self, host: &Host, item: &str, point: &str, label: &str) -> PathBuf {
        let folder = format!("{label}-{item}-{point}");
        let report = host.json(&["restore", item, "--point", point, "--to", &self.lab.arg(&folder)]);
        assert_eq!(text(&report, "/state"), "completed", "{report}");
        self.lab.path(&folder)
    }

    /// Changes one chunk of the item's newest point, and backs the item up from there.
    fn goes_on(&self, host: &Host, item: &Value) {
        let name = text(item, "/item");
        let newest = list(item, "points").last().expect("an item has points");
        let from = self.restored(host, name, text(newest, "/id"), "origin");
        let names: Vec<&str> = list(newest, "disks").iter().map(|disk| text(disk, "/name")).collect();
        let paths: Vec<PathBuf> = names.iter().map(|name| from.join(format!("{name}.raw"))).collect();
        disk::overwrite(&paths[0], CHUNK, &disk::noise(90, CHUNK));
        let disks: Vec<(&str, &Path)> = names.iter().copied().zip(paths.iter().map(PathBuf::as_path)).collect();
        host.add(name, &disks);
        let report = host.backup(name);
        assert_eq!(number(&report, "/changed_bytes"), CHUNK, "what is stored already is known again: {report}");
        assert!(number(&report, "/stored_bytes") < 2 * CHUNK, "{report}");
        let points = host.points(name);
        assert_eq!(points.len(), list(item, "points").len() + 1);
        assert_eq!(points.last().map(|point| &point["parent"]), Some(&newest["id"]));
        host.restores(name, "latest", &self.lab.path(&format!("new-{name}")), &disks);
    }
}

#[test]
fn golden_vaults_restore_with_the_key_file() {
    for golden in golden_vaults() {
        let host = golden.host_with_key_file();
        golden.is_sound(&host);
        golden.holds_what_it_held(&host, "key-file");
    }
}

#[test]
fn golden_vaults_restore_with_the_recovery_key() {
    for golden in golden_vaults() {
        let host = golden.host_with_recovery_key();
        golden.is_sound(&host);
        golden.holds_what_it_held(&host, "recovery-key");
    }
}

#[test]
fn golden_vaults_go_on() {
    for golden in golden_vaults() {
        let host = golden.host_with_key_file();
        golden.items().iter().for_each(|item| golden.goes_on(&host, item));
        golden.is_sound(&host);
        golden.holds_what_it_held(&host, "afterwards");
    }
}

/// A golden vault is added, with a line above, and never changed.
#[test]
fn golden_vaults_are_as_they_were() {
    let state = |golden: &Golden| {
        let files = vault_files::objects(&golden.folder);
        let kept = files.iter().filter(|name| !["README.md", "make.py"].contains(&name.as_str()));
        let line =
            |name: &String| format!("{} {name}\n", digest(&fs::read(golden.folder.join(name)).expect("a file can be read")));
        digest(kept.map(line).collect::<String>().as_bytes())
    };
    let name = |golden: &Golden| golden.folder.strip_prefix(testdata()).expect("it lies there").display().to_string();
    let found: Vec<(String, String)> = golden_vaults().iter().map(|golden| (name(golden), state(golden))).collect();
    assert_eq!(found, GOLDEN.map(|(name, state)| (name.to_owned(), state.to_owned())));
}

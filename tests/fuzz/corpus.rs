//! Inputs that are kept.

use std::{
    fs,
    path::{Path, PathBuf},
};

use stillpoint_format::digest;

/// Inputs that showed a parser something new.
pub const CORPUS: &str = "corpus";
/// Inputs that once failed; named by what was wrong.
pub const REGRESSIONS: &str = "regressions";
/// Inputs that fail; to be mended, and then moved to the regressions.
pub const FAILING: &str = "failing";
/// Kept for each target.
pub const FILES_MAX: usize = 40;
/// Larger ones are not kept.
pub const FILE_BYTES_MAX: usize = 4096;

pub fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Names in a folder, in order; none where there is no folder.
pub fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("a folder can be listed").file_name().into_string().expect("names are text")).collect();
    names.sort_unstable();
    names
}

/// The files of a folder with their names, in order.
pub fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let read = |name: String| (name.clone(), fs::read(folder.join(name)).expect("a file can be read"));
    names(folder).into_iter().map(read).collect()
}

/// Every file below a folder of the repository, in order.
pub fn tree(path: &str) -> Vec<(String, Vec<u8>)> {
    fn gather(folder: &Path, prefix: &str, found: &mut Vec<(String, Vec<u8>)>) {
        for name in names(folder) {
            let (path, shown) = (folder.join(&name), format!("{prefix}{name}"));
            if path.is_dir() {
                gather(&path, &format!("{shown}/"), found);
            } else {
                found.push((shown, fs::read(&path).expect("a file can be read")));
            }
        }
    }
    let mut found = Vec::new();
    gather(&repository().join(path), "", &mut found);
    assert!(!found.is_empty(), "{path} holds files");
    found
}

pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Keeps an input under a name that follows from its bytes.
pub fn keep(kind: &str, target: &str, input: &[u8]) -> PathBuf {
    let folder = folder(kind).join(target);
    fs::create_dir_all(&folder).expect("a folder can be made");
    let path = folder.join(&digest(input)[..16]);
    fs::write(&path, input).expect("a file can be written");
    path
}

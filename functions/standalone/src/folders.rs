//! Folders that a command makes, and that go again when it fails.

use std::path::{Path, PathBuf};

/// Folders that did not exist before, the innermost first. Dropped, it removes those that are empty.
pub struct Folders(Vec<PathBuf>);

impl Folders {
    /// Notes which of `path` and the folders around it do not exist.
    pub fn missing(path: &Path) -> Self {
        let missing = path.ancestors().take_while(|folder| !folder.as_os_str().is_empty() && !folder.exists());
        Self(missing.map(Path::to_path_buf).collect())
    }
}

impl Drop for Folders {
    fn drop(&mut self) {
        // Fails when a folder holds something, which then is not ours to remove.
        self.0.iter().for_each(|path| drop(std::fs::remove_dir(path)));
    }
}

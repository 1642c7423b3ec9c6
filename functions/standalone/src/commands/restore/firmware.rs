//! What a machine's firmware remembers, as a file beside its restored disks.

use std::path::{Path, PathBuf};

use stillpoint_model::{Error, Result};
use stillpoint_ports::FirmwareVariables;

use super::anew::store;

const FILE: &str = "firmware-variables.fd";

/// Where they go.
pub fn path(folder: &Path) -> PathBuf {
    folder.join(FILE)
}

/// Refuses to replace such a file without being told to.
pub fn unless_there(folder: &Path, overwrite: bool) -> Result<()> {
    let path = path(folder);
    if path.exists() && !overwrite {
        return Err(Error::conflict(format!("{} exists; give --overwrite to replace it", path.display())));
    }
    Ok(())
}

/// Writes them, whole under their name, or not at all. They may hold secrets.
pub fn write(folder: &Path, variables: &FirmwareVariables) -> Result<PathBuf> {
    let path = path(folder);
    store(&path, &variables.bytes, 0o600)?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    #[test]
    fn a_file_is_whole_and_its_owners_whatever_a_killed_process_has_left() {
        let folder = tempfile::tempdir().unwrap();
        let variables = |byte| FirmwareVariables { file: "/old".to_owned(), bytes: vec![byte; 70_000] };
        // Half of it, under the name that nobody looks at.
        let draft = path(folder.path()).with_extension("new");
        fs::write(&draft, [1; 100]).unwrap();
        unless_there(folder.path(), false).unwrap();
        for byte in [1, 2] {
            let written = write(folder.path(), &variables(byte)).unwrap();
            assert_eq!(fs::read(&written).unwrap(), vec![byte; 70_000]);
            assert_eq!(fs::metadata(&written).unwrap().permissions().mode() & 0o777, 0o600);
            assert!(!draft.exists());
            let refused = unless_there(folder.path(), false).unwrap_err();
            assert!(refused.to_string().contains("--overwrite"), "{refused}");
            unless_there(folder.path(), true).unwrap();
        }
    }
}

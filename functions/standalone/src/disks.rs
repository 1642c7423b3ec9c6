//! Paths of disks as operators give them.

use std::path::{Path, PathBuf, absolute};

use stillpoint_model::{DiskName, Error, Result};
use stillpoint_ports::DiskSource;

/// The absolute path as text.
pub fn location(path: &Path) -> Result<String> {
    let path: PathBuf = absolute(path).map_err(|error| Error::from(error).context(path.display()))?;
    path.into_os_string().into_string().map_err(|path| Error::invalid(format!("path {} is not UTF-8", path.display())))
}

/// Disks with absolute locations.
pub fn sources(disks: &[(DiskName, PathBuf)]) -> Result<Vec<DiskSource>> {
    disks.iter().map(|(name, path)| Ok(DiskSource { name: name.clone(), location: location(path)? })).collect()
}

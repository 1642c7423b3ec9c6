//! Paths of disks as operators give them.

use std::path::{Path, PathBuf, absolute};

use stillpoint_model::{DiskName, Error, Result};
use stillpoint_ports::DiskSource;

use crate::args::Format;

/// Before the path of a qcow2 image.
const QCOW2: &str = "qcow2:";

/// The absolute path as text.
pub fn location(path: &Path) -> Result<String> {
    let path: PathBuf = absolute(path).map_err(|error| Error::from(error).context(path.display()))?;
    path.into_os_string().into_string().map_err(|path| Error::invalid(format!("path {} is not UTF-8", path.display())))
}

/// Where a restored disk goes: an NBD address or the URL of an object as it is, or a path, perhaps with its format before it, made absolute.
pub fn target(given: &Path) -> Result<String> {
    match given.to_str() {
        Some(text) if text.starts_with("nbd://") || text.starts_with("nbd+unix://") => Ok(text.to_owned()),
        Some(text) if stillpoint_staging::is_object(text) => Ok(text.to_owned()),
        Some(text) if text.starts_with(QCOW2) => image(Format::Qcow2, text[QCOW2.len()..].as_ref()),
        _ => location(given),
    }
}

/// The location of a file of this format.
pub fn image(format: Format, path: &Path) -> Result<String> {
    let prefix = if format == Format::Qcow2 { QCOW2 } else { "" };
    Ok(format!("{prefix}{}", location(path)?))
}

/// Whether a folder to restore to is the URL of one in a store.
pub fn is_store(folder: &Path) -> bool {
    folder.to_str().is_some_and(stillpoint_staging::is_object)
}

/// The location of a disk's file in a folder, or of its object in a folder of a store.
pub fn within(folder: &Path, disk: &DiskName, format: Format) -> Result<String> {
    let file = format!("{disk}.{}", format.as_str());
    if !is_store(folder) {
        return image(format, &folder.join(file));
    }
    if format != Format::Raw {
        return Err(Error::invalid("a store takes raw disks only"));
    }
    in_store(folder, &file)
}

/// The URL of what lies in a folder of a store.
pub fn in_store(folder: &Path, name: &str) -> Result<String> {
    let wrong = || Error::invalid(format!("'{}' cannot be the URL of a folder", folder.display()));
    let mut url = url::Url::parse(folder.to_str().ok_or_else(wrong)?).map_err(|error| wrong().with_source(error))?;
    url.path_segments_mut().map_err(|()| wrong())?.pop_if_empty().push(name);
    Ok(url.into())
}

/// Disks with absolute locations.
pub fn sources(disks: &[(DiskName, PathBuf)]) -> Result<Vec<DiskSource>> {
    disks.iter().map(|(name, path)| Ok(DiskSource { name: name.clone(), location: location(path)? })).collect()
}

use std::path::Path;

use stillpoint_model::DiskName;

/// How messages name a disk: `disk os (/srv/web-01/os.raw)`, always on one printable line.
pub(crate) fn label(name: &DiskName, path: impl AsRef<Path>) -> String {
    format!("disk {name} ({})", shown(path))
}

/// A path as messages show it.
pub(crate) fn shown(path: impl AsRef<Path>) -> String {
    path.as_ref().display().to_string().escape_debug().to_string()
}

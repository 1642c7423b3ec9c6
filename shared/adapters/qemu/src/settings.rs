use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use stillpoint_model::{DiskName, Error, Result};

use crate::{agent::Place, scripts::Scripts};

/// How one machine is reached and treated, as its record says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    /// The monitor's socket.
    pub(crate) qmp: PathBuf,
    /// The guest's agent.
    pub(crate) agent: Option<Place>,
    /// Where old blocks are kept while a backup reads; beside each disk without.
    pub(crate) scratch: Option<PathBuf>,
    /// Disks that are left out.
    pub(crate) exclude: BTreeSet<DiskName>,
    /// What runs in the guest before and after.
    pub(crate) scripts: Option<Scripts>,
    /// Whether a guest is frozen in which nothing can be left that thaws it should this host die.
    pub(crate) freeze_unwatched: bool,
    /// Whether a snapshot begins bitmaps: not where libvirt keeps account of them.
    pub(crate) begins_bitmaps: bool,
}

impl Settings {
    /// Reads them.
    ///
    /// # Errors
    /// `invalid`, naming the setting.
    pub(crate) fn read(settings: &BTreeMap<String, String>) -> Result<Self> {
        let mut found = Self {
            qmp: PathBuf::new(),
            agent: None,
            scratch: None,
            exclude: BTreeSet::new(),
            scripts: None,
            freeze_unwatched: false,
            begins_bitmaps: true,
        };
        for (name, value) in settings {
            match name.as_str() {
                "qmp" => found.qmp = socket(name, value)?,
                "agent" => found.agent = Some(Place::Socket(socket(name, value)?)),
                "scratch" => found.scratch = Some(folder(name, value)?),
                "exclude" => found.exclude = exclude(value)?,
                "scripts" => found.scripts = Some(Scripts::read(value)?),
                "freeze" => found.freeze_unwatched = is_unwatched(value)?,
                _ => return Err(Error::invalid(format!("platform qemu has no setting '{}'", name.escape_debug()))),
            }
        }
        if found.qmp.as_os_str().is_empty() {
            return Err(Error::invalid("platform qemu needs the setting qmp: the machine's monitor socket, as unix:/path"));
        }
        Ok(found)
    }
}

/// Names of disks with commas between.
pub(crate) fn exclude(value: &str) -> Result<BTreeSet<DiskName>> {
    value.split(',').map(|disk| disk.trim().parse()).collect()
}

pub(crate) fn is_unwatched(value: &str) -> Result<bool> {
    match value {
        "watched" => Ok(false),
        "always" => Ok(true),
        _ => Err(Error::invalid(format!("setting freeze: '{}' is none of watched, always", value.escape_debug()))),
    }
}

fn socket(name: &str, value: &str) -> Result<PathBuf> {
    let path = value.strip_prefix("unix:").ok_or_else(|| {
        Error::invalid(format!("setting {name}: '{}' is no Unix socket; write unix:/path", value.escape_debug()))
    })?;
    absolute(name, path)
}

pub(crate) fn folder(name: &str, value: &str) -> Result<PathBuf> {
    let path = absolute(name, value)?;
    if path.starts_with("/dev") {
        return Err(Error::invalid(format!("setting {name}: '{}' is in memory; name a folder on a disk", value.escape_debug())));
    }
    Ok(path)
}

pub(crate) fn absolute(name: &str, value: &str) -> Result<PathBuf> {
    let path = Path::new(value);
    if path.is_absolute() && !value.contains('\0') {
        Ok(path.to_owned())
    } else {
        Err(Error::invalid(format!("setting {name}: '{}' is no absolute path", value.escape_debug())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(settings: &[(&str, &str)]) -> Result<Settings> {
        Settings::read(&settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn settings_are_read() {
        let found =
            read(&[("qmp", "unix:/run/a.qmp"), ("agent", "unix:/run/a.qga"), ("exclude", "swap, tmp"), ("freeze", "always")]);
        let found = found.unwrap();
        assert_eq!((found.qmp, found.agent), ("/run/a.qmp".into(), Some(Place::Socket("/run/a.qga".into()))));
        assert_eq!(found.exclude.iter().map(DiskName::as_str).collect::<Vec<_>>(), ["swap", "tmp"]);
        assert!(found.freeze_unwatched && found.scratch.is_none());
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_name() {
        let bad: [&[(&str, &str)]; 8] = [
            &[],
            &[("qmp", "/run/a.qmp")],
            &[("qmp", "unix:a.qmp")],
            &[("qmp", "unix:/a"), ("agnet", "unix:/b")],
            &[("qmp", "unix:/a"), ("scratch", "here")],
            &[("qmp", "unix:/a"), ("scratch", "/dev/shm")],
            &[("qmp", "unix:/a"), ("freeze", "never")],
            &[("qmp", "unix:/a"), ("scripts", "{")],
        ];
        for settings in bad {
            assert_eq!(read(settings).unwrap_err().kind(), stillpoint_model::ErrorKind::Invalid, "{settings:?}");
        }
    }
}

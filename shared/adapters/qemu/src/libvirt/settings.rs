use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use stillpoint_model::{Error, Result};

use crate::{
    scripts::Scripts,
    settings::{self as shared, Settings, absolute, exclude, folder},
};

const URI: &str = "qemu:///system";
/// QEMU itself makes the socket, as its own user.
const SOCKETS: &str = "/var/tmp";
const DOMAIN_BYTES_MAX: usize = 255;

/// How one domain is reached and treated, as its machine's record says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DomainSettings {
    /// libvirt's address.
    pub(super) uri: String,
    /// The domain's name or UUID.
    pub(super) domain: String,
    /// What platform `qemu` has as well. In place of a monitor's, its path tells in which folder sockets are made.
    pub(super) shared: Settings,
}

impl DomainSettings {
    /// Reads them.
    ///
    /// # Errors
    /// `invalid`, naming the setting.
    pub(super) fn read(settings: &BTreeMap<String, String>) -> Result<Self> {
        let mut found = Self {
            uri: URI.to_owned(),
            domain: String::new(),
            shared: Settings {
                qmp: in_folder(SOCKETS.into()),
                agent: None,
                scratch: None,
                exclude: BTreeSet::new(),
                scripts: None,
                freeze_unwatched: false,
                begins_bitmaps: false,
            },
        };
        let shared = &mut found.shared;
        for (name, value) in settings {
            match name.as_str() {
                "uri" => found.uri = uri(value)?,
                "domain" => found.domain = domain(value)?,
                "sockets" => shared.qmp = in_folder(absolute(name, value)?),
                "scratch" => shared.scratch = Some(folder(name, value)?),
                "exclude" => shared.exclude = exclude(value)?,
                "scripts" => shared.scripts = Some(Scripts::read(value)?),
                "freeze" => shared.freeze_unwatched = shared::is_unwatched(value)?,
                _ => return Err(Error::invalid(format!("platform libvirt has no setting '{}'", name.escape_debug()))),
            }
        }
        if found.domain.is_empty() {
            return Err(Error::invalid("platform libvirt needs the setting domain: the name of the domain"));
        }
        Ok(found)
    }

    /// Where sockets are made.
    pub(super) fn sockets(&self) -> PathBuf {
        self.shared.qmp.parent().map(PathBuf::from).unwrap_or_default()
    }
}

fn in_folder(folder: PathBuf) -> PathBuf {
    folder.join("monitor")
}

/// Disks are read over a Unix socket, so it has to be this host's libvirt.
fn uri(value: &str) -> Result<String> {
    let local = ["qemu:///", "qemu+unix:///"].iter().any(|start| value.starts_with(start));
    if local && !value.contains(|letter: char| letter.is_control() || letter.is_whitespace()) {
        return Ok(value.to_owned());
    }
    Err(Error::invalid(format!(
        "setting uri: '{}' is not this host's libvirt; write qemu:///system, and run stillpoint on the hypervisor",
        value.escape_debug()
    )))
}

fn domain(value: &str) -> Result<String> {
    let good = !value.is_empty()
        && value.len() <= DOMAIN_BYTES_MAX
        && !value.starts_with('-')
        && !value.contains(|letter: char| letter.is_control() || letter == '/');
    if good {
        Ok(value.to_owned())
    } else {
        Err(Error::invalid(format!("setting domain: '{}' is no name", value.escape_debug())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(settings: &[(&str, &str)]) -> Result<DomainSettings> {
        DomainSettings::read(&settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn settings_are_read() {
        let found = read(&[("domain", "db 01"), ("exclude", "vdb,vdc"), ("scratch", "/s")]).unwrap();
        assert_eq!((found.uri.as_str(), found.domain.as_str()), ("qemu:///system", "db 01"));
        assert_eq!(
            (found.sockets(), found.shared.scratch, found.shared.exclude.len()),
            ("/var/tmp".into(), Some("/s".into()), 2)
        );
        let session = "qemu+unix:///session?socket=/run/l";
        assert_eq!(read(&[("domain", "a"), ("uri", session)]).unwrap().uri, session);
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_name() {
        let bad: [&[(&str, &str)]; 8] = [
            &[],
            &[("domain", "")],
            &[("domain", "--help")],
            &[("domain", "a\nb")],
            &[("domain", "a"), ("uri", "qemu+ssh://host/system")],
            &[("domain", "a"), ("uri", "qemu:///system\n")],
            &[("domain", "a"), ("qmp", "unix:/a")],
            &[("domain", "a"), ("scratch", "here")],
        ];
        for settings in bad {
            assert_eq!(read(settings).unwrap_err().kind(), stillpoint_model::ErrorKind::Invalid, "{settings:?}");
        }
    }
}

use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;
use stillpoint_model::{Error, Result};
use stillpoint_nbd::Address;
use stillpoint_ports::TargetDisk;

use crate::label::label;

/// What a disk's location says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Location {
    /// A raw file or a block device.
    Raw(PathBuf),
    /// A qcow2 image.
    Qcow2(PathBuf),
    /// An export of an NBD server.
    Export(Address, String),
}

impl Location {
    /// Reads it.
    ///
    /// # Errors
    /// `invalid`, naming the disk.
    pub(crate) fn of(disk: &TargetDisk) -> Result<Self> {
        let label = || label(&disk.name, &disk.location);
        if disk.location.starts_with("nbd:") || disk.location.starts_with("nbd+") {
            return Self::export(&disk.location).map_err(|error| error.context(label()));
        }
        let (path, location): (&str, fn(PathBuf) -> Self) = match disk.location.strip_prefix("qcow2:") {
            Some(path) => (path, Self::Qcow2),
            None => (&disk.location, Self::Raw),
        };
        let path = Path::new(path);
        if !path.is_absolute() {
            return Err(Error::invalid(format!("{} is not an absolute path; give one that begins with '/'", label())));
        }
        Ok(location(path.to_path_buf()))
    }

    /// Reads an address with the export's name as its path.
    fn export(text: &str) -> Result<Self> {
        let refused = || Error::invalid("write nbd://HOST:PORT/EXPORT or nbd+unix:///EXPORT?socket=/PATH");
        let (address, name) = if let Some(rest) = text.strip_prefix("nbd+unix:///") {
            let (name, socket) = rest.split_once("?socket=").ok_or_else(refused)?;
            (Address::unix(decoded(socket)?)?, name)
        } else {
            let rest = text.strip_prefix("nbd://").ok_or_else(refused)?;
            let (server, name) = rest.split_once('/').unwrap_or((rest, ""));
            (format!("nbd://{server}").parse()?, name)
        };
        if name.contains(['?', '#', '/']) {
            return Err(refused());
        }
        Ok(Self::Export(address, decoded(name)?))
    }
}

fn decoded(text: &str) -> Result<String> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(Into::into).map_err(|error| Error::invalid("the address is not UTF-8").with_source(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(location: &str) -> Result<Location> {
        let (name, location) = ("os".parse().unwrap(), location.to_owned());
        Location::of(&TargetDisk {
            name,
            size_bytes: 512,
            data_bytes: 0,
            location,
            overwrite: false,
            keep_replaced: false,
            limits: None,
        })
    }

    #[test]
    fn a_location_says_what_is_there() {
        let tcp = |text: &str| text.parse::<Address>().unwrap();
        for (text, location) in [
            ("/a/b:c", Location::Raw("/a/b:c".into())),
            ("qcow2:/a/os", Location::Qcow2("/a/os".into())),
            ("nbd://h", Location::Export(tcp("tcp:h:10809"), String::new())),
            ("nbd://[::1]:7/", Location::Export(tcp("tcp:[::1]:7"), String::new())),
            ("nbd://h:7/a%20b", Location::Export(tcp("tcp:h:7"), "a b".to_owned())),
            ("nbd+unix:///?socket=/run/s", Location::Export(tcp("unix:/run/s"), String::new())),
            ("nbd+unix:///os?socket=/run/a%3fb", Location::Export(tcp("unix:/run/a?b"), "os".to_owned())),
        ] {
            assert_eq!(read(text).expect(text), location);
        }
    }

    #[test]
    fn what_is_no_location_is_refused_with_a_line() {
        for text in ["", "os.raw", "qcow2:os", "qcow2:", "nbd:h:1", "nbd+unix:///os", "nbd+unix://h/os?socket=/s", "nbd://h/a/b"]
        {
            let line = read(text).expect_err(text).one_line();
            assert!(line.contains("disk os"), "{line}");
        }
    }
}

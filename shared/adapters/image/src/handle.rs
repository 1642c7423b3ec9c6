use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use stillpoint_model::{Error, Result};

use crate::{disk::Kind, identity::Identity};

/// Most bytes a handle may have in a plan.
const HANDLE_BYTES_MAX: usize = 4096;

/// How a disk of a snapshot is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Mode {
    /// From a clone that shares its blocks with the disk.
    Reflink,
    /// The disk's own file, which must not change.
    InPlace,
    /// The block device itself, which must not change.
    Device,
}

impl Mode {
    pub(crate) fn kind(self) -> Kind {
        match self {
            Self::Reflink | Self::InPlace => Kind::File,
            Self::Device => Kind::Device,
        }
    }
}

/// Where to read one disk of a snapshot and how to tell that it is still the same; kept as JSON in the job's plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Handle {
    /// What is read: the clone, the file or the device; symbolic links resolved.
    pub(crate) path: PathBuf,
    pub(crate) mode: Mode,
    /// Of what is read, when the snapshot was taken.
    pub(crate) identity: Identity,
}

impl Handle {
    /// As JSON.
    ///
    /// # Errors
    /// `invalid` when the path is too long for a plan or is not UTF-8.
    pub(crate) fn encode(&self) -> Result<String> {
        let text = serde_json::to_string(self)
            .map_err(|error| Error::invalid("the disk's path cannot be recorded; use a path in UTF-8").with_source(error))?;
        if text.len() > HANDLE_BYTES_MAX {
            return Err(Error::invalid("the disk's path is too long; use a shorter one"));
        }
        Ok(text)
    }

    /// From JSON.
    ///
    /// # Errors
    /// `invalid` when it was not made by [`Handle::encode`].
    pub(crate) fn decode(text: &str) -> Result<Self> {
        let unreadable = || Error::invalid("the snapshot's handle was not made by platform image");
        if text.len() > HANDLE_BYTES_MAX {
            return Err(unreadable());
        }
        let handle: Self = serde_json::from_str(text).map_err(|error| unreadable().with_source(error))?;
        if !handle.path.is_absolute() {
            return Err(unreadable());
        }
        Ok(handle)
    }

    /// Whether what is found now still holds the snapshot's bytes.
    pub(crate) fn is(&self, found: Identity) -> bool {
        match self.mode {
            Mode::Reflink => self.identity.same_content(found),
            Mode::InPlace | Mode::Device => self.identity == found,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDENTITY: Identity = Identity { dev: 1, inode: 2, size: 512, mtime_ns: -3, ctime_ns: 4, sectors_written: None };

    #[test]
    fn a_handle_comes_back_as_it_was_written() {
        for (mode, sectors_written) in [(Mode::Reflink, None), (Mode::InPlace, None), (Mode::Device, Some(7))] {
            let handle = Handle { path: "/a \"b\"/\n.raw".into(), mode, identity: Identity { sectors_written, ..IDENTITY } };
            assert_eq!(Handle::decode(&handle.encode().unwrap()).unwrap(), handle);
        }
    }

    #[test]
    fn its_form_is_stable_because_plans_outlive_processes() {
        let handle = Handle { path: "/d/os.raw".into(), mode: Mode::InPlace, identity: IDENTITY };
        let json =
            r#"{"path":"/d/os.raw","mode":"in-place","identity":{"dev":1,"inode":2,"size":512,"mtime_ns":-3,"ctime_ns":4}}"#;
        assert_eq!(handle.encode().unwrap(), json);
    }

    #[test]
    fn what_is_not_a_handle_is_refused() {
        let good = Handle { path: "/d".into(), mode: Mode::InPlace, identity: IDENTITY }.encode().unwrap();
        let bad = [
            String::new(),
            "{}".to_owned(),
            good.replace("\"mode\"", "\"extra\":1,\"mode\""),
            good.replace("\"size\"", "\"extra\":1,\"size\""),
            good.replace("in-place", "qemu"),
            good.replace("\"/d\"", "\"d\""),
            good.replace("/d", &format!("/{}", "d".repeat(HANDLE_BYTES_MAX))),
        ];
        for text in bad {
            assert_eq!(Handle::decode(&text).unwrap_err().kind(), stillpoint_model::ErrorKind::Invalid, "{text}");
        }
        let long = Handle { path: format!("/{}", "d".repeat(HANDLE_BYTES_MAX)).into(), mode: Mode::InPlace, identity: IDENTITY };
        assert!(long.encode().is_err());
    }
}

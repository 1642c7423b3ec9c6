use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use stillpoint_model::{Error, Result};

const HANDLE_BYTES_MAX: usize = 4096;

/// Where one disk of a snapshot of a domain that is on is read; kept as JSON in the job's plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DomainHandle {
    /// libvirt's address.
    pub(super) uri: String,
    /// The domain's UUID.
    pub(super) domain: String,
    /// The socket it is read through.
    pub(super) nbd: PathBuf,
    /// The export's name there.
    pub(super) export: String,
    /// Holds the blocks that were overwritten since.
    pub(super) scratch: PathBuf,
}

impl DomainHandle {
    /// As JSON.
    ///
    /// # Errors
    /// `invalid` when its paths are too long for a plan.
    pub(super) fn encode(&self) -> Result<String> {
        let text = serde_json::to_string(self).ok().filter(|text| text.len() <= HANDLE_BYTES_MAX);
        text.ok_or_else(|| Error::invalid("a path of the domain is too long, or not UTF-8; use another"))
    }

    /// From JSON; none where it is not of a domain that was on.
    pub(super) fn decode(text: &str) -> Option<Self> {
        let handle: Self = serde_json::from_str(text).ok()?;
        (text.len() <= HANDLE_BYTES_MAX && handle.nbd.is_absolute() && handle.scratch.is_absolute()).then_some(handle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_form_is_stable_because_plans_outlive_processes() {
        let (uri, domain) = ("qemu:///system".to_owned(), "c414c781-d010-44b9-86d1-5766d0a2f7dc".to_owned());
        let handle = DomainHandle {
            uri,
            domain,
            nbd: "/var/tmp/.sp-x.nbd".into(),
            export: "vda-1".to_owned(),
            scratch: "/d/.stillpoint-x-00.scratch".into(),
        };
        let json = r#"{"uri":"qemu:///system","domain":"c414c781-d010-44b9-86d1-5766d0a2f7dc","nbd":"/var/tmp/.sp-x.nbd","export":"vda-1","scratch":"/d/.stillpoint-x-00.scratch"}"#;
        assert_eq!(handle.encode().unwrap(), json);
        assert_eq!(DomainHandle::decode(json), Some(handle));
        for other in ["", "{}", &json.replace("/d/", "d/"), &json.replace("uri", "url")] {
            assert_eq!(DomainHandle::decode(other), None, "{other}");
        }
    }
}

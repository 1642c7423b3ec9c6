use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use stillpoint_model::{Error, Result};

/// Most bytes a handle may have in a plan.
const HANDLE_BYTES_MAX: usize = 4096;

/// Where one disk of a snapshot is read, and what belongs to it; kept as JSON in the job's plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Handle {
    /// The socket it is read through.
    pub(crate) nbd: PathBuf,
    /// The export's name there.
    pub(crate) export: String,
    /// The monitor.
    pub(crate) qmp: PathBuf,
    /// Whether the monitor is that of a daemon that runs for this snapshot only.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) daemon: bool,
    /// Holds the blocks that were overwritten since.
    pub(crate) scratch: PathBuf,
}

impl Handle {
    /// As JSON.
    ///
    /// # Errors
    /// `invalid` when its paths are too long for a plan.
    pub(crate) fn encode(&self) -> Result<String> {
        let text = serde_json::to_string(self)
            .map_err(|error| Error::invalid("a path of the machine cannot be recorded; use paths in UTF-8").with_source(error))?;
        if text.len() > HANDLE_BYTES_MAX {
            return Err(Error::invalid("the machine's paths are too long; use shorter ones"));
        }
        Ok(text)
    }

    /// From JSON.
    ///
    /// # Errors
    /// `invalid` when it was not made by [`Handle::encode`].
    pub(crate) fn decode(text: &str) -> Result<Self> {
        let unreadable = || Error::invalid("the snapshot's handle was not made by platform qemu");
        if text.len() > HANDLE_BYTES_MAX {
            return Err(unreadable());
        }
        let handle: Self = serde_json::from_str(text).map_err(|error| unreadable().with_source(error))?;
        let absolute = [&handle.nbd, &handle.qmp, &handle.scratch].iter().all(|path| path.is_absolute());
        if absolute { Ok(handle) } else { Err(unreadable()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handle(daemon: bool) -> Handle {
        let (nbd, qmp, scratch) = ("/run/.sp-x.nbd".into(), "/run/a.qmp".into(), "/d/.stillpoint-x-00.scratch".into());
        Handle { nbd, export: "os".to_owned(), qmp, daemon, scratch }
    }

    #[test]
    fn its_form_is_stable_because_plans_outlive_processes() {
        let json = r#"{"nbd":"/run/.sp-x.nbd","export":"os","qmp":"/run/a.qmp","scratch":"/d/.stillpoint-x-00.scratch"}"#;
        assert_eq!(handle(false).encode().unwrap(), json);
        for daemon in [false, true] {
            assert_eq!(Handle::decode(&handle(daemon).encode().unwrap()).unwrap(), handle(daemon));
        }
    }

    #[test]
    fn what_is_not_a_handle_is_refused() {
        let good = handle(false).encode().unwrap();
        let long = good.replace("\"os\"", &format!("\"{}\"", "o".repeat(HANDLE_BYTES_MAX)));
        for text in [
            String::new(),
            "{}".to_owned(),
            good.replace("\"/run/a.qmp\"", "\"a.qmp\""),
            good.replace("\"export\"", "\"x\""),
            long,
        ] {
            assert!(Handle::decode(&text).is_err(), "{text}");
        }
    }
}

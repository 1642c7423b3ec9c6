//! Arguments that say how a platform reaches a machine that runs.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use clap::Args;
use stillpoint_model::{DiskName, Error, Result};

use crate::disks;

/// Longest description of scripts.
const SCRIPTS_BYTES_MAX: u64 = 8 << 10;

/// How a platform reaches and treats a machine; none of it for platform `image`.
#[derive(Debug, Args)]
pub struct Live {
    /// Platform qemu: the machine's monitor socket, as unix:/path
    #[arg(long, value_name = "SOCKET")]
    qmp: Option<String>,
    /// Platform qemu: the socket of the guest agent, for file-system and application consistency
    #[arg(long, value_name = "SOCKET")]
    agent: Option<String>,
    /// Platform libvirt: this host's libvirt [default: qemu:///system]
    #[arg(long, value_name = "URI")]
    uri: Option<String>,
    /// Platform libvirt: the domain, by its name or UUID
    #[arg(long, value_name = "DOMAIN")]
    domain: Option<String>,
    /// Where old blocks are kept while a backup reads [default: beside each disk]
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
    /// Leave this disk of the machine out
    #[arg(long, value_name = "DISK")]
    exclude: Vec<DiskName>,
    /// A file in JSON that names scripts in the guest: preScriptLocation, postScriptLocation, …
    #[arg(long, value_name = "FILE")]
    scripts: Option<PathBuf>,
    /// Whether to freeze a guest in which no watchdog can be started: watched (do not) or always
    #[arg(long, value_name = "WHEN")]
    freeze: Option<String>,
    /// Another setting of the platform
    #[arg(long, value_name = "NAME=VALUE", value_parser = setting)]
    setting: Vec<(String, String)>,
}

fn setting(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once('=').filter(|(name, _)| !name.is_empty());
    parts.map(|(name, value)| (name.to_owned(), value.to_owned())).ok_or_else(|| "write NAME=VALUE".to_owned())
}

impl Live {
    /// As a machine's record holds them.
    ///
    /// # Errors
    /// `invalid` when one is given twice; as reading the file of scripts.
    pub fn settings(self) -> Result<BTreeMap<String, String>> {
        let exclude = self.exclude.iter().map(DiskName::as_str).collect::<Vec<_>>().join(",");
        let scratch = self.scratch.map(|folder| disks::location(&folder)).transpose()?;
        let scripts = self.scripts.map(|file| scripts(&file)).transpose()?;
        let named = [
            ("qmp", self.qmp),
            ("agent", self.agent),
            ("uri", self.uri),
            ("domain", self.domain),
            ("scratch", scratch),
            ("exclude", (!exclude.is_empty()).then_some(exclude)),
            ("scripts", scripts),
            ("freeze", self.freeze),
        ];
        let named = named.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        let mut settings = BTreeMap::new();
        for (name, value) in named.chain(self.setting) {
            if settings.insert(name.clone(), value).is_some() {
                return Err(Error::invalid(format!("setting {name} is given twice")));
            }
        }
        Ok(settings)
    }
}

fn scripts(file: &Path) -> Result<String> {
    let context = |error: std::io::Error| Error::from(error).context(file.display());
    let length = std::fs::metadata(file).map_err(context)?.len();
    if length > SCRIPTS_BYTES_MAX {
        return Err(Error::invalid(format!("{} has more than {SCRIPTS_BYTES_MAX} bytes", file.display())));
    }
    std::fs::read_to_string(file).map_err(context)
}

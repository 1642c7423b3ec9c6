//! `restore --as`: a start script beside the restored disks.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use serde_json::{Value, json};
use stillpoint_jobs::{DiskOutcome, Outcome};
use stillpoint_model::{DiskName, Error, ErrorKind, ItemName, Result};
use stillpoint_ports::FirmwareVariables;
use stillpoint_vault::Vault;

use super::firmware;
use crate::{
    args::Restore,
    disks,
    session::{Session, system},
    start::{Disk, Fresh, Reach, Request, Script, Variables, script},
};

const SCRIPT: &str = "start.sh";

/// What a machine of platform `qemu` is made again from.
#[derive(Deserialize)]
pub struct Configuration {
    /// The command line: program and arguments.
    pub arguments: Vec<String>,
}

impl Configuration {
    pub fn read(text: &str) -> Result<Self> {
        serde_json::from_str(text)
            .map_err(|error| Error::invalid("the machine's configuration is no command line of QEMU's").with_source(error))
    }
}

/// A disk that is there again.
pub struct Restored {
    pub name: DiskName,
    pub file: PathBuf,
    /// `raw` or `qcow2`.
    pub format: &'static str,
}

/// The machine to be.
pub struct Anew {
    pub name: ItemName,
    pub folder: PathBuf,
    same_identity: bool,
    network: bool,
}

impl Anew {
    /// Looks whether the script can be written before anything is restored.
    pub fn new(session: &Session, name: ItemName, folder: &Path, args: &Restore) -> Result<Self> {
        if session.remote.is_some() && !crate::remote::is_here(&crate::remote::site(&session.global)?) {
            return Err(Error::invalid("the start script is written where the disks go; run this at that site"));
        }
        let folder = PathBuf::from(disks::location(folder)?);
        Ok(Self { name, folder, same_identity: args.same_identity, network: !args.no_network })
    }

    /// The script's own path.
    pub fn path(&self) -> PathBuf {
        self.folder.join(SCRIPT)
    }

    /// Refuses to replace a script without being told to.
    pub fn unless_there(self, overwrite: bool) -> Result<Self> {
        let path = self.path();
        if path.exists() && !overwrite {
            return Err(Error::conflict(format!("{} exists; give --overwrite to replace it", path.display())));
        }
        firmware::unless_there(&self.folder, overwrite)?;
        Ok(self)
    }

    /// Writes the script for the disks of an ended job, and what the firmware remembers before it. Whatever stands in its way is a warning: the disks are there.
    pub async fn write(self, session: &Session, outcome: &Outcome, item: Option<&ItemName>) -> Result<(Value, Vec<String>)> {
        let without = |why: &str| Ok((json!({ "script": null, "warnings": [why] }), vec![why.to_owned()]));
        let (Some(item), Some(id)) = (item, outcome.point) else { return without("the job names no point") };
        let kept = match session.vault.point(item, id).await {
            Ok(point) => session.vault.description(&point).await,
            Err(error) if error.kind() == ErrorKind::Missing => Ok(None),
            Err(error) => Err(error),
        };
        let told = match kept {
            Ok(Some(told)) => told,
            Ok(None) => return without("no point holds a configuration of the machine; no start script was written"),
            Err(error) => return without(&format!("no start script was written: {}", error.one_line())),
        };
        let restored = |disk: &DiskOutcome| {
            let location = disk.path.as_deref().unwrap_or_default();
            let (format, file) = location.strip_prefix("qcow2:").map_or(("raw", location), |path| ("qcow2", path));
            Restored { name: disk.name.clone(), file: file.into(), format }
        };
        let disks = outcome.disks.iter().map(restored).collect();
        let variables = told.firmware_variables.as_ref();
        let made = self.script(session, item, Configuration::read(&told.configuration), disks, variables).await;
        let written = made.and_then(|made| {
            let file = variables.map(|variables| firmware::write(&self.folder, variables)).transpose()?;
            self.store(&made)?;
            Ok((file, [told.notice(id).into_iter().collect(), made.obstacles, made.warnings].concat()))
        });
        match written {
            Ok((file, warnings)) => {
                Ok((json!({ "script": self.path(), "firmware_variables": file, "warnings": warnings }), warnings))
            }
            Err(error) => without(&format!("no start script was written: {}", error.one_line())),
        }
    }

    /// Makes the script for these disks.
    pub async fn script(
        &self,
        session: &Session,
        item: &ItemName,
        configuration: Result<Configuration>,
        disks: Vec<Restored>,
        variables: Option<&FirmwareVariables>,
    ) -> Result<Script> {
        let Configuration { arguments } = configuration?;
        let disks = disks_of(&session.vault, item, disks).await;
        let fresh = (!self.same_identity).then(|| Fresh(Box::new(random)));
        let reach = if self.network { Reach::Same } else { Reach::NoNetwork };
        let name = self.name.as_str();
        let file = firmware::path(&self.folder);
        let variables = variables.map(|variables| Variables { was: &variables.file, file: &file });
        script(Request { arguments, name, folder: &self.folder, disks: &disks, variables, fresh, reach })
    }

    /// Writes it, whole under its name, or not at all.
    pub fn store(&self, script: &Script) -> Result<()> {
        store(&self.path(), script.text.as_bytes(), 0o700)
    }
}

/// The disks of a machine with where they were, which is known for as long as the machine's record is there.
pub async fn disks_of(vault: &Vault, item: &ItemName, disks: Vec<Restored>) -> Vec<Disk> {
    let sources = vault.item(item).await.map(|item| item.disks).unwrap_or_default();
    let was = |name: &DiskName| {
        let source = sources.iter().find(|source| source.name == *name)?;
        source.location.split_once(':').map(|(_, path)| path.to_owned())
    };
    let disk = |disk: Restored| Disk { was: was(&disk.name), name: disk.name.to_string(), file: disk.file, format: disk.format };
    disks.into_iter().map(disk).collect()
}

pub fn random() -> [u8; 16] {
    let mut bytes = [0; 16];
    system().1.fill(&mut bytes);
    bytes
}

/// Writes a file, whole under its name, or not at all.
pub fn store(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let draft = path.with_extension("new");
    let context = |error: std::io::Error| Error::from(error).context(path.display());
    if draft.exists() {
        fs::remove_file(&draft).map_err(context)?;
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&draft).map_err(context)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(context)?;
    fs::rename(&draft, path).map_err(context)
}

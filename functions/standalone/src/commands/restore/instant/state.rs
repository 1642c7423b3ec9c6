use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use stillpoint_model::{Error, ItemName, PointId, Result, VaultId};
use stillpoint_vault::Point;

use super::super::anew::store;
use crate::{args::Restore, session::Session, when};

const FILE: &str = "instant.json";
/// What a first run may leave that was killed while it wrote.
pub const DRAFT: &str = "instant.new";

/// Whose overlays lie in a folder; it is there until they are whole.
#[derive(Debug, Serialize, Deserialize)]
pub struct State {
    vault: VaultId,
    machine: ItemName,
    point: PointId,
    name: ItemName,
    /// Whether the machine was paused when its operator interrupted the command.
    pub paused: bool,
}

impl State {
    pub fn new(vault: VaultId, point: &Point, name: ItemName) -> Self {
        Self { vault, machine: point.item.clone(), point: point.id, name, paused: false }
    }

    /// What an earlier run has written.
    pub fn read(folder: &Path) -> Result<Option<Self>> {
        let path = file(folder);
        let text = match fs::read_to_string(&path) {
            Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            text => text.map_err(|error| Error::from(error).context(path.display()))?,
        };
        let unknown = |error| Error::invalid(format!("{} is no record of an instant restore", path.display())).with_source(error);
        serde_json::from_str(&text).map(Some).map_err(unknown)
    }

    /// Writes it.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let text = serde_json::to_string(self).map_err(|error| Error::internal("cannot write JSON").with_source(error))?;
        store(&file(folder), text.as_bytes(), 0o600)
    }

    /// Notes whether the machine is paused.
    pub fn set_paused(&mut self, paused: bool, folder: &Path) -> Result<()> {
        if self.paused == paused {
            return Ok(());
        }
        self.paused = paused;
        self.write(folder)
    }

    /// Removes it: nothing is left to go on with.
    pub fn remove(folder: &Path) -> Result<()> {
        let path = file(folder);
        fs::remove_file(&path).map_err(|error| Error::from(error).context(path.display()))
    }

    /// The point that was begun with; refused where the command asks for another one, or another machine. `latest` is that one.
    pub async fn point_of(&self, session: &Session, args: &Restore, name: &ItemName) -> Result<Point> {
        let is_same = self.vault == session.vault.identity().id && self.machine == *args.name()? && self.name == *name;
        let other = || {
            Error::conflict(format!(
                "the folder holds {}, begun from point {} of {} in vault {}; go on with that, or give another folder",
                self.name, self.point, self.machine, self.vault
            ))
        };
        if !is_same || args.point != "latest" && when::resolve(&session.vault, args.name()?, &args.point).await?.id != self.point
        {
            return Err(other());
        }
        session.vault.point(&self.machine, self.point).await
    }
}

fn file(folder: &Path) -> PathBuf {
    folder.join(FILE)
}

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stillpoint_model::{Error, ErrorKind, ItemName, Result, geometry::DISKS_MAX};
use stillpoint_ports::DiskSource;

use crate::{Name, SEQ_MAX, Vault, record::ITEM};

/// A protected item: the body of `items/<name>/<seq>.json`. The newest record counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Item {
    /// The machine's name.
    pub name: ItemName,
    /// What runs it; `image` so far.
    pub platform: String,
    /// From where the platform is reached.
    pub site: String,
    /// Its disks, in order, names unique.
    pub disks: Vec<DiskSource>,
    /// When this record was written.
    pub written: Timestamp,
}

impl Item {
    fn check(&self) -> Result<()> {
        if self.disks.is_empty() || self.disks.len() > DISKS_MAX {
            return Err(Error::invalid(format!("machine {} needs 1 to {DISKS_MAX} disks, not {}", self.name, self.disks.len())));
        }
        let mut names: Vec<_> = self.disks.iter().map(|disk| &disk.name).collect();
        names.sort_unstable();
        match names.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(Error::invalid(format!("machine {} has two disks named {}", self.name, pair[0]))),
            None => Ok(()),
        }
    }
}

impl Vault {
    /// Writes a machine's record behind the ones that exist. `replace` says whether there may be any.
    ///
    /// # Errors
    /// `conflict` when the machine exists and `replace` is false, or somebody else changed it at this moment; `invalid`.
    pub async fn write_item(&self, item: &Item, replace: bool) -> Result<()> {
        item.check()?;
        let newest = self.newest_item_seq(&item.name).await?;
        let seq = match newest {
            Some(_) if !replace => {
                return Err(Error::conflict(format!("machine {} already exists; give --replace to change its disks", item.name)));
            }
            Some(seq) if seq >= SEQ_MAX => {
                return Err(Error::invalid(format!("machine {} was changed {SEQ_MAX} times", item.name)));
            }
            newest => newest.unwrap_or(0) + 1,
        };
        self.create_record(ITEM, &Name::Item(item.name.clone(), seq), item).await.map(drop)
    }

    /// A machine's newest record.
    ///
    /// # Errors
    /// `missing` when there is no such machine, `corrupt`; as the store.
    pub async fn item(&self, name: &ItemName) -> Result<Item> {
        let Some(seq) = self.newest_item_seq(name).await? else {
            return Err(Error::missing(format!("there is no machine {name} in this vault; see `stillpoint machine list`")));
        };
        let item: Item = self.read_record(ITEM, &Name::Item(name.clone(), seq)).await?;
        item.check().map_err(|error| Error::new(ErrorKind::Corrupt, error.to_string()))?;
        Ok(item)
    }

    /// Names of all machines, sorted.
    ///
    /// # Errors
    /// As the store.
    pub async fn item_names(&self) -> Result<Vec<ItemName>> {
        let listing = self.store().list_folder(Name::ITEMS).await?;
        Ok(listing.folders.iter().filter_map(|folder| folder.parse().ok()).collect())
    }

    async fn newest_item_seq(&self, name: &ItemName) -> Result<Option<u32>> {
        let entries = self.store().list(&Name::item_folder(name)).await?;
        let seq = |text: &str| match text.parse() {
            Ok(Name::Item(_, seq)) => Some(seq),
            _ => None,
        };
        Ok(entries.iter().filter_map(|entry| seq(&entry.name)).max())
    }
}

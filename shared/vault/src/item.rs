use std::collections::BTreeMap;

use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stillpoint_model::{Error, ErrorKind, ItemName, PolicyName, Result, geometry::DISKS_MAX, policy::check_tag};
use stillpoint_ports::{DiskSource, MachineSource};

use crate::{Name, SEQ_MAX, Vault, record::ITEM};

/// Most tags of a machine.
const TAGS_MAX: usize = 100;
/// Most bytes of a machine's settings, names and values together.
const SETTINGS_BYTES_MAX: usize = 16 << 10;
/// Records read at once.
const IN_FLIGHT: usize = 16;

/// Whether a machine is protected.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Protection {
    /// It is.
    #[default]
    Active,
    /// It was stopped: no scheduled jobs; its points are all retained.
    Retained {
        /// When.
        since: Timestamp,
    },
    /// It was stopped and its points are deleted; until then this can be taken back.
    Deleted {
        /// When.
        since: Timestamp,
        /// When its points may be freed, those that are held or locked aside.
        until: Timestamp,
    },
}

impl Protection {
    fn is_active(&self) -> bool {
        *self == Self::Active
    }
}

/// A protected item: the body of `items/<name>/<seq>.json`. The newest record counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Item {
    /// The machine's name.
    pub name: ItemName,
    /// What runs it: `image`, `qemu`, …
    pub platform: String,
    /// From where the platform is reached.
    pub site: String,
    /// Its disks, in order, names unique.
    pub disks: Vec<DiskSource>,
    /// How its platform reaches and treats it, in the platform's own words.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, String>,
    /// What policies choose it by.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// The policy it was put under by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyName>,
    /// Whether it is protected.
    #[serde(default, skip_serializing_if = "Protection::is_active")]
    pub protection: Protection,
    /// When this record was written.
    pub written: Timestamp,
}

impl Item {
    /// A protected machine without tags.
    #[must_use]
    pub fn new(name: ItemName, platform: &str, site: &str, disks: Vec<DiskSource>, written: Timestamp) -> Self {
        let (settings, tags, policy, protection) = (BTreeMap::new(), BTreeMap::new(), None, Protection::Active);
        Self { name, platform: platform.to_owned(), site: site.to_owned(), disks, settings, tags, policy, protection, written }
    }

    /// The machine as its platform is told of it.
    #[must_use]
    pub fn source(&self) -> MachineSource {
        MachineSource { disks: self.disks.clone(), settings: self.settings.clone() }
    }

    /// Checks disks and tags. Everything that writes a machine does this first.
    ///
    /// # Errors
    /// `invalid`, with the reason.
    pub fn check(&self) -> Result<()> {
        if self.disks.is_empty() || self.disks.len() > DISKS_MAX {
            return Err(Error::invalid(format!("machine {} needs 1 to {DISKS_MAX} disks, not {}", self.name, self.disks.len())));
        }
        if self.tags.len() > TAGS_MAX {
            return Err(Error::invalid(format!("machine {} has more than {TAGS_MAX} tags", self.name)));
        }
        let setting_bytes: usize = self.settings.iter().map(|(name, value)| name.len() + value.len()).sum();
        if setting_bytes > SETTINGS_BYTES_MAX {
            return Err(Error::invalid(format!(
                "the settings of machine {} have more than {SETTINGS_BYTES_MAX} bytes",
                self.name
            )));
        }
        for (key, value) in &self.tags {
            check_tag(key, value).map_err(|reason| Error::invalid(format!("tag '{}': {reason}", key.escape_debug())))?;
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

    /// Writes a machine's record right behind the one with the number `newest`, which the writer has read; 0 where there is none.
    ///
    /// # Errors
    /// `conflict` when somebody else has written one since; `invalid`; as the store.
    pub async fn write_item_after(&self, item: &Item, newest: u32) -> Result<()> {
        item.check()?;
        if newest >= SEQ_MAX {
            return Err(Error::invalid(format!("machine {} was changed {SEQ_MAX} times", item.name)));
        }
        let written = self.create_record(ITEM, &Name::Item(item.name.clone(), newest + 1), item).await;
        written.map(drop).map_err(|error| match error.kind() {
            ErrorKind::Conflict => {
                Error::conflict(format!("machine {} was changed by somebody else at this moment; try again", item.name))
            }
            _ => error,
        })
    }

    /// [`Vault::write_item_after`] for many machines, some at a time. What is written stays if one fails.
    ///
    /// # Errors
    /// The first that fails, as there.
    pub async fn write_items_after(&self, items: &[(Item, u32)]) -> Result<()> {
        let write = |(item, newest): &(Item, u32)| {
            let (item, newest) = (item.clone(), *newest);
            async move { self.write_item_after(&item, newest).await }
        };
        stream::iter(items.iter().map(write)).buffer_unordered(IN_FLIGHT).try_collect().await
    }

    /// A machine's newest record, if it can be read, and its number; `None` when there is no such machine.
    ///
    /// # Errors
    /// As the store.
    pub async fn newest_item(&self, name: &ItemName) -> Result<Option<(u32, Result<Item>)>> {
        match self.newest_item_seq(name).await? {
            Some(seq) => Ok(Some((seq, self.item_version(name, seq).await))),
            None => Ok(None),
        }
    }

    /// The numbers of all machines' newest records. One listing.
    ///
    /// # Errors
    /// As the store.
    pub async fn item_numbers(&self) -> Result<BTreeMap<ItemName, u32>> {
        let seq = |name| if let Name::Item(name, seq) = name { Some((name, seq)) } else { None };
        Ok(self.names(Name::ITEMS, seq).await?.into_iter().collect())
    }

    /// Records of machines by their numbers, some at a time, in the order given; one that cannot be read does not hide the others.
    pub async fn read_items(&self, numbers: impl IntoIterator<Item = (ItemName, u32)>) -> Vec<(ItemName, Result<Item>)> {
        let read = |(name, seq): (ItemName, u32)| async move {
            let item = self.item_version(&name, seq).await;
            (name, item)
        };
        stream::iter(numbers.into_iter().map(read)).buffered(IN_FLIGHT).collect().await
    }

    /// A machine's newest record.
    ///
    /// # Errors
    /// `missing` when there is no such machine, `corrupt`; as the store.
    pub async fn item(&self, name: &ItemName) -> Result<Item> {
        let missing = || Error::missing(format!("there is no machine {name} in this vault; see `stillpoint machine list`"));
        self.newest_item(name).await?.ok_or_else(missing)?.1
    }

    async fn item_version(&self, name: &ItemName, seq: u32) -> Result<Item> {
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

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stillpoint_model::{Error, Immutability, Result};

use crate::{Kind, Name, Pairing, Role, Vault};

const SETTINGS: Kind = Kind::small("settings");
/// Shortest and longest time for which deleted points can be undeleted, in days.
const UNDELETE_DAYS: std::ops::RangeInclusive<u32> = 14..=180;
/// Shortest and longest time within which every byte is read again, in days.
const VERIFY_DAYS: std::ops::RangeInclusive<u32> = 1..=3_660;

/// What holds for the whole vault: the body of `settings/<seq>.json`. The newest record counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Whether points may go before their time.
    pub immutability: Immutability,
    /// Days for which deleted points can be undeleted.
    pub undelete_days: u32,
    /// Days within which every byte is read again.
    pub verify_days: u32,
    /// Most scheduled backups at a time in the vault; none when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrent: Option<u32>,
    /// Most scheduled backups at a time at a site.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sites: BTreeMap<String, u32>,
    /// The vault that this one is paired with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pairing: Option<Pairing>,
    /// When an operator last confirmed that the clock is right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_confirmed: Option<Timestamp>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            immutability: Immutability::Off,
            undelete_days: *UNDELETE_DAYS.start(),
            verify_days: 30,
            concurrent: None,
            sites: BTreeMap::new(),
            pairing: None,
            clock_confirmed: None,
        }
    }
}

impl Settings {
    /// Whether the vault receives what another one keeps, and nothing else.
    #[must_use]
    pub fn is_replica(&self) -> bool {
        self.pairing.as_ref().is_some_and(|pairing| pairing.role == Role::Replica)
    }

    fn check(&self) -> Result<()> {
        let bounds = [("undelete_days", self.undelete_days, UNDELETE_DAYS), ("verify_days", self.verify_days, VERIFY_DAYS)];
        for (name, value, bounds) in bounds {
            if !bounds.contains(&value) {
                return Err(Error::invalid(format!("{name} must be {} to {}, not {value}", bounds.start(), bounds.end())));
            }
        }
        if self.concurrent == Some(0) || self.sites.values().any(|limit| *limit == 0) {
            return Err(Error::invalid("with a limit of 0 no backup could ever run; leave the limit out instead"));
        }
        Ok(())
    }
}

impl Vault {
    async fn newest_settings(&self) -> Result<u32> {
        let seq = |name| if let Name::Settings(seq) = name { Some(seq) } else { None };
        Ok(self.names(Name::SETTINGS, seq).await?.into_iter().max().unwrap_or(0))
    }

    /// The vault's settings; the defaults as long as nobody set anything.
    ///
    /// # Errors
    /// `corrupt`; as the store.
    pub async fn settings(&self) -> Result<Settings> {
        match self.newest_settings().await? {
            0 => Ok(Settings::default()),
            seq => self.read_record(SETTINGS, &Name::Settings(seq)).await,
        }
    }

    /// Changes the vault's settings and returns what they are now.
    ///
    /// # Errors
    /// `denied` when the vault is locked and the change would loosen it; `invalid`; `conflict` when somebody else changed them at this
    /// moment; as the store.
    pub async fn change_settings(&self, change: impl FnOnce(&mut Settings)) -> Result<Settings> {
        let newest = self.newest_settings().await?;
        let old: Settings =
            if newest == 0 { Settings::default() } else { self.read_record(SETTINGS, &Name::Settings(newest)).await? };
        let mut new = old.clone();
        change(&mut new);
        new.check()?;
        if old.immutability == Immutability::Locked && new.immutability != Immutability::Locked {
            return Err(Error::denied("the vault is locked for good: its immutability cannot be taken back"));
        }
        if old.immutability != Immutability::Off && new.undelete_days < old.undelete_days {
            return Err(Error::denied("the vault is immutable: deleted points stay undeletable for as long as was promised"));
        }
        if new != old {
            self.create_record(SETTINGS, &Name::Settings(newest + 1), &new).await?;
        }
        Ok(new)
    }
}

use std::sync::Arc;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use stillpoint_format::limits;
use stillpoint_model::{Error, ErrorKind, ItemName, PointId, PolicyName, Result};
use stillpoint_ports::Clock;
use stillpoint_store::{Access, Store};

use crate::{Name, PointEntries, PointEntry, Vault, open::read_identity};

/// What a vault is to the one that it is paired with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Backups go to it.
    Primary,
    /// It receives what the primary keeps, and nothing else.
    Replica,
    /// It was a replica and is a vault of its own now.
    Promoted,
}

/// That a vault is paired: part of its [`crate::Settings`], which are each vault's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pairing {
    /// What this vault is.
    pub role: Role,
    /// URL of the other one.
    pub other: String,
    /// Seconds within which a point of the primary is to be in the replica.
    pub target_seconds: u32,
    /// The policy whose retention holds for all points in the replica; without one, that of each machine's own policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<PolicyName>,
}

/// What a pair is to be.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// See [`Pairing::target_seconds`].
    pub target_seconds: u32,
    /// See [`Pairing::retention`].
    pub retention: Option<PolicyName>,
}

/// Opens the stores of other vaults by their URLs.
pub trait Regions: Send + Sync {
    /// The store that `url` names; it must exist.
    ///
    /// # Errors
    /// As [`Store::open`].
    fn open(&self, url: &str) -> Result<Store>;
}

/// Regions that are reached as the process's environment says.
pub struct ByUrl(pub Arc<dyn Clock>);

impl Regions for ByUrl {
    fn open(&self, url: &str) -> Result<Store> {
        Store::open(url, Access::Existing, Arc::clone(&self.0))
    }
}

/// A vault and its replica in another region. Both have one identity and the same keys, and whatever both have has the same name and
/// the same bytes.
#[derive(Clone)]
pub struct Pair {
    /// Where backups go.
    pub primary: Vault,
    /// Where copies go.
    pub replica: Vault,
    /// Time within which a point is to be in the replica.
    pub target: SignedDuration,
}

/// The points of both vaults, by listings alone.
pub struct Both {
    /// The primary's.
    pub primary: PointEntries,
    /// The replica's.
    pub replica: PointEntries,
}

impl Both {
    /// Points that the replica lacks, newest first. One that the primary is about to lose, or that it knows to be damaged, is not among
    /// them, nor one that the replica has let go by its own retention.
    #[must_use]
    pub fn missing(&self) -> Vec<(ItemName, PointId)> {
        let mut missing: Vec<(ItemName, PointId)> = Vec::new();
        for (item, entries) in &self.primary {
            let wanted = entries.iter().filter(|entry| entry.is_good());
            let lacks =
                |entry: &&PointEntry| self.in_replica(item, entry.id).is_none_or(|there| !there.committed && !there.freed());
            missing.extend(wanted.filter(lacks).map(|entry| (item.clone(), entry.id)));
        }
        missing.sort_by(|(one, a), (other, b)| (b, one).cmp(&(a, other)));
        missing
    }

    /// What lies in the folder of a point in the replica.
    #[must_use]
    pub fn in_replica(&self, item: &ItemName, id: PointId) -> Option<&PointEntry> {
        let entries = self.replica.get(item)?;
        entries.binary_search_by_key(&id, |entry| entry.id).ok().map(|place| &entries[place])
    }

    /// Points of which both have all, with what lies in their folders in the primary and in the replica.
    pub fn shared(&self) -> impl Iterator<Item = (&ItemName, &PointEntry, &PointEntry)> {
        self.primary.iter().flat_map(move |(item, entries)| {
            let there = entries.iter().filter(|entry| entry.is_point());
            there.filter_map(move |entry| {
                let twin = self.in_replica(item, entry.id).filter(|twin| twin.is_point())?;
                Some((item, entry, twin))
            })
        })
    }
}

impl Pair {
    /// The pair that `vault` is half of, if it is.
    ///
    /// # Errors
    /// `conflict` when the other was promoted, or is paired with another one; as opening the other.
    pub async fn of(vault: &Vault, regions: &dyn Regions) -> Result<Option<Self>> {
        match vault.pairing().await? {
            Some(pairing) if pairing.role != Role::Promoted => Self::joined(vault, &pairing, regions).await.map(Some),
            _ => Ok(None),
        }
    }

    /// The same, where the vault's settings were read already: `pairing` is what they say.
    ///
    /// # Errors
    /// As [`Pair::of`].
    pub async fn joined(vault: &Vault, pairing: &Pairing, regions: &dyn Regions) -> Result<Self> {
        let other = vault.twin(regions.open(&pairing.other)?).await?;
        let place = other.store().url().to_owned();
        let target = SignedDuration::from_secs(i64::from(pairing.target_seconds));
        // Whatever the primary has come to be, it gives what it has.
        if pairing.role == Role::Replica {
            return Ok(Self { primary: other, replica: vault.clone(), target });
        }
        match other.pairing().await?.map(|other| other.role) {
            Some(Role::Replica) => Ok(Self { primary: vault.clone(), replica: other, target }),
            Some(Role::Promoted) => Err(Error::conflict(format!(
                "the vault at {place} was promoted: it takes the place of this one, and nothing is copied any more"
            ))),
            _ => Err(Error::conflict(format!("the vault at {place} is not the other half of this pair"))),
        }
    }

    /// Gives the replica the primary's key slots that it lacks, under its own numbers: whoever opens it by its recovery key adds one to it
    /// alone. Returns how many.
    ///
    /// # Errors
    /// As the stores.
    pub async fn copy_slots(&self) -> Result<u64> {
        let there = self.replica.key_slots().await?;
        let mut copied = 0;
        for (_, slot) in self.primary.key_slots().await? {
            if !there.iter().any(|(_, known)| *known == slot) {
                self.replica.create_slot(&slot).await?;
                copied += 1;
            }
        }
        Ok(copied)
    }

    /// Lists the points of a machine, or of all, in both: what is in the replica then was in the primary before.
    ///
    /// # Errors
    /// As the stores.
    pub async fn both(&self, item: Option<&ItemName>) -> Result<Both> {
        let replica = entries(&self.replica, item).await?;
        Ok(Both { primary: entries(&self.primary, item).await?, replica })
    }
}

async fn entries(vault: &Vault, item: Option<&ItemName>) -> Result<PointEntries> {
    match item {
        None => vault.all_point_entries().await,
        Some(item) => Ok(PointEntries::from([(item.clone(), vault.point_entries(item).await?)])),
    }
}

impl Vault {
    /// What the vault is paired with; `None` when it never was.
    ///
    /// # Errors
    /// As [`Vault::settings`].
    pub async fn pairing(&self) -> Result<Option<Pairing>> {
        Ok(self.settings().await?.pairing)
    }

    /// Refuses where the vault is a replica: what is written to one besides copies would be lost, or get in their way.
    ///
    /// # Errors
    /// `denied`; as [`Vault::pairing`].
    pub async fn unless_replica(&self) -> Result<()> {
        match self.pairing().await? {
            Some(Pairing { role: Role::Replica, other, .. }) => Err(Error::denied(format!(
                "this vault is the replica of {other}: do it there, or make this one the primary with `stillpoint vault promote`"
            ))),
            _ => Ok(()),
        }
    }

    /// The other vault of this identity and these keys that lies in `store`.
    ///
    /// # Errors
    /// `missing` when there is none; `conflict` when it is another vault; `corrupt`; as the store.
    pub async fn twin(&self, store: Store) -> Result<Self> {
        let (identity, bytes) = read_identity(&store).await?;
        if identity.id != self.identity().id {
            return Err(Error::conflict(format!(
                "{} holds another vault ({}), and no replica of this one ({})",
                store.url(),
                identity.id,
                self.identity().id
            )));
        }
        let twin = self.over(store);
        twin.check_identity(&bytes)?;
        Ok(twin)
    }

    /// Makes an empty store this vault's replica, and says in both that they are a pair. `url` and `own_url` are how each is reached from
    /// the other. Repeating it, also with another target or retention, goes on from where it stopped.
    ///
    /// # Errors
    /// `conflict` when the store holds another vault, or one that is no replica, or this one is a replica itself; `invalid` when the
    /// store lacks an ability that a vault needs, or the policy does not exist; as the stores.
    pub async fn pair(&self, store: Store, url: &str, own_url: &str, wanted: Wanted) -> Result<Self> {
        self.unless_replica().await?;
        let Wanted { target_seconds, retention } = wanted;
        let pairing = |role, other: &str| Pairing { role, other: other.to_owned(), target_seconds, retention: retention.clone() };
        let replica = match self.twin(store.clone()).await {
            Ok(replica) => replica,
            Err(error) if error.kind() == ErrorKind::Missing => {
                store.probe(&format!("probe-{}", self.ulid())).await?;
                let replica = self.over(store);
                for entry in self.store().list(Name::KEYS).await? {
                    copy(self, &replica, &entry.name, limits::RECORD_BYTES_MAX).await?;
                }
                // Before it is a vault: nobody finds one that does not know what it is.
                replica.change_settings(|settings| settings.pairing = Some(pairing(Role::Replica, own_url))).await?;
                copy(self, &replica, &Name::Vault.to_string(), limits::RECORD_BYTES_MAX).await?;
                replica
            }
            Err(error) => return Err(error),
        };
        let place = replica.store().url();
        match replica.pairing().await?.map(|pairing| pairing.role) {
            Some(Role::Replica) => {}
            Some(Role::Promoted) => {
                return Err(Error::conflict(format!("the vault at {place} was promoted; pair with an empty place")));
            }
            _ => return Err(Error::conflict(format!("{place} is this vault itself, or a copy of it that no pairing made"))),
        }
        replica.change_settings(|settings| settings.pairing = Some(pairing(Role::Replica, own_url))).await?;
        self.change_settings(|settings| settings.pairing = Some(pairing(Role::Primary, url))).await?;
        Ok(replica)
    }

    /// Makes a replica a vault of its own: backups may go to it, and it copies nothing any more. Repeating it is harmless.
    ///
    /// # Errors
    /// `conflict` when the vault is no replica; as the store.
    pub async fn promote(&self) -> Result<()> {
        let pairing = self.pairing().await?;
        let pairing = pairing.filter(|pairing| pairing.role != Role::Primary);
        let pairing = pairing.ok_or_else(|| Error::conflict("this vault is no replica: there is nothing to promote"))?;
        let promoted = Pairing { role: Role::Promoted, ..pairing };
        self.change_settings(|settings| settings.pairing = Some(promoted)).await.map(drop)
    }

    fn over(&self, store: Store) -> Self {
        self.afresh().with_store(store)
    }
}

/// Copies an object as it is. One that is there already is the same, for no name is used twice. Returns its size in bytes.
///
/// # Errors
/// `conflict` when one of another size is there; as the stores.
pub async fn copy(from: &Vault, to: &Vault, name: &str, bytes_max: u64) -> Result<u64> {
    let bytes = from.store().get(name, bytes_max).await?;
    put(to, name, bytes).await
}

/// Creates an object as another vault has it, as [`copy`].
///
/// # Errors
/// As [`copy`].
pub async fn put(to: &Vault, name: &str, bytes: bytes::Bytes) -> Result<u64> {
    let size_bytes = bytes.len() as u64;
    match to.store().create(name, vec![bytes]).await {
        Ok(()) => Ok(size_bytes),
        Err(error) if error.kind() == ErrorKind::Conflict && to.store().size(name).await? == size_bytes => Ok(size_bytes),
        Err(error) => Err(error),
    }
}

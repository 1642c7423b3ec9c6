use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stillpoint_format::{KeySlot, Keys, MasterKey, Secret, SlotKind, limits, open_record, peek_record, seal_record};
use stillpoint_model::{Error, ErrorKind, Result, VaultId, geometry::CHUNK_BYTES};
use stillpoint_ports::{Clock, DataKey, Random, ulid};
use stillpoint_store::{Entry, Store};

use crate::{
    Name,
    kept::Kept,
    record::{KEY_SLOT, VAULT},
};

/// Fewest ways to open a vault before it is called ready: losing one must not lose everything.
const KEY_SLOTS_MIN: usize = 2;
/// Most key slots that are tried.
const KEY_SLOTS_MAX: usize = 100;

/// The body of `vault.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// The vault.
    pub id: VaultId,
    /// [`limits::FORMAT_VERSION`] of the program that made it.
    pub format_version: u16,
    /// Bytes of a chunk.
    pub chunk_bytes: u64,
    /// When it was made.
    pub created: Timestamp,
}

/// What is read of `vault.json` before anything else is trusted: a newer version may have other fields.
#[derive(Deserialize)]
struct Version {
    format_version: u16,
}

/// A key slot, without what is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SlotSummary {
    /// Its number.
    pub seq: u32,
    /// What opens it.
    pub kind: SlotKind,
    /// Of a KMS slot: the ARN of the KMS key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// An opened vault. Clones share the store's connection.
#[derive(Clone)]
pub struct Vault {
    store: Store,
    keys: Arc<Keys>,
    identity: Arc<Identity>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    pub(crate) kept: Arc<Kept>,
}

/// A vault that is about to be: nothing of it is visible before [`Draft::commit`].
pub struct Draft {
    store: Store,
    master: MasterKey,
    /// Its identity to be.
    pub identity: Identity,
    /// Secrets of the slots to be, in order: the caller keeps them safe before it commits.
    pub secrets: Vec<(SlotKind, Secret)>,
    pub(crate) services: Vec<DataKey>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
}

fn random_bytes<const N: usize>(random: &dyn Random) -> [u8; N] {
    let mut bytes = [0; N];
    random.fill(&mut bytes);
    bytes
}

impl Draft {
    /// Probes `store` and draws the keys of a new vault in it.
    ///
    /// # Errors
    /// `conflict` when there is a vault already, `invalid` when the store lacks an ability that a vault needs.
    pub async fn prepare(store: Store, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Result<Self> {
        match store.size(&Name::Vault.to_string()).await {
            Ok(_) => return Err(Error::conflict(format!("{} already holds a vault", store.url()))),
            Err(error) if error.kind() == ErrorKind::Missing => {}
            Err(error) => return Err(error),
        }
        let id = VaultId::new(ulid(&*clock, &*random));
        store.probe(&format!("probe-{id}")).await?;
        let identity = Identity { id, format_version: limits::FORMAT_VERSION, chunk_bytes: CHUNK_BYTES, created: clock.now() };
        let secrets = vec![(SlotKind::KeyFile, random_bytes(&*random)), (SlotKind::RecoveryKey, random_bytes(&*random))];
        let master = MasterKey::new(random_bytes(&*random));
        Ok(Self { store, master, identity, secrets, services: Vec::new(), clock, random })
    }

    /// Writes the key slots, then `vault.json`: creating that is what makes the vault.
    ///
    /// # Errors
    /// `invalid` with fewer than two ways to open it; `conflict` when another vault was made here meanwhile; as the store.
    pub async fn commit(self) -> Result<Vault> {
        if self.secrets.len() + self.services.len() < KEY_SLOTS_MIN {
            return Err(Error::invalid(format!(
                "a vault needs {KEY_SLOTS_MIN} ways to open it; give --kms, or leave the key file"
            )));
        }
        let keys = Arc::new(Keys::derive(self.identity.id, &self.master));
        let vault = Vault {
            store: self.store,
            keys,
            identity: Arc::new(self.identity),
            clock: self.clock,
            random: self.random,
            kept: Arc::default(),
        };
        for (kind, secret) in &self.secrets {
            vault.write_slot(*kind, secret, &self.master).await?;
        }
        for made in &self.services {
            vault.write_service_slot(made, &self.master).await?;
        }
        vault.create_record(VAULT, &Name::Vault, vault.identity()).await?;
        Ok(vault)
    }
}

impl Vault {
    /// Reads which vault `store` holds, unauthenticated: enough to find the key file, and checked again by [`Vault::open`].
    ///
    /// # Errors
    /// `missing` when there is no vault, `invalid` when it is of a newer format, `corrupt`.
    pub async fn identify(store: &Store) -> Result<Identity> {
        Ok(read_identity(store).await?.0)
    }

    /// Opens the vault in `store` with the secret of any of its key slots.
    ///
    /// # Errors
    /// As [`Vault::identify`]; `denied` when no slot opens with this secret.
    pub async fn open(store: Store, secret: &Secret, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Result<Self> {
        let (identity, bytes) = read_identity(&store).await?;
        let master = unwrap(&store, identity.id, secret).await?;
        Self::opened(store, (identity.id, &bytes), &master, clock, random)
    }

    /// The vault whose id and `vault.json` were read, if `master` is its key.
    pub(crate) fn opened(
        store: Store,
        (id, bytes): (VaultId, &[u8]),
        master: &MasterKey,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Result<Self> {
        let keys = Keys::derive(id, master);
        let signed = authentic(&keys, bytes)?;
        Ok(Self { store, keys: Arc::new(keys), identity: Arc::new(signed), clock, random, kept: Arc::default() })
    }

    /// Whether `bytes` are the `vault.json` of a vault with these keys.
    pub(crate) fn check_identity(&self, bytes: &[u8]) -> Result<()> {
        authentic(&self.keys, bytes).map(drop)
    }

    /// The same vault in another store.
    pub(crate) fn with_store(self, store: Store) -> Self {
        Self { store, ..self }
    }

    /// The store, for objects that are not records.
    #[must_use]
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// The vault's keys.
    #[must_use]
    pub fn keys(&self) -> &Arc<Keys> {
        &self.keys
    }

    /// What `vault.json` says.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The clock that writes time stamps.
    #[must_use]
    pub fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// The randomness that makes ids and salts.
    #[must_use]
    pub fn random(&self) -> &dyn Random {
        &*self.random
    }

    /// A new id.
    #[must_use]
    pub fn ulid(&self) -> ulid::Ulid {
        ulid(&*self.clock, &*self.random)
    }

    /// The same vault, reading everything from the store, also what this process has read before.
    #[must_use]
    pub fn afresh(&self) -> Self {
        Self { kept: Arc::default(), ..self.clone() }
    }

    /// The same vault, whose requests are also counted apart.
    #[must_use]
    pub fn metered(&self) -> Self {
        Self { store: self.store.metered(), ..self.clone() }
    }

    /// The vault's authentic key slots, and their numbers.
    ///
    /// # Errors
    /// As the store.
    pub async fn key_slots(&self) -> Result<Vec<(u32, KeySlot)>> {
        let slots = read_slots(&self.store).await?;
        let authentic = |(seq, bytes, slot): (u32, bytes::Bytes, KeySlot)| {
            let name = Name::KeySlot(seq).to_string();
            let opened: KeySlot = open_record(&self.keys.signature, KEY_SLOT.name, &name, &bytes).ok()?;
            (opened == slot).then_some((seq, slot))
        };
        Ok(slots.into_iter().filter_map(authentic).collect())
    }

    /// The same without what is in them.
    ///
    /// # Errors
    /// `corrupt` when there are fewer than a vault is made with; as the store.
    pub async fn slots(&self) -> Result<Vec<SlotSummary>> {
        let summary =
            |(seq, slot): (u32, KeySlot)| SlotSummary { seq, kind: slot.kind, key: slot.kms.map(|service| service.key) };
        let summaries: Vec<SlotSummary> = self.key_slots().await?.into_iter().map(summary).collect();
        if summaries.len() < KEY_SLOTS_MIN {
            return Err(Error::corrupt(format!(
                "the vault has {} sound key slots, fewer than the {KEY_SLOTS_MIN} it was made with",
                summaries.len()
            )));
        }
        Ok(summaries)
    }

    /// Adds a slot that `secret` opens; `opened_with` is any secret that opens the vault now.
    ///
    /// # Errors
    /// `denied` when `opened_with` opens nothing; as the store.
    pub async fn add_slot(&self, opened_with: &Secret, kind: SlotKind, secret: &Secret) -> Result<()> {
        let slots = read_slots(&self.store).await?;
        let master = slots.iter().find_map(|(_, _, slot)| slot.unwrap_with(self.identity.id, opened_with).ok());
        self.write_slot(kind, secret, &master.ok_or_else(|| Error::denied("the key opens no slot of this vault"))?).await
    }

    async fn write_slot(&self, kind: SlotKind, secret: &Secret, master: &MasterKey) -> Result<()> {
        self.create_slot(&KeySlot::wrap(self.identity.id, kind, secret, self.salt(), master)).await
    }

    pub(crate) fn salt(&self) -> [u8; 16] {
        random_bytes(self.random())
    }

    /// Gives the slot the next free number.
    pub(crate) async fn create_slot(&self, slot: &KeySlot) -> Result<()> {
        let listed = self.store.list(Name::KEYS).await?;
        let mut seq = listed.iter().filter_map(|entry| slot_seq(&entry.name)).max().unwrap_or(0) + 1;
        loop {
            let name = Name::KeySlot(seq).to_string();
            let bytes = seal_record(&self.keys.signature, KEY_SLOT.name, &name, slot);
            match self.store.create(&name, vec![bytes.into()]).await {
                Err(error) if error.kind() == ErrorKind::Conflict => seq += 1,
                outcome => return outcome,
            }
        }
    }
}

/// What was read to find the key, if it is what the key says is authentic.
fn authentic(keys: &Keys, bytes: &[u8]) -> Result<Identity> {
    let name = Name::Vault.to_string();
    let signed: Identity =
        open_record(&keys.signature, VAULT.name, &name, bytes).map_err(|error| Error::from(error).context(&name))?;
    if signed.chunk_bytes != CHUNK_BYTES {
        return Err(Error::invalid(format!("the vault has chunks of {} bytes, not {CHUNK_BYTES}", signed.chunk_bytes)));
    }
    Ok(signed)
}

/// `vault.json`, unauthenticated, and its bytes.
pub(crate) async fn read_identity(store: &Store) -> Result<(Identity, bytes::Bytes)> {
    let bytes = store.get(&Name::Vault.to_string(), limits::RECORD_BYTES_MAX).await.map_err(|error| match error.kind() {
        ErrorKind::Missing => Error::missing(format!("{} holds no vault; make one with `stillpoint vault create`", store.url())),
        _ => error,
    })?;
    let damaged = |error: stillpoint_format::Error| Error::from(error).context(format!("vault.json in {}", store.url()));
    let Version { format_version: found } = peek_record(VAULT.name, &bytes).map_err(damaged)?;
    if found > limits::FORMAT_VERSION {
        let known = limits::FORMAT_VERSION;
        return Err(damaged(stillpoint_format::Error::Newer { structure: "the vault", found, known }));
    }
    Ok((peek_record(VAULT.name, &bytes).map_err(damaged)?, bytes))
}

fn slot_seq(name: &str) -> Option<u32> {
    match name.parse() {
        Ok(Name::KeySlot(seq)) => Some(seq),
        _ => None,
    }
}

/// All slots that parse; whether they are authentic shows when they open. A damaged slot must not keep the others from it.
pub(crate) async fn read_slots(store: &Store) -> Result<Vec<(u32, bytes::Bytes, KeySlot)>> {
    let mut slots = Vec::new();
    for entry in store.list(Name::KEYS).await? {
        slots.extend(read_slot(store, &entry).await?);
        if slots.len() == KEY_SLOTS_MAX {
            break;
        }
    }
    Ok(slots)
}

/// One slot, if it parses.
async fn read_slot(store: &Store, entry: &Entry) -> Result<Option<(u32, bytes::Bytes, KeySlot)>> {
    let Some(seq) = slot_seq(&entry.name).filter(|_| entry.size_bytes <= limits::RECORD_BYTES_MAX) else { return Ok(None) };
    let bytes = store.get(&entry.name, limits::RECORD_BYTES_MAX).await?;
    Ok(peek_record(KEY_SLOT.name, &bytes).ok().map(|slot| (seq, bytes, slot)))
}

/// The master key of `vault` from the first slot that `secret` opens; slots after that one are not read.
pub(crate) async fn unwrap(store: &Store, vault: VaultId, secret: &Secret) -> Result<MasterKey> {
    let mut tried = 0;
    for entry in store.list(Name::KEYS).await? {
        let Some((_, _, slot)) = read_slot(store, &entry).await? else { continue };
        tried += 1;
        if let Ok(master) = slot.unwrap_with(vault, secret) {
            return Ok(master);
        }
        if tried == KEY_SLOTS_MAX {
            break;
        }
    }
    Err(Error::denied(format!("the key opens none of the {tried} key slots of vault {vault}")))
}

//! Key slots whose secret a key service (AWS KMS) gives back.

use std::sync::Arc;

use stillpoint_format::{KeySlot, MasterKey, ServiceKey, SlotKind};
use stillpoint_model::{Error, Result, VaultId};
use stillpoint_ports::{Clock, DataKey, KeyService, Random};
use stillpoint_store::Store;

use crate::{
    Draft, Vault,
    open::{read_identity, read_slots, unwrap},
};

/// Name of the pair that binds a data key to its vault (`SPEC.md`, "KMS slots"); the value is the vault's id.
const CONTEXT: &str = "stillpoint-vault";
/// Most slots that are tried: each costs a request to a service, and a store that is not trusted says how many there are.
const SERVICE_SLOTS_MAX: usize = 8;

async fn data_key(vault: VaultId, service: &dyn KeyService, key: &str) -> Result<DataKey> {
    service.make_data_key(key, (CONTEXT, &vault.to_string())).await
}

impl Draft {
    /// Lets `key` of `service` (the ARN of a KMS key or alias) open the vault to be, too.
    ///
    /// # Errors
    /// As [`KeyService::make_data_key`].
    pub async fn add_service_slot(&mut self, service: &dyn KeyService, key: &str) -> Result<()> {
        self.services.push(data_key(self.identity.id, service, key).await?);
        Ok(())
    }

    /// Makes no slot for a key file.
    pub fn without_key_file(&mut self) {
        self.secrets.retain(|(kind, _)| *kind != SlotKind::KeyFile);
    }
}

impl Vault {
    /// Opens the vault in `store` through the first of its KMS slots that `service` opens. This is how a function opens its
    /// vault: it has a role, and no secret.
    ///
    /// # Errors
    /// As [`Vault::identify`]; `missing` when the vault has no KMS slot; else the first slot's: as
    /// [`KeyService::open_data_key`], or `corrupt` when a slot was altered.
    pub async fn open_through(
        store: Store,
        service: &dyn KeyService,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Result<Self> {
        let (identity, bytes) = read_identity(&store).await?;
        let master = unwrap_through(&store, identity.id, service).await?;
        Self::opened(store, (identity.id, &bytes), &master, clock, random)
    }

    /// The ARNs of the KMS keys that slots of the vault in `store` name, unauthenticated: for telling people.
    ///
    /// # Errors
    /// As the store.
    pub async fn service_keys(store: &Store) -> Result<Vec<String>> {
        let slots = read_slots(store).await?;
        Ok(slots.into_iter().filter_map(|(_, _, slot)| slot.kms.map(|service| service.key)).collect())
    }

    /// Lets `key` of `service` (the ARN of a KMS key or alias) open this vault, too.
    ///
    /// # Errors
    /// `denied` when `opened_with` opens nothing; as [`KeyService::make_data_key`]; as the store.
    pub async fn add_service_slot(&self, opened_with: Opener<'_>, service: &dyn KeyService, key: &str) -> Result<()> {
        let vault = self.identity().id;
        let master = match opened_with {
            Opener::Secret(secret) => unwrap(self.store(), vault, secret).await?,
            Opener::Service(service) => unwrap_through(self.store(), vault, service).await?,
        };
        let made = data_key(vault, service, key).await?;
        self.write_service_slot(&made, &master).await
    }

    pub(crate) async fn write_service_slot(&self, made: &DataKey, master: &MasterKey) -> Result<()> {
        let service = ServiceKey::new(&made.key, &made.blob);
        let slot = KeySlot::wrap_for_service(self.identity().id, service, &made.secret, self.salt(), master);
        self.create_slot(&slot).await
    }
}

/// What opens a vault.
pub enum Opener<'a> {
    /// The secret of a key file or recovery key.
    Secret(&'a stillpoint_format::Secret),
    /// A key service.
    Service(&'a dyn KeyService),
}

async fn unwrap_through(store: &Store, vault: VaultId, service: &dyn KeyService) -> Result<MasterKey> {
    let slots = read_slots(store).await?.into_iter().filter(|(_, _, slot)| slot.kms.is_some());
    let mut refusal = None;
    for (seq, _, slot) in slots.take(SERVICE_SLOTS_MAX) {
        match unwrap_one(&slot, vault, service).await {
            Ok(master) => return Ok(master),
            Err(error) => drop(refusal.get_or_insert(error.context(format!("key slot {seq} of vault {vault}")))),
        }
    }
    let none = || Error::missing(format!("vault {vault} has no KMS key slot; open it with a key file or the recovery key"));
    Err(refusal.unwrap_or_else(none))
}

async fn unwrap_one(slot: &KeySlot, vault: VaultId, service: &dyn KeyService) -> Result<MasterKey> {
    let kms = slot.kms.as_ref().ok_or_else(|| Error::internal("no KMS slot"))?;
    let secret = service.open_data_key(&kms.key, &kms.blob()?, (CONTEXT, &vault.to_string())).await?;
    Ok(slot.unwrap_with(vault, &secret)?)
}

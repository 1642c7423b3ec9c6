//! What opens the vault here: a key file, or AWS KMS.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use stillpoint_format::Secret;
use stillpoint_kms::Kms;
use stillpoint_model::{Error, Result, VaultId};
use stillpoint_ports::{Clock, Random};
use stillpoint_store::Store;
use stillpoint_vault::{Opener, Vault};

use crate::{args::Global, keyfile};

/// See the module.
pub enum Key {
    /// The secret of a key file.
    File { path: PathBuf, secret: Secret },
    /// One of the vault's KMS slots; `instead_of` is the key file that would have been used if it were there.
    Kms { service: Kms, instead_of: Option<PathBuf> },
}

/// Where the key file of a vault is, or is to be.
pub fn path(global: &Global, vault: VaultId) -> Result<PathBuf> {
    global.key_file.clone().map_or_else(|| keyfile::default_path(vault), Ok)
}

impl Key {
    /// In this order: the key file that is given; the KMS key that is given; the default key file, if it is there; whatever
    /// KMS key a slot names.
    pub fn at_hand(global: &Global, vault: VaultId) -> Result<Self> {
        let file = |path: PathBuf| Ok(Self::File { secret: keyfile::read(&path, vault)?, path });
        if let Some(path) = global.key_file.clone() {
            return file(path);
        }
        // A function may have no home folder, and no use for one.
        let default = keyfile::default_path(vault).ok();
        match default {
            Some(path) if global.kms.is_none() && path.exists() => file(path),
            default => {
                let instead_of = default.filter(|_| global.kms.is_none());
                Ok(Self::Kms { service: Kms::from_env(global.kms.clone()), instead_of })
            }
        }
    }

    /// Opens the vault in `store`.
    pub async fn open(&self, store: Store, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Result<Vault> {
        match self {
            Self::File { secret, .. } => Vault::open(store, secret, clock, random).await,
            Self::Kms { service, instead_of } => {
                match (Vault::open_through(store.clone(), service, clock, random).await, instead_of) {
                    (Err(error), Some(path)) => Err(no_key(&store, path, error).await),
                    (opened, _) => opened,
                }
            }
        }
    }

    /// The same, for the vault itself.
    pub const fn opener(&self) -> Opener<'_> {
        match self {
            Self::File { secret, .. } => Opener::Secret(secret),
            Self::Kms { service, .. } => Opener::Service(service),
        }
    }

    /// The key file, if that is what opens the vault.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File { path, .. } => Some(path),
            Self::Kms { .. } => None,
        }
    }
}

/// A vault without KMS slots lacks its key file; with them, both ways failed.
async fn no_key(store: &Store, path: &Path, error: Error) -> Error {
    match Vault::service_keys(store).await {
        Ok(keys) if keys.is_empty() => keyfile::missing(path),
        _ => error.context(format!("there is no key file {}, and AWS KMS does not open the vault", path.display())),
    }
}

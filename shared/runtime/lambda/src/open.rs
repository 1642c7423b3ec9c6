use std::{fs, path::Path, sync::Arc};

use stillpoint_format::{KEY_FILE_BYTES_MAX, Secret, parse_key_file};
use stillpoint_image::ImagePlatform;
use stillpoint_jobs::{Engine, Place, Wiring};
use stillpoint_kms::Kms;
use stillpoint_model::{Error, Result, VaultId};
use stillpoint_ports::{Clock, Platforms, Random};
use stillpoint_staging::Staging;
use stillpoint_store::{Access, Store};
use stillpoint_system::CpuPool;
use stillpoint_vault::{ByUrl, Vault};

use crate::settings::Settings;

/// zstd level of chunk frames: the command's default.
const LEVEL: i32 = stillpoint_format::COMPRESSION_LEVEL_DEFAULT;

/// Opens the vault and puts the ports of all functions around it.
///
/// # Errors
/// As the store, the key file and AWS KMS.
pub async fn open(settings: &Settings, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Result<Wiring> {
    let opened = Store::open(&settings.vault, Access::Existing, Arc::clone(&clock));
    let store = opened.map_err(|error| error.context("STILLPOINT_VAULT"))?;
    let vault = match &settings.key_file {
        Some(path) => {
            let identity = Vault::identify(&store).await?;
            Vault::open(store, &key(path, identity.id)?, Arc::clone(&clock), random).await?
        }
        None => Vault::open_through(store, &Kms::from_env(settings.kms.clone()), Arc::clone(&clock), random).await?,
    };
    Ok(Wiring {
        engine: Engine::new(vault),
        place: Place::of_site(settings.site.as_str()),
        platforms: Platforms::default().with("image", Arc::new(ImagePlatform::new(Arc::clone(&clock)))),
        target: Arc::new(Staging::new(Arc::clone(&clock))),
        regions: Arc::new(ByUrl(clock)),
        cpu: Arc::new(CpuPool::default()),
        progress: Arc::new(()),
        level: LEVEL,
    })
}

fn key(path: &Path, vault: VaultId) -> Result<Secret> {
    let named = |error: Error| error.context(format!("STILLPOINT_KEY_FILE: {}", path.display()));
    let length = fs::metadata(path).map_err(|error| named(error.into()))?.len();
    if length > KEY_FILE_BYTES_MAX {
        return Err(named(Error::invalid("it is too large for a key file")));
    }
    let text = fs::read_to_string(path).map_err(|error| named(error.into()))?;
    let (meant, secret) = parse_key_file(&text).map_err(|error| named(Error::invalid(error.to_string())))?;
    if meant == vault {
        Ok(secret)
    } else {
        Err(named(Error::denied(format!("it is for vault {meant}, not for this one ({vault})"))))
    }
}

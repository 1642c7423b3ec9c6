use std::sync::Arc;

use stillpoint_model::{Error, Result};
use stillpoint_vault::{Pair, Regions, Vault};
use tokio::sync::Mutex;

/// The primary, opened once.
pub(crate) struct Source {
    regions: Arc<dyn Regions>,
    primary: Mutex<Option<Vault>>,
}

impl Source {
    pub(crate) fn new(regions: Arc<dyn Regions>) -> Self {
        Self { regions, primary: Mutex::default() }
    }

    /// The pair whose replica is `replica`, as its records say now; through the connection that is open already where there is one.
    pub(crate) async fn pair(&self, replica: &Vault) -> Result<Pair> {
        let pair = Pair::of(replica, &*self.regions).await?;
        let pair = pair.filter(|pair| pair.replica.store().url() == replica.store().url());
        let pair = pair.ok_or_else(|| Error::conflict("this vault is no replica: nothing is copied to it"))?;
        *self.primary.lock().await = Some(pair.primary.clone());
        Ok(pair)
    }

    /// The primary of `replica`.
    pub(crate) async fn primary(&self, replica: &Vault) -> Result<Vault> {
        if let Some(primary) = &*self.primary.lock().await {
            return Ok(primary.clone());
        }
        Ok(self.pair(replica).await?.primary)
    }
}

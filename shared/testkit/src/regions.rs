use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use object_store::path::Path;
use stillpoint_model::{Error, Result};
use stillpoint_store::Store;
use stillpoint_vault::Regions;

use crate::FaultyStore;

/// Vaults in memory, each in a region of its own. Clones know the same ones.
#[derive(Clone, Default)]
pub struct MemoryRegions(Arc<Mutex<BTreeMap<String, FaultyStore>>>);

impl MemoryRegions {
    fn stores(&self) -> MutexGuard<'_, BTreeMap<String, FaultyStore>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is at `url` from now on is reached through this connection, with its faults.
    pub fn reach(&self, url: &str, store: &FaultyStore) {
        self.stores().insert(url.to_owned(), store.clone());
    }

    /// Nothing at `url` answers any more.
    pub fn lose(&self, url: &str) {
        self.stores().remove(url);
    }
}

impl Regions for MemoryRegions {
    fn open(&self, url: &str) -> Result<Store> {
        let known = self.stores().get(url).cloned();
        let store = known.ok_or_else(|| Error::unavailable(format!("{url} does not answer")))?;
        Ok(Store::new(Arc::new(store), Path::default(), url))
    }
}

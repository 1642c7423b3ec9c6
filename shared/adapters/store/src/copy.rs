//! Objects that a store copies by itself, from one prefix to another.

use std::sync::Arc;

use object_store::{ObjectStore, ObjectStoreExt};
use stillpoint_model::{Error, Requests, Result};

use crate::{Store, failure::classify};

/// A store that copies.
pub(crate) struct Copies {
    /// Its client; a copy to a name that is taken fails.
    pub(crate) client: Arc<dyn ObjectStore>,
    /// Equal for all prefixes that it copies between.
    pub(crate) home: String,
}

impl Store {
    /// Whether this store can copy what `other` has without anybody moving the bytes: both lie in one bucket.
    #[must_use]
    pub fn is_one_with(&self, other: &Self) -> bool {
        matches!((&self.copies, &other.copies), (Some(own), Some(its)) if own.home == its.home)
    }

    /// Creates `name` as `from`, which [is one with](Store::is_one_with) this store, has it.
    ///
    /// # Errors
    /// `missing`, `corrupt` when `from` has no such object of this size; `conflict` when the name is taken by one of another size; `denied`
    /// where these credentials may not read there; `invalid` where the store does not copy after all; `unavailable`.
    pub async fn copy_from(&self, from: &Self, name: &str, size_bytes: u64) -> Result<()> {
        let Some(copies) = &self.copies else {
            return Err(Error::invalid(format!("{} does not copy objects", self.url())));
        };
        let found = from.size(name).await?;
        if found != size_bytes {
            return Err(Error::corrupt(format!("{name} is {found} bytes long, not {size_bytes} as written")));
        }
        let (source, target) = (from.path(name)?, self.path(name)?);
        self.count(Requests { put: 1, ..Requests::default() });
        let stream = self.throttle.begin(0).await;
        let Err(error) = copies.client.copy_if_not_exists(&source, &target).await else { return Ok(()) };
        drop(stream);
        // The answer to a first try may have been lost; what has this name has no other content.
        match self.size(name).await {
            Ok(found) if found == size_bytes => Ok(()),
            Ok(found) => Err(Error::conflict(format!("{name} is taken by an object of {found} bytes"))),
            Err(_) => Err(classify("write", name, error)),
        }
    }
}

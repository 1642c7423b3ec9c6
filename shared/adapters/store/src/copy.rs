//! Objects that a store copies by itself, from one prefix to another.

use std::sync::{Arc, OnceLock};

use object_store::{Error as StoreError, ObjectStore, ObjectStoreExt, path::Path};
use stillpoint_model::{Error, Requests, Result};

use crate::{Store, failure::classify};

/// A store that copies.
pub(crate) struct Copies {
    /// Asks that a copy to a name that is taken be refused.
    client: Arc<dyn ObjectStore>,
    /// Equal for all prefixes that it copies between.
    home: String,
    /// Whether it does refuse that, once it was seen.
    refuses: OnceLock<bool>,
}

impl Copies {
    pub(crate) fn new(client: Arc<dyn ObjectStore>, home: String) -> Self {
        Self { client, home, refuses: OnceLock::new() }
    }

    /// Copies what was copied a moment ago once more, which changes nothing whatever the store does.
    async fn look(&self, store: &Store, source: &Path, target: &Path) {
        store.count(Requests { put: 1, ..Requests::default() });
        let _stream = store.throttle.begin(0).await;
        let refuses = match self.client.copy_if_not_exists(source, target).await {
            Ok(()) => false,
            Err(StoreError::AlreadyExists { .. }) => true,
            // The next copy is looked at.
            Err(_) => return,
        };
        // Two looks at a time see the same.
        let _ = self.refuses.set(refuses);
    }
}

impl Store {
    /// Whether this store can copy what `other` has without anybody moving the bytes: both lie in one bucket, and the store was not seen to
    /// copy over what is there.
    #[must_use]
    pub fn is_one_with(&self, other: &Self) -> bool {
        let (Some(own), Some(its)) = (&self.copies, &other.copies) else { return false };
        own.home == its.home && own.refuses.get() != Some(&false)
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
        let copied = copies.client.copy_if_not_exists(&source, &target).await;
        drop(stream);
        let Err(error) = copied else {
            if copies.refuses.get().is_none() {
                copies.look(self, &source, &target).await;
            }
            return Ok(());
        };
        // The answer to a first try may have been lost; what has this name has no other content.
        match self.size(name).await {
            Ok(found) if found == size_bytes => Ok(()),
            Ok(found) => Err(Error::conflict(format!("{name} is taken by an object of {found} bytes"))),
            Err(_) => Err(classify("write", name, error)),
        }
    }
}

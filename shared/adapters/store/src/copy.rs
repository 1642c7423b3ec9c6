//! Objects that a store copies by itself, from one prefix to another.

use std::sync::Arc;

use object_store::{Error as StoreError, ObjectStore, ObjectStoreExt, path::Path};
use stillpoint_model::{Error, Requests, Result};
use tokio::sync::OnceCell;

use crate::{Store, failure::classify};

/// A store that copies.
pub(crate) struct Copies {
    /// Asks that a copy to a name that is taken be refused.
    client: Arc<dyn ObjectStore>,
    /// Equal for all prefixes that it copies between.
    home: String,
    /// Whether it does refuse that, once it was seen.
    refuses: OnceCell<bool>,
}

impl Copies {
    pub(crate) fn new(client: Arc<dyn ObjectStore>, home: String) -> Self {
        Self { client, home, refuses: OnceCell::new() }
    }

    /// Copies what was copied a moment ago once more, which changes nothing whatever the store does, unless its answer is known. While one looks,
    /// others wait. An answer that tells nothing leaves it to the next copy.
    async fn look(&self, store: &Store, source: &Path, target: &Path) {
        let again = || async {
            store.count(Requests { put: 1, ..Requests::default() });
            let _stream = store.throttle.begin(0).await;
            match self.client.copy_if_not_exists(source, target).await {
                Ok(()) => Ok(false),
                Err(StoreError::AlreadyExists { .. }) => Ok(true),
                Err(error) => Err(error),
            }
        };
        if let Err(error) = self.refuses.get_or_try_init(again).await {
            tracing::debug!("whether the store copies over what is there is not known yet: {error}");
        }
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
            copies.look(self, &source, &target).await;
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

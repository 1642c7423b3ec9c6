use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt, memory::InMemory, path::Path};
use stillpoint_model::{Error, Result};

/// What lies in a store: it outlives the processes that wrote it, and a test may look at it and damage it.
#[derive(Debug, Clone, Default)]
pub struct Content(pub(crate) Arc<InMemory>);

fn internal(name: &str) -> impl Fn(object_store::Error) -> Error {
    let name = name.to_owned();
    move |error| Error::internal(format!("{name} in the test's store")).with_source(error)
}

impl Content {
    /// A copy that goes its own way.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self(Arc::new(self.0.fork()))
    }

    /// All names, sorted.
    ///
    /// # Errors
    /// None in practice.
    pub async fn names(&self) -> Result<Vec<String>> {
        let metas: Vec<_> = self.0.list(None).try_collect().await.map_err(internal("a listing"))?;
        let mut names: Vec<String> = metas.into_iter().map(|meta| meta.location.to_string()).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// An object's bytes.
    ///
    /// # Errors
    /// `internal` when there is no such object.
    pub async fn bytes(&self, name: &str) -> Result<Bytes> {
        let found = self.0.get(&Path::from(name)).await.map_err(internal(name))?;
        found.bytes().await.map_err(internal(name))
    }

    /// Deletes an object.
    ///
    /// # Errors
    /// `internal` when there is no such object.
    pub async fn remove(&self, name: &str) -> Result<()> {
        self.bytes(name).await?;
        self.0.delete(&Path::from(name)).await.map_err(internal(name))
    }

    /// Flips a bit of byte `at`, counted round when the object is shorter.
    ///
    /// # Errors
    /// `internal` when there is no such object or nothing in it.
    pub async fn flip(&self, name: &str, at: u64) -> Result<()> {
        let mut bytes = self.bytes(name).await?.to_vec();
        let length = bytes.len() as u64;
        let at = at.checked_rem(length).ok_or_else(|| Error::internal(format!("{name} is empty")))?;
        bytes[at as usize] ^= 0x10;
        self.replace(name, bytes).await
    }

    /// Keeps the first `length` bytes of an object.
    ///
    /// # Errors
    /// `internal` when there is no such object.
    pub async fn truncate(&self, name: &str, length: usize) -> Result<()> {
        let mut bytes = self.bytes(name).await?.to_vec();
        bytes.truncate(length);
        self.replace(name, bytes).await
    }

    /// Puts other bytes in an object's place.
    ///
    /// # Errors
    /// None in practice.
    pub async fn replace(&self, name: &str, bytes: Vec<u8>) -> Result<()> {
        self.0.put(&Path::from(name), bytes.into()).await.map_err(internal(name)).map(drop)
    }
}

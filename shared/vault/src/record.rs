use serde::{Serialize, de::DeserializeOwned};
use stillpoint_format::{limits, open_record, seal_record};
use stillpoint_model::{Error, Result};

use crate::{Name, Vault};

/// A kind of signed record and how large it may be.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// Part of the signature.
    pub name: &'static str,
    /// Checked before parsing.
    pub bytes_max: u64,
}

impl Kind {
    /// A kind of small record.
    #[must_use]
    pub const fn small(name: &'static str) -> Self {
        Self { name, bytes_max: limits::RECORD_BYTES_MAX }
    }
}

/// A job's plan.
pub const PLAN: Kind = Kind { name: "plan", bytes_max: limits::PLAN_BYTES_MAX };
/// A segment's marker.
pub const MARKER: Kind = Kind { name: "marker", bytes_max: limits::PLAN_BYTES_MAX };
pub(crate) const VAULT: Kind = Kind::small("vault");
pub(crate) const KEY_SLOT: Kind = Kind::small("key-slot");
pub(crate) const ITEM: Kind = Kind::small("item");
pub(crate) const POINT: Kind = Kind::small("point");

impl Vault {
    /// Signs and creates a record. The same writer creating the same body again is a success.
    ///
    /// # Errors
    /// `conflict` when the name is taken by another body, `invalid` when the body is too large; as the store.
    pub async fn create_record<T: Serialize>(&self, kind: Kind, name: &Name, body: &T) -> Result<bytes::Bytes> {
        let text = name.to_string();
        let bytes = seal_record(&self.keys().signature, kind.name, &text, body);
        if bytes.len() as u64 > kind.bytes_max {
            return Err(Error::invalid(format!(
                "the {} has {} bytes, more than the {} allowed",
                kind.name,
                bytes.len(),
                kind.bytes_max
            )));
        }
        let bytes = bytes::Bytes::from(bytes);
        self.store().create(&text, vec![bytes.clone()]).await?;
        self.kept.keep(&text, &bytes);
        Ok(bytes)
    }

    /// Names of records that begin with `prefix` and that this process knows to be there. There may be others.
    #[must_use]
    pub fn seen(&self, prefix: &str) -> Vec<String> {
        self.kept.names(prefix)
    }

    /// Whether this process has created or read a record, so that reading it takes no request.
    #[must_use]
    pub fn has_read(&self, name: &Name) -> bool {
        self.kept.get(&name.to_string()).is_some()
    }

    /// Reads and checks a record.
    ///
    /// # Errors
    /// `missing`, `corrupt`; as the store.
    pub async fn read_record<T: DeserializeOwned>(&self, kind: Kind, name: &Name) -> Result<T> {
        Ok(self.read_record_bytes(kind, name).await?.0)
    }

    /// Reads and checks a record; also returns the object's bytes. One that this process created or read before is not
    /// asked for again.
    ///
    /// # Errors
    /// As [`Vault::read_record`].
    pub async fn read_record_bytes<T: DeserializeOwned>(&self, kind: Kind, name: &Name) -> Result<(T, bytes::Bytes)> {
        let text = name.to_string();
        let bytes = match self.kept.get(&text) {
            Some(bytes) => bytes,
            None => self.store().get(&text, kind.bytes_max).await?,
        };
        let body =
            open_record(&self.keys().signature, kind.name, &text, &bytes).map_err(|error| Error::from(error).context(&text))?;
        self.kept.keep(&text, &bytes);
        Ok((body, bytes))
    }
}

use serde::Serialize;
use stillpoint_model::{Error, ErrorKind, Result};

use crate::{Kind, Name, SEQ_MAX, Vault};

/// Times a record is tried under the next number when others write to the same sequence.
const APPEND_TRIES: u32 = 20;

impl Vault {
    /// Names under `prefix` that `pick` takes; one listing.
    pub(crate) async fn names<T>(&self, prefix: &str, pick: impl Fn(Name) -> Option<T>) -> Result<Vec<T>> {
        let entries = self.store().list(prefix).await?;
        Ok(entries.iter().filter_map(|entry| pick(entry.name.parse().ok()?)).collect())
    }

    /// Creates a record under the first free number after `newest`, and returns the number.
    ///
    /// # Errors
    /// `invalid` when the sequence is full, `conflict` when others keep writing to it; as the store.
    pub(crate) async fn append_record<T: Serialize>(
        &self,
        kind: Kind,
        newest: u32,
        name: impl Fn(u32) -> Name,
        body: &T,
    ) -> Result<u32> {
        if newest >= SEQ_MAX {
            return Err(Error::invalid(format!("{} is the last record of its kind", name(newest))));
        }
        for seq in newest + 1..=(newest + APPEND_TRIES).min(SEQ_MAX) {
            match self.create_record(kind, &name(seq), body).await {
                Ok(_) => return Ok(seq),
                Err(error) if error.kind() == ErrorKind::Conflict => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::conflict(format!("others keep writing records like {}", name(newest + 1))))
    }
}

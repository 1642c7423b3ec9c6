use std::fmt;

use async_trait::async_trait;
use stillpoint_model::Result;
use zeroize::Zeroizing;

/// 32 secret bytes from a key service, wiped from memory when they are dropped.
pub type ServiceSecret = Zeroizing<[u8; 32]>;

/// A new data key of a key service.
pub struct DataKey {
    /// What it is, for use now.
    pub secret: ServiceSecret,
    /// The same, wrapped: only the service can open it.
    pub blob: Vec<u8>,
    /// Under which of the service's keys it is wrapped: never an alias.
    pub key: String,
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DataKey(…, wrapped under {})", self.key)
    }
}

/// A service (AWS KMS) that keeps keys to itself, wraps data keys under them, and opens those again for whom it trusts.
///
/// `context` is a name and a value that the service binds to the data key: another pair does not open it.
#[async_trait]
pub trait KeyService: Send + Sync {
    /// Makes a data key, wrapped under `key`: an ARN, also of an alias.
    ///
    /// # Errors
    /// `invalid` for what is no such ARN, `missing` for a key that does not exist, `denied` when it may not be used by this
    /// caller or at all, `unavailable` when the service does not answer.
    async fn make_data_key(&self, key: &str, context: (&str, &str)) -> Result<DataKey>;

    /// Opens the `blob` of a data key that was wrapped under `key`.
    ///
    /// # Errors
    /// As above; `corrupt` when `blob` was altered or made with another context, `denied` when made under another key.
    async fn open_data_key(&self, key: &str, blob: &[u8], context: (&str, &str)) -> Result<ServiceSecret>;
}

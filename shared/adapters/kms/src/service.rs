use std::time::Duration;

use async_trait::async_trait;
use backon::{ExponentialBuilder, Retryable};
use data_encoding::BASE64;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use stillpoint_model::{Error, Result};
use stillpoint_ports::{DataKey, KeyService, ServiceSecret};
use zeroize::Zeroizing;

use crate::{KeyArn, failure::Failure, request::Endpoint};

/// Times a request is repeated: after 0.1, 0.2, 0.4, 0.8 and 1.6 seconds, each with up to as much again by chance.
const REPEATS_MAX: usize = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// KMS API Reference, `CiphertextBlob`.
const BLOB_BYTES_MAX: usize = 6144;

/// AWS KMS, in whatever region a key is.
///
/// Credentials come from the environment, as those of a bucket do. Where KMS answers follows from the key's ARN;
/// `AWS_ENDPOINT_URL_KMS`, else `AWS_ENDPOINT_URL`, overrides it (without TLS only with `AWS_ALLOW_HTTP=true`).
#[derive(Debug, Clone, Default)]
pub struct Kms {
    only: Option<KeyArn>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Made {
    key_id: String,
    ciphertext_blob: String,
    plaintext: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Opened {
    plaintext: String,
}

fn secret(plaintext: String) -> Result<ServiceSecret> {
    let text = Zeroizing::new(plaintext);
    let bytes = Zeroizing::new(BASE64.decode(text.as_bytes()).unwrap_or_default());
    let mut secret = ServiceSecret::default();
    if bytes.len() != secret.len() {
        return Err(unexpected());
    }
    secret.copy_from_slice(&bytes);
    Ok(secret)
}

fn unexpected() -> Error {
    Error::internal("AWS KMS gave an answer that is none; check AWS_ENDPOINT_URL_KMS and AWS_ENDPOINT_URL")
}

/// The encryption context as JSON: name to value.
fn pair((name, value): (&str, &str)) -> Value {
    json!({ name: value })
}

impl Kms {
    /// KMS. With `only`, each data key is opened with that key and no other, whatever a slot says; this is what a program
    /// that does not trust its store wants. `only` may be an alias, or the replica of a multi-region key in another region.
    #[must_use]
    pub const fn from_env(only: Option<KeyArn>) -> Self {
        Self { only }
    }

    async fn call<T: DeserializeOwned>(&self, key: &KeyArn, call: &'static str, body: &impl Serialize) -> Result<T> {
        let body = serde_json::to_vec(body).map_err(|error| Error::internal("cannot write JSON").with_source(error))?;
        let endpoint = Endpoint::of(key)?;
        let pauses = ExponentialBuilder::default().with_min_delay(FIRST_PAUSE).with_max_times(REPEATS_MAX).with_jitter();
        let sent = (|| endpoint.send(call, &body)).retry(pauses).when(Failure::is_passing).await;
        let answer = sent.map_err(|failure| failure.into_error(key))?;
        serde_json::from_slice(&answer).map_err(|_| unexpected())
    }
}

#[async_trait]
impl KeyService for Kms {
    async fn make_data_key(&self, key: &str, context: (&str, &str)) -> Result<DataKey> {
        let key: KeyArn = key.parse()?;
        let body = json!({ "KeyId": key.as_str(), "NumberOfBytes": 32, "EncryptionContext": pair(context) });
        let made: Made = self.call(&key, "TrentService.GenerateDataKey", &body).await?;
        let blob = BASE64.decode(made.ciphertext_blob.as_bytes()).map_err(|_| unexpected())?;
        let wrapped_under: KeyArn = made.key_id.parse()?;
        if !(1..=BLOB_BYTES_MAX).contains(&blob.len()) {
            return Err(unexpected());
        }
        Ok(DataKey { secret: secret(made.plaintext)?, blob, key: wrapped_under.to_string() })
    }

    async fn open_data_key(&self, key: &str, blob: &[u8], context: (&str, &str)) -> Result<ServiceSecret> {
        let key = self.only.as_ref().map_or_else(|| key.parse(), |only| Ok(only.clone()))?;
        let blob = BASE64.encode(blob);
        let body = json!({ "KeyId": key.as_str(), "CiphertextBlob": blob, "EncryptionContext": pair(context) });
        let opened: Opened = self.call(&key, "TrentService.Decrypt", &body).await?;
        secret(opened.plaintext)
    }
}

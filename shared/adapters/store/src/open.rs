use std::{sync::Arc, time::Duration};

use object_store::{
    ObjectStore, ObjectStoreScheme, RetryConfig, aws::AmazonS3Builder, azure::MicrosoftAzureBuilder,
    gcp::GoogleCloudStorageBuilder, local::LocalFileSystem, path::Path,
};
use stillpoint_model::{Error, Result};
use url::Url;

use crate::Store;

/// Whether opening a local directory may make it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// The place must exist.
    Existing,
    /// A missing local directory is made; buckets and containers must exist.
    Create,
}

/// Retries inside one request; a step that fails after them is retried as a whole by its host.
fn retries() -> RetryConfig {
    RetryConfig { max_retries: 5, retry_timeout: Duration::from_secs(60), ..RetryConfig::default() }
}

fn invalid(url: &str, why: impl std::fmt::Display) -> Error {
    Error::invalid(format!(
        "vault URL '{}' cannot be used: {why}; give file:///path, s3://bucket/prefix, az://container/prefix or gs://bucket/prefix",
        url.escape_debug()
    ))
}

impl Store {
    /// Opens the store that `url` names: `file:///path`, `s3://bucket/prefix`, `az://container/prefix`, `gs://bucket/prefix`
    /// or `memory:///`. Credentials, region and endpoint of a cloud come from its own environment variables.
    ///
    /// # Errors
    /// `invalid` for a URL that names no store, `missing` for a directory that does not exist.
    pub fn open(url: &str, access: Access) -> Result<Self> {
        let parsed = Url::parse(url).map_err(|error| invalid(url, error))?;
        let (scheme, prefix) = ObjectStoreScheme::parse(&parsed).map_err(|error| invalid(url, error))?;
        if scheme == ObjectStoreScheme::Local {
            return Self::open_directory(url, &parsed, access);
        }
        install_tls_provider();
        let inner: Arc<dyn ObjectStore> = match scheme {
            ObjectStoreScheme::Memory => Arc::new(object_store::memory::InMemory::new()),
            ObjectStoreScheme::AmazonS3 => Arc::new(
                AmazonS3Builder::from_env().with_url(url).with_retry(retries()).build().map_err(|error| invalid(url, error))?,
            ),
            ObjectStoreScheme::MicrosoftAzure => Arc::new(
                MicrosoftAzureBuilder::from_env()
                    .with_url(url)
                    .with_retry(retries())
                    .build()
                    .map_err(|error| invalid(url, error))?,
            ),
            ObjectStoreScheme::GoogleCloudStorage => Arc::new(
                GoogleCloudStorageBuilder::from_env()
                    .with_url(url)
                    .with_retry(retries())
                    .build()
                    .map_err(|error| invalid(url, error))?,
            ),
            _ => return Err(invalid(url, "no such kind of store")),
        };
        Ok(Self::new(inner, prefix, url))
    }

    fn open_directory(url: &str, parsed: &Url, access: Access) -> Result<Self> {
        let path = parsed.to_file_path().map_err(|()| invalid(url, "not an absolute path"))?;
        if access == Access::Create {
            std::fs::create_dir_all(&path)
                .map_err(|error| Error::from(error).context(format!("cannot make vault directory {}", path.display())))?;
        }
        if !path.is_dir() {
            return Err(Error::missing(format!(
                "{} is not a directory; make the vault with `stillpoint vault create`",
                path.display()
            )));
        }
        let local = LocalFileSystem::new_with_prefix(&path)
            .map_err(|error| Error::denied(format!("cannot open vault directory {}", path.display())).with_source(error))?;
        // The probe is all that is ever deleted here; its folder goes with it.
        Ok(Self::new(Arc::new(local.with_fsync(true).with_automatic_cleanup(true)), Path::default(), url))
    }
}

/// Makes rustls usable by the stores' HTTP clients, which need it when they are built; harmless when repeated.
fn install_tls_provider() {
    // An error means that a provider is installed already, which is what we want.
    drop(rustls::crypto::ring::default_provider().install_default());
}

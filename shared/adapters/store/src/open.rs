use std::{path::PathBuf, sync::Arc, time::Duration};

use object_store::{
    BackoffConfig, ObjectStore, ObjectStoreScheme, RetryConfig, local::LocalFileSystem, memory::InMemory,
    multipart::MultipartStore, path::Path,
};
use stillpoint_model::{Error, Result};
use stillpoint_ports::Clock;
use url::Url;

use crate::{
    Environment, Store, cloud,
    copy::Copies,
    limits::DailyLimits,
    s3,
    settings::{Settings, shown},
    throttle::Throttle,
};

/// How long one request may take: a pack of 64 MiB at no less than 220 KiB in a second.
pub(crate) const REQUEST_SECONDS: u64 = 300;
/// How long a connection may take.
pub(crate) const CONNECT_SECONDS: u64 = 5;

/// Whether opening a local directory may make it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// The place must exist.
    Existing,
    /// A missing local directory is made; buckets and containers must exist.
    Create,
}

/// Retries inside one request, also when the store says "slow down" (503, 429): after about 0.1, 0.2, 0.4, 0.8 and 1.6 s, with
/// jitter. A step that fails after them is retried as a whole by its host.
pub(crate) fn retries() -> RetryConfig {
    RetryConfig {
        max_retries: 5,
        retry_timeout: Duration::from_secs(60),
        backoff: BackoffConfig { init_backoff: Duration::from_millis(100), max_backoff: Duration::from_secs(15), base: 2.0 },
    }
}

fn invalid(url: &str, why: impl std::fmt::Display) -> Error {
    Error::invalid(format!(
        "vault URL '{}' cannot be used: {why}; give file:///path, s3://bucket/prefix, az://container/prefix or gs://bucket/prefix",
        shown(url)
    ))
}

impl Store {
    /// Opens the store that `url` names: `file:///path`, `s3://bucket/prefix`, `az://container/prefix`, `gs://bucket/prefix`
    /// or `memory:///`, with parameters as the README lists them. Credentials, and what no parameter says, come from the
    /// environment variables of the cloud. `clock` tells the time of day, for limits that depend on it.
    ///
    /// # Errors
    /// `invalid` for a URL that names no store or has a parameter that the store does not know, `missing` for a directory
    /// that does not exist.
    pub fn open(url: &str, access: Access, clock: Arc<dyn Clock>) -> Result<Self> {
        Self::open_in(url, access, &Environment::of_process(), clock)
    }

    /// The same with other environment variables than the process's.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_in(url: &str, access: Access, environment: &Environment, clock: Arc<dyn Clock>) -> Result<Self> {
        let mut parsed = Url::parse(url).map_err(|error| invalid(url, error))?;
        let mut settings = Settings::of(&parsed)?;
        let named = settings.text("credentials").map(|name| environment.of(&name));
        let environment = named.as_ref().unwrap_or(environment);
        let throttle = Throttle::new(DailyLimits::take(&mut settings, environment)?, clock);
        parsed.set_query(None);
        parsed.set_fragment(None);
        // `scheme` takes Azure's `container@account` as it is.
        if parsed.password().is_some() || (!parsed.username().is_empty() && !parsed.scheme().starts_with("abfs")) {
            return Err(invalid(url, "credentials do not belong in it, they come from environment variables"));
        }
        let (scheme, prefix) = ObjectStoreScheme::parse(&parsed).map_err(|error| invalid(url, error))?;
        install_tls_provider();
        let opened = match scheme {
            ObjectStoreScheme::Local => {
                settings.finish(&DailyLimits::NAMES)?;
                let (local, path) = directory(url, &parsed, access)?;
                let store = Self::new(Arc::new(local), Path::default(), &shown(url)).limited(throttle);
                // One that is about to be made is empty.
                return Ok(if access == Access::Existing { store.in_directory(&path) } else { store });
            }
            ObjectStoreScheme::Memory => {
                settings.finish(&DailyLimits::NAMES)?;
                Opened::of(InMemory::new())
            }
            ObjectStoreScheme::AmazonS3 => s3::open(&parsed, settings, environment)?,
            ObjectStoreScheme::MicrosoftAzure => cloud::azure(&parsed, settings, environment)?,
            ObjectStoreScheme::GoogleCloudStorage => cloud::google(&parsed, settings, environment)?,
            _ => return Err(invalid(url, "no such kind of store")),
        };
        Ok(Self::new(opened.objects, prefix, &shown(url)).in_parts(opened.parts).copying(opened.copies).limited(throttle))
    }
}

/// A client of a store, by what it can do.
pub(crate) struct Opened {
    pub objects: Arc<dyn ObjectStore>,
    pub parts: Arc<dyn MultipartStore>,
    pub copies: Option<Copies>,
}

impl Opened {
    pub(crate) fn of(client: impl ObjectStore + MultipartStore) -> Self {
        let client = Arc::new(client);
        Self { objects: client.clone(), parts: client, copies: None }
    }
}

fn directory(url: &str, parsed: &Url, access: Access) -> Result<(LocalFileSystem, PathBuf)> {
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
    Ok((local.with_fsync(true).with_automatic_cleanup(true), path))
}

/// Makes rustls usable by the stores' HTTP clients, which need it when they are built; harmless when repeated.
pub(crate) fn install_tls_provider() {
    // An error means that a provider is installed already, which is what we want.
    drop(rustls::crypto::ring::default_provider().install_default());
}

//! Azure Blob Storage and Google Cloud Storage.

use std::{fmt::Display, sync::Arc};

use object_store::{
    ClientConfigKey,
    azure::{AzureConfigKey, MicrosoftAzureBuilder},
    gcp::{GoogleCloudStorageBuilder, GoogleConfigKey},
};
use stillpoint_model::{Error, Result};
use url::Url;

use crate::{
    copy::Copies,
    limits::DailyLimits,
    open::{CONNECT_SECONDS, Opened, REQUEST_SECONDS, retries},
    pace::PacedConnector,
    s3::clear_text,
    settings::{Environment, Settings, refused},
};

/// The parameters that an Azure URL may have.
const AZURE_NAMES: [&str; 3] = ["account", "endpoint", "allow_http"];

const AZURE_ALLOW_HTTP: AzureConfigKey = AzureConfigKey::Client(ClientConfigKey::AllowHttp);

/// Opens the container of `url`, which has no parameters left in it. Azure copies by itself, too, but may answer before the bytes are there.
pub(crate) fn azure(url: &Url, mut settings: Settings, environment: &Environment) -> Result<Opened> {
    let mut builder = MicrosoftAzureBuilder::new();
    for (key, value) in environment.keys::<AzureConfigKey>("AZURE_") {
        builder = builder.with_config(key, value);
    }
    if let Some(endpoint) = environment.get("IDENTITY_ENDPOINT") {
        builder = builder.with_msi_endpoint(endpoint);
    }
    builder = builder
        .with_url(url.as_str())
        .with_retry(retries())
        .with_http_connector(PacedConnector::default())
        .with_config(AzureConfigKey::Client(ClientConfigKey::Timeout), format!("{REQUEST_SECONDS} seconds"))
        .with_config(AzureConfigKey::Client(ClientConfigKey::ConnectTimeout), format!("{CONNECT_SECONDS} seconds"));
    if let Some(account) = settings.text("account") {
        builder = builder.with_account(account);
    }
    if let Some(allow) = settings.flag("allow_http")? {
        builder = builder.with_config(AZURE_ALLOW_HTTP, allow.to_string());
    }
    if let Some(endpoint) = settings.text("endpoint") {
        Url::parse(&endpoint).map_err(|error| refused("endpoint", format!("is no URL: {error}")))?;
        builder = builder.with_endpoint(endpoint);
    }
    if let Some(endpoint) = builder.get_config_value(&AzureConfigKey::Endpoint) {
        clear_text(&endpoint, builder.get_config_value(&AZURE_ALLOW_HTTP).is_some_and(|value| value == "true"))?;
    }
    settings.finish(&[&AZURE_NAMES[..], &DailyLimits::NAMES].concat())?;
    Ok(Opened::of(builder.build().map_err(|error| unusable("Azure", error))?))
}

/// Opens the bucket of `url`, which has no parameters left in it.
pub(crate) fn google(url: &Url, settings: Settings, environment: &Environment) -> Result<Opened> {
    let mut builder = GoogleCloudStorageBuilder::new();
    for (key, value) in environment.keys::<GoogleConfigKey>("GOOGLE_") {
        builder = builder.with_config(key, value);
    }
    if let Some(file) = environment.get("SERVICE_ACCOUNT") {
        builder = builder.with_service_account_path(file);
    }
    settings.finish(&DailyLimits::NAMES)?;
    builder = builder
        .with_url(url.as_str())
        .with_retry(retries())
        .with_http_connector(PacedConnector::default())
        .with_config(GoogleConfigKey::Client(ClientConfigKey::Timeout), format!("{REQUEST_SECONDS} seconds"))
        .with_config(GoogleConfigKey::Client(ClientConfigKey::ConnectTimeout), format!("{CONNECT_SECONDS} seconds"));
    let client = Arc::new(builder.build().map_err(|error| unusable("Google Cloud Storage", error))?);
    let copies = Copies::new(client.clone(), format!("gs://{}", url.host_str().unwrap_or_default()));
    Ok(Opened { objects: client.clone(), parts: client, copies: Some(copies) })
}

/// The builders' own messages name the setting; of values they show none that is secret.
fn unusable(cloud: &str, error: impl Display) -> Error {
    Error::invalid(format!("these {cloud} settings cannot be used: {error}"))
}

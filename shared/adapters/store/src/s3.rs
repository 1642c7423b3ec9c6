use std::{fmt::Display, sync::Arc, time::Duration};

use object_store::{
    ClientConfigKey, ObjectStore,
    aws::{AmazonS3Builder, AmazonS3ConfigKey, S3CopyIfNotExists},
};
use stillpoint_model::{Error, Result};
use url::Url;

use crate::{
    copy::Copies,
    limits::DailyLimits,
    object_lock::{LockedCreates, Retention},
    open::{CONNECT_SECONDS, Opened, REQUEST_SECONDS, retries},
    pace::PacedConnector,
    settings::{Environment, Settings, refused},
};

/// The parameters that an S3 URL may have.
pub(crate) const NAMES: [&str; 10] =
    ["endpoint", "region", "path_style", "allow_http", "sse", "kms_key", "bucket_key", "checksum", "lock_mode", "lock_days"];
/// Longest retention: a hundred years, so that a slip of the finger does not lock a bucket for ever.
const LOCK_DAYS_MAX: u32 = 36_500;

const ALLOW_HTTP: AmazonS3ConfigKey = AmazonS3ConfigKey::Client(ClientConfigKey::AllowHttp);

/// Opens the bucket of `url`, which has no parameters left in it.
pub(crate) fn open(url: &Url, mut settings: Settings, environment: &Environment) -> Result<Opened> {
    let mut builder = AmazonS3Builder::new();
    for (key, value) in environment.keys::<AmazonS3ConfigKey>("AWS_") {
        builder = builder.with_config(key, value);
    }
    builder = builder
        .with_url(url.as_str())
        .with_retry(retries())
        .with_http_connector(PacedConnector::default())
        .with_copy_if_not_exists(S3CopyIfNotExists::Header("if-none-match".to_owned(), "*".to_owned()))
        .with_config(AmazonS3ConfigKey::Client(ClientConfigKey::Timeout), format!("{REQUEST_SECONDS} seconds"))
        .with_config(AmazonS3ConfigKey::Client(ClientConfigKey::ConnectTimeout), format!("{CONNECT_SECONDS} seconds"));
    builder = place(builder, url, &mut settings)?;
    builder = encryption(builder, &mut settings)?;
    let checksum = settings.one_of("checksum", &["sha256", "crc64nvme"])?;
    let retention = retention(&mut settings)?;
    // S3 wants a checksum of everything that it locks.
    if let Some(algorithm) = checksum.or_else(|| retention.map(|_| "sha256".to_owned())) {
        builder = builder.with_config(AmazonS3ConfigKey::Checksum, algorithm);
    }
    settings.finish(&[&NAMES[..], &DailyLimits::NAMES].concat())?;
    let plain = Arc::new(builder.clone().build().map_err(unusable)?);
    let parts = plain.clone();
    // A copy would have no lock.
    let copies = retention.is_none().then(|| Copies::new(plain.clone(), home(&builder, url)));
    let objects: Arc<dyn ObjectStore> = match retention {
        None => plain,
        Some(retention) => {
            let allow_http = builder.get_config_value(&ALLOW_HTTP).is_some_and(|value| value == "true");
            Arc::new(LockedCreates::new(plain, builder, allow_http, retention))
        }
    };
    Ok(Opened { objects, parts, copies })
}

/// The bucket, as this builder reaches it.
fn home(builder: &AmazonS3Builder, url: &Url) -> String {
    let keys = [AmazonS3ConfigKey::S3Endpoint, AmazonS3ConfigKey::Endpoint, AmazonS3ConfigKey::Region];
    let told: Vec<String> = keys.iter().filter_map(|key| builder.get_config_value(key)).collect();
    format!("{}://{} {}", url.scheme(), url.host_str().unwrap_or_default(), told.join(" "))
}

/// The builder's own messages name the setting; of values they show none that is secret.
fn unusable(error: impl Display) -> Error {
    Error::invalid(format!("these S3 settings cannot be used: {error}"))
}

/// Where the bucket is: endpoint, region, path style.
fn place(mut builder: AmazonS3Builder, url: &Url, settings: &mut Settings) -> Result<AmazonS3Builder> {
    if let Some(region) = settings.text("region") {
        builder = builder.with_region(region);
    }
    if let Some(allow) = settings.flag("allow_http")? {
        builder = builder.with_config(ALLOW_HTTP, allow.to_string());
    }
    if let Some(endpoint) = settings.text("endpoint") {
        Url::parse(&endpoint).map_err(|error| refused("endpoint", format!("is no URL: {error}")))?;
        builder = builder.with_config(AmazonS3ConfigKey::S3Endpoint, endpoint);
    }
    let endpoint = [AmazonS3ConfigKey::S3Endpoint, AmazonS3ConfigKey::Endpoint];
    let endpoint = endpoint.iter().find_map(|key| builder.get_config_value(key));
    if let Some(endpoint) = &endpoint {
        let allowed = builder.get_config_value(&ALLOW_HTTP).is_some_and(|value| value == "true");
        clear_text(endpoint, allowed)?;
    }
    if let Some(path_style) = settings.flag("path_style")? {
        builder = builder.with_virtual_hosted_style_request(!path_style);
        if let (false, Some(endpoint)) = (path_style, endpoint) {
            builder = builder.with_config(AmazonS3ConfigKey::S3Endpoint, before_host(&endpoint, url)?);
        }
    }
    Ok(builder)
}

/// Refuses an endpoint without TLS unless that was asked for.
pub(crate) fn clear_text(endpoint: &str, allowed: bool) -> Result<()> {
    if endpoint.starts_with("http://") && !allowed {
        return Err(Error::invalid("the endpoint is http://, without encryption on the way; add allow_http=true to use it"));
    }
    Ok(())
}

/// The endpoint with the bucket as the first part of its host, as it is without path style.
fn before_host(endpoint: &str, url: &Url) -> Result<String> {
    let wrong = || refused("path_style", "can only be false where the endpoint has a host name");
    let mut endpoint = Url::parse(endpoint).map_err(|_| wrong())?;
    let host = endpoint.domain().ok_or_else(wrong)?;
    let bucket = url.host_str().filter(|_| url.scheme().starts_with("s3")).ok_or_else(wrong)?;
    if !host.starts_with(&format!("{bucket}.")) {
        let host = format!("{bucket}.{host}");
        endpoint.set_host(Some(&host)).map_err(|_| wrong())?;
    }
    Ok(endpoint.as_str().trim_end_matches('/').to_owned())
}

fn encryption(mut builder: AmazonS3Builder, settings: &mut Settings) -> Result<AmazonS3Builder> {
    let sse = settings.one_of("sse", &["AES256", "aws:kms", "aws:kms:dsse"])?;
    let (key, bucket_key) = (settings.text("kms_key"), settings.flag("bucket_key")?);
    let by_kms = sse.as_deref().is_some_and(|kind| kind.starts_with("aws:kms"));
    if key.is_some() && !by_kms {
        return Err(refused("kms_key", "needs sse=aws:kms or sse=aws:kms:dsse"));
    }
    if bucket_key.is_some() && sse.as_deref() != Some("aws:kms") {
        return Err(refused("bucket_key", "needs sse=aws:kms"));
    }
    if let Some(kind) = sse {
        builder = builder.with_config(key_named("server_side_encryption")?, kind);
    }
    if let Some(key) = key {
        builder = builder.with_config(key_named("sse_kms_key_id")?, key);
    }
    if let Some(enabled) = bucket_key {
        builder = builder.with_bucket_key(enabled);
    }
    Ok(builder)
}

/// Keys whose type `object_store` does not show.
fn key_named(name: &str) -> Result<AmazonS3ConfigKey> {
    name.parse().map_err(unusable)
}

fn retention(settings: &mut Settings) -> Result<Option<Retention>> {
    let mode = settings.one_of("lock_mode", &["governance", "compliance"])?;
    let days = settings.text("lock_days");
    let (mode, days) = match (mode, days) {
        (None, None) => return Ok(None),
        (Some(mode), Some(days)) => (mode, days),
        (Some(_), None) => return Err(refused("lock_mode", "needs lock_days")),
        (None, Some(_)) => return Err(refused("lock_days", "needs lock_mode")),
    };
    let valid = days.parse().ok().filter(|days| (1..=LOCK_DAYS_MAX).contains(days));
    let days: u32 = valid.ok_or_else(|| refused("lock_days", format!("is a whole number from 1 to {LOCK_DAYS_MAX}")))?;
    let mode = if mode == "governance" { "GOVERNANCE" } else { "COMPLIANCE" };
    Ok(Some(Retention { mode, lasts: Duration::from_secs(u64::from(days) * 24 * 60 * 60) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_path_style_the_bucket_stands_before_the_host_once() {
        let url = Url::parse("s3://bucket/prefix").unwrap();
        for endpoint in ["https://s3.example.com/", "https://bucket.s3.example.com"] {
            assert_eq!(before_host(endpoint, &url).unwrap(), "https://bucket.s3.example.com");
        }
        assert_eq!(before_host("http://store:9000", &url).unwrap(), "http://bucket.store:9000");
        assert!(before_host("http://127.0.0.1:9000", &url).is_err(), "an address has no names below it");
    }
}

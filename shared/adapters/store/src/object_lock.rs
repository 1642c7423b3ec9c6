use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use jiff::Timestamp;
use object_store::{
    ClientOptions, CopyOptions, GetOptions, GetResult, HeaderMap, HeaderValue, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
    aws::{AmazonS3, AmazonS3Builder},
    path::Path,
};

use crate::open::{CONNECT_SECONDS, REQUEST_SECONDS};

/// How long one writer is used. Its date is fixed, so an object is kept up to this much longer than asked for, never shorter.
const WRITER_LASTS: Duration = Duration::from_secs(60 * 60);

/// How S3 is to keep every object that is created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Retention {
    /// `GOVERNANCE` or `COMPLIANCE`.
    pub mode: &'static str,
    /// From its creation on.
    pub lasts: Duration,
}

impl Retention {
    /// The headers of everything created from `now` until [`WRITER_LASTS`] later.
    fn headers(&self, now: Timestamp) -> Result<HeaderMap> {
        let unusable = |error: String| object_store::Error::Generic { store: "S3", source: error.into() };
        let until = now.checked_add(self.lasts + WRITER_LASTS).map_err(|error| unusable(error.to_string()))?;
        let until = until.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let until = HeaderValue::from_str(&until).map_err(|error| unusable(error.to_string()))?;
        let mut headers = HeaderMap::new();
        headers.insert("x-amz-object-lock-mode", HeaderValue::from_static(self.mode));
        headers.insert("x-amz-object-lock-retain-until-date", until);
        Ok(headers)
    }
}

struct Writer {
    store: Arc<AmazonS3>,
    made: Timestamp,
}

/// An S3 store whose creates carry a retention. `object_store` has no call for these headers, and signatures cover all of
/// them, so creates go through a client of their own that sends them with every request.
pub(crate) struct LockedCreates {
    plain: Arc<AmazonS3>,
    builder: AmazonS3Builder,
    allow_http: bool,
    retention: Retention,
    writer: Mutex<Option<Writer>>,
}

impl LockedCreates {
    pub(crate) fn new(plain: Arc<AmazonS3>, builder: AmazonS3Builder, allow_http: bool, retention: Retention) -> Self {
        Self { plain, builder, allow_http, retention, writer: Mutex::default() }
    }

    /// The client for creates at `now`.
    fn writer(&self, now: Timestamp) -> Result<Arc<AmazonS3>> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(writer) = &*writer
            // Not when the clock was set back either.
            && writer.made <= now
            && now.duration_since(writer.made).unsigned_abs() < WRITER_LASTS
        {
            return Ok(Arc::clone(&writer.store));
        }
        let options = ClientOptions::new()
            .with_allow_http(self.allow_http)
            .with_timeout(Duration::from_secs(REQUEST_SECONDS))
            .with_connect_timeout(Duration::from_secs(CONNECT_SECONDS))
            .with_default_headers(self.retention.headers(now)?);
        let credentials = Arc::clone(self.plain.credentials());
        let builder = self.builder.clone().with_client_options(options).with_credentials(credentials);
        let store = Arc::new(builder.build()?);
        *writer = Some(Writer { store: Arc::clone(&store), made: now });
        Ok(store)
    }
}

impl fmt::Debug for LockedCreates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for LockedCreates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} with {:?}", self.plain, self.retention)
    }
}

#[async_trait]
impl ObjectStore for LockedCreates {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.writer(Timestamp::now())?.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(&self, location: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.writer(Timestamp::now())?.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.plain.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.plain.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.plain.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.plain.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.plain.copy_opts(from, to, options).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writer_promises_at_least_the_retention_until_it_is_replaced() {
        crate::open::install_tls_provider();
        let builder = AmazonS3Builder::new().with_bucket_name("bucket").with_access_key_id("a").with_secret_access_key("b");
        let plain = Arc::new(builder.clone().build().unwrap());
        let day = Duration::from_secs(24 * 60 * 60);
        let locked = LockedCreates::new(plain, builder, false, Retention { mode: "COMPLIANCE", lasts: day });
        let begin: Timestamp = "2026-03-01T12:00:00.5Z".parse().unwrap();
        let headers = locked.retention.headers(begin).unwrap();
        assert_eq!(headers["x-amz-object-lock-mode"], "COMPLIANCE");
        assert_eq!(headers["x-amz-object-lock-retain-until-date"], "2026-03-02T13:00:00Z");

        let first = locked.writer(begin).unwrap();
        let after = |seconds: i64| begin + jiff::SignedDuration::from_secs(seconds);
        assert!(Arc::ptr_eq(&first, &locked.writer(after(59 * 60)).unwrap()));
        let second = locked.writer(after(60 * 60)).unwrap();
        assert!(!Arc::ptr_eq(&first, &second), "its date would be too early");
        assert!(!Arc::ptr_eq(&second, &locked.writer(after(0)).unwrap()), "the clock was set back");
    }
}

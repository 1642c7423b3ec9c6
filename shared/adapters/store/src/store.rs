use std::{fmt, ops::Range, sync::Arc, time::SystemTime};

use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, multipart::MultipartStore, path::Path};
use stillpoint_model::{Error, ErrorKind, Requests, Result};

use crate::{
    Meter,
    copy::Copies,
    failure::{classify, is_gone},
    throttle::Throttle,
};

/// Entries that one LIST request returns in S3, Azure and Google Cloud Storage.
const LIST_PAGE_ENTRIES: usize = 1000;

/// One object of a listing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Its name in the vault, without the vault's own prefix.
    pub name: String,
    /// Its size.
    pub size_bytes: u64,
}

/// What lies directly under a prefix.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// Names of the next level, without the prefix and the slash; sorted.
    pub folders: Vec<String>,
    /// Objects directly under the prefix; sorted.
    pub objects: Vec<Entry>,
}

/// A vault's store. Clones share the connection, the limits and the meter.
#[derive(Clone)]
pub struct Store {
    pub(crate) inner: Arc<dyn ObjectStore>,
    /// Where the store has objects in parts.
    pub(crate) parts: Option<Arc<dyn MultipartStore>>,
    /// Where the store copies objects by itself.
    pub(crate) copies: Option<Arc<Copies>>,
    prefix: Path,
    url: Arc<str>,
    meter: Arc<Meter>,
    pub(crate) throttle: Arc<Throttle>,
    /// Of a vault on a file system.
    pub(crate) directory: Option<Arc<std::path::Path>>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Store({})", self.url)
    }
}

impl Store {
    /// A store over `inner`, whose objects all lie under `prefix`; `url` is how messages call it.
    pub fn new(inner: Arc<dyn ObjectStore>, prefix: Path, url: &str) -> Self {
        let throttle = Arc::new(Throttle::unlimited());
        Self { inner, parts: None, copies: None, prefix, url: url.into(), meter: Arc::default(), throttle, directory: None }
    }

    /// The same store, which makes callers wait where they, or those with clones of it, would go beyond the limits.
    pub(crate) fn limited(self, throttle: Throttle) -> Self {
        Self { throttle: Arc::new(throttle), ..self }
    }

    /// The same store, which takes objects in parts, too.
    pub(crate) fn in_parts(self, parts: Arc<dyn MultipartStore>) -> Self {
        Self { parts: Some(parts), ..self }
    }

    /// The same store, which copies objects by itself, if it does.
    pub(crate) fn copying(self, copies: Option<Copies>) -> Self {
        Self { copies: copies.map(Arc::new), ..self }
    }

    /// The same store, whose objects lie in a directory that must be there: it may be a mount that comes and goes.
    pub(crate) fn in_directory(self, directory: &std::path::Path) -> Self {
        Self { directory: Some(directory.into()), ..self }
    }

    /// How messages call this store.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The same store with a meter of its own, whose counts also reach this one.
    #[must_use]
    pub fn metered(&self) -> Self {
        Self { meter: Arc::new(Meter::below(Arc::clone(&self.meter))), ..self.clone() }
    }

    /// Requests made through this handle and those metered below it.
    #[must_use]
    pub fn requests(&self) -> Requests {
        self.meter.requests()
    }

    pub(crate) fn count(&self, requests: Requests) {
        self.meter.count(requests);
    }

    pub(crate) fn path(&self, name: &str) -> Result<Path> {
        let full = if self.prefix.as_ref().is_empty() { name.to_owned() } else { format!("{}/{name}", self.prefix) };
        Path::parse(full)
            .map_err(|error| Error::invalid(format!("'{}' is no object name", name.escape_debug())).with_source(error))
    }

    /// Reads a whole object of at most `bytes_max` bytes.
    ///
    /// # Errors
    /// `missing`; `corrupt` when it is larger; `unavailable`, `denied`.
    pub async fn get(&self, name: &str, bytes_max: u64) -> Result<Bytes> {
        self.count(Requests { get: 1, ..Requests::default() });
        let _stream = self.throttle.begin(0).await;
        let result = self.inner.get(&self.path(name)?).await;
        let result = result.map_err(|error| self.unless_away(classify("read", name, error)))?;
        if result.meta.size > bytes_max {
            return Err(Error::corrupt(format!(
                "{name} has {} bytes, more than the {bytes_max} that such an object may have",
                result.meta.size
            )));
        }
        let size_bytes = result.meta.size;
        self.throttle.bytes(size_bytes).await;
        let bytes = result.bytes().await.map_err(|error| classify("read", name, error))?;
        // The answer itself says how long it should have been: less came through, the object is not to blame.
        if bytes.len() as u64 == size_bytes { Ok(bytes) } else { Err(broken_off(name)) }
    }

    /// Reads exactly `range` of an object.
    ///
    /// # Errors
    /// `missing`; `corrupt` when the object ends before the range does; `unavailable`, `denied`.
    pub async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes> {
        self.count(Requests { get: 1, ..Requests::default() });
        let stream = self.throttle.begin(range.end - range.start).await;
        let found = self.inner.get_range(&self.path(name)?, range.clone()).await;
        drop(stream);
        let error = match found {
            Ok(bytes) if bytes.len() as u64 == range.end - range.start => return Ok(bytes),
            Ok(_) => broken_off(name),
            Err(error) => classify("read", name, error),
        };
        if matches!(error.kind(), ErrorKind::Missing | ErrorKind::Denied) {
            return Err(self.unless_away(error));
        }
        // Stores answer a range past the end in their own ways; the object's size tells it from other trouble.
        match self.size(name).await {
            Ok(size_bytes) if size_bytes < range.end => Err(Error::corrupt(format!("{name} ends before byte {}", range.end))),
            _ => Err(error),
        }
    }

    /// The size of an object in bytes.
    ///
    /// # Errors
    /// `missing`; `unavailable`, `denied`.
    pub async fn size(&self, name: &str) -> Result<u64> {
        self.head(name).await.map(|meta| meta.size)
    }

    pub(crate) async fn head(&self, name: &str) -> Result<ObjectMeta> {
        self.count(Requests { head: 1, ..Requests::default() });
        let _stream = self.throttle.begin(0).await;
        let path = self.path(name)?;
        match self.inner.head(&path).await.map_err(|error| classify("look up", name, error)) {
            Ok(meta) => Ok(meta),
            Err(error) if matches!(error.kind(), ErrorKind::Denied | ErrorKind::Invalid) => {
                // The answer to a HEAD has no room for a reason; the one to a GET has.
                self.count(Requests { get: 1, ..Requests::default() });
                let reason = self.inner.get_range(&path, 0..1).await.err();
                Err(reason.map_or(error, |reason| classify("look up", name, reason)))
            }
            Err(error) => Err(self.unless_away(error)),
        }
    }

    /// Every object whose name begins with the folder `prefix` (no trailing slash; empty for all), sorted by name.
    ///
    /// # Errors
    /// `unavailable`, `denied`; never a short list.
    pub async fn list(&self, prefix: &str) -> Result<Vec<Entry>> {
        Ok(self.entries(self.list_metas(prefix, None).await?))
    }

    /// Every object whose name begins with the folder `prefix` and sorts behind `start`, sorted by name. Costs no more than
    /// what it returns.
    ///
    /// # Errors
    /// As [`Store::list`].
    pub async fn list_from(&self, prefix: &str, start: &str) -> Result<Vec<Entry>> {
        Ok(self.entries(self.list_metas(prefix, Some(start)).await?))
    }

    fn entries(&self, metas: Vec<ObjectMeta>) -> Vec<Entry> {
        let mut entries: Vec<Entry> = metas.into_iter().filter_map(|meta| self.entry(meta)).collect();
        entries.sort_unstable();
        entries
    }

    async fn list_metas(&self, prefix: &str, start: Option<&str>) -> Result<Vec<ObjectMeta>> {
        let path = self.path(prefix)?;
        let start = start.map(|start| self.path(start)).transpose()?;
        let _stream = self.throttle.begin(0).await;
        let mut metas: Vec<ObjectMeta> = Vec::new();
        let mut listing = match &start {
            None => self.inner.list(Some(&path)),
            Some(start) => self.inner.list_with_offset(Some(&path), start),
        };
        let listed = loop {
            match listing.try_next().await {
                Ok(Some(meta)) => metas.push(meta),
                end => break end.map_err(|error| classify("list", prefix, error)),
            }
            // The next entry takes another request.
            if metas.len().is_multiple_of(LIST_PAGE_ENTRIES) {
                self.throttle.request().await;
            }
        };
        self.count_listing(metas.len());
        listed?;
        if metas.is_empty() {
            self.present()?;
        }
        Ok(metas)
    }

    /// When the newest object under the folder `prefix` was written, by the store's own clock; `None` when there is none.
    ///
    /// # Errors
    /// As [`Store::list`].
    pub async fn last_written(&self, prefix: &str) -> Result<Option<SystemTime>> {
        let metas = self.list_metas(prefix, None).await?;
        Ok(metas.into_iter().map(|meta| meta.last_modified.into()).max())
    }

    /// What lies directly under the folder `prefix`.
    ///
    /// # Errors
    /// As [`Store::list`].
    pub async fn list_folder(&self, prefix: &str) -> Result<Listing> {
        let path = self.path(prefix)?;
        let _stream = self.throttle.begin(0).await;
        let found = self.inner.list_with_delimiter(Some(&path)).await.map_err(|error| classify("list", prefix, error));
        self.count_listing(found.as_ref().map_or(0, |result| result.objects.len() + result.common_prefixes.len()));
        let found = found?;
        if found.objects.is_empty() && found.common_prefixes.is_empty() {
            self.present()?;
        }
        let mut folders: Vec<String> =
            found.common_prefixes.iter().filter_map(|folder| folder.filename().map(str::to_owned)).collect();
        folders.sort_unstable();
        let mut objects: Vec<Entry> = found.objects.into_iter().filter_map(|meta| self.entry(meta)).collect();
        objects.sort_unstable();
        Ok(Listing { folders, objects })
    }

    fn count_listing(&self, entries: usize) {
        self.count(Requests { list: entries.div_ceil(LIST_PAGE_ENTRIES).max(1) as u64, ..Requests::default() });
    }

    fn entry(&self, meta: ObjectMeta) -> Option<Entry> {
        let full = meta.location.as_ref();
        let name =
            if self.prefix.as_ref().is_empty() { full } else { full.strip_prefix(self.prefix.as_ref())?.strip_prefix('/')? };
        Some(Entry { name: name.to_owned(), size_bytes: meta.size })
    }

    /// Deletes an object; one that is already gone counts as deleted. Nothing that a point or a job may need is ever deleted.
    ///
    /// # Errors
    /// `unavailable`, `denied`; `missing` where the bucket itself is gone.
    pub async fn delete(&self, name: &str) -> Result<()> {
        self.count(Requests { delete: 1, ..Requests::default() });
        let _stream = self.throttle.begin(0).await;
        match self.inner.delete(&self.path(name)?).await {
            Ok(()) => Ok(()),
            Err(error) if is_gone(&error) => Ok(()),
            Err(error) => Err(classify("delete", name, error)),
        }
    }
}

fn broken_off(name: &str) -> Error {
    Error::unavailable(format!("cannot read {name}")).with_source("the answer broke off")
}

//! The life of an object from its first part to its name.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use stillpoint_model::{Error, ErrorKind, JobId, Result};

use crate::{object::Object, writer::PartWriter};

/// Records read at once.
const READS_IN_FLIGHT: usize = 8;
/// Most bytes of a record: ids of 10,000 parts.
const RECORD_BYTES_MAX: u64 = 4 << 20;
const UPLOAD: &str = "upload";
const PARTS: &str = "parts";
const COMPLETING: &str = "completing";

/// What lies beside an object that is being written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Upload {
    id: String,
}

/// The ids of a segment's parts, by their numbers.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Parts {
    pub(crate) ids: BTreeMap<u32, String>,
}

/// What had the object's name before it was completed.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Completing {
    before: Option<String>,
}

impl Object {
    fn beside(&self, job: JobId, record: &str) -> String {
        format!("{}.stillpoint-{job}/{record}", self.name)
    }

    async fn record<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        match self.store.get(name, RECORD_BYTES_MAX).await {
            Ok(bytes) => {
                let unreadable = |error| Error::corrupt(format!("{}: {name} cannot be read", self.label())).with_source(error);
                serde_json::from_slice(&bytes).map(Some).map_err(unreadable)
            }
            Err(error) if error.kind() == ErrorKind::Missing => Ok(None),
            Err(error) => Err(error.context(self.label())),
        }
    }

    async fn create(&self, name: &str, record: &impl Serialize) -> Result<()> {
        let bytes =
            serde_json::to_vec(record).map_err(|error| Error::internal("a record cannot be written").with_source(error))?;
        self.store.create(name, vec![Bytes::from(bytes)]).await
    }

    /// Begins the upload, once.
    pub(crate) async fn prepare(&self, job: JobId) -> Result<()> {
        let name = self.beside(job, UPLOAD);
        if self.record::<Upload>(&name).await?.is_some() {
            return Ok(());
        }
        let id = self.store.begin_upload(&self.name).await.map_err(|error| error.context(self.label()))?;
        match self.create(&name, &Upload { id: id.clone() }).await {
            // Another delivery was faster: its upload is the one.
            Err(error) if error.kind() == ErrorKind::Conflict => self.store.abort_upload(&self.name, &id).await,
            other => other,
        }
        .map_err(|error| error.context(self.label()))
    }

    /// A writer for some of its pages.
    pub(crate) async fn open(self, job: JobId) -> Result<PartWriter> {
        let upload = self.record::<Upload>(&self.beside(job, UPLOAD)).await?;
        let upload = upload.ok_or_else(|| Error::missing(format!("{} is not being restored any more", self.label())))?;
        let parts = self.beside(job, PARTS);
        Ok(PartWriter::new(self, upload.id, parts))
    }

    /// Keeps the ids of a segment's parts; a segment that was written twice keeps those of the first.
    pub(crate) async fn keep(&self, folder: &str, first: u32, parts: &Parts) -> Result<()> {
        match self.create(&format!("{folder}/{first}"), parts).await {
            Err(error) if error.kind() == ErrorKind::Conflict => Ok(()),
            other => other.map_err(|error| error.context(self.label())),
        }
    }

    /// Gives the object its name.
    pub(crate) async fn publish(&self, job: JobId) -> Result<()> {
        let Some(upload) = self.record::<Upload>(&self.beside(job, UPLOAD)).await? else {
            // Its records go last.
            return match self.store.version(&self.name).await? {
                Some(version) if version.size_bytes == self.disk.size_bytes => Ok(()),
                _ => Err(Error::missing(format!("{} is not being restored any more", self.label()))),
            };
        };
        if !self.is_complete(job).await? {
            let ids = self.ids(job).await?;
            self.store.complete_upload(&self.name, &upload.id, ids).await.map_err(|error| error.context(self.label()))?;
        }
        self.clean(job).await
    }

    /// Whether an earlier try gave the object its name; if not, remembers what has it now.
    async fn is_complete(&self, job: JobId) -> Result<bool> {
        let name = self.beside(job, COMPLETING);
        let version = self.store.version(&self.name).await.map_err(|error| error.context(self.label()))?;
        let tag = version.as_ref().map(|version| version.tag.clone());
        if let Some(Completing { before }) = self.record(&name).await? {
            return Ok(tag != before && version.is_some_and(|version| version.size_bytes == self.disk.size_bytes));
        }
        if version.is_some() && !self.disk.overwrite {
            return Err(Error::conflict(format!("{} was made by somebody else meanwhile", self.label())));
        }
        match self.create(&name, &Completing { before: tag }).await {
            Err(error) if error.kind() == ErrorKind::Conflict => {}
            other => other?,
        }
        Ok(false)
    }

    /// The ids of all parts, in order.
    async fn ids(&self, job: JobId) -> Result<Vec<String>> {
        let records = self.store.list(&self.beside(job, PARTS)).await.map_err(|error| error.context(self.label()))?;
        let read: Vec<_> = records.iter().map(|entry| self.record::<Parts>(&entry.name)).collect();
        let read: Vec<Option<Parts>> = stream::iter(read).buffer_unordered(READS_IN_FLIGHT).try_collect().await?;
        let mut ids: BTreeMap<u32, String> = read.into_iter().flatten().flat_map(|parts| parts.ids).collect();
        let lost = |page| Error::corrupt(format!("{}: part {page} was never written", self.label()));
        (0..self.pages()).map(|page| ids.remove(&page).ok_or_else(|| lost(page))).collect()
    }

    /// Removes the records, that of the upload last.
    async fn clean(&self, job: JobId) -> Result<()> {
        let upload = self.beside(job, UPLOAD);
        let records = self.store.list(upload.trim_end_matches("/upload")).await.map_err(|error| error.context(self.label()))?;
        for entry in records.iter().filter(|entry| entry.name != upload) {
            self.store.delete(&entry.name).await.map_err(|error| error.context(self.label()))?;
        }
        self.store.delete(&upload).await.map_err(|error| error.context(self.label()))
    }

    /// Gives up what was sent.
    pub(crate) async fn discard(&self, job: JobId) -> Result<()> {
        let Some(upload) = self.record::<Upload>(&self.beside(job, UPLOAD)).await? else { return Ok(()) };
        self.store.abort_upload(&self.name, &upload.id).await.map_err(|error| error.context(self.label()))?;
        self.clean(job).await
    }
}

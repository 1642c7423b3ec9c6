//! Objects that are put together of parts which several processes send.

use bytes::Bytes;
use object_store::{
    PutPayload,
    multipart::{MultipartStore, PartId},
    path::Path,
};
use stillpoint_model::{Error, ErrorKind, Requests, Result};

use crate::{Store, failure::classify};

/// One object as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Its size.
    pub size_bytes: u64,
    /// What the store calls this version of it; another after each write.
    pub tag: String,
}

impl Store {
    fn parts(&self, name: &str) -> Result<(&dyn MultipartStore, Path)> {
        let parts = self.parts.as_deref();
        let parts =
            parts.ok_or_else(|| Error::invalid("a folder takes no objects in parts; give its path, and files are written"))?;
        Ok((parts, self.path(name)?))
    }

    /// Begins an object; returns the upload's id. Nothing is seen of it before [`Store::complete_upload`].
    ///
    /// # Errors
    /// `invalid` where the store has no such objects; `unavailable`, `denied`.
    pub async fn begin_upload(&self, name: &str) -> Result<String> {
        let (parts, path) = self.parts(name)?;
        self.count(Requests { put: 1, ..Requests::default() });
        let _stream = self.throttle.begin(0).await;
        parts.create_multipart(&path).await.map_err(|error| classify("write", name, error))
    }

    /// Sends part `number`, from 0; all but the last have one size, 5 MiB at least. Returns the part's id. A number that is sent again
    /// replaces the one before.
    ///
    /// # Errors
    /// `missing` when there is no such upload any more; `unavailable`, `denied`.
    pub async fn put_part(&self, name: &str, upload: &str, number: u32, bytes: Bytes) -> Result<String> {
        let (parts, path) = self.parts(name)?;
        self.count(Requests { put: 1, ..Requests::default() });
        let _stream = self.throttle.begin(bytes.len() as u64).await;
        let sent = parts.put_part(&path, &upload.to_owned(), number as usize, PutPayload::from_bytes(bytes)).await;
        Ok(sent.map_err(|error| classify("write", name, error))?.content_id)
    }

    /// Makes the object visible, of parts 0, 1, … with these ids. Replaces one of that name.
    ///
    /// # Errors
    /// `missing` when there is no such upload any more; `unavailable`, `denied`.
    pub async fn complete_upload(&self, name: &str, upload: &str, ids: Vec<String>) -> Result<()> {
        let (parts, path) = self.parts(name)?;
        self.count(Requests { put: 1, ..Requests::default() });
        let _stream = self.throttle.begin(0).await;
        let ids = ids.into_iter().map(|content_id| PartId { content_id }).collect();
        let completed = parts.complete_multipart(&path, &upload.to_owned(), ids).await;
        completed.map(drop).map_err(|error| classify("write", name, error))
    }

    /// Gives up what was sent; harmless when there is no such upload any more.
    ///
    /// # Errors
    /// `unavailable`, `denied`.
    pub async fn abort_upload(&self, name: &str, upload: &str) -> Result<()> {
        let (parts, path) = self.parts(name)?;
        self.count(Requests { delete: 1, ..Requests::default() });
        let _stream = self.throttle.begin(0).await;
        match parts.abort_multipart(&path, &upload.to_owned()).await {
            Err(object_store::Error::NotFound { .. }) | Ok(()) => Ok(()),
            Err(error) => Err(classify("delete", name, error)),
        }
    }

    /// What the object is now; `None` when there is none.
    ///
    /// # Errors
    /// `unavailable`, `denied`.
    pub async fn version(&self, name: &str) -> Result<Option<Version>> {
        match self.head(name).await {
            Ok(meta) => {
                let tag = meta.e_tag.unwrap_or_else(|| meta.last_modified.to_rfc3339());
                Ok(Some(Version { size_bytes: meta.size, tag }))
            }
            Err(error) if error.kind() == ErrorKind::Missing => Ok(None),
            Err(error) => Err(error),
        }
    }
}

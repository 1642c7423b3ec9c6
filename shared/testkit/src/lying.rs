use std::fmt;

use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt, stream::BoxStream};
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, path::Path,
};

use crate::Content;

/// What a store does not do although it says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// A create overwrites what is there.
    CreateOverwrites,
    /// A create looks before it writes, so only creates at the same moment all succeed.
    CreateRaces,
    /// A listing does not show what was written lately.
    ListsLate,
    /// An object that was written reads as something else.
    ReadsOther,
}

/// A store that cannot hold a vault.
#[derive(Debug)]
pub struct LyingStore {
    content: Content,
    lie: Lie,
}

impl LyingStore {
    /// An empty store with this lie.
    #[must_use]
    pub fn new(lie: Lie) -> Self {
        Self { content: Content::default(), lie }
    }
}

impl fmt::Display for LyingStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LyingStore")
    }
}

#[async_trait]
impl ObjectStore for LyingStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let payload = if self.lie == Lie::ReadsOther { PutPayload::from_static(b"something else") } else { payload };
        let mode = match self.lie {
            Lie::CreateOverwrites => PutMode::Overwrite,
            Lie::CreateRaces => {
                if self.content.0.get_opts(location, GetOptions::new().with_head(true)).await.is_ok() {
                    return Err(Error::AlreadyExists { path: location.to_string(), source: "looked".into() });
                }
                crate::turns::turns(1).await;
                PutMode::Overwrite
            }
            Lie::ListsLate | Lie::ReadsOther => options.mode.clone(),
        };
        self.content.0.put_opts(location, payload, PutOptions { mode, ..options }).await
    }

    async fn put_multipart_opts(&self, location: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.content.0.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.content.0.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.content.0.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let shown = self.lie != Lie::ListsLate;
        self.content.0.list(prefix).try_filter(move |_| std::future::ready(shown)).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.content.0.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.content.0.copy_opts(from, to, options).await
    }
}

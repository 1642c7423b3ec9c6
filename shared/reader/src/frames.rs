use std::{collections::BTreeMap, ops::Range, sync::Arc};

use bytes::Bytes;
use stillpoint_model::{Error, Result, geometry::CHUNK_BYTES};
use stillpoint_ports::execute;
use stillpoint_vault::ChunkRead;

use crate::{
    cache::{Loader, Lookup, Waiting},
    pages::{Page, PageKey},
    point::Shared,
};

/// A frame as one page sees it: `frame` is the position in the page's list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FrameKey {
    page: PageKey,
    frame: u16,
}

/// The chunks that a page has in one frame, opened and checked.
#[derive(Debug)]
pub struct Frame {
    /// (index in the page, bytes of consecutive chunks), ascending.
    runs: Vec<(usize, Bytes)>,
}

impl Frame {
    /// The bytes from the start of chunk `index` on, as far as they lie together.
    pub fn bytes_from(&self, index: usize) -> Result<Bytes> {
        let after = self.runs.partition_point(|(first, _)| *first <= index);
        let run = after.checked_sub(1).map(|position| &self.runs[position]);
        let found = run.and_then(|(first, bytes)| {
            let start = (index - first) * CHUNK_BYTES as usize;
            (start < bytes.len()).then(|| bytes.slice(start..))
        });
        found.ok_or_else(|| Error::internal("a frame was opened without a chunk that is wanted of it"))
    }
}

/// A frame, now or soon.
pub enum Coming {
    Ready(Arc<Frame>),
    Loading(Waiting<Arc<Frame>>),
}

impl Coming {
    /// The frame.
    ///
    /// # Errors
    /// As its load.
    pub async fn frame(self) -> Result<Arc<Frame>> {
        match self {
            Self::Ready(frame) => Ok(frame),
            Self::Loading(waiting) => waiting.value().await,
        }
    }
}

impl Shared {
    /// The frames of a page that hold its chunks `wanted`; those that nobody loads yet are begun.
    pub fn frames(self: &Arc<Self>, key: PageKey, page: &Page, wanted: Range<usize>) -> BTreeMap<u16, Coming> {
        let mut coming = BTreeMap::new();
        let mut loaders = BTreeMap::new();
        for entry in page.entries[wanted].iter().flatten() {
            if coming.contains_key(&entry.frame) {
                continue;
            }
            let one = match self.frames.look_up(FrameKey { page: key, frame: entry.frame }) {
                Lookup::Ready(frame) => Coming::Ready(frame),
                Lookup::Loading(waiting) => Coming::Loading(waiting),
                Lookup::Vacant(loader) => {
                    let waiting = loader.waiting();
                    loaders.insert(entry.frame, loader);
                    Coming::Loading(waiting)
                }
            };
            coming.insert(entry.frame, one);
        }
        self.fetch(page, loaders);
        coming
    }

    /// Begins the frames of a page that hold its chunks `wanted`, and waits for none.
    pub fn fetch_ahead(self: &Arc<Self>, key: PageKey, page: &Page, wanted: Range<usize>) {
        let mut loaders = BTreeMap::new();
        for entry in page.entries[wanted].iter().flatten() {
            if let Some(loader) = self.frames.claim(FrameKey { page: key, frame: entry.frame }) {
                loaders.insert(entry.frame, loader);
            }
        }
        self.fetch(page, loaders);
    }

    /// Fetches frames whole, as far as the page draws on them, in as few requests as the vault plans.
    fn fetch(self: &Arc<Self>, page: &Page, mut loaders: BTreeMap<u16, Loader<FrameKey, Arc<Frame>>>) {
        if loaders.is_empty() {
            return;
        }
        let is_wanted = |index: &usize| page.entries[*index].is_some_and(|entry| loaders.contains_key(&entry.frame));
        let indices: Vec<usize> = (0..page.entries.len()).filter(is_wanted).collect();
        for read in ChunkRead::plan(page, indices) {
            let (shared, page) = (Arc::clone(self), Arc::clone(page));
            let brought: Vec<_> = frames_of(&page, &read).into_iter().filter_map(|frame| loaders.remove(&frame)).collect();
            // Others may wait for these frames: they are read even if this reader goes away.
            tokio::spawn(async move { shared.load_frames(&page, read, brought).await });
        }
    }

    async fn load_frames(&self, page: &Page, read: ChunkRead, loaders: Vec<Loader<FrameKey, Arc<Frame>>>) {
        let mut opened = match self.open_frames(page, read).await {
            Ok(opened) => opened,
            Err(error) => {
                let error = Arc::new(error);
                return loaders.into_iter().for_each(|loader| loader.finish(Err(Arc::clone(&error))));
            }
        };
        for loader in loaders {
            let number = loader.key().frame;
            let runs = opened.remove(&number).unwrap_or_default();
            let bytes = u64::from(page.frames[usize::from(number)].chunks) * CHUNK_BYTES;
            loader.finish(Ok((Arc::new(Frame { runs }), bytes)));
        }
    }

    async fn open_frames(&self, page: &Page, read: ChunkRead) -> Result<BTreeMap<u16, Vec<(usize, Bytes)>>> {
        let place = self.fetches.acquire().await;
        let place = place.map_err(|_| Error::internal("fetching has ended"))?;
        let sealed = self.vault.sealed(&read).await?;
        let (keys, pool) = (Arc::clone(self.vault.keys()), Arc::clone(&self.pool));
        let chunks = execute(&*self.cpu, move || read.decode(&keys, &sealed, &pool)).await??;
        drop(place);
        let mut opened = BTreeMap::<u16, Vec<(usize, Bytes)>>::new();
        for (index, bytes) in chunks {
            if let Some(entry) = &page.entries[index] {
                opened.entry(entry.frame).or_default().push((index, bytes));
            }
        }
        Ok(opened)
    }
}

/// Positions in the page's list of the frames that a read brings.
fn frames_of(page: &Page, read: &ChunkRead) -> Vec<u16> {
    let frames = read.indices().filter_map(|index| page.entries[index].map(|entry| entry.frame));
    let mut frames: Vec<u16> = frames.collect();
    frames.sort_unstable();
    frames.dedup();
    frames
}

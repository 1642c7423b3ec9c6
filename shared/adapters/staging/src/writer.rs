use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use stillpoint_model::{
    Error, Extent, Result,
    geometry::{PAGE_BYTES, page_range},
};
use stillpoint_ports::DiskWriter;

use crate::{object::Object, upload::Parts};

/// A page that is being put together.
struct Page {
    bytes: Vec<u8>,
    /// Bytes of it that were written or zeroed.
    covered: usize,
}

/// Sends each page as a part when all of it was written: at most the pages that are begun lie in memory.
pub(crate) struct PartWriter {
    object: Object,
    upload: String,
    /// Where the ids of parts are kept.
    parts: String,
    begun: Mutex<BTreeMap<u32, Page>>,
    sent: Mutex<BTreeMap<u32, String>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl PartWriter {
    pub(crate) fn new(object: Object, upload: String, parts: String) -> Self {
        Self { object, upload, parts, begun: Mutex::default(), sent: Mutex::default() }
    }

    /// Fills `length` bytes at `offset`, within one page, and sends the page if it is whole then.
    async fn fill(&self, offset: u64, length: usize, data: Option<&[u8]>) -> Result<()> {
        let number = u32::try_from(offset / PAGE_BYTES).unwrap_or(u32::MAX);
        let (start, end) = page_range(number, self.object.disk.size_bytes);
        let whole = usize::try_from(end - start).unwrap_or(usize::MAX);
        let at = usize::try_from(offset - start).unwrap_or(usize::MAX);
        let page = {
            let mut begun = locked(&self.begun);
            let page = begun.entry(number).or_insert_with(|| Page { bytes: vec![0; whole], covered: 0 });
            let place = at.checked_add(length).and_then(|end| page.bytes.get_mut(at..end));
            let place = place.ok_or_else(|| Error::internal(format!("{}: a write beyond its end", self.object.label())))?;
            if let Some(data) = data {
                place.copy_from_slice(data);
            }
            page.covered += length;
            if page.covered < whole {
                return Ok(());
            }
            begun.remove(&number)
        };
        let bytes = page.map(|page| page.bytes).unwrap_or_default();
        let sent = self.object.store.put_part(&self.object.name, &self.upload, number, Bytes::from(bytes)).await;
        let id = sent.map_err(|error| error.context(self.object.label()))?;
        locked(&self.sent).insert(number, id);
        Ok(())
    }
}

/// The pieces of a range that lie in one page each.
fn pieces(extent: Extent) -> impl Iterator<Item = (u64, usize)> {
    let end = extent.offset + extent.length;
    let next = move |at: &u64| Some((at / PAGE_BYTES + 1) * PAGE_BYTES).filter(|next| *next < end);
    let starts = std::iter::successors(Some(extent.offset).filter(|start| *start < end), next);
    starts.map(move |start| {
        (start, usize::try_from(((start / PAGE_BYTES + 1) * PAGE_BYTES).min(end) - start).unwrap_or(usize::MAX))
    })
}

#[async_trait]
impl DiskWriter for PartWriter {
    async fn write(&self, offset: u64, data: Bytes) -> Result<()> {
        for (start, length) in pieces(Extent::new(offset, data.len() as u64)) {
            let from = usize::try_from(start - offset).unwrap_or(usize::MAX);
            self.fill(start, length, data.get(from..from + length)).await?;
        }
        Ok(())
    }

    async fn zero(&self, extent: Extent) -> Result<()> {
        for (start, length) in pieces(extent) {
            self.fill(start, length, None).await?;
        }
        Ok(())
    }

    async fn sync(&self) -> Result<()> {
        if let Some(number) = locked(&self.begun).keys().next() {
            return Err(Error::internal(format!("{}: part {number} is not whole", self.object.label())));
        }
        let ids = std::mem::take(&mut *locked(&self.sent));
        let Some(first) = ids.keys().next().copied() else { return Ok(()) };
        self.object.keep(&self.parts, first, &Parts { ids }).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_cut_at_the_ends_of_pages() {
        let cut = |offset, length| pieces(Extent::new(offset, length)).collect::<Vec<_>>();
        let page = PAGE_BYTES as usize;
        assert_eq!(cut(0, PAGE_BYTES), [(0, page)]);
        assert_eq!(cut(5, 0), []);
        assert_eq!(cut(PAGE_BYTES - 1, PAGE_BYTES + 2), [(PAGE_BYTES - 1, 1), (PAGE_BYTES, page), (2 * PAGE_BYTES, 1)]);
    }
}

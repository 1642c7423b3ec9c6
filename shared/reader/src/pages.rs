use std::sync::Arc;

use stillpoint_format::{MapPage, PageRef};
use stillpoint_model::{
    Error, Result,
    geometry::{CHUNK_BYTES, page_range},
};

use crate::{
    cache::{Loader, Lookup},
    point::Shared,
};

/// Pages that are looked at for company when one is read: those of 512 MiB of disk.
const COMPANY: u32 = 16;
/// How far apart in a pack pages may lie to be read together: what the vault reads over.
const APART_BYTES_MAX: u32 = 512 * 1024;

/// A map page in the cache; `Arc`, since readers hold it while it may go from there.
pub type Page = Arc<MapPage>;

/// A page of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PageKey {
    pub disk: usize,
    pub page: u32,
}

impl Shared {
    /// Page `key`, `None` where the disk has nothing but zeros. The pages around it that lie beside it in its pack come with it.
    ///
    /// # Errors
    /// `corrupt`, `missing`; as the store.
    pub async fn page(self: &Arc<Self>, key: PageKey) -> Result<Option<Page>> {
        let Some(place) = self.place(key) else { return Ok(None) };
        let loader = match self.pages.look_up(key) {
            Lookup::Ready(page) => return Ok(Some(page)),
            Lookup::Loading(waiting) => return waiting.value().await.map(Some),
            Lookup::Vacant(loader) => loader,
        };
        let waiting = loader.waiting();
        let mut loads = vec![(place, loader)];
        let first = key.page - key.page % COMPANY;
        for page in first..first + COMPANY {
            let near = PageKey { page, ..key };
            let beside =
                self.place(near).filter(|at| at.pack == place.pack && at.offset.abs_diff(place.offset) <= APART_BYTES_MAX);
            if let Some((at, loader)) = beside.and_then(|at| Some((at, self.pages.claim(near)?))) {
                loads.push((at, loader));
            }
        }
        let shared = Arc::clone(self);
        // Others may wait for these pages: they are read even if this reader goes away.
        tokio::spawn(async move { shared.load_pages(loads).await });
        waiting.value().await.map(Some)
    }

    fn place(&self, key: PageKey) -> Option<PageRef> {
        self.disks[key.disk].pages.get(key.page as usize).copied().flatten()
    }

    async fn load_pages(&self, loads: Vec<(PageRef, Loader<PageKey, Page>)>) {
        let (places, loaders): (Vec<PageRef>, Vec<_>) = loads.into_iter().unzip();
        for (page, loader) in self.vault.pages(&self.packs, &places).await.into_iter().zip(loaders) {
            let key = loader.key();
            let checked = page.and_then(|page| self.check(key, page));
            loader.finish(checked.map(|page| (Arc::clone(&page), bytes_of(&page))).map_err(Arc::new));
        }
    }

    fn check(&self, key: PageKey, page: MapPage) -> Result<Page> {
        let (start, end) = page_range(key.page, self.disks[key.disk].size_bytes);
        if page.entries.len() as u64 == (end - start).div_ceil(CHUNK_BYTES) {
            Ok(Arc::new(page))
        } else {
            Err(Error::corrupt("a map page has another length than its disk says"))
        }
    }
}

/// Memory of a page, about.
fn bytes_of(page: &MapPage) -> u64 {
    let names: usize = page.packs.iter().map(|pack| size_of_val(pack) + pack.name.len()).sum();
    (size_of::<MapPage>() + size_of_val(&*page.entries) + size_of_val(&*page.frames) + names) as u64
}

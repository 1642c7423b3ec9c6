use futures_util::{StreamExt, stream};
use stillpoint_format::{FrameKind, MapPage, PackKey, PackRef, PackUse, PageRef, limits};
use stillpoint_model::{Error, Result};

use crate::Vault;

/// Sealed bytes between two pages that are cheaper to read over than to ask twice for: some 20 pages that another segment or a
/// later point replaced.
const GAP_BYTES_MAX: u64 = 512 * 1024;
/// Sealed bytes read with one request, gaps included.
const RUN_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Pages read with one request: about 4 MiB.
const RUN_PAGES_MAX: usize = 128;
/// Requests for pages under way at once.
const RUNS_IN_FLIGHT: usize = 4;

/// Pages that lie close together in one pack; positions refer to the caller's list.
struct Run {
    pack: u32,
    start: u64,
    end: u64,
    pages: Vec<(usize, PageRef)>,
}

fn runs(refs: &[PageRef]) -> Vec<Run> {
    let mut order: Vec<(usize, PageRef)> = refs.iter().copied().enumerate().collect();
    order.sort_unstable_by_key(|(_, page)| (page.pack, page.offset));
    let mut runs: Vec<Run> = Vec::new();
    for (position, page) in order {
        let (start, end) = (u64::from(page.offset), u64::from(page.offset) + u64::from(page.sealed_bytes));
        match runs.last_mut() {
            Some(run)
                if run.pack == page.pack
                    && start <= run.end + GAP_BYTES_MAX
                    && end <= run.start + RUN_BYTES_MAX
                    && run.pages.len() < RUN_PAGES_MAX =>
            {
                run.end = run.end.max(end);
                run.pages.push((position, page));
            }
            _ => runs.push(Run { pack: page.pack, start, end, pages: vec![(position, page)] }),
        }
    }
    runs
}

impl Vault {
    /// Reads map pages, in the order of `refs`; `packs` is the list that they refer to. Each page succeeds or fails by itself,
    /// so that one damaged pack does not take the others along.
    pub async fn pages(&self, packs: &[PackUse], refs: &[PageRef]) -> Vec<Result<MapPage>> {
        let read = |run: Run| async move { self.read_run(packs, run).await };
        let mut answers = stream::iter(runs(refs).into_iter().map(read)).buffer_unordered(RUNS_IN_FLIGHT);
        let mut pages: Vec<Option<Result<MapPage>>> = refs.iter().map(|_| None).collect();
        while let Some(answer) = answers.next().await {
            for (position, page) in answer {
                pages[position] = Some(page);
            }
        }
        pages.into_iter().map(|page| page.unwrap_or_else(|| Err(Error::internal("a page was not read")))).collect()
    }

    async fn read_run(&self, packs: &[PackUse], run: Run) -> Vec<(usize, Result<MapPage>)> {
        let Some(used) = packs.get(run.pack as usize) else {
            return run.pages.iter().map(|(position, _)| (*position, Err(Error::corrupt("a page names no pack")))).collect();
        };
        let oversized = run.pages.iter().any(|(_, page)| page.sealed_bytes as usize > limits::PAGE_PLAIN_BYTES_MAX + 21);
        let bytes = if oversized {
            Err(Error::corrupt(format!("{}: a page is larger than a page may be", used.pack.name)))
        } else {
            self.store().get_range(&used.pack.name, run.start..run.end).await
        };
        match bytes {
            Ok(bytes) => {
                let key = PackKey::new(self.keys(), &used.pack);
                let open = |page: &PageRef| {
                    let start = (u64::from(page.offset) - run.start) as usize;
                    open_page(&key, &used.pack, page, &bytes[start..start + page.sealed_bytes as usize])
                };
                run.pages.iter().map(|(position, page)| (*position, open(page))).collect()
            }
            Err(error) => {
                let again = |_: &(usize, PageRef)| Error::new(error.kind(), error.one_line());
                run.pages.iter().map(|page| (page.0, Err(again(page)))).collect()
            }
        }
    }
}

fn open_page(key: &PackKey, pack: &PackRef, page: &PageRef, sealed: &[u8]) -> Result<MapPage> {
    let context = |error: stillpoint_format::Error| Error::from(error).context(&pack.name);
    let plain = key.open(FrameKind::Page, page.frame, sealed, limits::PAGE_PLAIN_BYTES_MAX).map_err(context)?;
    MapPage::decode(pack, &plain).map_err(context)
}

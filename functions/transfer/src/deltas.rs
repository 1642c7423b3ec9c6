use std::collections::HashMap;

use stillpoint_format::{MapPage, PackRef};
use stillpoint_jobs::PackDelta;
use stillpoint_model::Result;

#[derive(Default, Clone, Copy)]
struct Delta {
    chunks: i64,
    bytes: i64,
    pages: i64,
}

/// How a segment changes the use of packs.
#[derive(Default)]
pub(crate) struct Deltas(HashMap<PackRef, Delta>);

impl Deltas {
    /// Counts a page and its chunks in (`sign` 1) or out (-1).
    pub(crate) fn count(&mut self, page: &MapPage, sign: i64) {
        if let Some(own) = page.packs.first() {
            self.0.entry(own.clone()).or_default().pages += sign;
        }
        for entry in page.entries.iter().flatten() {
            let (frame, pack) = page.locate(entry);
            let delta = self.0.entry(pack.clone()).or_default();
            delta.chunks += sign;
            delta.bytes += sign * i64::try_from(frame.bytes_per_chunk()).unwrap_or(0);
        }
    }

    /// The packs whose use changed, and where each stands in the list; `size` knows their sizes.
    pub(crate) fn finish(self, size: impl Fn(&PackRef) -> Result<u64>) -> Result<(Vec<PackDelta>, HashMap<PackRef, u32>)> {
        let mut changed: Vec<(PackRef, Delta)> = self.0.into_iter().collect();
        changed.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let mut packs = Vec::with_capacity(changed.len());
        let mut positions = HashMap::with_capacity(changed.len());
        for (position, (pack, Delta { chunks, bytes, pages })) in (0_u32..).zip(changed) {
            packs.push(PackDelta {
                name: pack.name.to_string(),
                salt: pack.salt,
                size_bytes: size(&pack)?,
                chunks,
                bytes,
                pages,
            });
            positions.insert(pack, position);
        }
        Ok((packs, positions))
    }
}

//! Finding chunks that reference points hold elsewhere, by sampled ids and without an index of all chunks.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use stillpoint_format::{ChunkEntry, ChunkId, MapPage, PageRef, samples_of};
use stillpoint_model::DiskName;
use stillpoint_vault::Vault;

use crate::basis::Basis;

/// Pages looked into for one page of disk.
const PAGES_MAX: usize = 4;
/// Chunks that may well hold no sample among them: 1 in 16 is sampled, so of 128 none is in 1 of 3,900 cases.
const UNSAMPLED_CHUNKS_MAX: usize = 128;

/// A page of a reference point that has samples in common with the page at hand.
pub(crate) struct Candidate {
    pub(crate) page: Arc<MapPage>,
    /// Where it lies, with the name of its pack; to be referred to as it is when all of it matches.
    pub(crate) place: PageRef,
}

/// Candidates for one page, and an index of their chunks.
#[derive(Default)]
pub(crate) struct Similar {
    pub(crate) candidates: Vec<Candidate>,
    chunks: HashMap<ChunkId, (usize, ChunkEntry)>,
}

impl Similar {
    /// The pages of all references that share most samples with `ids`. When none does and the page is new to the machine,
    /// `place` (its disk and number): a few chunks may hold no sample at all, and a clone has them where its original has.
    pub(crate) async fn find(vault: &Vault, basis: &Basis, ids: &[ChunkId], place: Option<(&DiskName, u32)>) -> Self {
        let mut votes = HashMap::<(usize, u32), u32>::new();
        for sample in samples_of(ids.iter()) {
            for (number, reference) in basis.references.iter().enumerate() {
                for ordinal in reference.manifest.samples.pages(sample) {
                    *votes.entry((number, ordinal)).or_default() += 1;
                }
            }
        }
        if let (true, Some((disk, number))) = (votes.is_empty() && ids.len() <= UNSAMPLED_CHUNKS_MAX, place) {
            let nearest = basis.references.iter().enumerate().find_map(|(at, reference)| {
                Some((at, reference.ordinal(disk, number).filter(|page| reference.place(*page).is_some())?))
            });
            votes.extend(nearest.map(|page| (page, 1)));
        }
        let mut ranked: Vec<((usize, u32), u32)> = votes.into_iter().collect();
        // Most votes first; ties in a fixed order, so that a repeated step does the same.
        ranked.sort_unstable_by_key(|(page, votes)| (std::cmp::Reverse(*votes), *page));
        let wanted: HashSet<ChunkId> = ids.iter().copied().collect();
        let mut similar = Self::default();
        for ((number, ordinal), _) in ranked.into_iter().take(PAGES_MAX) {
            let reference = &basis.references[number];
            let Some(place) = reference.place(ordinal) else { continue };
            if basis.avoids(&reference.manifest.packs[place.pack as usize].pack.name) {
                continue;
            }
            if let Some(page) = reference.page(vault, ordinal).await {
                similar.add(Candidate { page, place }, &wanted, basis);
            }
        }
        similar
    }

    fn add(&mut self, candidate: Candidate, wanted: &HashSet<ChunkId>, basis: &Basis) {
        let number = self.candidates.len();
        for entry in candidate.page.entries.iter().flatten().filter(|entry| wanted.contains(&entry.id)) {
            let (_, pack) = candidate.page.locate(entry);
            if !basis.avoids(&pack.name) {
                self.chunks.entry(entry.id).or_insert((number, *entry));
            }
        }
        self.candidates.push(candidate);
    }

    /// Where a chunk is held.
    pub(crate) fn get(&self, id: &ChunkId) -> Option<(&MapPage, &ChunkEntry)> {
        self.chunks.get(id).map(|(number, entry)| (&*self.candidates[*number].page, entry))
    }
}

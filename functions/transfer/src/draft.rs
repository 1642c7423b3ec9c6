use std::collections::HashMap;

use stillpoint_format::{ChunkEntry, ChunkId, FrameRef, MapPage, PackRef};
use stillpoint_model::DiskName;

/// Encoded bytes of a page at most, but for its list of packs: 512 entries of 35, 512 frames of 15, and its head.
const PAGE_BYTES_BASE: usize = 26_000;
/// Encoded bytes of one pack in a page's list at most.
const PAGE_BYTES_PER_PACK: usize = 220;

/// Where a new chunk of this segment lies, once its frame is sealed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Location {
    /// Position in the segment's packs.
    pub(crate) pack: usize,
    pub(crate) frame: FrameRef,
    pub(crate) place: u8,
}

#[derive(Debug, Clone, Copy)]
enum Entry {
    Zero,
    /// A chunk of an earlier pack; `frame` counts in [`Draft::known`].
    Known(ChunkEntry),
    /// A chunk of this segment, by its sequence number.
    New(u32, ChunkId),
}

/// A map page whose new chunks may still wait for their frame.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    disk: DiskName,
    number: u32,
    known: Vec<(PackRef, FrameRef)>,
    interned: HashMap<(PackRef, u32), u16>,
    entries: Vec<Entry>,
}

impl Draft {
    pub(crate) fn new(disk: DiskName, number: u32) -> Self {
        Self { disk, number, known: Vec::new(), interned: HashMap::new(), entries: Vec::new() }
    }

    pub(crate) fn push_zero(&mut self) {
        self.entries.push(Entry::Zero);
    }

    /// Adds a chunk that `page` refers to.
    pub(crate) fn push_known(&mut self, page: &MapPage, entry: &ChunkEntry) {
        let (frame, pack) = page.locate(entry);
        let known = &mut self.known;
        let position = *self.interned.entry((pack.clone(), frame.number)).or_insert_with(|| {
            known.push((pack.clone(), *frame));
            (known.len() - 1) as u16
        });
        self.entries.push(Entry::Known(ChunkEntry { frame: position, ..*entry }));
    }

    pub(crate) fn push_new(&mut self, sequence: u32, id: ChunkId) {
        self.entries.push(Entry::New(sequence, id));
    }

    /// Ends the draft; what was only needed to build it goes.
    pub(crate) fn seal(mut self) -> Self {
        self.interned = HashMap::new();
        self.known.shrink_to_fit();
        self
    }

    pub(crate) const fn number(&self) -> u32 {
        self.number
    }

    /// Most bytes that the page can take in its pack.
    pub(crate) fn bytes_max(&self) -> usize {
        PAGE_BYTES_BASE + PAGE_BYTES_PER_PACK * (self.known.len() + 8)
    }

    /// The page as it stands in the pack `own`, if all its new chunks have been located.
    pub(crate) fn resolve(&self, own: &PackRef, packs: &[PackRef], located: &[Option<Location>]) -> Option<MapPage> {
        let mut page = MapPage {
            disk: self.disk.clone(),
            number: self.number,
            packs: vec![own.clone()],
            frames: Vec::new(),
            entries: Vec::new(),
        };
        let mut frames = HashMap::<(u16, u32), u16>::new();
        for entry in &self.entries {
            let (pack, frame, place, id) = match *entry {
                Entry::Zero => {
                    page.entries.push(None);
                    continue;
                }
                Entry::Known(known) => {
                    let (pack, frame) = &self.known[usize::from(known.frame)];
                    (pack, *frame, known.place, known.id)
                }
                Entry::New(sequence, id) => {
                    let location = located.get(sequence as usize).copied().flatten()?;
                    (&packs[location.pack], location.frame, location.place, id)
                }
            };
            let pack = position(&mut page.packs, pack);
            let frame = *frames.entry((pack, frame.number)).or_insert_with(|| {
                page.frames.push(FrameRef { pack, ..frame });
                (page.frames.len() - 1) as u16
            });
            page.entries.push(Some(ChunkEntry { frame, place, id }));
        }
        Some(page)
    }
}

/// Where `pack` stands in the list; it is added if it does not. A page draws on few packs, so a search is quick.
fn position(packs: &mut Vec<PackRef>, pack: &PackRef) -> u16 {
    let found = packs.iter().position(|known| known == pack).unwrap_or_else(|| {
        packs.push(pack.clone());
        packs.len() - 1
    });
    found as u16
}

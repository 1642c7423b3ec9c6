//! What a job's segments are compared with, read once per job: plan, parent, neighbours.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use stillpoint_format::{DiskMap, Manifest, MapPage, PageRef};
use stillpoint_jobs::{BackupPlan, Engine, Loaded, Neighbour};
use stillpoint_model::{DiskName, Error, JobId, PointId, Result};
use stillpoint_vault::Vault;

/// Decoded pages of reference points kept in memory: some 25 KiB each.
const PAGES_KEPT: usize = 512;
/// Pages read with the one that is asked for: those of 512 MiB of disk, which one segment wrote together.
const PAGES_AHEAD: u32 = 16;
/// ... where they lie so close to it that one request reads them all.
const CLOSE_BYTES: u32 = 512 * 1024;

/// A committed point that chunks may be shared with.
pub(crate) struct Reference {
    pub(crate) manifest: Manifest,
    /// Sizes of its packs, by name.
    pub(crate) sizes: HashMap<Arc<str>, u64>,
    /// Pages in the order of their ordinals.
    ordinals: Vec<Option<PageRef>>,
    kept: Mutex<HashMap<u32, Arc<MapPage>>>,
}

impl Reference {
    fn new(manifest: Manifest) -> Self {
        let sizes = manifest.packs.iter().map(|used| (Arc::clone(&used.pack.name), used.size_bytes)).collect();
        let ordinals = manifest.disks.iter().flat_map(|disk| disk.pages.iter().copied()).collect();
        Self { manifest, sizes, ordinals, kept: Mutex::default() }
    }

    /// The ordinal of a page by disk and number.
    pub(crate) fn ordinal(&self, disk: &DiskName, number: u32) -> Option<u32> {
        let mut first = 0;
        for map in &self.manifest.disks {
            if map.name == *disk {
                return ((number as usize) < map.pages.len()).then_some(first + number);
            }
            first += map.pages.len() as u32;
        }
        None
    }

    /// Where the page with `ordinal` lies.
    pub(crate) fn place(&self, ordinal: u32) -> Option<PageRef> {
        self.ordinals.get(ordinal as usize).copied().flatten()
    }

    /// The page with `ordinal` and, with the same request, those that follow it on the disk and lie close to it: whoever
    /// looks at one is most likely to look at them next. `None` when it cannot be read, which costs space and nothing else.
    pub(crate) async fn page(&self, vault: &Vault, ordinal: u32) -> Option<Arc<MapPage>> {
        if let Some(page) = self.kept.lock().unwrap_or_else(PoisonError::into_inner).get(&ordinal) {
            return Some(Arc::clone(page));
        }
        let place = self.place(ordinal)?;
        let close = |near: &PageRef| near.pack == place.pack && near.offset.abs_diff(place.offset) < CLOSE_BYTES;
        let (ordinals, places): (Vec<u32>, Vec<PageRef>) = (ordinal..ordinal.saturating_add(PAGES_AHEAD))
            .filter_map(|ordinal| Some((ordinal, self.place(ordinal).filter(close)?)))
            .unzip();
        let pages = vault.pages(&self.manifest.packs, &places).await;
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() + pages.len() > PAGES_KEPT {
            kept.clear();
        }
        kept.extend(ordinals.into_iter().zip(pages).filter_map(|(ordinal, page)| Some((ordinal, Arc::new(page.ok()?)))));
        kept.get(&ordinal).cloned()
    }
}

/// See the module.
pub(crate) struct Basis {
    pub(crate) loaded: Loaded<BackupPlan>,
    /// The parent first, if there is one.
    pub(crate) references: Vec<Reference>,
    has_parent: bool,
    avoid: HashSet<String>,
    thin: HashSet<String>,
}

impl Basis {
    pub(crate) async fn load(engine: &Engine, job: JobId) -> Result<Self> {
        let loaded = engine.plan::<BackupPlan>(job).await?;
        let plan = &loaded.plan;
        let vault = engine.vault();
        let mut references = Vec::new();
        if let Some(parent) = plan.detail.parent {
            references.push(read(vault, &Neighbour { item: plan.detail.item.clone(), point: parent }).await?);
        }
        let has_parent = !references.is_empty();
        for neighbour in &plan.detail.neighbours {
            if let Ok(reference) = read(vault, neighbour).await {
                references.push(reference);
            }
        }
        let avoid = plan.detail.avoid.iter().cloned().collect();
        let thin = plan.detail.thin.iter().cloned().collect();
        Ok(Self { loaded, references, has_parent, avoid, thin })
    }

    /// The parent's reference and its map of the disk at `position` in the plan.
    pub(crate) fn parent_of(&self, position: u16) -> Option<(&Reference, &DiskMap)> {
        let parent = self.references.first().filter(|_| self.has_parent)?;
        let name = &self.loaded.plan.detail.snapshot.disks.get(usize::from(position))?.name;
        Some((parent, parent.manifest.disks.iter().find(|disk| disk.name == *name)?))
    }

    /// Whether nothing may refer to this pack.
    pub(crate) fn avoids(&self, pack: &str) -> bool {
        self.avoid.contains(pack) || self.thin.contains(pack)
    }

    /// Whether a page that lies there can be read and compared with: the pack is sound, even if nothing may refer to it.
    pub(crate) fn may_read(&self, pack: &str) -> bool {
        !self.avoid.contains(pack)
    }

    /// Size of a pack that some reference needs.
    pub(crate) fn pack_size(&self, pack: &str) -> Result<u64> {
        let size = self.references.iter().find_map(|reference| reference.sizes.get(pack));
        size.copied().ok_or_else(|| Error::corrupt(format!("{pack} is used by a page but not named by its point's manifest")))
    }
}

async fn read(vault: &Vault, neighbour: &Neighbour) -> Result<Reference> {
    let id: PointId = neighbour.point;
    let point = vault.point(&neighbour.item, id).await?;
    Ok(Reference::new(vault.manifest(&point).await?))
}

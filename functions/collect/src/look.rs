use std::collections::BTreeSet;

use stillpoint_jobs::{AllJobs, Engine};
use stillpoint_model::{ErrorKind, ItemName, MarkKind, PointId, Result};
use stillpoint_vault::{Name, PointEntries, PointEntry, Vault};

/// What lies in the vault, by listings alone.
pub(crate) struct Look {
    /// Packs and their sizes, by name.
    pub(crate) packs: Vec<(String, u64)>,
    pub(crate) jobs: AllJobs,
    pub(crate) entries: PointEntries,
    /// Points that were freed and of which something is left.
    pub(crate) freed: BTreeSet<(ItemName, PointId)>,
    pub(crate) warnings: Vec<String>,
}

impl Look {
    /// Lists packs first, then jobs, then points. A pack that is seen was begun by a job that is seen too; if that job has ended, so
    /// that its pack is nobody's work in progress, then its point is there and is seen as well. In any other order a backup could begin
    /// or end between the lists, and what it needs look like litter.
    pub(crate) async fn take(engine: &Engine) -> Result<Self> {
        let vault = engine.vault();
        let packs = vault.store().list(Name::PACKS).await?.into_iter().map(|entry| (entry.name, entry.size_bytes)).collect();
        let jobs = engine.all_jobs().await?;
        let entries = vault.all_point_entries().await?;
        let mut look = Self { packs, jobs, entries, freed: BTreeSet::new(), warnings: Vec::new() };
        look.find_freed(vault).await?;
        Ok(look)
    }

    /// A mark's name alone frees nothing here: whoever can write to the store could put it there.
    async fn find_freed(&mut self, vault: &Vault) -> Result<()> {
        for (item, entries) in &self.entries {
            for entry in entries.iter().filter(|entry| entry.freed() && has_remains(entry)) {
                if is_freed(vault, item, entry).await? {
                    self.freed.insert((item.clone(), entry.id));
                } else {
                    self.warnings.push(format!("the mark that says point {} of {item} was freed is not authentic", entry.id));
                }
            }
        }
        Ok(())
    }

    /// Whether it is a recovery point as far as references go.
    pub(crate) fn is_point(&self, item: &ItemName, entry: &PointEntry) -> bool {
        entry.committed && !self.freed.contains(&(item.clone(), entry.id))
    }

    /// The size of a pack that is there.
    pub(crate) fn pack_bytes(&self, name: &str) -> Option<u64> {
        let place = self.packs.binary_search_by(|(pack, _)| pack.as_str().cmp(name)).ok()?;
        Some(self.packs[place].1)
    }
}

/// Whether anything but its freed mark is there.
fn has_remains(entry: &PointEntry) -> bool {
    entry.committed || !entry.manifests.is_empty() || entry.marks.iter().any(|(_, mark)| *mark != MarkKind::Freed)
}

async fn is_freed(vault: &Vault, item: &ItemName, entry: &PointEntry) -> Result<bool> {
    for (seq, mark) in entry.marks.iter().filter(|(_, mark)| *mark == MarkKind::Freed) {
        match vault.read_mark(item, entry.id, *seq, *mark).await {
            Ok(read) if read.mark == MarkKind::Freed => return Ok(true),
            Err(error) if error.kind() == ErrorKind::Unavailable => return Err(error),
            Ok(_) | Err(_) => {}
        }
    }
    Ok(false)
}

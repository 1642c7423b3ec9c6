//! What a backup can be compared with: the parent point and some neighbours.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use jiff::{SignedDuration, Timestamp};

use stillpoint_format::{Manifest, PackUse};
use stillpoint_jobs::Neighbour;
use stillpoint_model::{DiskName, Error, ErrorKind, Extent, ItemName, MarkKind, PointId, Result};
use stillpoint_ports::{Baseline, DiskSnapshot, Since, Snapshot};
use stillpoint_vault::{Condemned, Mark, Name, Point, PointEntry, Vault};

use crate::repack::thin_packs;

/// Other machines whose newest points are searched for similar pages. Each costs a transfer step one manifest in memory.
const NEIGHBOURS_MAX: usize = 4;
/// After this long a disk is read as a whole although its changes are told: a platform that forgets some is found out within it.
const SOURCE_COMPARED_AFTER: SignedDuration = SignedDuration::from_hours(30 * 24);
/// Points tried as parent, newest first, before the disks are stored without one.
const PARENTS_TRIED_MAX: usize = 3;

/// The result of looking around in the vault.
#[derive(Default)]
pub(crate) struct Basis {
    pub(crate) parent: Option<(Point, Manifest)>,
    pub(crate) neighbours: Vec<Neighbour>,
    pub(crate) avoid: Vec<String>,
    pub(crate) thin: Vec<String>,
    pub(crate) warnings: Vec<String>,
    condemned: Condemned,
    /// Objects that a verification found missing or corrupt.
    corrupt: BTreeSet<String>,
}

impl Basis {
    /// The job's ledger is there: nothing that is condemned from now on is deleted before the job has ended, and what is condemned
    /// already is not referred to.
    pub(crate) async fn find(vault: &Vault, item: &ItemName) -> Result<Self> {
        let mut basis = Self { condemned: vault.condemned().await?, ..Self::default() };
        basis.find_parent(vault, item).await?;
        let mut packs = basis.parent.as_ref().map(|(_, manifest)| manifest.packs.clone()).unwrap_or_default();
        basis.find_neighbours(vault, item, &mut packs).await?;
        packs.sort_unstable_by(|a, b| a.pack.cmp(&b.pack));
        packs.dedup_by(|a, b| a.pack == b.pack);
        let absent = vault.absent_packs(&packs).await?;
        if !absent.is_empty() {
            let first = &absent[0];
            basis.warnings.push(format!(
                "{} packs of earlier points are damaged (first: {} is {}); what they held is stored again",
                absent.len(),
                first.0,
                first.1
            ));
        }
        basis.avoid = absent.into_iter().map(|(name, _)| name).collect();
        let names = packs.iter().map(|used| &*used.pack.name);
        let unwanted = names.filter(|name| basis.condemned.objects.contains(*name) || basis.corrupt.contains(*name));
        basis.avoid.extend(unwanted.map(str::to_owned).collect::<Vec<_>>());
        basis.avoid.sort_unstable();
        basis.avoid.dedup();
        Ok(basis)
    }

    /// What changes may be counted from: the parent's snapshot, if all that the parent refers to may be referred to again. What does
    /// not change is not looked at, so it could not be stored anew.
    pub(crate) fn since(&self) -> Option<Since> {
        let (point, manifest) = self.parent.as_ref()?;
        let is_avoided = |used: &PackUse| self.avoid.iter().any(|name| **name == *used.pack.name);
        (!manifest.packs.iter().any(is_avoided)).then_some(Since { job: point.job, instant: point.instant })
    }

    /// Has disks of which the platform told the changes read as a whole, where that was not done for long, and returns what it told: what changed
    /// and was not told shows then.
    pub(crate) fn compare_source(&self, snapshot: &mut Snapshot) -> BTreeMap<DiskName, Vec<Extent>> {
        let is_due =
            |(parent, _): &(Point, Manifest)| snapshot.instant.duration_since(parent.source_compared()) >= SOURCE_COMPARED_AFTER;
        if !self.parent.as_ref().is_some_and(is_due) {
            return BTreeMap::new();
        }
        let tracked = snapshot.disks.iter_mut().filter(|disk| disk.baseline == Baseline::Parent);
        let compare = |disk: &mut DiskSnapshot| {
            disk.baseline = Baseline::Zero;
            let whole = vec![Extent::new(0, disk.size_bytes)];
            (disk.name.clone(), std::mem::replace(&mut disk.extents, whole))
        };
        tracked.map(compare).collect()
    }

    /// When all disks were last compared as a whole, where this snapshot's are not.
    pub(crate) fn source_compared(&self, snapshot: &Snapshot) -> Option<Timestamp> {
        let (parent, _) = self.parent.as_ref()?;
        snapshot.disks.iter().any(|disk| disk.baseline == Baseline::Parent).then(|| parent.source_compared())
    }

    /// Has what thin packs hold stored again; for disks that are compared as a whole.
    pub(crate) fn find_thin(&mut self, item: &ItemName) {
        if let Some((_, parent)) = &self.parent {
            self.thin = thin_packs(item, parent);
        }
    }

    async fn find_parent(&mut self, vault: &Vault, item: &ItemName) -> Result<()> {
        let candidates = self.candidates(vault, item).await?;
        for entry in candidates.into_iter().rev().take(PARENTS_TRIED_MAX) {
            let id = entry.id;
            let read = async { Ok::<_, Error>((read_point(vault, item, id).await?, damage(vault, item, &entry).await?)) };
            match read.await {
                Ok((found, damage)) => {
                    self.parent = Some(found);
                    self.avoid_damage(id, damage);
                    return Ok(());
                }
                Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Missing | ErrorKind::Invalid) => {
                    self.warnings.push(format!("point {id} cannot be compared with: {}", error.one_line()));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Points of a machine that may be referred to, oldest first. A deleted one may: whoever could free it waits for this job.
    async fn candidates(&self, vault: &Vault, item: &ItemName) -> Result<Vec<PointEntry>> {
        let entries = vault.point_entries(item).await?.into_iter();
        let is_candidate = |entry: &PointEntry| entry.is_point() && !self.condemned.points.contains(&(item.clone(), entry.id));
        Ok(entries.filter(is_candidate).collect())
    }

    /// What a verification found wrong with the parent is stored anew, so that the new point is whole.
    fn avoid_damage(&mut self, id: PointId, damage: Option<Mark>) {
        let Some(mark) = damage else { return };
        self.warnings.push(format!(
            "point {id} was found damaged by a verification ({}); what its {} damaged objects held is stored again",
            mark.why,
            mark.objects.len()
        ));
        self.corrupt.extend(mark.objects);
    }

    async fn find_neighbours(&mut self, vault: &Vault, item: &ItemName, packs: &mut Vec<PackUse>) -> Result<()> {
        let folders = vault.store().list_folder(Name::POINTS).await?.folders;
        let others = folders.iter().filter_map(|folder| folder.parse().ok()).filter(|other| other != item).collect();
        for other in nearest(item, others) {
            // A damaged one is no loss.
            let newest = self.candidates(vault, &other).await?.pop().filter(|entry| entry.damaged().is_none());
            let Some(PointEntry { id: point, .. }) = newest else { continue };
            // A neighbour is a chance to save space; one that cannot be read is no reason to fail.
            let read = async { vault.packs_of(&vault.point(&other, point).await?).await };
            if let Ok(used) = read.await {
                packs.extend(used);
                self.neighbours.push(Neighbour { item: other, point });
            }
        }
        Ok(())
    }
}

/// What a verification found wrong with a point.
///
/// # Errors
/// `corrupt` when it is not known what of the point is sound: the mark cannot be read, or does not list all.
async fn damage(vault: &Vault, item: &ItemName, entry: &PointEntry) -> Result<Option<Mark>> {
    let Some(seq) = entry.damaged() else { return Ok(None) };
    let mark = vault.read_mark(item, entry.id, seq, MarkKind::Damaged).await?;
    if mark.objects.len() >= Mark::OBJECTS_MAX {
        return Err(Error::corrupt(format!("a verification found {} of its objects damaged, or more", mark.objects.len())));
    }
    Ok(Some(mark))
}

async fn read_point(vault: &Vault, item: &ItemName, id: PointId) -> Result<(Point, Manifest)> {
    let point = vault.point(item, id).await?;
    let manifest = vault.manifest(&point).await?;
    Ok((point, manifest))
}

/// Machines whose names begin alike (`web-01`, `web-02`) are most likely built alike.
fn nearest(item: &ItemName, mut others: Vec<ItemName>) -> Vec<ItemName> {
    let common = |other: &ItemName| item.as_str().bytes().zip(other.as_str().bytes()).take_while(|(a, b)| a == b).count();
    others.sort_by_key(|other| Reverse(common(other)));
    others.truncate(NEIGHBOURS_MAX);
    others
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_named_alike_come_first() {
        let names = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<ItemName>>();
        let others = names(&["app-01", "db-01", "db-02", "mail", "web-02", "web-03", "webcam"]);
        assert_eq!(nearest(&"web-01".parse().unwrap(), others), names(&["web-02", "web-03", "webcam", "app-01"]));
    }
}

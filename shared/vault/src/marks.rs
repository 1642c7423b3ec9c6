use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stillpoint_model::{AttemptId, ItemName, MarkKind, PointId, Result, policy::Reason};
use stillpoint_store::Entry;

use crate::{Kind, Name, Vault};

const MARK: Kind = Kind::small("mark");

/// What was written on a recovery point after its commit: the body of `points/<item>/<point>/marks/<seq>-<mark>.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mark {
    /// What it says; also part of its name.
    pub mark: MarkKind,
    /// When it was written.
    pub at: Timestamp,
    /// Who wrote it: `prune`, `collect`, `verify`, `replicate` or `operator`.
    pub by: String,
    /// Why, for people.
    pub why: String,
    /// Of a tombstone: until when the point can be undeleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Of a tombstone that retention wrote: the rules that had kept the point.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<Reason>,
    /// Of a damaged point: objects that are missing or corrupt.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub objects: Vec<String>,
}

impl Mark {
    /// Most objects that a mark of damage lists. One with so many may stand for more.
    pub const OBJECTS_MAX: usize = 1_000;

    /// A mark without particulars.
    #[must_use]
    pub fn new(mark: MarkKind, at: Timestamp, by: &str, why: impl Into<String>) -> Self {
        Self { mark, at, by: by.to_owned(), why: why.into(), until: None, reasons: Vec::new(), objects: Vec::new() }
    }
}

/// A point as the names of its objects tell it: nothing was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PointEntry {
    /// The point.
    pub id: PointId,
    /// Its commit object is there.
    pub committed: bool,
    /// Its manifests, by the attempt that wrote them; the commit object names the one that counts.
    pub manifests: Vec<AttemptId>,
    /// Its marks, by number.
    pub marks: Vec<(u32, MarkKind)>,
}

impl PointEntry {
    fn new(id: PointId) -> Self {
        Self { id, committed: false, manifests: Vec::new(), marks: Vec::new() }
    }

    /// The number of the newest `mark`, unless a later `undone` took it back.
    fn standing(&self, mark: MarkKind, undone: MarkKind) -> Option<u32> {
        let newest = self.marks.iter().rev().find(|(_, kind)| *kind == mark || *kind == undone);
        newest.filter(|(_, kind)| *kind == mark).map(|(seq, _)| *seq)
    }

    /// The tombstone's number, if the point is deleted.
    #[must_use]
    pub fn deleted(&self) -> Option<u32> {
        self.standing(MarkKind::Deleted, MarkKind::Undeleted)
    }

    /// The hold's number, if the point is held.
    #[must_use]
    pub fn held(&self) -> Option<u32> {
        self.standing(MarkKind::Held, MarkKind::Released)
    }

    /// The finding's number, if the point is damaged as far as known.
    #[must_use]
    pub fn damaged(&self) -> Option<u32> {
        self.standing(MarkKind::Damaged, MarkKind::Sound)
    }

    /// Whether somebody wants it in spite of its time being over: it is held, or its tombstone was taken back.
    #[must_use]
    pub fn is_wanted_again(&self) -> bool {
        self.held().is_some() || self.standing(MarkKind::Undeleted, MarkKind::Deleted).is_some()
    }

    /// Whether it is no point any more.
    #[must_use]
    pub fn freed(&self) -> bool {
        self.marks.iter().any(|(_, kind)| *kind == MarkKind::Freed)
    }

    /// Whether it is a recovery point: committed, and not freed.
    #[must_use]
    pub fn is_point(&self) -> bool {
        self.committed && !self.freed()
    }

    /// Whether it is a recovery point that nobody has deleted, and that is not damaged as far as known.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.is_point() && self.deleted().is_none() && self.damaged().is_none()
    }

    /// Number of the newest mark; 0 without any.
    #[must_use]
    pub fn newest_mark(&self) -> u32 {
        self.marks.last().map_or(0, |(seq, _)| *seq)
    }
}

/// The points of each machine that has any, whether or not they are committed.
pub type PointEntries = BTreeMap<ItemName, Vec<PointEntry>>;

/// What a listing shows of points.
pub(crate) fn by_point(listing: &[Entry]) -> PointEntries {
    let mut items = BTreeMap::<ItemName, BTreeMap<PointId, PointEntry>>::new();
    for listed in listing {
        let Ok(name) = listed.name.parse::<Name>() else { continue };
        let (Name::Point(item, id) | Name::Manifest(item, id, _) | Name::Mark(item, id, _, _)) = &name else { continue };
        let entry = items.entry(item.clone()).or_default().entry(*id).or_insert_with(|| PointEntry::new(*id));
        match name {
            Name::Point(..) => entry.committed = true,
            Name::Manifest(_, _, attempt) => entry.manifests.push(attempt),
            Name::Mark(_, _, seq, mark) => entry.marks.push((seq, mark)),
            _ => {}
        }
    }
    for entry in items.values_mut().flat_map(BTreeMap::values_mut) {
        entry.marks.sort_unstable_by_key(|(seq, _)| *seq);
    }
    items.into_iter().map(|(item, points)| (item, points.into_values().collect())).collect()
}

impl Vault {
    async fn entries(&self, prefix: &str) -> Result<PointEntries> {
        Ok(by_point(&self.store().list(prefix).await?))
    }

    /// What lies in the folders of all points of all machines, oldest first. One listing.
    ///
    /// # Errors
    /// As the store.
    pub async fn all_point_entries(&self) -> Result<PointEntries> {
        self.entries(Name::POINTS).await
    }

    /// What lies in the folders of a machine's points, oldest first, whether or not they are committed. One listing.
    ///
    /// # Errors
    /// As the store.
    pub async fn point_entries(&self, item: &ItemName) -> Result<Vec<PointEntry>> {
        Ok(self.entries(&Name::points_folder(item)).await?.remove(item).unwrap_or_default())
    }

    /// What lies in the folder of one point.
    ///
    /// # Errors
    /// As the store.
    pub async fn point_entry(&self, item: &ItemName, id: PointId) -> Result<PointEntry> {
        let found = self.entries(&Name::point_folder(item, id)).await?.remove(item).unwrap_or_default().pop();
        Ok(found.unwrap_or_else(|| PointEntry::new(id)))
    }

    /// Writes a mark behind those that `entry` shows.
    ///
    /// # Errors
    /// `conflict` when somebody else wrote one at this moment: look again; as the store.
    pub async fn mark(&self, item: &ItemName, entry: &PointEntry, mark: &Mark) -> Result<()> {
        let name = Name::Mark(item.clone(), entry.id, entry.newest_mark() + 1, mark.mark);
        self.create_record(MARK, &name, mark).await.map(drop)
    }

    /// Reads a mark.
    ///
    /// # Errors
    /// `missing`, `corrupt`; as the store.
    pub async fn read_mark(&self, item: &ItemName, id: PointId, seq: u32, mark: MarkKind) -> Result<Mark> {
        self.read_record(MARK, &Name::Mark(item.clone(), id, seq, mark)).await
    }
}

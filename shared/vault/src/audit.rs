use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use serde::Serialize;
use stillpoint_format::PackUse;
use stillpoint_model::{Error, ErrorKind, ItemName, PointId, Result};

use crate::{Name, PointEntry, Vault, marks::by_point};

/// Points whose manifests are read at once: each may take some MiB.
const POINTS_IN_FLIGHT: usize = 8;

/// One thing that an existence audit found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The machine whose point is hurt.
    pub item: ItemName,
    /// The point that is hurt.
    pub point: PointId,
    /// The object.
    pub object: String,
    /// What is wrong with it.
    pub problem: String,
}

/// The result of an existence audit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Points looked at.
    pub points: u64,
    /// Distinct objects that they need: their records, manifests and packs.
    pub objects: u64,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// Objects whose names belong to no vault of this version.
    pub unknown: Vec<String>,
}

/// What one point needs, as its record and its manifest say.
#[derive(Debug, Clone)]
pub struct Needs {
    /// The machine.
    pub item: ItemName,
    /// The point.
    pub point: PointId,
    /// The packs; none when one of the two cannot be read.
    pub packs: Vec<PackUse>,
    /// Which of the two is missing or corrupt, and how.
    pub damage: Option<(String, String)>,
}

impl Needs {
    /// Objects that the point needs besides packs, as far as known.
    #[must_use]
    pub fn own_objects(&self) -> u64 {
        // Without its record nobody knows where its manifest is.
        if self.damage.as_ref().is_some_and(|(object, _)| object.ends_with(".json")) { 1 } else { 2 }
    }
}

/// What exists of packs: a listing per machine, made when it is first asked for.
#[derive(Debug, Default)]
pub struct Shelves(HashMap<ItemName, HashMap<String, u64>>);

impl Shelves {
    /// What a listing shows to be wrong with a pack, if anything.
    ///
    /// # Errors
    /// As the store.
    pub async fn problem(&mut self, vault: &Vault, used: &PackUse) -> Result<Option<String>> {
        let Ok(Name::Pack { item, .. }) = used.pack.name.parse() else { return Ok(Some("no name of a pack".to_owned())) };
        if !self.0.contains_key(&item) {
            let entries = vault.store().list(&Name::packs_folder(&item)).await?;
            self.0.insert(item.clone(), entries.into_iter().map(|entry| (entry.name, entry.size_bytes)).collect());
        }
        let size_bytes = self.0.get(&item).and_then(|sizes| sizes.get(&*used.pack.name));
        Ok(size_problem(size_bytes.copied(), used.size_bytes))
    }
}

/// What is wrong with an object of this size, if anything.
fn size_problem(found: Option<u64>, written: u64) -> Option<String> {
    match found {
        None => Some("missing".to_owned()),
        Some(size_bytes) if size_bytes != written => Some(format!("{size_bytes} bytes long, not {written} as written")),
        Some(_) => None,
    }
}

/// Whether an error speaks of the object that was read, and not of the way to it.
fn is_damage(error: &Error) -> bool {
    // Invalid: of a newer version, which a flipped byte can say as well.
    matches!(error.kind(), ErrorKind::Missing | ErrorKind::Corrupt | ErrorKind::Invalid)
}

impl Vault {
    /// Those of `packs` that do not exist or have another size, each with the reason. One listing per machine that they
    /// belong to.
    ///
    /// # Errors
    /// As the store.
    pub async fn absent_packs(&self, packs: &[PackUse]) -> Result<Vec<(String, String)>> {
        let mut shelves = Shelves::default();
        let mut absent = Vec::new();
        for used in packs {
            let problem = shelves.problem(self, used).await?;
            absent.extend(problem.map(|problem| (used.pack.name.to_string(), problem)));
        }
        Ok(absent)
    }

    /// What a look shows to be wrong with an object of which `size_bytes` were written, if anything.
    ///
    /// # Errors
    /// As the store.
    pub async fn absence(&self, name: &str, size_bytes: u64) -> Result<Option<String>> {
        match self.store().size(name).await {
            Ok(found) => Ok(size_problem(Some(found), size_bytes)),
            Err(error) if error.kind() == ErrorKind::Missing => Ok(size_problem(None, size_bytes)),
            Err(error) => Err(error),
        }
    }

    /// What a point needs. Of its manifest the list of packs is read, and its size looked up; all of it where `whole` says so of
    /// its name.
    ///
    /// # Errors
    /// As the store; damage is told in [`Needs::damage`].
    pub async fn needs(&self, item: &ItemName, id: PointId, whole: impl Fn(&str) -> bool) -> Result<Needs> {
        let mut needs = Needs { item: item.clone(), point: id, packs: Vec::new(), damage: None };
        let point = match self.point(item, id).await {
            Ok(point) => point,
            Err(error) if is_damage(&error) => {
                needs.damage = Some((Name::Point(item.clone(), id).to_string(), error.one_line()));
                return Ok(needs);
            }
            Err(error) => return Err(error),
        };
        let name = &point.manifest.name;
        let packs = async {
            if whole(name) {
                return Ok(self.manifest(&point).await?.packs);
            }
            let written = point.manifest.sections.object_bytes();
            let written = written.ok_or_else(|| Error::corrupt(format!("{name}: sections overlap")))?;
            match self.absence(name, written).await? {
                Some(problem) => Err(Error::corrupt(format!("{name} is {problem}"))),
                None => self.packs_of(&point).await,
            }
        };
        match packs.await {
            Ok(packs) => needs.packs = packs,
            Err(error) if is_damage(&error) => needs.damage = Some((name.clone(), error.one_line())),
            Err(error) => return Err(error),
        }
        Ok(needs)
    }

    /// What each of `points` needs, in their order, as [`Vault::needs`].
    pub fn needs_of<'a>(
        &'a self,
        points: Vec<(ItemName, PointId)>,
        whole: &'a (impl Fn(&str) -> bool + Sync),
    ) -> impl Stream<Item = Result<Needs>> + 'a {
        let look = move |(item, id): (ItemName, PointId)| async move { self.needs(&item, id, whole).await };
        stream::iter(points.into_iter().map(look)).buffered(POINTS_IN_FLIGHT)
    }

    /// Checks that everything every committed point needs exists, by listing; reads no pack, and everything else from the store.
    ///
    /// # Errors
    /// As the store; damage is a finding, not an error.
    pub async fn audit(&self) -> Result<Report> {
        let vault = self.afresh();
        let condemned = vault.condemned().await?;
        // Points before packs: what a point needs was there before it.
        let listing = vault.store().list("").await?;
        let is_unknown = |name: &str| name.parse::<Name>().is_err();
        let mut report = Report::default();
        report.unknown.extend(listing.iter().filter(|entry| is_unknown(&entry.name)).map(|entry| entry.name.clone()));
        let mut points = Vec::new();
        for (item, entries) in by_point(&listing) {
            let kept = entries.iter().filter(|entry| entry.is_point() && !condemned.frees(&item, entry));
            points.extend(kept.map(|entry| (item.clone(), entry.id)));
        }
        report.points = points.len() as u64;
        let (mut shelves, mut packs) = (Shelves::default(), HashSet::<Arc<str>>::new());
        let mut needs = std::pin::pin!(vault.needs_of(points, &|_: &str| true));
        while let Some(needs) = needs.try_next().await? {
            report.objects += needs.own_objects();
            let mut found: Vec<(String, String)> = needs.damage.into_iter().collect();
            for used in needs.packs {
                let problem = shelves.problem(&vault, &used).await?;
                found.extend(problem.map(|problem| (used.pack.name.to_string(), problem)));
                packs.insert(used.pack.name);
            }
            if !found.is_empty() && vault.is_kept(&needs.item, needs.point).await? {
                let finding = |(object, problem)| Finding { item: needs.item.clone(), point: needs.point, object, problem };
                report.findings.extend(found.into_iter().map(finding));
            }
        }
        report.objects += packs.len() as u64;
        Ok(report)
    }

    /// Whether a point is one, and nobody is about to free it: only then is it a loss when something of it is gone.
    async fn is_kept(&self, item: &ItemName, id: PointId) -> Result<bool> {
        let entry: PointEntry = self.point_entry(item, id).await?;
        Ok(entry.is_point() && !self.condemned().await?.frees(item, &entry))
    }
}

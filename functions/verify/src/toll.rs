//! Which points what was found hurts: their marks, and a line for each object.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use futures_util::{StreamExt, TryStreamExt, stream};
use stillpoint_model::{Error, ErrorKind, ItemName, MarkKind, PointId, Result};
use stillpoint_vault::{Mark, Name, Needs, PointEntry, Vault};

use crate::{
    plan::{Lost, VerifyPlan},
    survey::{self, is_unrecorded, plainly},
};

/// Objects looked up at once.
const LOOKS_IN_FLIGHT: usize = 16;
/// Times that a point's marks are looked at again because somebody else wrote one.
const MARK_TRIES: u32 = 5;
/// Points that a line names.
const POINTS_NAMED: usize = 10;

/// An object that is missing or corrupt, and what that hurts.
#[derive(Debug, Default)]
struct Hurt {
    problem: String,
    /// The first points that need it.
    points: Vec<(ItemName, PointId)>,
    /// Further ones.
    others: u64,
}

/// What a point's standing mark says.
struct Standing {
    objects: Vec<String>,
    /// It may stand for more than it lists.
    is_partial: bool,
}

/// See the module.
pub(crate) struct Toll<'a> {
    vault: &'a Vault,
    /// What is missing or corrupt, with its problem.
    bad: BTreeMap<String, String>,
    /// Packs that this job has read whole and found sound.
    sound: HashSet<&'a str>,
    hurt: BTreeMap<String, Hurt>,
    /// Points that are damaged.
    pub(crate) damaged: u64,
    /// Machines with points that are, or were, damaged.
    pub(crate) items: BTreeSet<ItemName>,
}

impl<'a> Toll<'a> {
    /// Looks again at everything that was `lost`: what is there again is no finding.
    pub(crate) async fn of(vault: &'a Vault, plan: &'a VerifyPlan, lost: Vec<Lost>) -> Result<Self> {
        let confirm = |lost: Lost| async move {
            let absent = match lost.size_bytes {
                // What could not be read may be impossible to look up, too.
                Some(size_bytes) if lost.read => vault.absence(&lost.object, size_bytes).await.unwrap_or(None),
                Some(size_bytes) => vault.absence(&lost.object, size_bytes).await?,
                None => None,
            };
            let is_found = lost.read || lost.size_bytes.is_none();
            let problem = absent.or_else(|| is_found.then_some(lost.problem));
            Ok::<_, Error>(problem.map(|problem| (lost.object, problem)))
        };
        let confirmed: Vec<Option<(String, String)>> =
            stream::iter(lost.iter().cloned().map(confirm)).buffered(LOOKS_IN_FLIGHT).try_collect().await?;
        let lost: HashSet<&str> = lost.iter().map(|lost| &*lost.object).collect();
        let sound = plan.packs.iter().map(|pack| &*pack.name).filter(|name| !lost.contains(name)).collect();
        let bad = confirmed.into_iter().flatten().collect();
        Ok(Self { vault, bad, sound, hurt: BTreeMap::new(), damaged: 0, items: BTreeSet::new() })
    }

    /// Marks the points that are hurt, and those that no longer are. A pack may be needed by points of any machine; without a bad one
    /// only points of `item` (of all machines without one) can have changed.
    pub(crate) async fn take(&mut self, item: Option<&ItemName>) -> Result<()> {
        let condemned = self.vault.condemned().await?;
        let packs = self.bad.keys().any(|name| matches!(name.parse(), Ok(Name::Pack { .. })));
        let (own, mut chosen) = (self.own(), Vec::new());
        for (item, entries) in survey::entries(self.vault, item.filter(|_| !packs), &condemned).await? {
            for entry in entries {
                let named = own.contains(&(item.clone(), entry.id)) && (entry.is_point() || is_unrecorded(&entry));
                if named || entry.is_point() && (packs || entry.damaged().is_some()) {
                    chosen.push((item.clone(), entry));
                }
            }
        }
        let marked = chosen.iter().filter(|(_, entry)| entry.damaged().is_some());
        let mut whole: HashSet<String> = marked.flat_map(|(item, entry)| manifests(item, entry)).collect();
        whole.extend(self.bad.keys().cloned());
        let points = chosen.iter().map(|(item, entry)| (item.clone(), entry.id)).collect();
        let (vault, is_whole) = (self.vault, |name: &str| whole.contains(name));
        let mut needs = std::pin::pin!(vault.needs_of(points, &is_whole));
        for (item, entry) in chosen {
            let Some(needs) = needs.try_next().await? else { break };
            // What is wrong with a point that was freed meanwhile is no loss.
            let entry = if self.is_hurt(&needs) { self.vault.point_entry(&item, entry.id).await? } else { entry };
            self.settle(&item, entry, &needs).await?;
        }
        Ok(())
    }

    fn is_hurt(&self, needs: &Needs) -> bool {
        needs.damage.is_some() || needs.packs.iter().any(|used| self.bad.contains_key(&*used.pack.name))
    }

    /// Points whose own record or manifest was found bad.
    fn own(&self) -> HashSet<(ItemName, PointId)> {
        let point = |object: &String| match object.parse() {
            Ok(Name::Point(item, id) | Name::Manifest(item, id, _)) => Some((item, id)),
            _ => None,
        };
        self.bad.keys().filter_map(point).collect()
    }

    async fn settle(&mut self, item: &ItemName, mut entry: PointEntry, needs: &Needs) -> Result<()> {
        for _ in 0..MARK_TRIES {
            if entry.freed() {
                return Ok(());
            }
            let standing = self.standing(item, &entry).await?;
            let objects = self.objects(needs, standing.as_ref());
            if standing.is_some() || !objects.is_empty() {
                self.items.insert(item.clone());
            }
            match self.mark(item, &entry, &objects, standing.as_ref()).await {
                Ok(()) => {
                    self.count(needs, objects);
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Conflict => {
                    entry = self.vault.point_entry(item, entry.id).await?;
                }
                Err(error) => return Err(error),
            }
        }
        Err(Error::unavailable(format!("the marks of point {} of {item} keep changing", entry.id)))
    }

    async fn standing(&self, item: &ItemName, entry: &PointEntry) -> Result<Option<Standing>> {
        let Some(seq) = entry.damaged() else { return Ok(None) };
        match self.vault.read_mark(item, entry.id, seq, MarkKind::Damaged).await {
            Ok(mark) => Ok(Some(Standing { is_partial: mark.objects.len() >= Mark::OBJECTS_MAX, objects: mark.objects })),
            Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Missing) => {
                Ok(Some(Standing { objects: Vec::new(), is_partial: true }))
            }
            Err(error) => Err(error),
        }
    }

    /// What of a point is missing or corrupt: what was found now, and what was found earlier and not proven sound since.
    fn objects(&self, needs: &Needs, standing: Option<&Standing>) -> BTreeSet<String> {
        let needed: HashSet<&str> = needs.packs.iter().map(|used| &*used.pack.name).collect();
        let mut objects: BTreeSet<String> =
            needed.iter().filter(|name| self.bad.contains_key(**name)).map(|name| (*name).to_owned()).collect();
        objects.extend(needs.damage.iter().map(|(object, _)| object.clone()));
        // Without its record or manifest it is not known which packs it needs.
        let is_open = |name: &&String| {
            let is_pack = matches!(name.parse(), Ok(Name::Pack { .. }));
            is_pack && !self.sound.contains(name.as_str()) && (needs.damage.is_some() || needed.contains(name.as_str()))
        };
        if let Some(standing) = standing {
            objects.extend(standing.objects.iter().filter(is_open).cloned());
            let all_read = needs.damage.is_none() && needed.iter().all(|name| self.sound.contains(name));
            if standing.is_partial && objects.is_empty() && !all_read {
                objects.extend(standing.objects.iter().cloned());
            }
        }
        objects
    }

    async fn mark(
        &self,
        item: &ItemName,
        entry: &PointEntry,
        objects: &BTreeSet<String>,
        standing: Option<&Standing>,
    ) -> Result<()> {
        let listed: Vec<String> = objects.iter().take(Mark::OBJECTS_MAX).cloned().collect();
        let now = self.vault.clock().now();
        let mark = match (objects.first(), standing) {
            (None, None) => return Ok(()),
            (_, Some(standing)) if standing.objects == listed => return Ok(()),
            (None, Some(_)) => {
                Mark::new(MarkKind::Sound, now, "verify", "all it needs exists, and what was damaged was read and is sound")
            }
            (Some(first), _) => {
                let why = format!("{} objects are missing or corrupt, the first {first}: {}", objects.len(), self.problem(first));
                Mark { objects: listed, ..Mark::new(MarkKind::Damaged, now, "verify", why) }
            }
        };
        self.vault.mark(item, entry, &mark).await
    }

    fn problem(&self, object: &str) -> &str {
        self.bad.get(object).map_or("found damaged earlier, and not read since", String::as_str)
    }

    fn count(&mut self, needs: &Needs, objects: BTreeSet<String>) {
        self.damaged += u64::from(!objects.is_empty());
        for object in objects {
            let own =
                needs.damage.as_ref().filter(|(damaged, _)| *damaged == object).map(|(_, problem)| plainly(&object, problem));
            let problem = own.unwrap_or_else(|| self.problem(&object).to_owned());
            let hurt = self.hurt.entry(object).or_insert_with(|| Hurt { problem, ..Hurt::default() });
            if hurt.points.len() < POINTS_NAMED {
                hurt.points.push((needs.item.clone(), needs.point));
            } else {
                hurt.others += 1;
            }
        }
    }

    /// Objects that are missing or corrupt and that some point needs.
    pub(crate) fn findings(&self) -> u64 {
        self.hurt.len() as u64
    }

    /// A line for each of the first `max` findings, and one that says how many more there are.
    pub(crate) fn lines(&self, max: usize) -> Vec<String> {
        let mut lines: Vec<String> = self.hurt.iter().take(max).map(|(object, hurt)| hurt.line(object)).collect();
        if self.hurt.len() > max {
            lines.push(format!("{} more objects are missing or corrupt", self.hurt.len() - max));
        }
        lines
    }
}

impl Hurt {
    fn line(&self, object: &str) -> String {
        let points: Vec<String> = self.points.iter().map(|(item, point)| format!("{item} {point}")).collect();
        let others = if self.others > 0 { format!(" and {} more", self.others) } else { String::new() };
        format!("{object}: {}; hurts {}{others}", self.problem, points.join(", "))
    }
}

fn manifests<'a>(item: &'a ItemName, entry: &'a PointEntry) -> impl Iterator<Item = String> + 'a {
    entry.manifests.iter().map(|attempt| Name::Manifest(item.clone(), entry.id, *attempt).to_string())
}

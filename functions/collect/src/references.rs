use std::collections::{BTreeSet, HashMap, HashSet};

use futures_util::{StreamExt, stream};
use stillpoint_model::{AttemptId, ErrorKind, ItemName, PointId, Result};
use stillpoint_vault::{PointEntry, Vault};

use crate::{
    census::{Census, Needs, PackKey, read_census, read_needs},
    fates::Fates,
    look::Look,
    records::Records,
};

/// All that points refer to.
#[derive(Default)]
pub(crate) struct References {
    /// Packs that some point needs.
    pub(crate) needed: HashSet<PackKey>,
    /// Packs that some point needs which is not condemned.
    pub(crate) kept: HashSet<PackKey>,
    /// The manifest of each point.
    pub(crate) manifests: HashMap<PointId, AttemptId>,
    /// Points of which nobody knows what they need, and why.
    pub(crate) unknown: Vec<String>,
    /// Censuses to be written, each with its number.
    pub(crate) changed: Vec<(ItemName, u32, Census)>,
    /// Points that were read.
    pub(crate) points_read: u64,
}

/// A machine without points.
const NONE: &[PointEntry] = &[];

impl References {
    /// What all points refer to that are still there after this run has freed some: from the censuses, and of points that these do
    /// not know, from the points.
    pub(crate) async fn find(vault: &Vault, look: &Look, fates: &Fates, records: &Records, in_flight: usize) -> Result<Self> {
        let mut references = Self::default();
        let machines: BTreeSet<&ItemName> = look.entries.keys().chain(records.names.censuses.keys()).collect();
        for item in machines {
            let entries = look.entries.get(item).map_or(NONE, Vec::as_slice);
            let seq = records.names.censuses.get(item).and_then(|seqs| seqs.last()).copied();
            let census = match seq {
                Some(seq) => read_census(vault, item, seq).await?,
                None => Census::new(),
            };
            let missing = missing(entries, &census);
            references
                .unknown
                .extend(missing.iter().map(|id| format!("point {id} of {item} was there and is not listed any more")));
            let is_left = |entry: &&PointEntry| look.is_point(item, entry) && !fates.is_freed_now(item, entry.id);
            let left: Vec<PointId> = entries.iter().filter(is_left).map(|entry| entry.id).collect();
            let mut now = references.count(vault, item, &left, &census, in_flight).await?;
            // What is missing must not be forgotten, nor what it refers to go, before somebody has seen to it.
            now.extend(missing.iter().filter_map(|id| Some((*id, census.get(id)?.clone()))));
            for (point, needs) in &now {
                references.add(needs, *point, !fates.condemned.contains(&(item.clone(), *point)));
            }
            if now != census {
                references.changed.push((item.clone(), seq.unwrap_or(0) + 1, now));
            }
        }
        Ok(references)
    }

    /// What the points `left` of a machine refer to, as far as it can be read.
    async fn count(
        &mut self,
        vault: &Vault,
        item: &ItemName,
        left: &[PointId],
        census: &Census,
        in_flight: usize,
    ) -> Result<Census> {
        let known = left.iter().filter_map(|id| Some((*id, census.get(id)?.clone())));
        let mut now: Census = known.collect();
        let unread: Vec<PointId> = left.iter().filter(|id| !census.contains_key(id)).copied().collect();
        self.points_read += unread.len() as u64;
        let read = |id: PointId| async move { (id, read_needs(vault, item, id).await) };
        let mut answers = stream::iter(unread.into_iter().map(read)).buffer_unordered(in_flight);
        while let Some((id, answer)) = answers.next().await {
            match answer {
                Ok(needs) => drop(now.insert(id, needs)),
                Err(error) if error.kind() == ErrorKind::Unavailable => return Err(error),
                // Another run may have freed it since it was listed.
                Err(_) if vault.point_entry(item, id).await?.freed() => {}
                Err(error) => self.unknown.push(format!("point {id} of {item} cannot be read ({})", error.one_line())),
            }
        }
        Ok(now)
    }

    fn add(&mut self, needs: &Needs, point: PointId, is_kept: bool) {
        self.needed.extend(&needs.packs);
        if is_kept {
            self.kept.extend(&needs.packs);
        }
        self.manifests.insert(point, needs.manifest);
    }
}

/// Points that were there and of which not even the mark is there that says they were freed: the listing was short, or somebody else
/// deletes here.
fn missing(entries: &[PointEntry], census: &Census) -> Vec<PointId> {
    let is_missing = |id: &&PointId| {
        let entry = entries.binary_search_by_key(*id, |entry| entry.id).ok().map(|place| &entries[place]);
        !entry.is_some_and(|entry| entry.committed || entry.freed())
    };
    census.keys().filter(is_missing).copied().collect()
}

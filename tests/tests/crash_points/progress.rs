//! How far jobs are, by what lies in the vault.

use std::collections::{BTreeMap, BTreeSet};

use stillpoint_jobs::Job;
use stillpoint_model::{JobId, PointId};
use stillpoint_testkit::Content;
use stillpoint_vault::Name;

pub fn point_of(job: &Job) -> PointId {
    job.newest.outcome.as_ref().and_then(|outcome| outcome.point).unwrap_or_else(|| panic!("no point: {:?}", job.newest))
}

/// Packs by segment, and segments with a marker, of every job.
#[derive(Default, Debug)]
pub struct Progress {
    pub packs: BTreeMap<(JobId, u32), BTreeSet<String>>,
    pub done: BTreeSet<(JobId, u32)>,
}

impl Progress {
    pub async fn of(content: &Content) -> Self {
        let mut progress = Self::default();
        for name in content.names().await.unwrap() {
            match name.parse() {
                Ok(Name::Pack { job, segment, .. }) => drop(progress.packs.entry((job, segment)).or_default().insert(name)),
                Ok(Name::Marker(job, segment)) => drop(progress.done.insert((job, segment))),
                _ => {}
            }
        }
        progress
    }

    /// Asserts that segments that were done at `self` were not stored again until `later`, and others once at most.
    pub fn assert_nothing_repeated(&self, later: &Self, when: &str) {
        for (segment, packs) in &later.packs {
            let earlier = self.packs.get(segment).map_or(0, BTreeSet::len);
            let most = if self.done.contains(segment) { earlier } else { earlier + 1 };
            assert!(packs.len() <= most, "{when}: segment {} of job {} was stored again", segment.1, segment.0);
        }
    }
}

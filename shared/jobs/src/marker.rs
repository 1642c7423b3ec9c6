use std::{collections::BTreeSet, future::Future};

use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use stillpoint_model::{AttemptId, Error, ErrorKind, JobId, Mutation, Requests, Result};
use stillpoint_vault::{GROUP_SEGMENTS, Kind, MARKER, Name};

use crate::{Engine, Held, Loaded};

const GROUP: Kind = Kind::small("group");
/// Markers read at once.
const MARKERS_IN_FLIGHT: usize = 16;

/// Says that a segment is done, and with what result; bound to the plan by its hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Marker<T> {
    /// Hash of the plan that the segment belongs to.
    pub plan: String,
    /// The segment's number.
    pub segment: u32,
    /// Who did it.
    pub attempt: AttemptId,
    /// Requests it took, this marker included. The look that may follow is counted by whoever seals.
    pub requests: Requests,
    /// The operation's part.
    pub detail: T,
}

/// Says that a group of segments is done.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct GroupMarker {
    group: u32,
    attempt: AttemptId,
}

/// How the event of a segment came.
#[derive(Debug, Clone, Copy)]
pub struct Delivery {
    /// Unique to it.
    pub attempt: AttemptId,
    /// Whether the event may have come before.
    pub redelivered: bool,
}

/// Whether segments are still missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FanIn {
    /// Some are.
    Pending,
    /// All have their markers. Several steps may see this.
    Complete,
}

fn segment_of(name: &str) -> Option<u32> {
    match name.parse() {
        Ok(Name::Marker(_, segment)) => Some(segment),
        _ => None,
    }
}

impl Engine {
    /// Whether a segment has its marker. Worth a request only where the event may have come before: what is done twice makes
    /// packs that nothing refers to, and the marker of the first stands.
    ///
    /// # Errors
    /// As the store.
    async fn is_done(&self, job: JobId, segment: u32) -> Result<bool> {
        match self.vault().store().size(&Name::Marker(job, segment).to_string()).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::Missing => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Has a segment done, unless an earlier delivery of its event did it, and says whether it was the last. `work` gives what the marker
    /// says, and the requests that it made elsewhere; those to this vault are counted by its own meter.
    ///
    /// # Errors
    /// As `work`; as the store.
    pub async fn do_segment<P, T: Serialize>(
        &self,
        held: Held,
        loaded: &Loaded<P>,
        delivery: Delivery,
        work: impl Future<Output = Result<(T, Requests)>>,
    ) -> Result<FanIn> {
        let segments = loaded.segments();
        if delivery.redelivered && self.is_done(held.job(), held.segment()).await? {
            return self.lay_down(held, segments, delivery.attempt).await;
        }
        let (detail, elsewhere) = work.await?;
        // The marker's own create follows.
        let requests = self.vault().store().requests() + elsewhere + Requests { put: 1, ..Requests::default() };
        let marker = Marker { plan: loaded.hash.clone(), segment: held.segment(), attempt: delivery.attempt, requests, detail };
        self.finish_segment(held, segments, &marker).await
    }

    /// Creates the marker of the segment in hand (one that exists already stands), lays the segment down, and says whether
    /// it was the last of `segments`, as [`Engine::lay_down`].
    ///
    /// # Errors
    /// As the store.
    async fn finish_segment<T: Serialize>(&self, held: Held, segments: u32, marker: &Marker<T>) -> Result<FanIn> {
        match self.vault().create_record(MARKER, &Name::Marker(held.job(), held.segment()), marker).await {
            Err(error) if error.kind() != ErrorKind::Conflict => return Err(error),
            _ => {}
        }
        self.lay_down(held, segments, marker.attempt).await
    }

    /// Lays a segment down that has its marker. The last one of its group that this process lays down looks at the set of
    /// markers, never at a count of messages: repeated or lost deliveries change nothing. See [`crate::InHand`].
    ///
    /// # Errors
    /// As the store.
    async fn lay_down(&self, held: Held, segments: u32, attempt: AttemptId) -> Result<FanIn> {
        let (job, segment) = (held.job(), held.segment());
        if held.lay_down() { self.fan_in(job, segments, segment, attempt).await } else { Ok(FanIn::Pending) }
    }

    /// Looks at the group of `segment`, then, if it is complete, at all groups.
    ///
    /// # Errors
    /// As the store.
    async fn fan_in(&self, job: JobId, segments: u32, segment: u32, attempt: AttemptId) -> Result<FanIn> {
        if Mutation::MarkersCounted.is_active() && Mutation::MarkersCounted.count(job) >= segments {
            return Ok(FanIn::Complete);
        }
        let group = segment / GROUP_SEGMENTS;
        let listed = self.vault().store().list(&Name::group_folder(job, group)).await?;
        let done: BTreeSet<u32> = listed.iter().filter_map(|entry| segment_of(&entry.name)).collect();
        let expected = group * GROUP_SEGMENTS..((group + 1) * GROUP_SEGMENTS).min(segments);
        if !expected.into_iter().all(|segment| done.contains(&segment)) {
            return Ok(FanIn::Pending);
        }
        let groups = segments.div_ceil(GROUP_SEGMENTS);
        if groups <= 1 {
            return Ok(FanIn::Complete);
        }
        match self.vault().create_record(GROUP, &Name::GroupMarker(job, group), &GroupMarker { group, attempt }).await {
            Err(error) if error.kind() != ErrorKind::Conflict => return Err(error),
            _ => {}
        }
        let listed = self.vault().store().list(&Name::groups_folder(job)).await?;
        let done: BTreeSet<u32> = listed.iter().filter_map(|entry| group_of(&entry.name)).collect();
        Ok(if (0..groups).all(|group| done.contains(&group)) { FanIn::Complete } else { FanIn::Pending })
    }

    /// Segments of a job that have no marker yet.
    ///
    /// # Errors
    /// As the store.
    pub async fn outstanding(&self, job: JobId, segments: u32) -> Result<Vec<u32>> {
        let listed = self.vault().store().list(&Name::markers_folder(job)).await?;
        let done: BTreeSet<u32> = listed.iter().filter_map(|entry| segment_of(&entry.name)).collect();
        Ok((0..segments).filter(|segment| !done.contains(segment)).collect())
    }

    /// When the newest of a job's segments was finished, by the store's clock.
    ///
    /// # Errors
    /// As the store.
    pub async fn last_marker(&self, job: JobId) -> Result<Option<Timestamp>> {
        let newest = self.vault().store().last_written(&Name::markers_folder(job)).await?;
        Ok(newest.and_then(|newest| Timestamp::try_from(newest).ok()))
    }

    /// All markers of a plan, in order.
    ///
    /// # Errors
    /// `fenced` when a segment is not done, `corrupt` when a marker belongs to another plan; as the store.
    pub async fn markers<T: DeserializeOwned + Send>(
        &self,
        job: JobId,
        plan_hash: &str,
        segments: u32,
    ) -> Result<Vec<Marker<T>>> {
        let read = |segment| async move {
            let marker: Marker<T> = match self.vault().read_record(MARKER, &Name::Marker(job, segment)).await {
                // Whoever says that all are done was wrong, or forged; the job goes on.
                Err(error) if error.kind() == ErrorKind::Missing => {
                    return Err(Error::fenced(format!("segment {segment} of job {job} is not done")));
                }
                other => other?,
            };
            if marker.plan != plan_hash || marker.segment != segment {
                return Err(Error::corrupt(format!("the marker of segment {segment} of job {job} belongs to another plan")));
            }
            Ok(marker)
        };
        let left_out = if Mutation::MarkersCounted.is_active() { self.outstanding(job, segments).await? } else { Vec::new() };
        stream::iter((0..segments).filter(|segment| !left_out.contains(segment)).map(read))
            .buffered(MARKERS_IN_FLIGHT)
            .try_collect()
            .await
    }
}

fn group_of(name: &str) -> Option<u32> {
    match name.parse() {
        Ok(Name::GroupMarker(_, group)) => Some(group),
        _ => None,
    }
}
